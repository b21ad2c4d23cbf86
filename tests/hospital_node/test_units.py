"""Who counts as one: a patient, or a distinct picture where the patient is unknown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hospital_node.cli import main
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.units import count_units, join, patient_unit, units
from hospital_node.release.units_behind import units_behind
from tests.hospital_node.trained_node import add_image, picture

PATIENTS = {"a": "Mueller 1950-02-03", "b": "Mueller 1950-02-03", "c": "Kowalska 1971-11-30"}


def record(number: int, unit: str = "") -> ImageRecord:
    return ImageRecord(f"{number:032x}", f"{number}.png", (), ImageState.INGESTED, unit=unit)


@pytest.mark.parametrize(
    ("patients", "pictures", "expected"),
    [
        ("...", [[0], [1], [2]], ((0,), (1,), (2,))),
        ("aab", [[0], [1], [2]], ((0, 1), (2,))),
        ("...", [[0, 2], [1]], ((0, 2), (1,))),
        # A copy that is listed under another patient joins the two.
        ("ab.", [[0, 1], [2]], ((0, 1), (2,))),
        ("ab.a", [[0], [1, 2], [3]], ((0, 3), (1, 2))),
        ("abba", [[0], [1], [2], [3]], ((0, 3), (1, 2))),
        ("ab.ab.", [[0, 2, 4], [1], [3, 5]], ((0, 1, 2, 3, 4, 5),)),
        ("", [], ()),
    ],
)
def test_a_patient_or_a_picture_joins_images(patients, pictures, expected):
    records = [record(number, patient.strip(".")) for number, patient in enumerate(patients)]
    assert join(records, pictures) == expected


def write_data(folder: Path, seeds: Mapping[str, int]) -> Path:
    for name, seed in seeds.items():
        pair = picture(seed)
        for kind, pixels in (("images", pair.image), ("masks", pair.masks["lesion"])):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            large = Image.fromarray(pixels).resize((48, 40), Image.Resampling.NEAREST)
            large.save(folder / kind / f"{name}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", {"a": 1, "b": 2, "c": 3})


def groups(folder: Path, patients: Mapping[str, str], column: str = "group") -> Path:
    path = folder / "patients.csv"
    rows = [f"image,{column}", *(f"{image},{patient}" for image, patient in patients.items())]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def ingest(node: Path, data: Path, *options: str | Path) -> int:
    return main(["ingest", "--data", str(data), "--node", str(node), "--hospital", "H", *map(str, options)])


@pytest.mark.parametrize("column", ["group", "patient"])
def test_images_of_one_patient_are_one_unit_and_the_node_keeps_no_name(
    data: Path, tmp_path: Path, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data, "--groups", groups(tmp_path, PATIENTS, column), "--format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["pictures"], report["units"], report["unknown_patients"]) == (3, 3, 2, 0)
    node = Node.open(root)
    found = node.ledger.records(ImageState.INGESTED)
    assert [len(unit) for unit in units(node, found)] == [2, 1]
    assert count_units(node, [one.id for one in found]) == 2
    assert [len(unit.behind) for unit in units_behind(node, [one.id for one in found])] == [2, 1]
    assert node.ledger.of_unit(patient_unit(node, " Kowalska 1971-11-30 ")) == found[2:]
    node.ledger.close()
    for path in root.rglob("*"):
        if path.is_file():
            assert b"Mueller" not in path.read_bytes()
            assert b"Kowalska" not in path.read_bytes()


def test_a_patients_digest_needs_the_nodes_secret(tmp_path: Path) -> None:
    first, second = Node.create(tmp_path / "one"), Node.create(tmp_path / "two")
    assert patient_unit(first, "7") == patient_unit(first, "7")
    assert patient_unit(first, "7") != patient_unit(first, "8")
    assert patient_unit(first, "7") != patient_unit(second, "7")


@pytest.mark.parametrize(
    ("patients", "found"),
    [
        ({**PATIENTS, "d": "X"}, "'d', which is no image"),
        (
            {**PATIENTS, "images/a.png": "Kowalska"},
            "'images/a.png' in 'Mueller 1950-02-03' and in 'Kowalska'",
        ),
        ({**PATIENTS, "c": ""}, "image 'c', group ''"),
    ],
)
def test_a_broken_file_of_patients_changes_nothing(
    data: Path,
    tmp_path: Path,
    patients: Mapping[str, str],
    found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data, "--groups", groups(tmp_path, patients)) == 3
    assert found in " ".join(capsys.readouterr().err.split())
    assert not root.exists() or not Node.open(root).ledger.records()


def test_an_image_that_the_file_leaves_out_is_refused_until_it_has_a_patient(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data, "--groups", groups(tmp_path, {"a": "1", "b": "2"}), "--format", "json") == 7
    (refusal,) = json.loads(capsys.readouterr().out)["refused"]
    assert (refusal["path"], refusal["found"]) == ("images/c.png", "no row for this image")
    assert ingest(root, data, "--groups", groups(tmp_path, {"a": "1", "b": "2", "c": "1"})) == 0
    assert Node.open(root).ledger.counts()[ImageState.REFUSED] == 0


def test_a_picture_that_left_the_folder_may_keep_its_row_and_is_reported_with_its_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data, "--groups", groups(tmp_path, PATIENTS)) == 0
    for folder in ("images", "masks"):
        (data / folder / "b.png").unlink()
    capsys.readouterr()
    assert ingest(root, data, "--groups", groups(tmp_path, PATIENTS)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "images/b.png" in told
    assert "hospital-node erase" in told


def test_images_learn_their_patient_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data) == 0
    assert "their patients are unknown" in capsys.readouterr().out
    assert ingest(root, data, "--groups", groups(tmp_path, PATIENTS)) == 0
    assert "3 images of 2 patients" in " ".join(capsys.readouterr().out.split())
    assert ingest(root, data) == 0
    capsys.readouterr()
    changed = groups(tmp_path, {**PATIENTS, "b": "Kowalska 1971-11-30"})
    assert ingest(root, data, "--groups", changed, "--format", "json") == 7
    (refusal,) = json.loads(capsys.readouterr().out)["refused"]
    assert refusal["found"] == "another one"
    node = Node.open(root)
    assert len(units(node, node.ledger.records(ImageState.INGESTED))) == 2


def test_a_patient_is_never_on_both_sides(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    assert ingest(root, data, "--groups", groups(tmp_path, PATIENTS)) == 0
    later = write_data(tmp_path / "later", {"d": 4, "e": 5})
    listed = groups(tmp_path, {"d": "Mueller 1950-02-03", "e": "Nowak"})
    capsys.readouterr()
    assert ingest(root, later, "--groups", listed, "--hold-out", "--format", "json") == 7
    report = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in report["refused"]] == ["images/d.png"]
    assert report["ingested"] == 1


def test_readers_of_one_picture_are_one_unit_with_patients_unknown(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node")
    images = []
    for number in range(1, 6):
        pair = picture(1)
        pair.masks["lesion"][number, :] = 255
        images.append(add_image(node, number, pair))
    assert count_units(node, images) == 1
    assert count_units(node, [*images, add_image(node, 6)]) == 2


def test_the_ledger_refuses_another_patient_for_an_image(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node")
    image = add_image(node, 1)
    node.ledger.set_unit(image, "aa" * 32)
    node.ledger.set_unit(image, "aa" * 32)
    with pytest.raises(Exception, match="one of another patient"):
        node.ledger.set_unit(image, "bb" * 32)
    node.ledger.close()
    with closing(sqlite3.connect(node.root / "ledger.sqlite")) as database:
        assert database.execute("SELECT unit FROM images").fetchall() == [("aa" * 32,)]


def test_mirrored_copies_of_a_listed_patient_count_once(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node")
    pair = picture(1)
    mirrored = picture(1)
    mirrored.image[:] = np.ascontiguousarray(pair.image[:, ::-1])
    first, second = add_image(node, 1, pair), add_image(node, 2, mirrored)
    node.ledger.set_unit(first, "aa" * 32)
    node.ledger.set_unit(second, "bb" * 32)
    assert count_units(node, [first, second]) == 1
