"""The node's private ledger: images, generators, releases, spent evaluations, published statistics, the log.

One process writes (the holder of the node's write lock); any number of processes read. File names are kept
here and nowhere else.
"""

# ruff: noqa: S608 - every value is bound; only column names and question marks are formatted in.

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hospital_node.ledger.database import Database, now
from hospital_node.ledger.erasures import Erasures
from hospital_node.ledger.evaluations import Evaluations
from hospital_node.ledger.generators import Generators
from hospital_node.ledger.history_table import HistoryTable
from hospital_node.ledger.publications import Publications
from hospital_node.ledger.releases import Releases
from hospital_node.ledger.states import Event, GeneratorState, ImageRecord, ImageState, State
from sharekit.errors import InputError, NodeStateError

_COLUMNS = (
    "id, source_image, source_masks, state, reason, height, width, image_channels, mask_classes, updated,"
    " data_dir, content_key, unit, overlays"
)
_UNTRAINED = (
    f"SELECT {_COLUMNS}, sequence FROM images WHERE state = '{ImageState.INGESTED}' AND NOT EXISTS"
    " (SELECT 1 FROM memberships JOIN generators ON generators.id = memberships.generator"
    " WHERE memberships.image = images.id AND generators.state NOT IN (?, ?))"
)


class Ledger:
    """Images, `generators`, `releases`, `evaluations`, `publications`, `history`, log and release counter.

    Every write is one transaction that survives a power cut (write-ahead log, `synchronous=FULL`).

    Raises (every method):
        NodeStateError: the file is damaged, of another version, locked for too long, or the disk is full.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a ledger that `create` made; `read_only` works while another process writes.

        A ledger of an older version is upgraded or, with `read_only`, read as if it were upgraded.
        """
        self.path = path
        self._database = Database(path, read_only=read_only)
        self.generators = Generators(self._database)
        self.evaluations = Evaluations(self._database)
        self.publications = Publications(self._database)
        self.releases = Releases(self._database)
        self.history = HistoryTable(self._database)
        self.erasures = Erasures(self._database, self.history)

    @staticmethod
    def create(path: Path) -> None:
        """Write an empty ledger, readable by its owner only.

        Raises:
            FileExistsError: `path` exists.
        """
        Database.create(path)

    def close(self) -> None:
        self._database.close()

    # -- reading

    def get(self, image_id: str) -> ImageRecord:
        """The record of one image.

        Raises:
            InputError: the node has no such image.
        """
        row = self._database.one(f"SELECT {_COLUMNS} FROM images WHERE id = ?", image_id)
        if row is None:
            raise InputError(
                image_id,
                expected="the identifier of an image of this node",
                found="no such image",
                next_step="see `hospital-node status --all --format json` for the identifiers",
            )
        return _record(row)

    def find(self, content_key: str) -> ImageRecord | None:
        """The record made from the source files with this keyed commitment, if any."""
        row = self._database.one(f"SELECT {_COLUMNS} FROM images WHERE content_key = ?", content_key)
        return None if row is None else _record(row)

    def known(self, content_key: str) -> bool:
        return self.find(content_key) is not None

    def iterate(self, *states: ImageState) -> Iterator[ImageRecord]:
        """Records in these states (in all, if none is given), oldest first; no record comes twice."""
        wanted = states or tuple(ImageState)
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT {_COLUMNS}, sequence FROM images WHERE state IN ({marks})"
        yield from map(_record, self._database.pages(query, *wanted))

    def records(self, *states: ImageState) -> list[ImageRecord]:
        """`iterate` as a list."""
        return list(self.iterate(*states))

    def of_unit(self, unit: str) -> list[ImageRecord]:
        """Every image of a patient, oldest first; `unit` as in `ImageRecord.unit`, not empty."""
        query = f"SELECT {_COLUMNS} FROM images WHERE unit = ? AND unit <> '' ORDER BY sequence"
        return [_record(row) for row in self._database.all(query, unit)]

    def untrained(self) -> Iterator[ImageRecord]:
        """Ingested images that no generator has learnt from or failed on."""
        waiting = GeneratorState.PLANNED, GeneratorState.TRAINING
        yield from map(_record, self._database.pages(_UNTRAINED, *waiting))

    def images_of(self, generator_id: str) -> list[ImageRecord]:
        """The images behind a generator, in the order in which training takes them.

        Raises:
            InputError: the node has no such generator.
        """
        return [self.get(image) for image in self.generators.get(generator_id).images]

    def counts(self) -> dict[ImageState, int]:
        """How many images are in each state, zeros included."""
        found = dict(self._database.all("SELECT state, count(*) FROM images GROUP BY state"))
        return {state: found.get(state, 0) for state in ImageState}

    def events(self, subject: str | None = None) -> Iterator[Event]:
        """The log, oldest first: of one image or generator, or of all."""
        query = "SELECT time, id, before, after, reason, sequence FROM events WHERE (?1 IS NULL OR id = ?1)"
        for time, who, before, after, reason, _ in self._database.pages(query, subject):
            yield Event(time, who, before and _state(before), after and _state(after), reason)

    def last_event(self, after: State | None = None) -> str | None:
        """The latest time in the log, or of a change to the state `after`; None if there is no event."""
        query = "SELECT max(time) FROM events WHERE ?1 IS NULL OR after = ?1"
        time: str | None = self._database.one(query, after)[0]
        return time

    # -- writing

    def add(self, record: ImageRecord) -> None:
        """Write a new image. It supersedes refusals and reviews of the same source files.

        Raises:
            NodeStateError: the identifier or the content is in the ledger already.
        """
        time = now()
        with self._database.transaction() as connection:
            for stale, state in self._superseded_by(record):
                connection.execute("DELETE FROM images WHERE id = ?", (stale,))
                self._database.log(time, stale, state, None, f"superseded by {record.id}")
            connection.execute(
                f"INSERT INTO images ({_COLUMNS}) VALUES ({', '.join('?' * 14)})",
                (
                    record.id,
                    record.source_image,
                    json.dumps(record.source_masks),
                    record.state,
                    record.reason,
                    record.height,
                    record.width,
                    record.image_channels,
                    json.dumps(record.mask_classes),
                    time,
                    record.data_dir,
                    record.content_key or None,
                    record.unit,
                    record.overlays,
                ),
            )
            self._database.log(time, record.id, None, record.state, record.reason)

    def set_unit(self, image_id: str, unit: str) -> None:
        """Record the patient of an image whose patient was unknown; see `ImageRecord.unit`.

        Raises:
            NodeStateError: the image belongs to another patient already.
        """
        time = now()
        with self._database.transaction() as connection:
            record = self.get(image_id)
            if record.unit == unit:
                return
            if record.unit:
                raise NodeStateError(
                    image_id,
                    expected="an image whose patient is not known yet",
                    found="one of another patient",
                    next_step="erase the image with `hospital-node erase`, and ingest it again",
                )
            connection.execute("UPDATE images SET unit = ?, updated = ? WHERE id = ?", (unit, time, image_id))

    def rule(self, image_id: str, state: ImageState, reason: str, overlays: str) -> None:
        """Record what a person decided about an image in review.

        Args:
            image_id: the image.
            state: `REVIEW`, until the next ingest takes it, or `REFUSED`.
            reason: who decided what, for a person.
            overlays: as in `ImageRecord.overlays`, with the ruling.

        Raises:
            InputError: the node has no such image.
            NodeStateError: it is not in review.
        """
        time = now()
        with self._database.transaction() as connection:
            record = self.get(image_id)
            if record.state is not ImageState.REVIEW:
                raise NodeStateError(
                    image_id,
                    expected="an image that waits for a review",
                    found=str(record.state),
                    next_step="see `hospital-node review --node NODE` for those that wait",
                )
            connection.execute(
                "UPDATE images SET state = ?, reason = ?, overlays = ?, updated = ? WHERE id = ?",
                (state, reason, overlays, time, image_id),
            )
            self._database.log(time, image_id, record.state, state, reason)

    def next_release(self) -> int:
        """The next number of the release counter: 1, 2, …, never the same twice."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'release'")
            return int(self._database.one("SELECT value FROM counters WHERE name = 'release'")[0])

    # -- internal

    def _superseded_by(self, record: ImageRecord) -> list[tuple[str, ImageState]]:
        """Identifier and state of records without pixels that stand for the same source files as `record`."""
        lone_masks = [json.dumps([path]) for path in record.source_masks]
        rows = self._database.all(
            "SELECT id, state FROM images WHERE"
            f" state IN ('{ImageState.REFUSED}', '{ImageState.REVIEW}') AND data_dir = ? AND"
            " (source_image = ? AND (source_image <> '' OR source_masks = ?)"
            f" OR source_image = '' AND source_masks IN ({', '.join('?' * len(lone_masks))}))",
            record.data_dir,
            record.source_image,
            json.dumps(record.source_masks),
            *lone_masks,
        )
        return [(row[0], ImageState(row[1])) for row in rows]


def _state(text: str) -> State:
    """Read a state from the log; older ledgers logged a generator's state under its image."""
    return ImageState(text) if text in list(ImageState) else GeneratorState(text)


def _record(row: Sequence[Any]) -> ImageRecord:
    values = dict(zip(_COLUMNS.split(", "), row, strict=False))
    return ImageRecord(
        **{
            **values,
            "source_masks": tuple(json.loads(values["source_masks"])),
            "state": ImageState(values["state"]),
            "mask_classes": tuple(json.loads(values["mask_classes"])),
            "content_key": values["content_key"] or "",
        }
    )
