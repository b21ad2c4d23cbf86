"""Phrases that several commands use: counts with a noun, and command lines to copy."""

from __future__ import annotations

import shlex


def counted(number: int, noun: str, plural: str = "") -> str:
    """A count such as `1 image` or `2 images`; give `plural` for a noun that takes more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def command_line(*words: object) -> str:
    """A command as a user would type it, with POSIX shell quoting."""
    return shlex.join(map(str, words))


def next_command(*words: object) -> str:
    """The last line of a result, which names the command to run next."""
    return f"next: {command_line(*words)}"
