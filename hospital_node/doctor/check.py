"""One line of the doctor's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    """Work goes on, but slower, with fewer resources, or not as expected."""
    PROBLEM = "problem"
    """Work would stop, or go wrong."""


@dataclass(frozen=True)
class Check:
    """What was found, and how to fix it. Law: `from_json(to_json(x)) == x`."""

    name: str
    outcome: Outcome
    found: str
    fix: str = ""
    """Empty when it passed."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Check:
        return Check(**{**value, "outcome": Outcome(value["outcome"])})


def passed(name: str, found: str) -> Check:
    return Check(name, Outcome.PASSED, found)


def warning(name: str, found: str, fix: str) -> Check:
    return Check(name, Outcome.WARNING, found, fix)


def problem(name: str, found: str, fix: str) -> Check:
    return Check(name, Outcome.PROBLEM, found, fix)
