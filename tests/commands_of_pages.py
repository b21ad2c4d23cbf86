"""The commands that README and guides show in their `console` blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT_CODE = re.compile(r"  # exit code (\d+)$")


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it."""

    line: str
    exit_code: int
    """0, unless the line ends in a comment such as `# exit code 4`."""


def blocks(page: Path, language: str) -> list[str]:
    """The contents of a page's blocks of one language."""
    return [content for found, content in FENCE.findall(page.read_text("utf-8")) if found == language]


def commands_of(page: Path) -> list[Shown]:
    """A page's commands, in order."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [_shown(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def _shown(line: str) -> Shown:
    code = _EXIT_CODE.search(line)
    return Shown(_EXIT_CODE.sub("", line), int(code[1]) if code else 0)
