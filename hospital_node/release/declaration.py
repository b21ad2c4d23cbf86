"""What the hospital itself says about its releases: purpose, duties, legal basis, retention, contact."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharekit.errors import UsageError
from sharekit.storage import schema


@dataclass(frozen=True)
class Declaration:
    """Sentences that only the hospital can write; empty: not stated. Law: `from_json(to_json(x)) == x`."""

    purpose: str = ""
    recipient_duties: str = ""
    legal_basis: str = ""
    retention: str = ""
    contact: str = ""

    def __post_init__(self) -> None:
        for name, text in self.stated.items():
            if not schema.fits_shared("sentence", text):
                raise UsageError(
                    f"--{name.replace('_', '-')}",
                    expected="one line of 1 to 1000 printable characters",
                    found=repr(text[:50]),
                    next_step="write it in one line",
                )

    @property
    def stated(self) -> dict[str, str]:
        """What the hospital has stated."""
        return {name: text for name, text in dataclasses.asdict(self).items() if text}

    @property
    def missing(self) -> tuple[str, ...]:
        """What the hospital has not stated, in words."""
        return tuple(name.replace("_", " ") for name in dataclasses.asdict(self) if name not in self.stated)

    def with_(self, changes: Mapping[str, str | None]) -> Declaration:
        """The same declaration with other sentences; None leaves one as it is."""
        return dataclasses.replace(self, **{name: text for name, text in changes.items() if text is not None})

    def to_json(self) -> dict[str, str]:
        return self.stated

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Declaration:
        return Declaration(**value)


NAMES = tuple(one.name for one in dataclasses.fields(Declaration))
HELP = {
    "purpose": "purpose for which bundles are given away",
    "recipient_duties": "duties of whoever receives a bundle",
    "legal_basis": "legal basis of the processing, such as an article and an ethics vote",
    "retention": "time for which recipients may keep a bundle",
    "contact": "whom to write to about data protection",
}
"""Help for the option of each sentence."""
