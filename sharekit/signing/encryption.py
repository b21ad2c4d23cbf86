"""Encryption for recipients, in the age format (https://age-encryption.org/v1) by the library pyrage.

Encryption hides a bundle from others and proves nothing; the signature inside it does. A recipient keeps an
identity, a private file with the line `AGE-SECRET-KEY-1…`, and gives away its public half, a line `age1…`.
The tools `age` and `rage` read and write the same files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.errors import InputError, VerificationError, missing_package
from sharekit.signing.keys import MAX_KEY_BYTES, read_private, refuse_overwrite
from sharekit.storage import files

FORMAT = "age-encryption.org/v1"
SUFFIX = ".age"
EXTRA = "recipients"
_NO_MATCH = "No matching keys"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True)
class IdentityFiles:
    """The files of a new identity."""

    private: Path  # mode 0600
    public: Path
    recipient: str
    """The public half, `age1…`."""

    def to_json(self) -> dict[str, str]:
        return {
            "identity": str(self.private),
            "recipient_file": str(self.public),
            "recipient": self.recipient,
        }


def write_identity(prefix: Path) -> IdentityFiles:
    """Make an identity and write it as PREFIX.identity (private) and PREFIX.recipient (public).

    Raises:
        InputError: one of the files exists already.
        DependencyError: pyrage is not installed.
    """
    private, public = (prefix.with_name(f"{prefix.name}.{end}") for end in ("identity", "recipient"))
    for path in (private, public):
        refuse_overwrite(path)
    identity = _pyrage().x25519.Identity.generate()
    recipient = str(identity.to_public())
    private.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(private, f"# public key: {recipient}\n{identity}\n".encode(), mode=0o600)
    files.write_text(public, f"{recipient}\n")
    return IdentityFiles(private, public, recipient)


def read_recipient(value: str) -> str:
    """A recipient, `age1…`, from the text itself or from a file that holds it.

    Raises:
        InputError: it is neither.
    """
    text = value
    if not value.startswith("age1"):
        text = _only_line(files.read_bytes(Path(value), max_bytes=MAX_KEY_BYTES), value)
    _recipient(text, value)
    return text


def encrypt(source: Path, out: Path, recipients: Sequence[str]) -> None:
    """Encrypt a file for recipients (`age1…`); `out` appears whole or not at all.

    Raises:
        InputError: a recipient is malformed.
        DependencyError: pyrage is not installed.
    """
    chosen = [_recipient(text, text) for text in recipients]
    with _whole(out) as temporary:
        _pyrage().encrypt_file(str(source), str(temporary), chosen)


def decrypt(source: Path, out: Path, identities: Sequence[Path]) -> None:
    """Decrypt a file with one of the identities in these files; `out` appears whole or not at all.

    Raises:
        InputError: an identity cannot be read, or the file is for others or is not encrypted.
        VerificationError: the file was changed or cut off.
        DependencyError: pyrage is not installed.
    """
    keys = [_identity(path) for path in identities]
    files.open_regular(source).close()  # names a missing file
    with _whole(out) as temporary:
        try:
            _pyrage().decrypt_file(str(source), str(temporary), keys)
        except _pyrage().DecryptError as error:
            raise _unreadable(source, str(error)) from None
        except OSError as error:
            if _number(error) is not None:
                raise
            # What pyrage raises for a changed part after the first.
            raise _unreadable(source, "") from None


def _unreadable(source: Path, reason: str) -> InputError | VerificationError:
    if "Header" in reason:
        return InputError(
            source,
            expected="a file in the age format",
            found="something else",
            next_step="a bundle that is not encrypted is opened as it is",
        )
    if _NO_MATCH in reason:
        return InputError(
            source,
            expected="a file that is encrypted for this identity",
            found="one for other recipients",
            next_step="name the identity that the hospital knows, or ask it to publish for yours",
        )
    return VerificationError(
        source,
        expected="an encrypted file as it was written",
        found="a changed or incomplete one",
        next_step="do not use it; fetch it again",
    )


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A temporary path next to `out`, private to the user, which becomes `out` if the block ends well."""
    temporary = out.with_name(f".{out.name}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.touch(mode=0o600)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(out)
    except OSError as error:
        number = _number(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(out)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _number(error: OSError) -> int | None:
    """The system's number of an error; pyrage says it in words alone."""
    said = _OS_ERROR.search(str(error))
    return int(said[1]) if error.errno is None and said is not None else error.errno


def _identity(path: Path) -> Any:
    data = read_private(path, "an identity", "a new identity")
    try:
        return _pyrage().x25519.Identity.from_str(_only_line(data, path))
    except _pyrage().IdentityError:
        raise _malformed(path, "an identity: a line AGE-SECRET-KEY-1…") from None


def _recipient(text: str, item: object) -> Any:
    try:
        return _pyrage().x25519.Recipient.from_str(text)
    except _pyrage().RecipientError:
        raise _malformed(item, "a recipient: age1… or a file with that line") from None


def _only_line(data: bytes, item: object) -> str:
    """The only line of a file that is no comment."""
    lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(found) != 1:
        raise _malformed(item, "one line, and comments that begin with #")
    return found[0]


def _malformed(item: object, expected: str) -> InputError:
    return InputError(
        item,
        expected=expected,
        found="something else",
        next_step="make one with `sharekit keys identity`, or take the other file of the pair",
    )


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise missing_package("pyrage", EXTRA) from None
    return pyrage
