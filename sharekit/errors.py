"""All error classes of Sharekit; each class has one exit code.

An error names the affected file or item, what was expected, what was found, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class SharekitError(Exception):
    """Base of every error that Sharekit raises on purpose.

    Args:
        item: the file, image, option or generator that the error is about.
        expected: what should have been there.
        found: what was there instead.
        next_step: what the reader should do now.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, item: object, *, expected: str, found: str, next_step: str) -> None:
        self.item = str(item)
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(f"{self.item}: expected {expected}, found {found}. Next: {next_step}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling that Ray uses between processes.
        return _rebuild, (type(self), self.item, self.expected, self.found, self.next_step)

    def to_json(self) -> Mapping[str, str | int]:
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "item": self.item,
            "expected": self.expected,
            "found": self.found,
            "next_step": self.next_step,
        }


def _rebuild(cls: type[SharekitError], item: str, expected: str, found: str, next_step: str) -> SharekitError:
    return cls(item, expected=expected, found=found, next_step=next_step)


class UsageError(SharekitError):
    """An option or argument makes no sense. (argparse exits with the same code.)"""

    exit_code = 2


class InputError(SharekitError):
    """A file or folder is missing, broken, too large, of the wrong kind, or cannot be read or written."""

    exit_code = 3


class VerificationError(SharekitError):
    """A signature, digest, schema or ONNX rule does not hold: the file must not be used."""

    exit_code = 4


class PolicyError(SharekitError):
    """The node's policy, audit or approval does not allow the release."""

    exit_code = 5


class DependencyError(SharekitError):
    """An optional package, provider, device or weights file that this command needs is missing."""

    exit_code = 6


def missing_package(name: str, extra: str) -> DependencyError:
    """The error for an optional package that is not installed; `extra` is the extra that installs it."""
    return DependencyError(
        name,
        expected=f"the package {name}",
        found="it is not installed",
        next_step=f"pip install 'sharekit[{extra}]'",
    )


class PartialFailureError(SharekitError):
    """Some images failed, each with its own reason; the others are done."""

    exit_code = 7


class NodeStateError(SharekitError):
    """The node or machine is not in the state that a command needs (not ingested, locked, out of memory)."""

    exit_code = 8


class ExposureError(SharekitError):
    """An export contains something real, or a process of the node listens to the network."""

    exit_code = 9


INTERRUPTED_EXIT_CODE = 130
