"""The hold-out: never trained, audited or exported, and apart from what is."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from hospital_node.audit.real_images import CONTROLS
from hospital_node.cli import main
from hospital_node.intake import ingest
from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import IMAGE_TRANSITIONS, ImageState
from hospital_node.node.node import Node
from hospital_node.pool.queue import fill_queue
from hospital_node.pool.training_options import GroupOptions
from hospital_node.singan.config import PROFILES, TrainingSettings
from hospital_node.singan.needs import image_needs
from tests.hospital_node import held_out, ingested
from tests.hospital_node.golden import write_ledger
from tests.hospital_node.held_out import NAME, node_with_hold_out, write_pictures
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import picture as random_picture


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.create(tmp_path / "node")


def picture(folder: Path, number: int = 0) -> Path:
    return folder / "images" / f"{NAME}-{number:03}.png"


def test_no_change_of_state_leads_into_the_hold_out_or_out_of_it() -> None:
    assert IMAGE_TRANSITIONS[ImageState.HELD_OUT] == frozenset()
    assert not [state for state in ImageState if ImageState.HELD_OUT in IMAGE_TRANSITIONS[state]]


def test_held_out_images_are_neither_controls_of_the_audit_nor_behind_a_generator(tmp_path: Path) -> None:
    assert ImageState.HELD_OUT not in CONTROLS
    node = node_with_hold_out(tmp_path, 2)
    ingest(write_pictures(tmp_path / "data", 3, seed=9), node)
    settings = TrainingSettings.of("quick")
    queue = fill_queue(node, settings, GroupOptions(), restart=False)
    assert {image for one in queue.generators for image in one.images} == {
        record.id for record in node.ledger.iterate(ImageState.INGESTED)
    }


def test_training_finds_nothing_in_a_node_of_held_out_images(tmp_path: Path, capsys) -> None:
    node = node_with_hold_out(tmp_path, 3)
    assert main(["train", "--node", str(node.root), "--profile", "quick"]) == 8
    assert "a node with images" in capsys.readouterr().err
    assert node.ledger.counts()[ImageState.HELD_OUT] == 3


def test_the_audit_passes_held_out_images_over(tmp_path: Path, capsys) -> None:
    node = node_with_hold_out(tmp_path, 3)
    assert main(["audit", "--node", str(node.root), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["audited"] == 0
    assert list((node.root / "candidates").iterdir()) == []


def test_the_doctor_neither_counts_nor_estimates_held_out_images(tmp_path: Path, capsys) -> None:
    node = node_with_hold_out(tmp_path, 3)
    ingested_image(node, 1)
    # Whatever the doctor says of this machine, its exit code included.
    main(["doctor", "--node", str(node.root), "--profile", "quick", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check["found"] for check in report["checks"]}
    assert checks["images"].startswith("1 wait")
    waiting, larger = (
        image_needs(pictures.HEIGHT, pictures.WIDTH, 4, PROFILES["quick"]).memory
        for pictures in (ingested, held_out)
    )
    assert report["memory_per_image"] == waiting < larger


def test_status_and_report_name_the_hold_out(tmp_path: Path, capsys) -> None:
    node = node_with_hold_out(tmp_path, 3)
    assert main(["status", "--node", str(node.root), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"]["held-out"] == 3
    assert main(["report", "--node", str(node.root)]) == 0


def test_the_same_files_cannot_be_on_both_sides(tmp_path: Path, node: Node) -> None:
    data = write_pictures(tmp_path / "data", 2, seed=1)
    for first, second in ((False, True), (True, False)):
        root = Node.create(tmp_path / f"node-{first}")
        assert ingest(data, root, hold_out=first).ingested == 2
        report = ingest(data, root, hold_out=second)
        assert (report.usable, [refusal.found[:14] for refusal in report.refused]) == (
            0,
            ["the same files"] * 2,
        )
        assert ingest(data, root, hold_out=first).known == 2


@pytest.mark.parametrize("hold_out", [True, False])
def test_a_near_duplicate_of_the_other_side_is_refused(tmp_path: Path, node: Node, hold_out: bool) -> None:
    """The same scene, stored again as JPEG, a little brighter: another file, but no other picture."""
    first = write_pictures(tmp_path / "first", 2, seed=1)
    ingest(first, node, hold_out=not hold_out)
    second = write_pictures(tmp_path / "second", 3, seed=2)
    with Image.open(picture(first)) as image:
        brighter = ImageEnhance.Brightness(image).enhance(1.05)
    brighter.save(picture(second), format="JPEG", quality=90)
    shutil.copy(first / "masks" / f"{NAME}-000.png", second / "masks")
    report = ingest(second, node, hold_out=hold_out)
    assert report.ingested == 2
    assert [refusal.path for refusal in report.refused] == [f"images/{NAME}-000.png"]
    assert "near duplicate" in report.refused[0].found
    counts = node.ledger.counts()
    sides = (counts[ImageState.HELD_OUT], counts[ImageState.INGESTED], counts[ImageState.REFUSED])
    assert sides == (2, 2, 1)


def test_near_duplicates_on_one_side_are_no_matter_of_the_hold_out(tmp_path: Path, node: Node) -> None:
    data = write_pictures(tmp_path / "data", 1, seed=1)
    with Image.open(picture(data)) as image:
        pixels = np.array(image)
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(picture(data, 1))
    shutil.copy(data / "masks" / f"{NAME}-000.png", data / "masks" / f"{NAME}-001.png")
    assert ingest(data, node, hold_out=True).ingested == 2


def test_a_grey_picture_is_compared_too(tmp_path: Path, node: Node) -> None:
    data = write_pictures(tmp_path / "data", 1, seed=1)
    ingest(data, node, hold_out=True)
    with Image.open(picture(data)) as image:
        image.convert("L").save(picture(data))
    assert len(ingest(data, node).refused) == 1


def test_an_evaluated_hold_out_takes_no_further_image(tmp_path: Path) -> None:
    """Otherwise the difference of two reports would tell about the images in between."""
    node = node_with_hold_out(tmp_path, 3)
    node.ledger.evaluations.spend("s" * 64, "k" * 64, budget=1, hold_out_budget=1)
    report = ingest(write_pictures(tmp_path / "records", 4, seed=1), node, hold_out=True)
    assert (report.known, len(report.refused)) == (3, 1)
    assert "nothing has been evaluated on" in report.refused[0].expected
    # A new node with these images would begin with nothing spent on them.
    assert "images that nothing was ever evaluated on" in report.refused[0].next_step
    assert ingest(write_pictures(tmp_path / "more", 1, seed=7), node).ingested == 1


# -- a ledger from before there was a hold-out


def test_an_older_ledger_is_brought_up_to_date_with_its_images(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node")
    node.ledger.close()
    path = node.root / "ledger.sqlite"
    path.unlink()
    before = Ledger(write_ledger(1, path), read_only=True).records()
    assert len(before) == 10
    node = Node.open(node.root)
    assert (node.ledger.records(), node.ledger.evaluations.count()) == (before, 0)
    # New images of the hold-out are compared with these.
    for number, record in enumerate(node.ledger.iterate(ImageState.INGESTED)):
        node.store_pair(record.id, random_picture(number))
    assert ingest(write_pictures(tmp_path / "held", 2, seed=4), node, hold_out=True).ingested == 2
    assert [event.after for event in Ledger(path).events()][-2:] == [ImageState.HELD_OUT] * 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM evaluations",
        "UPDATE evaluations SET submitter = 'other'",
        "UPDATE evaluations SET report = 'another'",
    ],
)
def test_what_was_spent_and_reported_cannot_be_undone(node: Node, statement: str) -> None:
    number = node.ledger.evaluations.spend("s" * 64, "k" * 64, budget=1, hold_out_budget=1)
    node.ledger.evaluations.keep_report(number, "{}")
    with sqlite3.connect(node.root / "ledger.sqlite") as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(statement)
    database.close()
