"""Forget images: their rows go in one transaction, and the file of the ledger keeps no trace of them."""

# ruff: noqa: S608 - every value is bound; only question marks and fixed names are formatted in.

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from hospital_node.ledger.database import Database
from hospital_node.ledger.history_table import Authenticate, HistoryTable
from hospital_node.ledger.ledger_tables import EVENTS_UNCHANGED
from hospital_node.ledger.states import ImageRecord
from sharekit.errors import NodeStateError

ERASED = "an erased image"
"""What stands in other records' reasons in place of an erased file's name."""


class Erasures:
    """Images and generators whose rows are gone and whose files are going."""

    def __init__(self, database: Database, history: HistoryTable) -> None:
        self._database = database
        self._history = history

    def pending(self) -> frozenset[str]:
        """Identifiers whose files may still exist; empty unless an erasure was interrupted."""
        return frozenset(name for (name,) in self._database.all("SELECT name FROM erasures"))

    def begin(
        self,
        images: Sequence[ImageRecord],
        generators: Sequence[str],
        entry: str,
        authenticate: Authenticate,
    ) -> None:
        """Remove images and generators from every table, and write the history's entry about it.

        Args:
            images: their records.
            generators: identifiers of every generator that learnt from one of them.
            entry: what the history keeps.
            authenticate: gives the entry its code.
        """
        names = [*(image.id for image in images), *generators]
        with self._database.transaction() as connection:
            for trigger in ("events_unchanged", "events_kept"):
                connection.execute(f"DROP TRIGGER {trigger}")
            _delete(connection, "memberships", "generator", generators)
            _delete(connection, "generators", "id", generators)
            _delete(connection, "images", "id", [image.id for image in images])
            _delete(connection, "events", "id", names)
            for path in {path for image in images for path in _paths(image)}:
                for table in ("images", "generators", "events"):
                    connection.execute(
                        f"UPDATE {table} SET reason = replace(reason, ?1, ?2) WHERE instr(reason, ?1)",
                        (path, ERASED),
                    )
            for statement in EVENTS_UNCHANGED:
                connection.execute(statement)
            connection.executemany("INSERT INTO erasures (name) VALUES (?)", [(name,) for name in names])
            self._history.append_within(entry, authenticate)

    def finish(self) -> None:
        """Write the ledger's file again, without what was deleted, once the files are gone.

        Raises:
            NodeStateError: another process reads the ledger, so that an old copy of its pages stays.
        """
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM erasures")
            # Names nothing; it says that the file is still to be written again.
            connection.execute("INSERT INTO erasures (name) VALUES ('')")
        self._rewrite()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM erasures")

    def _rewrite(self) -> None:
        self._database.one("VACUUM")
        busy = self._database.one("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        if busy:
            raise NodeStateError(
                self._database.path,
                expected="a ledger that no other process reads",
                found="another reader",
                next_step="end the other commands on this node; the next command finishes the erasure",
            )


def _paths(image: ImageRecord) -> Iterator[str]:
    yield from filter(None, (image.source_image, *image.source_masks))


def _delete(connection: sqlite3.Connection, table: str, column: str, values: Sequence[str]) -> None:
    connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(value,) for value in values])
