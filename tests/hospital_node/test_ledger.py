"""The ledger: one state an image, legal changes only, nothing lost, nothing unsaid."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tracemalloc

import pytest

from hospital_node.ledger.ledger import TRANSITIONS, ImageRecord, ImageState, Ledger
from sharekit.errors import InputError, NodeStateError


@pytest.fixture
def ledger(tmp_path):
    Ledger.create(tmp_path / "ledger.sqlite")
    return Ledger(tmp_path / "ledger.sqlite")


def record(number: int = 0, state: ImageState = ImageState.INGESTED, **fields) -> ImageRecord:
    fields = {"source_image": f"images/{number}.png", "source_masks": (f"masks/{number}.png",), **fields}
    return ImageRecord(f"{number:032x}", state=state, **fields)


def test_a_record_comes_back_as_it_was_added(ledger):
    added = record(
        height=30,
        width=40,
        image_channels=3,
        mask_classes=("lesion", "tool"),
        source_masks=("masks/lesion/0.png", "masks/tool/0.png"),
        data_dir="/data",
        content_key="c",
    )
    ledger.add(added)
    found = ledger.get(added.id)
    assert found.updated
    assert found == ImageRecord(**{**vars(added), "updated": found.updated})
    assert ledger.find("c") == found
    assert ledger.known("c")
    assert not ledger.known("d")


def test_every_state_is_reached_and_left_only_by_the_table(ledger):
    for before in ImageState:
        for number, after in enumerate(ImageState):
            image = record(100 * list(ImageState).index(before) + number, before)
            ledger.add(image)
            if after in TRANSITIONS[before]:
                ledger.transition(image.id, after, "because")
                assert ledger.get(image.id).state is after
            else:
                with pytest.raises(NodeStateError, match=f"found a change to {after}"):
                    ledger.transition(image.id, after)
                assert ledger.get(image.id).state is before


def test_nothing_is_released_without_an_audit():
    assert [state for state in ImageState if ImageState.RELEASED in TRANSITIONS[state]] == [
        ImageState.AUDITED,
        ImageState.RELEASED,
    ]


def test_a_transition_keeps_the_generator_unless_a_new_one_is_named(ledger):
    ledger.add(record())
    image_id = record().id
    ledger.transition(image_id, ImageState.TRAINING)
    ledger.transition(image_id, ImageState.TRAINED, generator_id="g" * 32)
    ledger.transition(image_id, ImageState.AUDITED, "verdict")
    assert ledger.get(image_id).generator_id == "g" * 32
    assert ledger.get(image_id).reason == "verdict"


def test_counts_name_every_state(ledger):
    for number in range(3):
        ledger.add(record(number))
    ledger.transition(record(1).id, ImageState.TRAINING)
    counts = ledger.counts()
    assert set(counts) == set(ImageState)
    assert (counts[ImageState.INGESTED], counts[ImageState.TRAINING], counts[ImageState.FAILED]) == (2, 1, 0)


def test_iteration_pages_through_records_that_change_meanwhile(ledger, monkeypatch):
    monkeypatch.setattr("hospital_node.ledger.ledger.PAGE", 5)
    total = 13
    for number in range(total):
        ledger.add(record(number))
    seen = []
    for image in ledger.iterate(ImageState.INGESTED):
        ledger.transition(image.id, ImageState.TRAINING)
        seen.append(image.id)
    assert seen == [record(number).id for number in range(total)]
    assert ledger.records(ImageState.INGESTED) == []


def test_memory_is_flat_for_ten_thousand_images(ledger):
    with sqlite3.connect(ledger.path) as database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
            " INSERT INTO images SELECT i, printf('%032x', i), 'images/' || i, '[]', 'ingested', '', 0, NULL,"
            " 30, 40, 3, '[\"foreground\"]', '', '/data', 'key' || i FROM n"
        )
    tracemalloc.start()
    count = sum(1 for _ in ledger.iterate(ImageState.INGESTED))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == ledger.counts()[ImageState.INGESTED] == 10_000
    assert peak < 2 * 2**20


def test_attempts_are_counted_for_each_image(ledger):
    ledger.add(record(0))
    ledger.add(record(1))
    assert [ledger.count_attempt(record(0).id) for _ in range(3)] == [1, 2, 3]
    assert ledger.get(record(1).id).attempts == 0


def test_the_log_tells_every_change_in_order(ledger):
    ledger.add(record())
    ledger.transition(record().id, ImageState.TRAINING)
    ledger.transition(record().id, ImageState.FAILED, "out of memory")
    told = [(event.before, event.after, event.reason) for event in ledger.events(record().id)]
    assert told == [
        (None, ImageState.INGESTED, ""),
        (ImageState.INGESTED, ImageState.TRAINING, ""),
        (ImageState.TRAINING, ImageState.FAILED, "out of memory"),
    ]
    assert len(list(ledger.events())) == 3


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET reason = 'nothing happened'"])
def test_the_log_is_append_only(ledger, statement):
    ledger.add(record())
    with sqlite3.connect(ledger.path) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)


def test_a_new_record_supersedes_refusals_of_its_own_files_only(ledger):
    def refused(number: int, **fields) -> ImageRecord:
        return record(number, ImageState.REFUSED, data_dir="/data", **fields)

    ledger.add(refused(1))
    ledger.add(refused(2, source_image="", source_masks=("masks/7.png",)))
    ledger.add(refused(3, source_image="", source_masks=("masks/8.png",)))
    ledger.add(record(4, ImageState.REFUSED, data_dir="/other", source_image="images/1.png"))
    ledger.add(record(5, data_dir="/data", source_image="images/1.png", source_masks=("masks/7.png",)))
    assert [image.id for image in ledger.iterate()] == [record(number).id for number in (3, 4, 5)]
    assert [event.after for event in ledger.events(record(1).id)] == [ImageState.REFUSED, None]


def test_the_same_content_is_not_added_twice(ledger):
    ledger.add(record(0, content_key="same"))
    with pytest.raises(NodeStateError):
        ledger.add(record(1, content_key="same"))
    assert len(ledger.records()) == 1


def test_a_failed_write_leaves_nothing_half_done(ledger):
    ledger.add(record(0))
    with pytest.raises(NodeStateError):
        ledger.add(record(0))
    assert len(list(ledger.events())) == 1
    ledger.transition(record(0).id, ImageState.TRAINING)


def test_an_unknown_image_is_named(ledger):
    for act in (ledger.get, ledger.count_attempt, lambda name: ledger.transition(name, ImageState.TRAINING)):
        with pytest.raises(InputError, match="no such image"):
            act("f" * 32)


def test_reading_works_during_a_write(ledger):
    ledger.add(record())
    reader = Ledger(ledger.path, read_only=True)
    writer = sqlite3.connect(ledger.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE images SET state = 'failed'")
    assert reader.get(record().id).state is ImageState.INGESTED
    writer.execute("COMMIT")
    writer.close()
    assert reader.get(record().id).state is ImageState.FAILED


def test_a_read_only_ledger_writes_nothing(ledger):
    reader = Ledger(ledger.path, read_only=True)
    with pytest.raises(NodeStateError, match="readonly"):
        reader.add(record())


def test_what_is_written_survives_a_kill_and_half_a_write_does_not(ledger):
    program = """
import os, pathlib, signal, sqlite3, sys
from hospital_node.ledger.ledger import ImageRecord, ImageState, Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
ledger.add(ImageRecord("a" * 32, "images/a.png", ("masks/a.png",), ImageState.INGESTED))
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE images SET state = 'released'")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program, str(ledger.path)], check=False).returncode == -9
    assert Ledger(ledger.path).get("a" * 32).state is ImageState.INGESTED


def test_a_ledger_of_another_version_is_refused(ledger):
    with sqlite3.connect(ledger.path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(NodeStateError, match="version 99"):
        Ledger(ledger.path)


def test_a_damaged_ledger_is_refused(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(NodeStateError, match="not a database"):
        Ledger(tmp_path / "ledger.sqlite")


def test_release_numbers_are_never_the_same(ledger):
    numbers = [ledger.next_release(), Ledger(ledger.path).next_release(), ledger.next_release()]
    assert numbers == [1, 2, 3]
