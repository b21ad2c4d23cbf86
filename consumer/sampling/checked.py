"""Check arguments of the Python interface: a wrong type raises a `UsageError`, not a NumPy error."""

from __future__ import annotations

import operator
import os
from pathlib import Path

from sharekit.errors import UsageError


def refusal(option: str, expected: str, found: str) -> UsageError:
    """The error for an argument that cannot be used."""
    return UsageError(option, expected=expected, found=found, next_step="choose another value")


def whole(name: str, value: object) -> int:
    """A whole number, Python's or NumPy's; a bool is refused.

    Raises:
        UsageError: anything else.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise refusal(name, "a whole number", shown(value))


def real(name: str, value: object) -> float:
    """A real number, Python's or NumPy's.

    Raises:
        UsageError: anything else, including a text or a bool.
    """
    if hasattr(value, "__float__") and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise refusal(name, "a number", shown(value))


def truth(name: str, value: object) -> bool:
    """True or False.

    Raises:
        UsageError: anything else.
    """
    if not isinstance(value, bool):
        raise refusal(name, "True or False", shown(value))
    return value


def text(name: str, value: object) -> str:
    """A string.

    Raises:
        UsageError: anything else.
    """
    if not isinstance(value, str):
        raise refusal(name, "a text", shown(value))
    return value


def path(name: str, value: object) -> Path:
    """A path, from a string or a path object.

    Raises:
        UsageError: anything else.
    """
    if not isinstance(value, str | os.PathLike):
        raise refusal(name, "a path", shown(value))
    return Path(value)


def shown(value: object) -> str:
    """A value as an error shows it: shortened, with its type."""
    return f"{value!r:.80} ({type(value).__name__})"
