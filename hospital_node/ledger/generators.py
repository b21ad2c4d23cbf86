"""The ledger's generators: which images stand behind each, and how far each has come."""

# ruff: noqa: S608 - every value is bound; only column names and question marks are formatted in.

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hospital_node.ledger.database import Database, now
from hospital_node.ledger.ledger_tables import BROUGHT_OVER
from hospital_node.ledger.states import GENERATOR_TRANSITIONS, GeneratorRecord, GeneratorState
from sharekit.errors import InputError, NodeStateError

_COLUMNS = "id, state, profile, settings, attempts, reason, created, updated"
_MEMBERS = (
    "(SELECT json_group_array(image) FROM"
    " (SELECT image FROM memberships WHERE generator = generators.id ORDER BY position))"
)

_RELEASES = (
    "(SELECT json_group_array(reason) FROM events WHERE after = 'released' AND (events.id = generators.id"
    # Schemas 1 and 2 logged a generator's events under its image.
    f" OR events.id = (SELECT substr(reason, {len(BROUGHT_OVER) + 1}) FROM events WHERE id = generators.id"
    f" AND reason LIKE '{BROUGHT_OVER}%')))"
)
_DERIVED = f"{_MEMBERS}, {_RELEASES}"
_RELEASE = re.compile(r"release (\d+)")


class Generators:
    """The ledger's generators and memberships. Every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading

    def get(self, generator_id: str) -> GeneratorRecord:
        """The record of one generator.

        Raises:
            InputError: the node has no such generator.
        """
        row = self._database.one(f"SELECT {_COLUMNS}, {_DERIVED} FROM generators WHERE id = ?", generator_id)
        if row is None:
            raise InputError(
                generator_id,
                expected="the identifier of a generator of this node",
                found="no such generator",
                next_step="see `hospital-node status --all --format json` for the identifiers",
            )
        return _record(row)

    def iterate(self, *states: GeneratorState) -> Iterator[GeneratorRecord]:
        """Records in these states (in all, if none is given), oldest first; no record comes twice."""
        wanted = states or tuple(GeneratorState)
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT {_COLUMNS}, {_DERIVED}, sequence FROM generators WHERE state IN ({marks})"
        yield from map(_record, self._database.pages(query, *wanted))

    def records(self, *states: GeneratorState) -> list[GeneratorRecord]:
        """`iterate` as a list."""
        return list(self.iterate(*states))

    def counts(self) -> dict[GeneratorState, int]:
        """How many generators are in each state, zeros included."""
        found = dict(self._database.all("SELECT state, count(*) FROM generators GROUP BY state"))
        return {state: found.get(state, 0) for state in GeneratorState}

    def images_behind(self) -> dict[GeneratorState, int]:
        """How many images stand behind the generators of each state together, zeros included."""
        found = dict(
            self._database.all(
                "SELECT state, count(*) FROM generators JOIN memberships ON generator = id GROUP BY state"
            )
        )
        return {state: found.get(state, 0) for state in GeneratorState}

    def of_image(self, image_id: str) -> list[GeneratorRecord]:
        """Every generator that an image stands behind, oldest first."""
        query = (
            f"SELECT {_COLUMNS}, {_DERIVED} FROM generators"
            " WHERE id IN (SELECT generator FROM memberships WHERE image = ?) ORDER BY sequence"
        )
        return [_record(row) for row in self._database.all(query, image_id)]

    # -- writing

    def plan(self, groups: Iterable[Sequence[str]], reason: str = "") -> list[str]:
        """Add a planned generator for each group of images; return the new identifiers, in order.

        Args:
            groups: image identifiers, in the order in which training takes them.
            reason: why these belong together.
        """
        time = now()
        planned = []
        with self._database.transaction() as connection:
            for images in groups:
                generator_id = secrets.token_hex(16)
                connection.execute(
                    f"INSERT INTO generators ({_COLUMNS}) VALUES (?, ?, '', '', 0, ?, ?, ?)",
                    (generator_id, GeneratorState.PLANNED, reason, time, time),
                )
                connection.executemany(
                    "INSERT INTO memberships (generator, position, image) VALUES (?, ?, ?)",
                    [(generator_id, position, image) for position, image in enumerate(images)],
                )
                self._database.log(time, generator_id, None, GeneratorState.PLANNED, reason)
                planned.append(generator_id)
        return planned

    def drop(self, generator_ids: Iterable[str], reason: str) -> None:
        """Remove planned generators whose training never began.

        Raises:
            NodeStateError: training of one of them has begun; nothing was removed.
        """
        time = now()
        with self._database.transaction() as connection:
            for generator_id in generator_ids:
                before = self._leave(generator_id, None)
                connection.execute("DELETE FROM memberships WHERE generator = ?", (generator_id,))
                connection.execute("DELETE FROM generators WHERE id = ?", (generator_id,))
                self._database.log(time, generator_id, before, None, reason)

    def begin(self, generator_id: str, profile: str, settings: str) -> None:
        """Move a planned generator into training, and keep its settings.

        Args:
            profile: name of the settings.
            settings: all of them, as canonical JSON.
        """
        with self._database.transaction() as connection:
            self._move(connection, generator_id, GeneratorState.TRAINING, "")
            connection.execute(
                "UPDATE generators SET profile = ?, settings = ? WHERE id = ?",
                (profile, settings, generator_id),
            )

    def restart(self, generator_ids: Iterable[str]) -> None:
        """Plan generators again, from the beginning; clear their settings and the count of deaths."""
        with self._database.transaction() as connection:
            for generator_id in generator_ids:
                if self.get(generator_id).state is not GeneratorState.PLANNED:
                    reason = "to be trained from the beginning"
                    self._move(connection, generator_id, GeneratorState.PLANNED, reason)
                connection.execute(
                    "UPDATE generators SET profile = '', settings = '', attempts = 0 WHERE id = ?",
                    (generator_id,),
                )

    def transition(self, generator_id: str, to: GeneratorState, reason: str = "") -> None:
        """Move a generator to another state.

        Raises:
            InputError: the node has no such generator.
            NodeStateError: `GENERATOR_TRANSITIONS` does not have this change.
        """
        with self._database.transaction() as connection:
            self._move(connection, generator_id, to, reason)

    def count_attempt(self, generator_id: str) -> int:
        """Count one more death of its worker; return the number of deaths, this one included."""
        with self._database.transaction() as connection:
            self.get(generator_id)
            connection.execute(
                "UPDATE generators SET attempts = attempts + 1, updated = ? WHERE id = ?",
                (now(), generator_id),
            )
            return self.get(generator_id).attempts

    # -- internal

    def _move(
        self, connection: sqlite3.Connection, generator_id: str, to: GeneratorState, reason: str
    ) -> None:
        before, time = self._leave(generator_id, to), now()
        connection.execute(
            "UPDATE generators SET state = ?, reason = ?, updated = ? WHERE id = ?",
            (to, reason, time, generator_id),
        )
        self._database.log(time, generator_id, before, to, reason)

    def _leave(self, generator_id: str, to: GeneratorState | None) -> GeneratorState:
        """The state that a generator leaves for `to`, once the table allows it."""
        state = self.get(generator_id).state
        allowed = GENERATOR_TRANSITIONS[state]
        if to not in allowed:
            ways = ", ".join(sorted(str(way or "removed") for way in allowed)) or "none"
            raise NodeStateError(
                generator_id,
                expected=f"a change from {state} to one of: {ways}",
                found=f"a change to {to or 'removed'}",
                next_step="see `hospital-node status` for what the generator waits for",
            )
        return state


def _record(row: Sequence[Any]) -> GeneratorRecord:
    values = dict(zip(_COLUMNS.split(", "), row, strict=False))
    images = tuple(json.loads(row[len(values)]))
    found = map(_RELEASE.fullmatch, json.loads(row[len(values) + 1]))
    releases = tuple(sorted({int(match[1]) for match in found if match}))
    return GeneratorRecord(
        **{**values, "state": GeneratorState(values["state"]), "images": images, "releases": releases}
    )
