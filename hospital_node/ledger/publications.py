"""Statistics that the node has published: appended before they are shown, never taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from hospital_node.ledger.database import Database, now


class Published(StrEnum):
    """What kind of statistics a publication holds."""

    COVERAGE = "coverage"
    """Everything that spends epsilon: histograms of the masks, and protected colours. One kind, so that
    programs of earlier releases count every epsilon, too."""
    STYLE = "style"


class Publications:
    """The ledger's publications, oldest first within a kind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, kind: Published) -> list[Any]:
        """Everything published of this kind, as JSON values."""
        rows = self._database.all("SELECT content FROM publications WHERE kind = ? ORDER BY sequence", kind)
        return [json.loads(content) for (content,) in rows]

    def append(self, kind: Published, contents: Iterable[Mapping[str, Any]]) -> None:
        """Add publications: all of them, or none."""
        time = now()
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO publications (time, kind, content) VALUES (?, ?, ?)",
                [(time, kind, json.dumps(content, sort_keys=True)) for content in contents],
            )
