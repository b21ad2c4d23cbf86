"""The ledger's history: entries in a chain that only grows; `hospital_node.node.history` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hospital_node.ledger.database import Database

START = "0" * 64
"""The code before the first entry."""


class Link(NamedTuple):
    """An entry with its code, which covers the code of the entry before."""

    number: int  # 1, 2, …
    entry: str  # canonical JSON
    mac: str  # 64 hexadecimal digits


Authenticate = Callable[[int, str, str], str]
"""Number, code of the entry before, and entry to the entry's code."""


class HistoryTable:
    """Entries oldest first; none is ever changed or removed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entry: str, authenticate: Authenticate) -> Link:
        """Add an entry at the end of the chain."""
        with self._database.transaction():
            return self.append_within(entry, authenticate)

    def append_within(self, entry: str, authenticate: Authenticate) -> Link:
        """`append` inside a transaction of the caller."""
        last = self.last()
        number, before = (1, START) if last is None else (last.number + 1, last.mac)
        link = Link(number, entry, authenticate(number, before, entry))
        self._database.one("INSERT INTO history (number, entry, mac) VALUES (?, ?, ?)", *link)
        return link

    def last(self) -> Link | None:
        row = self._database.one("SELECT number, entry, mac FROM history ORDER BY number DESC LIMIT 1")
        return None if row is None else Link(*row)

    def all(self) -> Iterator[Link]:
        """Every entry, oldest first, as it was when this was called."""
        for row in self._database.all("SELECT number, entry, mac FROM history ORDER BY number"):
            yield Link(*row)
