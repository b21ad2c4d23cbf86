"""Words that several commands need: counts with their noun, and command lines to copy."""

from __future__ import annotations

import shlex


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`; `plural` for a noun that takes more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def command_line(*words: object) -> str:
    """A command as a user would type it, quoted for a POSIX shell."""
    return shlex.join(map(str, words))


def next_command(*words: object) -> str:
    """The line that ends a result: what to run now."""
    return f"next: {command_line(*words)}"
