"""Rules for file names in a bundle: relative, portable, and distinct on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from sharekit.errors import VerificationError

MAX_NAME_LENGTH = 200
_SEGMENT = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}")
_MADE_BY_SYSTEMS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.git.*|\.cache", re.IGNORECASE)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's general categories
_RESERVED_ON_WINDOWS = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def printable(name: str) -> str:
    """Make an untrusted name safe for an error message: ASCII, without control characters."""
    return ascii(name)[1:-1][:MAX_NAME_LENGTH]


def check_names(names: Iterable[str]) -> None:
    """Refuse names that leave the bundle, mean different files on different systems, or collide.

    Raises:
        VerificationError: naming the file.
    """
    ordered = list(names)
    seen: dict[str, str] = {}
    for name in ordered:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if folded in seen:
            raise VerificationError(
                printable(name),
                expected="names that differ on every file system",
                found=f"a collision with {printable(seen[folded])!r}",
                next_step="do not use this bundle",
            )
        seen[folded] = name
    for name in ordered:
        _check_name(name)


def _check_name(name: str) -> None:
    allowed = len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name)
    if not allowed or any(_RESERVED_ON_WINDOWS.fullmatch(part) for part in name.split("/")):
        raise extra_file(name)


def extra_file(name: str) -> VerificationError:
    """The error for a file that no signature covers."""
    known = any(_MADE_BY_SYSTEMS.fullmatch(part) for part in name.split("/"))
    return VerificationError(
        printable(name),
        expected="only files that the signature covers",
        found="an extra file" + (", as operating systems and download tools make it" if known else ""),
        next_step="delete it" if known else "fetch the bundle again, or delete the file if you put it there",
    )


def hidden_character(text: str) -> str | None:
    """The first character that is invisible or controls a terminal, such as `U+001B`, or None.

    These are control, direction and zero-width characters. A line end is allowed.
    """
    for character in text:
        if character != "\n" and unicodedata.category(character) in _HIDDEN:
            return f"U+{ord(character):04X}"
    return None
