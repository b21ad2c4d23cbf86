"""Intake of a folder: one broken file never stops the rest, nothing is taken twice, only pixels stay."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hospital_node.cli import main
from hospital_node.intake import ingest
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.ledger.states import GeneratorState, ImageState
from hospital_node.node.node import Node
from sharekit.errors import NodeStateError

SIZE = (32, 40)


def add(data, name: str, *, seed: int | None = None, mask_folder: str = "masks", **options) -> None:
    """Write one pair of PNG files; equal seeds, equal pictures."""
    rng = np.random.default_rng(sum(name.encode()) if seed is None else seed)
    for folder in ("images", mask_folder):
        (data / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(
        data / "images" / f"{name}.png", **options
    )
    mask = np.zeros(SIZE, np.uint8)
    mask[4:20, 4 : 8 + rng.integers(20)] = 255
    Image.fromarray(mask).save(data / mask_folder / f"{name}.png")


@pytest.fixture
def data(tmp_path):
    for name in ("one", "two", "three"):
        add(tmp_path / "data", name)
    return tmp_path / "data"


@pytest.fixture
def node(tmp_path):
    return Node.create(tmp_path / "node")


def states(node: Node) -> dict[str, ImageState]:
    return {record.source_image: record.state for record in node.ledger.iterate()}


def test_what_is_stored_is_what_was_in_the_files(data, node):
    assert ingest(data, node).ingested == 3
    for record in node.ledger.iterate(ImageState.INGESTED):
        pair = node.load_pair(record.id)
        assert np.array_equal(pair.image, np.asarray(Image.open(data / record.source_image)))
        assert np.array_equal(pair.masks["foreground"], np.asarray(Image.open(data / record.source_masks[0])))
        assert (record.height, record.width, record.image_channels) == (*SIZE, 3)
        assert record.mask_classes == ("foreground",)


def test_several_classes_are_stored_in_alphabetical_order(tmp_path, node):
    add(tmp_path / "many", "a", mask_folder="masks/tool")
    add(tmp_path / "many", "a", mask_folder="masks/lesion")
    ingest(tmp_path / "many", node)
    (record,) = node.ledger.iterate()
    assert record.mask_classes == ("lesion", "tool")
    assert node.load_pair(record.id).tensor().shape == (5, *SIZE)


def test_a_broken_image_never_stops_the_rest(data, node):
    (data / "images/two.png").write_bytes(b"broken")
    report = ingest(data, node)
    assert (report.ingested, [refusal.path for refusal in report.refused]) == (2, ["images/two.png"])
    assert states(node) == {
        "images/one.png": ImageState.INGESTED,
        "images/three.png": ImageState.INGESTED,
        "images/two.png": ImageState.REFUSED,
    }


def test_a_broken_mask_is_named_itself(data, node):
    (data / "masks/two.png").write_bytes(b"broken")
    (refusal,) = ingest(data, node).refused
    assert refusal.path == "masks/two.png"


def test_unpaired_files_are_refused_each_with_its_reason(data, node):
    (data / "masks/one.png").unlink()
    (data / "images/two.png").unlink()
    report = ingest(data, node)
    assert [refusal.path for refusal in report.refused] == ["images/one.png", "masks/two.png"]
    assert node.ledger.counts()[ImageState.REFUSED] == 2
    assert report.ingested == 1


def test_a_mask_of_another_size_is_refused(data, node):
    wider = Image.open(data / "masks/one.png").resize((50, 50), Image.Resampling.NEAREST)
    wider.save(data / "masks/one.png")
    (refusal,) = ingest(data, node).refused
    assert (refusal.path, refusal.found) == ("masks/one.png", "50x50 pixels")


def test_image_and_mask_agree_after_orientation(tmp_path, node):
    data = tmp_path / "turned"
    exif = Image.Exif()
    exif[0x0112] = 6
    add(data, "a", exif=exif)
    assert [refusal.path for refusal in ingest(data, node).refused] == ["masks/a.png"]
    upright = Image.open(data / "masks/a.png").rotate(-90, expand=True)
    upright.save(data / "masks/a.png")
    assert ingest(data, node).ingested == 1
    (record,) = node.ledger.iterate()
    assert (record.height, record.width) == SIZE[::-1]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/etc/hostname", "a symbolic link"),
        ("one.png", "a symbolic link"),
        ("/nowhere.png", "a symbolic link to a file that is not there"),
    ],
)
def test_a_symbolic_link_is_refused(data, node, target, found):
    (data / "images/two.png").unlink()
    (data / "images/two.png").symlink_to(target)
    (refusal,) = ingest(data, node).refused
    assert (refusal.path, refusal.found) == ("images/two.png", found)


def test_a_named_pipe_is_refused_and_not_waited_for(data, node):
    (data / "images/two.png").unlink()
    os.mkfifo(data / "images/two.png")
    assert [refusal.path for refusal in ingest(data, node).refused] == ["images/two.png"]


def test_a_second_run_adds_only_what_is_new(data, node):
    ingest(data, node)
    before = node.ledger.records()
    add(data, "four")
    report = ingest(data, node)
    assert (report.ingested, report.known) == (1, 3)
    assert node.ledger.records()[:3] == before


def test_the_same_pair_under_another_name_is_taken_once(data, node):
    add(data, "copy", seed=sum(b"one"))
    report = ingest(data, node)
    assert (report.ingested, report.known) == (3, 1)


def test_a_second_run_repeats_no_refusal_in_the_ledger(data, node):
    (data / "images/two.png").write_bytes(b"broken")
    (data / "masks/lonely.png").write_bytes(b"")
    first = ingest(data, node)
    events = list(node.ledger.events())
    assert ingest(data, node).refused == first.refused
    assert list(node.ledger.events()) == events


def test_a_corrected_file_takes_the_place_of_its_refusal(data, node):
    good = (data / "images/two.png").read_bytes()
    (data / "images/two.png").write_bytes(b"broken")
    (data / "images/one.png").rename(data / "one.png")
    ingest(data, node)
    (data / "images/two.png").write_bytes(good)
    (data / "one.png").rename(data / "images/one.png")
    assert ingest(data, node).ingested == 2
    assert node.ledger.counts()[ImageState.REFUSED] == 0
    assert len(node.ledger.records()) == 3


def test_metadata_does_not_survive(tmp_path, node):
    secret = "Jane Doe 1950-01-01"
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", secret)
    info.add_itxt("Title", secret, zip=False)
    exif = Image.Exif()
    exif[0x010E] = secret
    add(tmp_path / "tagged", "a", pnginfo=info, exif=exif, icc_profile=secret.encode() * 9, dpi=(300, 300))
    assert secret.encode() in (tmp_path / "tagged/images/a.png").read_bytes()
    ingest(tmp_path / "tagged", node)
    stored = list(node.images_dir.glob("*/*.png"))
    assert len(stored) == 2
    for path in stored:
        content = path.read_bytes()
        chunks = {
            kind
            for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"iCCP", b"pHYs", b"tIME")
            if kind in content
        }
        assert not chunks
        assert b"Jane" not in content


def test_names_stay_in_the_ledger(tmp_path, node):
    add(tmp_path / "data", "doe-jane-1950")
    ingest(tmp_path / "data", node)
    node.ledger.close()
    for path in node.root.rglob("*"):
        assert "doe" not in path.name
        if path.is_file() and not path.name.startswith("ledger.sqlite"):
            assert b"doe-jane" not in path.read_bytes()


def test_identifiers_say_nothing_about_the_image(data, tmp_path):
    nodes = [Node.create(tmp_path / name) for name in ("first", "second")]
    for node in nodes:
        ingest(data, node)
    known = [
        {text for record in node.ledger.iterate() for text in (record.id, record.content_key)}
        for node in nodes
    ]
    assert not known[0] & known[1]


def test_intake_waits_for_no_other_writer(data, node):
    with Node.open(node.root).write_lock(), pytest.raises(NodeStateError):
        ingest(data, node)


def test_a_write_that_does_not_fit_is_told_and_leaves_no_half_image(tmp_path, node):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    add(tmp_path / "data", "a")
    Image.fromarray(noise).save(tmp_path / "data/images/a.png")
    Image.fromarray(np.pad([[np.uint8(255)]], (0, 499))).save(tmp_path / "data/masks/a.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(NodeStateError, match="free some disk space"):
            ingest(tmp_path / "data", node)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (node.ledger.records(), list(node.images_dir.iterdir())) == ([], [])
    assert ingest(tmp_path / "data", node).ingested == 1


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    data, root = tmp_path / "data", tmp_path / "node"
    for number in range(60):
        add(data, f"case-{number:03d}", seed=number)
    program = "import sys; from hospital_node.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "ingest", "--data", str(data), "--node", str(root)]
    command += ["--hospital", "St. Test"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(root.glob("images/*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    node = Node.open(root)
    taken = {record.id: record.updated for record in node.ledger.iterate()}
    assert 0 < len(taken) < 60
    report = ingest(data, node)
    assert (report.known, report.ingested) == (len(taken), 60 - len(taken))
    after = {record.id: record.updated for record in node.ledger.iterate()}
    assert len(after) == 60
    assert taken.items() <= after.items()
    assert {path.name for path in node.images_dir.iterdir()} == set(after)


def test_pixels_without_a_record_are_removed_by_the_next_run(data, node):
    orphan = node.images_dir / ("f" * 32)
    orphan.mkdir()
    ingest(data, node)
    assert not orphan.exists()


# -- the commands


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_the_command_makes_the_node_and_tells_what_was_refused(data, tmp_path, capsys):
    (data / "images/two.png").write_bytes(b"broken")
    code = run(
        "ingest", "--data", data, "--node", tmp_path / "n", "--hospital", "St. Test", "--format", "json"
    )
    told = json.loads(capsys.readouterr().out)
    assert code == 7
    assert (told["ingested"], told["hospital"], len(told["refused"])) == (2, "St. Test", 1)
    assert run("ingest", "--data", data, "--node", tmp_path / "n") == 7
    text = capsys.readouterr().out
    assert "0 ingested, 2 known already, 1 refused" in text
    assert "images/two.png" in text


def test_nothing_usable_is_exit_code_3_with_the_refusals_told(tmp_path, capsys):
    add(tmp_path / "data", "a")
    (tmp_path / "data/masks/a.png").unlink()
    assert run("ingest", "--data", tmp_path / "data", "--node", tmp_path / "n", "--hospital", "St. Test") == 3
    streams = capsys.readouterr()
    assert "images/a.png" in streams.out
    assert "at least one usable pair" in streams.err


def test_a_wrong_folder_leaves_no_empty_node(tmp_path):
    assert run("ingest", "--data", tmp_path, "--node", tmp_path / "n") == 3
    assert not (tmp_path / "n").exists()


def test_status_tells_states_and_reasons_during_training(data, node, capsys):
    (data / "images/two.png").write_bytes(b"broken")
    ingest(data, node)
    first, second = node.ledger.records(ImageState.INGESTED)
    with node.write_lock():
        training, failed = node.ledger.generators.plan([[first.id], [second.id]])
        node.ledger.generators.transition(training, GeneratorState.TRAINING)
        node.ledger.generators.transition(failed, GeneratorState.FAILED, "out of memory")
        assert run("status", "--node", node.root, "--format", "json") == 0
        told = json.loads(capsys.readouterr().out)
        assert run("status", "--node", node.root) == 0
        text = capsys.readouterr().out
    found = told["generators"]["training"], told["generators"]["failed"], told["images"]["refused"]
    assert found == (1, 1, 1)
    assert {generator["id"] for generator in told["named_generators"]} == {training, failed}
    assert "out of memory" in text
    assert "images/two.png" in text


# -- real data


@pytest.mark.slow
@pytest.mark.real_data
def test_real_polyps_are_all_taken(kvasir_seg, node, tmp_path):
    data = tmp_path / "polyps"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
        for path in sorted((kvasir_seg / folder).iterdir())[::20]:
            shutil.copy(path, data / folder)
    report = ingest(data, node)
    assert (report.ingested, report.refused) == (12, ())
    for record in node.ledger.iterate():
        pair = node.load_pair(record.id)
        assert pair.layout.image_channels == 3
        assert 0 < np.mean(pair.masks["foreground"] > 0) < 1


@pytest.mark.slow
@pytest.mark.real_data
def test_real_nuclei_with_opaque_alpha_are_all_taken(dsb2018_nuclei, node):
    # Two pictures would wait for a person: something in them might be text.
    report = ingest(dsb2018_nuclei, node, rules=IntakeRules(keep_overlays=True))
    assert (report.ingested, report.refused) == (22, ())
    record = node.ledger.records()[0]
    source = np.asarray(Image.open(dsb2018_nuclei / record.source_image))
    assert np.array_equal(node.load_pair(record.id).image, source[:, :, :3])
