"""The ledger's SQLite file: one connection, whole transactions, faults as errors with a next step."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital_node.ledger import ledger_tables
from hospital_node.ledger.states import State
from sharekit.errors import NodeStateError

BUSY_TIMEOUT = 30.0  # seconds to wait for another process's write
PAGE = 500  # records held in memory at once


class Database:
    """A ledger's file. Every write is one transaction that survives a power cut.

    Raises (every method):
        NodeStateError: the file is damaged, of another version, locked for too long, or the disk is full.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Open a ledger of this or an older version.

        An older one is upgraded in its file or, with `read_only`, in a copy in memory. `read_only` needs no
        right to write, neither the file nor its folder.
        """
        self.path = path
        with self._faults():
            self._connection = self._open("mode=ro" if read_only else "mode=rw")
            if read_only and not self._shares():
                self._copy_at_rest()
            version = self._version()
            if read_only and version in ledger_tables.OLDER_VERSIONS:
                self._copy_to_memory()
            if not read_only:
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA secure_delete = ON")
            self._upgrade()

    @staticmethod
    def create(path: Path) -> None:
        """Write an empty ledger, readable by its owner only.

        Raises:
            FileExistsError: `path` exists.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {ledger_tables.SCHEMA} COMMIT;")

    def close(self) -> None:
        self._connection.close()

    def one(self, query: str, *values: Any) -> Any:
        """The first row, or None."""
        with self._faults():
            return self._connection.execute(query, values).fetchone()

    def all(self, query: str, *values: Any) -> list[Any]:
        """Every row."""
        with self._faults():
            return self._connection.execute(query, values).fetchall()

    def pages(self, query: str, *values: Any) -> Iterator[Any]:
        """Rows in order of `sequence`, `PAGE` at a time; rows may change meanwhile, and no row comes twice.

        Args:
            query: its last column is `sequence`; it ends in a condition to which more can be added.
        """
        last = 0
        while True:
            rows = self.all(f"{query} AND sequence > ? ORDER BY sequence LIMIT {PAGE}", *values, last)
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1][-1]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of the block's changes, or none of them."""
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def log(self, time: str, subject: str, before: State | None, after: State | None, reason: str) -> None:
        """Append an event, inside a transaction."""
        self._connection.execute(
            "INSERT INTO events (time, id, before, after, reason) VALUES (?, ?, ?, ?, ?)",
            (time, subject, before, after, reason),
        )

    def _open(self, options: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{options}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
        )

    def _shares(self) -> bool:
        """Whether SQLite has, or can make, the index in the folder by which it reads while others write."""
        try:
            self._connection.execute("PRAGMA user_version")
        except sqlite3.OperationalError as error:
            # The low byte is the primary code; the others say why.
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
                return False
            raise
        return True

    def _copy_at_rest(self) -> None:
        """Read a file into memory that nobody writes, without the index, which has no place here.

        Raises:
            NodeStateError: its last changes are in a write-ahead log, or it changed meanwhile.
        """
        self.close()
        self._connection = self._open("mode=ro&immutable=1")
        before = self._at_rest()
        self._copy_to_memory()
        if before is None or before != self._at_rest():
            raise NodeStateError(
                self.path,
                expected="a ledger that nobody writes, because its folder cannot be written",
                found="changes that are not in the file yet",
                next_step="end the command that writes it, or copy the node to a place that can be written",
            )

    def _at_rest(self) -> tuple[int, int] | None:
        """When the file was last written and its size in bytes; None with changes in a write-ahead log."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.exists() and log.stat().st_size:
            return None
        at = self.path.stat()
        return at.st_mtime_ns, at.st_size

    def _version(self) -> int:
        version: int = self.one("PRAGMA user_version")[0]
        if version not in {ledger_tables.SCHEMA_VERSION, *ledger_tables.OLDER_VERSIONS}:
            self.close()
            raise NodeStateError(
                self.path,
                expected=f"a ledger of schema version {ledger_tables.SCHEMA_VERSION}",
                found=f"version {version}",
                next_step="use the release of hospital-node that wrote it, or ingest into a new node",
            )
        return version

    def _copy_to_memory(self) -> None:
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.backup(copy)
        self.close()
        self._connection = copy

    def _upgrade(self) -> None:
        if self._version() == ledger_tables.SCHEMA_VERSION:
            return
        with self.transaction() as connection:
            # Another process may have upgraded it first.
            ledger_tables.upgrade(connection, self._version(), now())

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise NodeStateError(
                self.path,
                expected="a ledger that can be read and written",
                found=f"{type(error).__name__}: {error}",
                next_step="check free disk space and permissions; run the same command again",
            ) from error


def now() -> str:
    """UTC time as the ledger writes it: ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
