"""The ledger's tables, and the upgrade of older ledgers."""

# ruff: noqa: S608 - only this module's own text is formatted in.

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from enum import StrEnum

from hospital_node.ledger.states import GeneratorState, ImageState

SCHEMA_VERSION = 4
OLDER_VERSIONS = frozenset({1, 2, 3})
"""Version 1 had no hold-out and no evaluations; in versions 1 and 2 an image was also its generator.
Version 3 knew no patients, kept no history, could not erase, and wrote down a release only as a reason.
"""

BROUGHT_OVER = "brought over from image "
"""How the log names the image whose state an upgraded generator had."""


def _one_of(states: type[StrEnum]) -> str:
    return ", ".join(f"'{state}'" for state in states)


_IMAGES = f"""
CREATE TABLE images (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source_image TEXT NOT NULL,
    source_masks TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({_one_of(ImageState)})),
    reason TEXT NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    image_channels INTEGER NOT NULL,
    mask_classes TEXT NOT NULL,
    updated TEXT NOT NULL,
    data_dir TEXT NOT NULL,
    content_key TEXT UNIQUE,
    unit TEXT NOT NULL,
    overlays TEXT NOT NULL
) STRICT;
CREATE INDEX images_by_state ON images (state, sequence);
CREATE INDEX images_by_source ON images (source_image);
"""
_BY_UNIT = """
CREATE INDEX images_by_unit ON images (unit);
"""

_GENERATORS = f"""
CREATE TABLE generators (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ({_one_of(GeneratorState)})),
    profile TEXT NOT NULL,
    settings TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
) STRICT;
CREATE INDEX generators_by_state ON generators (state, sequence);
CREATE TABLE memberships (
    generator TEXT NOT NULL,
    position INTEGER NOT NULL,
    image TEXT NOT NULL,
    PRIMARY KEY (generator, position),
    UNIQUE (image, generator)
) STRICT, WITHOUT ROWID;
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

_PUBLICATIONS = """
CREATE TABLE publications (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('coverage', 'style')),
    content TEXT NOT NULL
) STRICT;
CREATE TRIGGER publications_unchanged BEFORE UPDATE ON publications
    BEGIN SELECT RAISE(ABORT, 'what was published stays published'); END;
CREATE TRIGGER publications_kept BEFORE DELETE ON publications
    BEGIN SELECT RAISE(ABORT, 'what was published stays published'); END;
"""

_RELEASES = """
CREATE TABLE release_events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    release INTEGER NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('exported', 'published', 'withdrawn')),
    content TEXT NOT NULL
) STRICT;
CREATE INDEX release_events_by_release ON release_events (release, sequence);
CREATE TRIGGER release_events_unchanged BEFORE UPDATE ON release_events
    BEGIN SELECT RAISE(ABORT, 'what left stays written down'); END;
CREATE TRIGGER release_events_kept BEFORE DELETE ON release_events
    BEGIN SELECT RAISE(ABORT, 'what left stays written down'); END;
"""

_EARLIER_RELEASES = """
INSERT INTO release_events (time, release, event, content)
    SELECT max(time), CAST(substr(events.reason, 9) AS INTEGER), 'exported',
        json_object('generators', json((SELECT json_group_array(id) FROM generators
            WHERE generators.state = 'released' AND generators.reason = events.reason)))
    FROM events WHERE after = 'released' AND reason GLOB 'release [1-9]*' GROUP BY reason ORDER BY max(time);
"""
"""The releases that earlier versions wrote down as the reason of their generators."""

_HISTORY = """
CREATE TABLE history (
    number INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    mac TEXT NOT NULL
) STRICT;
CREATE TRIGGER history_unchanged BEFORE UPDATE ON history
    BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER history_kept BEFORE DELETE ON history
    BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
"""

_ERASURES = """
CREATE TABLE erasures (name TEXT NOT NULL) STRICT;
"""
"""Identifiers whose files an erasure has still to remove; empty unless one was interrupted."""

EVENTS_UNCHANGED = (
    """CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
)
"""The triggers that keep the log; an erasure lifts them for its own transaction."""

SCHEMA = f"""
{_IMAGES}
{_BY_UNIT}
{_GENERATORS}
{_EVALUATIONS}
{_EVALUATIONS_UNCHANGED}
{_PUBLICATIONS}
{_RELEASES}
{_HISTORY}
{_ERASURES}
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_image ON events (id, sequence);
{";".join(EVENTS_UNCHANGED)};
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES ('release', 0);
PRAGMA user_version = {SCHEMA_VERSION};
"""
"""The statements of an empty ledger."""

_SEPARATE = f"""
DROP INDEX images_by_state;
DROP INDEX images_by_source;
ALTER TABLE images RENAME TO images_before;
{_IMAGES}
{_GENERATORS}
INSERT INTO images
    SELECT sequence, id, source_image, source_masks,
        CASE WHEN state IN ('refused', 'held-out') THEN state ELSE 'ingested' END,
        CASE WHEN state IN ('refused', 'held-out') THEN reason ELSE '' END,
        height, width, image_channels, mask_classes, updated, data_dir, content_key, '', ''
    FROM images_before;
"""
"""Upgrade from version 2: the images only. `_bring_over` adds their generators."""

_WITH_EPSILON = f"""
DROP TRIGGER evaluations_spent;
DROP TRIGGER evaluations_reported;
DROP INDEX evaluations_by_submitter;
DROP INDEX evaluations_by_submission;
ALTER TABLE evaluations RENAME TO evaluations_before;
{_EVALUATIONS}
{_EVALUATIONS_UNCHANGED}
INSERT INTO evaluations SELECT *, NULL FROM evaluations_before;
DROP TABLE evaluations_before;
"""
"""Upgrade from version 2, whose evaluations had no noise."""

_WITH_UNITS = f"""
DROP INDEX images_by_state;
DROP INDEX images_by_source;
ALTER TABLE images RENAME TO images_before;
{_IMAGES}
INSERT INTO images SELECT *, '', '' FROM images_before;
DROP TABLE images_before;
"""
"""Upgrade from version 3, which knew no patients and did not look for overlays."""

_SETTINGS = re.compile(r"(?:(?P<reason>.*); )?profile (?P<profile>\S+), settings (?P<digest>[0-9a-f]+)")
"""How versions 1 and 2 joined settings to a reason."""


def upgrade(connection: sqlite3.Connection, version: int, now: str) -> None:
    """Bring a ledger of `version` to `SCHEMA_VERSION`, inside the caller's transaction.

    Events stay as they are: earlier events of a generator stay under its image's identifier.
    """
    if version == 1:
        _run(connection, _EVALUATIONS + _EVALUATIONS_UNCHANGED)
    if version == 2:
        _run(connection, _WITH_EPSILON)
    if version < 3:
        _run(connection, _SEPARATE + _PUBLICATIONS)
        _bring_over(connection, now)
        _run(connection, "DROP TABLE images_before;\n")
    if version == 3:
        _run(connection, _WITH_UNITS)
    _run(connection, _BY_UNIT + _HISTORY + _ERASURES + _RELEASES + _EARLIER_RELEASES)
    _run(connection, f"PRAGMA user_version = {SCHEMA_VERSION};\n")


def _bring_over(connection: sqlite3.Connection, now: str) -> None:
    """Make a one-image generator for every image that was planned, in training or beyond."""
    rows = connection.execute(
        "SELECT id, state, reason, attempts, generator_id, updated FROM images_before"
        " WHERE state NOT IN ('refused', 'held-out', 'ingested') OR generator_id IS NOT NULL"
        " ORDER BY sequence"
    )
    for image, image_state, words, attempts, generator_id, updated in rows.fetchall():
        generator = generator_id or _derived(image)
        state = GeneratorState.PLANNED if image_state == "ingested" else GeneratorState(image_state)
        reason, profile, settings = _split(words)
        if not profile and state is not GeneratorState.PLANNED:
            profile, settings = logged_settings(connection, image)
        created = connection.execute(
            "SELECT min(time) FROM events WHERE id = ? AND after = 'training'", (image,)
        ).fetchone()[0]
        connection.execute(
            "INSERT INTO generators (id, state, profile, settings, attempts, reason, created, updated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (generator, state, profile, settings, attempts, reason, created or updated, updated),
        )
        connection.execute("INSERT INTO memberships VALUES (?, 0, ?)", (generator, image))
        connection.execute(
            "INSERT INTO events (time, id, before, after, reason) VALUES (?, ?, NULL, ?, ?)",
            (now, generator, state, f"{BROUGHT_OVER}{image}"),
        )


def _derived(image: str) -> str:
    """A new identifier for a generator without one: a bundle must not carry its image's identifier."""
    return hashlib.sha256(f"generator of {image}".encode()).hexdigest()[:32]


def _split(words: str) -> tuple[str, str, str]:
    """Split an older ledger's reason into reason, profile and settings (their digest only)."""
    match = _SETTINGS.fullmatch(words)
    if match is None:
        return words, "", ""
    return match["reason"] or "", match["profile"], json.dumps({"sha256": match["digest"]})


def logged_settings(connection: sqlite3.Connection, image: str) -> tuple[str, str]:
    """Profile and settings of the last training in the log; empty if there was none."""
    rows = connection.execute("SELECT reason FROM events WHERE id = ? ORDER BY sequence DESC", (image,))
    found = (_split(reason) for (reason,) in rows)
    return next(((profile, settings) for _, profile, settings in found if profile), ("", ""))


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Execute a script's statements one by one: `executescript` would end the transaction."""
    for statement in _statements(script):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
