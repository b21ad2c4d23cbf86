"""The ledger: one state an image and a generator, legal changes only, nothing lost, nothing unsaid."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tracemalloc

import pytest

from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import (
    GENERATOR_TRANSITIONS,
    IMAGE_TRANSITIONS,
    GeneratorState,
    ImageRecord,
    ImageState,
)
from sharekit.errors import InputError, NodeStateError

G = GeneratorState
ON_THE_WAY = {
    G.PLANNED: (),
    G.TRAINING: (G.TRAINING,),
    G.TRAINED: (G.TRAINING, G.TRAINED),
    G.FAILED: (G.FAILED,),
    G.QUARANTINED: (G.TRAINING, G.QUARANTINED),
    G.AUDITED: (G.TRAINING, G.TRAINED, G.AUDITED),
    G.WITHHELD: (G.TRAINING, G.TRAINED, G.WITHHELD),
    G.RELEASED: (G.TRAINING, G.TRAINED, G.AUDITED, G.RELEASED),
    G.WITHDRAWN: (G.TRAINING, G.TRAINED, G.WITHDRAWN),
}
"""How a planned generator comes into each state."""


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


def planned(ledger: Ledger, *numbers: int) -> str:
    """A generator of these images, which are added; its identifier."""
    images = [record(number, content_key=f"key {number}") for number in numbers]
    for image in images:
        if not ledger.known(image.content_key):
            ledger.add(image)
    (generator,) = ledger.generators.plan([[image.id for image in images]])
    return generator


def test_a_generator_comes_back_as_it_was_planned(ledger):
    generator = planned(ledger, 3, 1, 2)
    found = ledger.generators.get(generator)
    assert (found.state, found.images) == (G.PLANNED, tuple(record(number).id for number in (3, 1, 2)))
    assert (found.profile, found.settings, found.attempts, found.begun) == ("", "", 0, False)
    assert found.created == found.updated != ""
    assert ledger.images_of(generator) == [ledger.get(image) for image in found.images]
    assert [one.id for one in ledger.generators.of_image(record(1).id)] == [generator]
    assert ledger.generators.of_image("f" * 32) == []


def test_every_state_is_reached_and_left_only_by_the_table(ledger):
    for before in G:
        for number, after in enumerate(G):
            generator = planned(ledger, 100 * list(G).index(before) + number)
            for step in ON_THE_WAY[before]:
                ledger.generators.transition(generator, step)
            if after in GENERATOR_TRANSITIONS[before]:
                ledger.generators.transition(generator, after, "because")
                assert ledger.generators.get(generator).state is after
            else:
                with pytest.raises(NodeStateError, match=f"found a change to {after}"):
                    ledger.generators.transition(generator, after)
                assert ledger.generators.get(generator).state is before


def test_an_image_is_ingested_or_held_out_for_good_and_refused_until_its_files_are_corrected():
    assert {
        None: frozenset(ImageState),
        ImageState.REFUSED: frozenset({None}),
        ImageState.REVIEW: frozenset({ImageState.REFUSED, None}),
        ImageState.INGESTED: frozenset(),
        ImageState.HELD_OUT: frozenset(),
    } == IMAGE_TRANSITIONS


def test_nothing_is_released_without_an_audit():
    assert [state for state in G if G.RELEASED in GENERATOR_TRANSITIONS[state]] == [G.AUDITED, G.RELEASED]


def test_a_trained_generator_is_never_trained_over():
    trained = {G.TRAINED, G.AUDITED, G.WITHHELD, G.RELEASED, G.WITHDRAWN}
    for state in trained:
        assert not GENERATOR_TRANSITIONS[state] & {G.PLANNED, G.TRAINING, G.FAILED, None}


def test_a_training_keeps_its_settings_until_it_starts_anew(ledger):
    generator = planned(ledger, 1)
    ledger.generators.begin(generator, "quick", '{"iterations":2}')
    ledger.generators.count_attempt(generator)
    ledger.generators.transition(generator, G.PLANNED, "interrupted")
    found = ledger.generators.get(generator)
    assert (found.profile, found.settings, found.reason) == ("quick", '{"iterations":2}', "interrupted")
    assert found.begun
    ledger.generators.restart([generator])
    again = ledger.generators.get(generator)
    assert (again.state, again.profile, again.settings, again.attempts) == (G.PLANNED, "", "", 0)
    assert again.images == found.images


def test_a_plan_can_be_dropped_until_its_training_began(ledger):
    first, second = planned(ledger, 1, 2), planned(ledger, 3)
    ledger.generators.begin(second, "quick", "{}")
    with pytest.raises(NodeStateError, match="found a change to removed"):
        ledger.generators.drop([first, second], "planned anew")
    assert len(ledger.generators.records()) == 2
    ledger.generators.drop([first], "planned anew")
    assert [one.id for one in ledger.generators.iterate()] == [second]
    assert ledger.generators.of_image(record(1).id) == []
    assert [(event.before, event.after, event.reason) for event in ledger.events(first)] == [
        (None, G.PLANNED, ""),
        (G.PLANNED, None, "planned anew"),
    ]


def test_an_image_stands_behind_a_generator_once(ledger):
    ledger.add(record(1))
    with pytest.raises(NodeStateError):
        ledger.generators.plan([[record(1).id, record(1).id]])
    assert ledger.generators.records() == []


def test_untrained_images_are_those_that_no_generator_has_taken_in(ledger):
    done, waiting = planned(ledger, 1, 2), planned(ledger, 3)
    ledger.add(record(4))
    ledger.add(record(5, ImageState.HELD_OUT))
    for state in (G.TRAINING, G.TRAINED):
        ledger.generators.transition(done, state)
    assert [image.id for image in ledger.untrained()] == [record(3).id, record(4).id]
    ledger.generators.transition(waiting, G.FAILED)
    assert [image.id for image in ledger.untrained()] == [record(4).id]


def test_counts_name_every_state(ledger):
    generators = [planned(ledger, number) for number in range(3)]
    ledger.add(record(9, ImageState.REFUSED))
    ledger.generators.transition(generators[1], G.TRAINING)
    counts, images = ledger.generators.counts(), ledger.counts()
    assert set(counts) == set(G)
    assert set(images) == set(ImageState)
    assert (counts[G.PLANNED], counts[G.TRAINING], counts[G.FAILED]) == (2, 1, 0)
    assert list(images.values()) == [1, 0, 3, 0]


def test_iteration_pages_through_records_that_change_meanwhile(ledger, monkeypatch):
    monkeypatch.setattr("hospital_node.ledger.database.PAGE", 5)
    total = 13
    generators = [planned(ledger, number) for number in range(total)]
    seen = []
    for generator in ledger.generators.iterate(G.PLANNED):
        ledger.generators.transition(generator.id, G.TRAINING)
        seen.append(generator.id)
    assert seen == generators
    assert ledger.generators.records(G.PLANNED) == []
    assert [image.id for image in ledger.iterate()] == [record(number).id for number in range(total)]


def test_memory_is_flat_for_ten_thousand_images(ledger):
    with sqlite3.connect(ledger.path) as database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
            " INSERT INTO images SELECT i, printf('%032x', i), 'images/' || i, '[]', 'ingested', '',"
            " 30, 40, 3, '[\"foreground\"]', '', '/data', 'key' || i, '', '' FROM n"
        )
    tracemalloc.start()
    count = sum(1 for _ in ledger.iterate(ImageState.INGESTED))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == ledger.counts()[ImageState.INGESTED] == 10_000
    assert peak < 2 * 2**20


def test_attempts_are_counted_for_each_generator(ledger):
    first, second = planned(ledger, 0), planned(ledger, 1)
    assert [ledger.generators.count_attempt(first) for _ in range(3)] == [1, 2, 3]
    assert ledger.generators.get(second).attempts == 0


def test_the_log_tells_every_change_in_order(ledger):
    generator = planned(ledger, 0)
    ledger.generators.transition(generator, G.TRAINING)
    ledger.generators.transition(generator, G.FAILED, "out of memory")
    told = [(event.before, event.after, event.reason) for event in ledger.events(generator)]
    assert told == [
        (None, G.PLANNED, ""),
        (G.PLANNED, G.TRAINING, ""),
        (G.TRAINING, G.FAILED, "out of memory"),
    ]
    assert [event.after for event in ledger.events(record().id)] == [ImageState.INGESTED]
    assert len(list(ledger.events())) == 4
    assert ledger.last_event() == list(ledger.events())[-1].time
    assert ledger.last_event(G.RELEASED) is None


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
    ledger.generators.plan([[record(0).id]])


def test_an_unknown_image_or_generator_is_named(ledger):
    with pytest.raises(InputError, match="no such image"):
        ledger.get("f" * 32)
    table = ledger.generators
    for act in (table.get, table.count_attempt, lambda name: table.transition(name, G.TRAINING)):
        with pytest.raises(InputError, match="no such generator"):
            act("f" * 32)


def test_reading_works_during_a_write(ledger):
    generator = planned(ledger, 0)
    reader = Ledger(ledger.path, read_only=True)
    writer = sqlite3.connect(ledger.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE generators SET state = 'failed'")
    assert reader.generators.get(generator).state is G.PLANNED
    writer.execute("COMMIT")
    writer.close()
    assert reader.generators.get(generator).state is G.FAILED


def test_a_read_only_ledger_writes_nothing(ledger):
    reader = Ledger(ledger.path, read_only=True)
    with pytest.raises(NodeStateError, match="readonly"):
        reader.add(record())


def test_what_is_written_survives_a_kill_and_half_a_write_does_not(ledger):
    program = """
import os, pathlib, signal, sqlite3, sys
from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import ImageRecord, ImageState
path = pathlib.Path(sys.argv[1])
Ledger(path).add(ImageRecord("a" * 32, "images/a.png", ("masks/a.png",), ImageState.INGESTED))
database = sqlite3.connect(path, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE images SET state = 'held-out'")
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
