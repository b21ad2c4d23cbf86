"""Which image is in which state, and why, and which evaluations were spent: the node's private SQLite ledger.

One process writes (the holder of `Node.training_lock`), any number read. File names live here and nowhere
else.
"""

# ruff: noqa: S608 - every value is bound; only column names and question marks are formatted in.

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sharekit.errors import InputError, NodeStateError, PolicyError

SCHEMA_VERSION = 3
OLDER_VERSIONS = frozenset({1, 2})
"""Brought up to date when they are opened for writing."""
BUSY_TIMEOUT = 30.0  # seconds to wait for another process's write
PAGE = 500  # records held in memory at once by `Ledger.iterate`


class ImageState(StrEnum):
    """Where an image stands; every image is in exactly one state."""

    REFUSED = "refused"
    """Intake did not take it."""
    INGESTED = "ingested"
    """Pixels are in the node; nothing is trained yet."""
    HELD_OUT = "held-out"
    """Segmenters are evaluated on it; nothing is ever trained on it."""
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"
    """Training stopped on an error; it may be tried again."""
    QUARANTINED = "quarantined"
    """Training failed so often that only a person starts it again."""
    AUDITED = "audited"
    """The audit allows its generator to be put forward for release."""
    WITHHELD = "withheld"
    """The audit does not allow its release."""
    RELEASED = "released"


_S = ImageState

TRANSITIONS: Mapping[ImageState, frozenset[ImageState]] = {
    # A corrected file comes in as a new record; see `Ledger.add`.
    _S.REFUSED: frozenset(),
    # For good: what was trained on once says nothing about new images, and the other way round.
    _S.HELD_OUT: frozenset(),
    _S.INGESTED: frozenset({_S.TRAINING, _S.FAILED, _S.QUARANTINED}),
    # Back to ingested: the driver was stopped and the image waits in the queue again.
    _S.TRAINING: frozenset({_S.INGESTED, _S.TRAINED, _S.FAILED, _S.QUARANTINED}),
    _S.TRAINED: frozenset({_S.INGESTED, _S.TRAINING, _S.FAILED, _S.AUDITED, _S.WITHHELD}),
    _S.FAILED: frozenset({_S.INGESTED, _S.TRAINING, _S.QUARANTINED}),
    _S.QUARANTINED: frozenset({_S.INGESTED, _S.TRAINING}),
    # An audit may be repeated, and a generator may be trained anew after it.
    _S.AUDITED: frozenset({_S.INGESTED, _S.TRAINING, _S.AUDITED, _S.WITHHELD, _S.RELEASED}),
    _S.WITHHELD: frozenset({_S.INGESTED, _S.TRAINING, _S.AUDITED, _S.WITHHELD}),
    # What is released is never trained over: a consumer holds it.
    _S.RELEASED: frozenset({_S.AUDITED, _S.WITHHELD, _S.RELEASED}),
}
"""The only changes of state that the ledger writes."""


@dataclass(frozen=True)
class ImageRecord:
    """What the ledger knows of one image with its masks."""

    id: str
    """Random identifier, 32 lower-case hexadecimal digits; says nothing about the image."""
    source_image: str
    """Path of the image relative to `data_dir`; empty for a mask without an image."""
    source_masks: tuple[str, ...]
    """Paths of the masks relative to `data_dir`, in the order of `mask_classes`."""
    state: ImageState
    reason: str = ""
    """Why it is in this state, for a person."""
    attempts: int = 0
    """How often its worker died while training it."""
    generator_id: str | None = None
    height: int = 0  # pixels; 0 when refused
    width: int = 0  # pixels; 0 when refused
    image_channels: int = 0  # 3 (RGB) or 1 (grey); 0 when refused
    mask_classes: tuple[str, ...] = ()
    updated: str = ""
    """UTC time of the last change, ISO 8601; the ledger sets it."""
    data_dir: str = ""
    """The folder it was ingested from."""
    content_key: str = ""
    """Keyed commitment to the source files, by which a second ingest knows them; empty for none."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width, and channels of image and masks together: what its training costs depends on."""
        return self.height, self.width, self.image_channels + len(self.mask_classes)


@dataclass(frozen=True)
class Event:
    """One change, never altered. `before` is None for a new image, `after` None for a superseded refusal."""

    time: str
    id: str
    before: ImageState | None
    after: ImageState | None
    reason: str


_COLUMNS = (
    "id, source_image, source_masks, state, reason, attempts, generator_id, height, width, image_channels,"
    " mask_classes, updated, data_dir, content_key"
)

_IMAGES = f"""
CREATE TABLE images (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source_image TEXT NOT NULL,
    source_masks TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({", ".join(f"'{state}'" for state in ImageState)})),
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    generator_id TEXT UNIQUE,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    image_channels INTEGER NOT NULL,
    mask_classes TEXT NOT NULL,
    updated TEXT NOT NULL,
    data_dir TEXT NOT NULL,
    content_key TEXT UNIQUE
) STRICT;
CREATE INDEX images_by_state ON images (state, sequence);
CREATE INDEX images_by_source ON images (source_image);
"""

_EVALUATIONS = """
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    submission TEXT NOT NULL,
    submitter TEXT NOT NULL,
    report TEXT,
    epsilon REAL
) STRICT;
CREATE INDEX evaluations_by_submitter ON evaluations (submitter);
CREATE UNIQUE INDEX evaluations_by_submission ON evaluations (submission) WHERE report IS NOT NULL;
CREATE TRIGGER evaluations_spent BEFORE DELETE ON evaluations
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
"""
_EVALUATIONS_UNCHANGED = """
CREATE TRIGGER evaluations_reported BEFORE UPDATE ON evaluations
    WHEN OLD.report IS NOT NULL OR NEW.submission <> OLD.submission OR NEW.submitter <> OLD.submitter
    OR NEW.epsilon IS NOT OLD.epsilon
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
"""

_SCHEMA = f"""
{_IMAGES}
{_EVALUATIONS}
{_EVALUATIONS_UNCHANGED}
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_image ON events (id, sequence);
CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES ('release', 0);
PRAGMA user_version = {SCHEMA_VERSION};
"""

_UPGRADES = {
    1: f"""
DROP INDEX images_by_state;
DROP INDEX images_by_source;
ALTER TABLE images RENAME TO images_before;
{_IMAGES}
INSERT INTO images SELECT * FROM images_before;
DROP TABLE images_before;
{_EVALUATIONS}
{_EVALUATIONS_UNCHANGED}
PRAGMA user_version = {SCHEMA_VERSION};
""",
    2: f"""
ALTER TABLE evaluations ADD COLUMN epsilon REAL;
DROP TRIGGER evaluations_reported;
{_EVALUATIONS_UNCHANGED}
PRAGMA user_version = {SCHEMA_VERSION};
""",
}
"""From version 1, which had no hold-out (the states are a constraint of the table), and from version 2, whose
evaluations were answered without noise."""


class Ledger:
    """The images, the append-only log of their changes, spent evaluations, and the release counter.

    Every write is one transaction that survives a power cut (write-ahead log, `synchronous=FULL`).

    Raises (every method):
        NodeStateError: the file is damaged, of another version, locked for too long, or the disk is full.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a ledger that `create` made; `read_only` works while another process writes."""
        self.path = path
        with self._faults():
            mode = "ro" if read_only else "rw"
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
            )
            self._check_version()
            if not read_only:
                self._database.execute("PRAGMA synchronous = FULL")
                self._upgrade()

    @staticmethod
    def create(path: Path) -> None:
        """Write an empty ledger, readable by its owner only.

        Raises:
            FileExistsError: there is one.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        self._database.close()

    # -- reading

    def get(self, image_id: str) -> ImageRecord:
        """The record of one image.

        Raises:
            InputError: the node has no such image.
        """
        row = self._one(f"SELECT {_COLUMNS} FROM images WHERE id = ?", image_id)
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
        row = self._one(f"SELECT {_COLUMNS} FROM images WHERE content_key = ?", content_key)
        return None if row is None else _record(row)

    def known(self, content_key: str) -> bool:
        return self.find(content_key) is not None

    def iterate(self, *states: ImageState) -> Iterator[ImageRecord]:
        """Records in these states (all without any), oldest first, `PAGE` at a time.

        Records may change state meanwhile: none comes twice.
        """
        wanted = states or tuple(ImageState)
        marks = ", ".join("?" * len(wanted))
        last = 0
        while True:
            rows = self._all(
                f"SELECT {_COLUMNS}, sequence FROM images"
                f" WHERE state IN ({marks}) AND sequence > ? ORDER BY sequence LIMIT {PAGE}",
                *wanted,
                last,
            )
            yield from (_record(row) for row in rows)
            if len(rows) < PAGE:
                return
            last = rows[-1][-1]

    def records(self, *states: ImageState) -> list[ImageRecord]:
        """`iterate` as a list."""
        return list(self.iterate(*states))

    def counts(self) -> dict[ImageState, int]:
        """How many images are in each state, zeros included."""
        found = dict(self._all("SELECT state, count(*) FROM images GROUP BY state"))
        return {state: found.get(state, 0) for state in ImageState}

    def events(self, image_id: str | None = None) -> Iterator[Event]:
        """The log, oldest first: of one image, or of all."""
        last = 0
        while True:
            rows = self._all(
                "SELECT time, id, before, after, reason, sequence FROM events"
                f" WHERE sequence > ?1 AND (?2 IS NULL OR id = ?2) ORDER BY sequence LIMIT {PAGE}",
                last,
                image_id,
            )
            for time, subject, before, after, reason, _ in rows:
                yield Event(time, subject, before and ImageState(before), after and ImageState(after), reason)
            if len(rows) < PAGE:
                return
            last = rows[-1][-1]

    def evaluation_report(self, submission: str) -> str | None:
        """The report, as JSON, that an evaluation of this submission (its digest) ended with, if any did."""
        row = self._one(
            "SELECT report FROM evaluations WHERE submission = ? AND report IS NOT NULL", submission
        )
        return None if row is None else row[0]

    def evaluations(self, submitter: str | None = None) -> int:
        """How many evaluations were spent, those without a report included: of one submitter, or of all."""
        return self._one("SELECT count(*) FROM evaluations WHERE ?1 IS NULL OR submitter = ?1", submitter)[0]

    def evaluations_epsilon(self, submitter: str | None = None) -> float:
        """The sum of epsilon over spent evaluations: of one submitter, or of all.

        Evaluations from before there was noise are not in it: no epsilon bounds what they told.
        """
        query = "SELECT total(epsilon) FROM evaluations WHERE ?1 IS NULL OR submitter = ?1"
        return float(self._one(query, submitter)[0])

    def evaluations_without_noise(self) -> int:
        """How many evaluations were answered before there was noise."""
        return self._one("SELECT count(*) FROM evaluations WHERE epsilon IS NULL")[0]

    # -- writing

    def add(self, record: ImageRecord) -> None:
        """Write a new image. Refusals of the same source files are superseded by it.

        Raises:
            NodeStateError: the identifier or the content is in the ledger already.
        """
        now = _now()
        with self._transaction() as database:
            for stale in self._refusals_of(record):
                database.execute("DELETE FROM images WHERE id = ?", (stale,))
                self._log(now, stale, _S.REFUSED, None, f"superseded by {record.id}")
            database.execute(
                f"INSERT INTO images ({_COLUMNS}) VALUES ({', '.join('?' * 14)})",
                (
                    record.id,
                    record.source_image,
                    json.dumps(record.source_masks),
                    record.state,
                    record.reason,
                    record.attempts,
                    record.generator_id,
                    record.height,
                    record.width,
                    record.image_channels,
                    json.dumps(record.mask_classes),
                    now,
                    record.data_dir,
                    record.content_key or None,
                ),
            )
            self._log(now, record.id, None, record.state, record.reason)

    def transition(
        self, image_id: str, to: ImageState, reason: str = "", *, generator_id: str | None = None
    ) -> None:
        """Move an image to another state, with its new generator where it has one.

        Raises:
            InputError: the node has no such image.
            NodeStateError: `TRANSITIONS` does not have this change.
        """
        now = _now()
        with self._transaction() as database:
            state = self.get(image_id).state
            if to not in TRANSITIONS[state]:
                allowed = ", ".join(sorted(TRANSITIONS[state])) or "none"
                raise NodeStateError(
                    image_id,
                    expected=f"a change from {state} to one of: {allowed}",
                    found=f"a change to {to}",
                    next_step="see `hospital-node status` for what the image waits for",
                )
            database.execute(
                "UPDATE images SET state = ?, reason = ?, updated = ?,"
                " generator_id = coalesce(?, generator_id) WHERE id = ?",
                (to, reason, now, generator_id, image_id),
            )
            self._log(now, image_id, state, to, reason)

    def count_attempt(self, image_id: str) -> int:
        """Count one more death of its worker; the number of deaths, this one included."""
        with self._transaction() as database:
            self.get(image_id)
            database.execute(
                "UPDATE images SET attempts = attempts + 1, updated = ? WHERE id = ?", (_now(), image_id)
            )
            return self.get(image_id).attempts

    def next_release(self) -> int:
        """The next number of the release counter: 1, 2, …, never the same twice."""
        with self._transaction() as database:
            database.execute("UPDATE counters SET value = value + 1 WHERE name = 'release'")
            return self._one("SELECT value FROM counters WHERE name = 'release'")[0]

    def spend_evaluation(
        self,
        submission: str,
        submitter: str,
        *,
        budget: int,
        hold_out_budget: int,
        epsilon: float = 0.0,
        submitter_epsilon: float = math.inf,
        hold_out_epsilon: float = math.inf,
    ) -> int:
        """Spend one evaluation, before its result is known; the number by which `keep_report` ends it.

        Args:
            submission: its digest.
            submitter: fingerprint of the submitter's key.
            budget: evaluations of this submitter, over all time.
            hold_out_budget: evaluations of all submitters together.
            epsilon: of this evaluation.
            submitter_epsilon: of all evaluations of this submitter.
            hold_out_epsilon: of all evaluations of all submitters together.

        Raises:
            PolicyError: one of the budgets does not allow it; nothing was written.
        """
        with self._transaction() as database:
            for limit, epsilon_limit, asker, whose in (
                (budget, submitter_epsilon, submitter, "this submitter"),
                (hold_out_budget, hold_out_epsilon, None, "all submitters together"),
            ):
                spent, epsilon_spent = self.evaluations(asker), self.evaluations_epsilon(asker)
                if spent >= limit:
                    raise _overspent(f"fewer than {limit} evaluations of {whose}", f"{spent} spent")
                if epsilon_spent + epsilon > epsilon_limit * (1 + _ROUNDING):
                    raise _overspent(
                        f"a sum of epsilon of at most {epsilon_limit:g} for {whose}",
                        f"{epsilon_spent:g} spent, {epsilon:g} more wanted",
                    )
            cursor = database.execute(
                "INSERT INTO evaluations (time, submission, submitter, epsilon) VALUES (?, ?, ?, ?)",
                (_now(), submission, submitter, epsilon),
            )
            return int(cursor.lastrowid or 0)

    def keep_report(self, number: int, report: str) -> None:
        """Store the report, as JSON, of a spent evaluation; once."""
        with self._transaction() as database:
            database.execute("UPDATE evaluations SET report = ? WHERE sequence = ?", (report, number))

    # -- inside

    def _check_version(self) -> None:
        version = self._one("PRAGMA user_version")[0]
        if version not in {SCHEMA_VERSION, *OLDER_VERSIONS}:
            self.close()
            raise NodeStateError(
                self.path,
                expected=f"a ledger of schema version {SCHEMA_VERSION}",
                found=f"version {version}",
                next_step="use the release of hospital-node that wrote it, or ingest into a new node",
            )

    def _upgrade(self) -> None:
        if self._one("PRAGMA user_version")[0] == SCHEMA_VERSION:
            return
        with self._transaction() as database:
            # Another process may have been quicker.
            version = self._one("PRAGMA user_version")[0]
            for statement in _statements(_UPGRADES.get(version, "")):
                database.execute(statement)

    def _refusals_of(self, record: ImageRecord) -> list[str]:
        """Identifiers of refused records that stand for the same source files as `record`."""
        lone_masks = [json.dumps([path]) for path in record.source_masks]
        rows = self._all(
            "SELECT id FROM images WHERE state = 'refused' AND data_dir = ? AND"
            " (source_image = ? AND (source_image <> '' OR source_masks = ?)"
            f" OR source_image = '' AND source_masks IN ({', '.join('?' * len(lone_masks))}))",
            record.data_dir,
            record.source_image,
            json.dumps(record.source_masks),
            *lone_masks,
        )
        return [row[0] for row in rows]

    def _log(
        self, time: str, image_id: str, before: ImageState | None, after: ImageState | None, reason: str
    ) -> None:
        self._database.execute(
            "INSERT INTO events (time, id, before, after, reason) VALUES (?, ?, ?, ?, ?)",
            (time, image_id, before, after, reason),
        )

    def _one(self, query: str, *values: Any) -> Any:
        with self._faults():
            return self._database.execute(query, values).fetchone()

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._faults():
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._faults():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

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


_ROUNDING = 1e-9  # of a sum of floats


def _overspent(expected: str, found: str) -> PolicyError:
    return PolicyError(
        "evaluation",
        expected=expected,
        found=found,
        next_step="ask the hospital: every further answer tells more of its masks",
    )


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _record(row: Iterable[Any]) -> ImageRecord:
    values = dict(zip(_COLUMNS.replace(" ", "").split(","), row, strict=False))
    return ImageRecord(
        **{
            **values,
            "source_masks": tuple(json.loads(values["source_masks"])),
            "state": ImageState(values["state"]),
            "mask_classes": tuple(json.loads(values["mask_classes"])),
            "content_key": values["content_key"] or "",
        }
    )
