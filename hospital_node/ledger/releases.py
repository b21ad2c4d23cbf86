"""What happened to each release: exported, published, withdrawn; appended, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hospital_node.ledger.database import Database, now
from sharekit.errors import InputError


class ReleaseEvent(StrEnum):
    """What can happen to a release."""

    EXPORTED = "exported"
    PUBLISHED = "published"
    """A person signed it for a repository; `complete` says whether enough people have."""
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Happened:
    """One event of a release."""

    time: str  # UTC, ISO 8601
    event: ReleaseEvent
    content: Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseHistory:
    """A release and everything that happened to it, oldest first."""

    number: int
    events: tuple[Happened, ...]

    @property
    def state(self) -> ReleaseEvent:
        """`withdrawn` once it was; otherwise `published` once enough people signed, or `exported`."""
        found = {
            one.event
            for one in self.events
            if one.event is not ReleaseEvent.PUBLISHED or one.content["complete"]
        }
        return next(state for state in reversed(ReleaseEvent) if state in found)

    @property
    def exported(self) -> Mapping[str, Any]:
        """What the export wrote down; empty for releases before the ledger did so."""
        return next((one.content for one in self.events if one.event is ReleaseEvent.EXPORTED), {})

    @property
    def generators(self) -> tuple[str, ...]:
        """Identifiers of the generators in the release."""
        return tuple(self.exported.get("generators", ()))

    @property
    def recipients(self) -> tuple[str, ...]:
        """Names of the recipients that any of the signers wrote down."""
        published = self.of(ReleaseEvent.PUBLISHED)
        return tuple(dict.fromkeys(one["name"] for event in published for one in event.content["recipients"]))

    def of(self, event: ReleaseEvent) -> tuple[Happened, ...]:
        """Its events of one kind."""
        return tuple(one for one in self.events if one.event is event)

    def to_json(self) -> dict[str, Any]:
        return {
            "release": self.number,
            "state": str(self.state),
            "events": [{"time": one.time, "event": str(one.event), **one.content} for one in self.events],
        }


class Releases:
    """The ledger's releases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ReleaseHistory]:
        """Every release, by number."""
        found: dict[int, list[Happened]] = {}
        query = "SELECT release, time, event, content FROM release_events ORDER BY release, sequence"
        for release, time, event, content in self._database.all(query):
            happened = Happened(time, ReleaseEvent(event), json.loads(content))
            found.setdefault(release, []).append(happened)
        return [ReleaseHistory(number, tuple(events)) for number, events in found.items()]

    def get(self, number: int) -> ReleaseHistory:
        """One release.

        Raises:
            InputError: the node has exported no such release.
        """
        for history in self.all():
            if history.number == number:
                return history
        raise InputError(
            f"release {number}",
            expected="a release of this node",
            found="none of that number",
            next_step="see `hospital-node releases --node NODE`",
        )

    def withdrawn(self) -> frozenset[int]:
        """Numbers of the releases that were taken back."""
        return frozenset(one.number for one in self.all() if one.of(ReleaseEvent.WITHDRAWN))

    def append(self, number: int, event: ReleaseEvent, content: Mapping[str, Any]) -> None:
        """Add what happened to a release."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO release_events (time, release, event, content) VALUES (?, ?, ?, ?)",
                (now(), number, event, json.dumps(content, sort_keys=True)),
            )
