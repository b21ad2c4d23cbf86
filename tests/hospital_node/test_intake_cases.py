"""Folders as hospitals have them: each kind of trouble is taken, or refused with what to do about it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hospital_node.cli import main
from hospital_node.intake import IntakeReport, ingest
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.intake.read_pair import check_picture
from hospital_node.node.fingerprints import FILE, fingerprint_of
from hospital_node.node.image_layouts import layout_warning, layouts
from hospital_node.node.node import Node
from hospital_node.node.units import units
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.pyramid import pyramid_sizes
from hospital_node.singan.sides import least_max_side
from sharekit.errors import InputError, UsageError
from sharekit.pictures.mask_map import MaskMap
from sharekit.pictures.orientation import Turn
from tests.consumer.pairs import disc, picture, save, write_pairs

SHAPE = (48, 64)


def image(seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return picture(seed, shape)


def mask(seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return disc(seed, shape)


def add(data: Path, name: str, pixels=None, labels=None, *, seed: int = 0, masks: str = "masks") -> None:
    """One pair; arrays or Pillow images."""
    for path, content in (
        (data / "images" / f"{name}.png", image(seed) if pixels is None else pixels),
        (data / masks / f"{name}.png", mask(seed) if labels is None else labels),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        (content if isinstance(content, Image.Image) else Image.fromarray(content)).save(path)


def labels(*values: int) -> Image.Image:
    """Squares of these values on 0."""
    drawn = Image.new("L", SHAPE[::-1])
    for number, value in enumerate(values):
        ImageDraw.Draw(drawn).rectangle((12 * number, 8, 12 * number + 9, 30), fill=value)
    return drawn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.create(tmp_path / "node", "St. Test")


def run(capsys, *words: object) -> tuple[int, dict, str]:
    """Exit code, result and errors of a command."""
    code = main([*map(str, words), "--format", "json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out) if streams.out else {}, streams.err


def refusals(report: IntakeReport) -> dict[str, str]:
    return {one.path: f"{one.found} -> {one.next_step}" for one in report.refused}


def kinds(report: IntakeReport) -> list[str]:
    return [str(warning.kind) for warning in report.warnings]


# -- values of masks


def test_maps_of_class_numbers_are_refused_and_taken_when_they_are_named(data, node):
    for number, values in enumerate([(1, 255), (5, 6, 255), (50, 255), (12, 40, 200, 230)]):
        add(data, f"case-{number}", labels=labels(*values), seed=number)
    report = ingest(data, node)
    assert (report.ingested, len(report.refused)) == (0, 4)
    assert all("--mask-map" in one.next_step for one in report.refused)

    rules = IntakeRules(mask_map=MaskMap.of_numbers("255=ignore,50=liver,*=cell"))
    report = ingest(data, node, rules=rules)
    assert (report.ingested, report.refused, kinds(report)) == (4, (), ["ignored-pixels", "layouts"])
    (liver,) = (record for record in node.ledger.iterate() if "liver" in record.mask_classes)
    stored = node.load_pair(liver.id).masks
    assert list(stored) == ["liver"]
    assert np.array_equal(stored["liver"] > 0, np.asarray(labels(50, 255)) == 50)


def test_every_class_of_a_map_gets_a_mask_where_empty_ones_are_allowed(data, node):
    add(data, "both", labels=labels(1, 2))
    add(data, "one", labels=labels(1), seed=1)
    add(data, "none", labels=labels(), seed=2)
    numbers = MaskMap.of_numbers("1=polyp,2=tool")
    report = ingest(data, node, rules=IntakeRules(mask_map=numbers, allow_empty_masks=True))
    assert (report.ingested, kinds(report)) == (3, [])
    assert {record.mask_classes for record in node.ledger.iterate()} == {("polyp", "tool")}
    strict = ingest(data, Node.create(node.root.with_name("other")), rules=IntakeRules(mask_map=numbers))
    assert (strict.ingested, list(refusals(strict))) == (2, ["masks/none.png"])


def test_colours_are_taken_when_they_are_named(data, node):
    coloured = np.zeros((*SHAPE, 3), np.uint8)
    coloured[:20, :20], coloured[30:, 30:] = (255, 0, 0), (0, 0, 255)
    add(data, "a", labels=coloured)
    assert "--mask-colour" in refusals(ingest(data, node))["masks/a.png"]
    rules = IntakeRules(mask_map=MaskMap.of_colours("#ff0000=polyp,#0000ff=tool"))
    assert ingest(data, node, rules=rules).ingested == 1
    assert ingest(data, node, rules=rules).known == 1


def test_a_map_is_for_masks_without_a_class_folder(data, node):
    add(data, "a", masks="masks/polyp")
    report = ingest(data, node, rules=IntakeRules(mask_map=MaskMap.of_numbers("255=polyp")))
    assert "masks in class folders without --mask-map" in refusals(report)["masks/polyp/a.png"]


def test_masks_of_0_and_1_are_taken(data, node):
    add(data, "a", labels=mask() // 255)
    assert ingest(data, node).ingested == 1
    (record,) = node.ledger.iterate()
    assert np.array_equal(node.load_pair(record.id).masks["foreground"], mask())


def test_masks_of_0_and_1_among_class_numbers_are_refused_whatever_their_order(data, node):
    """1 may be one class of several there; taken as foreground it could not be taken back."""
    add(data, "a", labels=labels(1))
    add(data, "b", labels=labels(1, 2), seed=1)
    add(data, "c", labels=mask(2), seed=2)
    report = ingest(data, node)
    assert (report.ingested, sorted(refusals(report))) == (1, ["masks/a.png", "masks/b.png"])
    assert "masks/b.png of the same folder" in refusals(report)["masks/a.png"]


def test_16_bit_masks_get_advice_for_masks_and_16_bit_pictures_for_pictures(data, node):
    add(data, "mask", labels=(mask() > 0) * np.uint16(65535))
    add(data, "picture", pixels=(np.arange(48 * 64).reshape(SHAPE) % 3713).astype(np.uint16))
    found = refusals(ingest(data, node))
    assert "-threshold 0" in found["masks/mask.png"]
    assert "from 0 to 3071" in found["images/picture.png"]
    assert "-level 0%,4.68" in found["images/picture.png"]


@pytest.mark.parametrize("shade", [0, 77, 255])
def test_a_picture_of_one_value_is_refused(data, node, shade):
    add(data, "a", pixels=np.full(SHAPE, shade, np.uint8))
    assert "one colour everywhere" in refusals(ingest(data, node))["images/a.png"]


def test_images_without_a_finding_are_negatives_when_that_is_said(data, node):
    add(data, "a")
    add(data, "negative", labels=mask() * 0, seed=1)
    report = ingest(data, node)
    assert "--allow-empty-masks" in refusals(report)["masks/negative.png"]
    assert ingest(data, node, rules=IntakeRules(allow_empty_masks=True)).ingested == 1
    found = [node.load_pair(record.id).masks["foreground"].any() for record in node.ledger.iterate()]
    assert sorted(found) == [False, True]


# -- which way up


def with_exif(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (Turn.BOTH, (image()[::-1, ::-1], mask()[::-1, ::-1])),
        (Turn.IMAGE, (image()[::-1, ::-1], mask())),
        (Turn.NEITHER, (image(), mask())),
    ],
)
def test_a_turned_picture_whose_mask_is_not_is_refused_until_somebody_says_more(data, node, turn, expected):
    add(data, "photo")
    (data / "images/photo.png").write_bytes(with_exif(image(), 3))
    found = refusals(ingest(data, node))
    assert "--apply-orientation" in found["masks/photo.png"]
    assert ingest(data, node, rules=IntakeRules(turn=turn)).ingested == 1
    (record,) = node.ledger.iterate()
    pair = node.load_pair(record.id)
    assert np.array_equal(pair.image, expected[0])
    assert np.array_equal(pair.masks["foreground"], expected[1])


def test_a_picture_and_a_mask_with_the_same_orientation_are_both_turned(data, node):
    add(data, "photo")
    (data / "images/photo.png").write_bytes(with_exif(image(), 6))
    (data / "masks/photo.png").write_bytes(with_exif(mask(), 6))
    assert ingest(data, node).ingested == 1
    (record,) = node.ledger.iterate()
    assert np.array_equal(node.load_pair(record.id).masks["foreground"], np.rot90(mask(), -1))


# -- files as people have them


def test_endings_of_masks_are_left_out_and_an_unknown_one_is_named_once(data, node):
    for number in range(3):
        add(data, f"ISIC_{number}", seed=number)
        (data / f"masks/ISIC_{number}.png").rename(data / f"masks/ISIC_{number}_segmentation.png")
    assert ingest(data, node).ingested == 3
    for number in range(3):
        old = data / f"masks/ISIC_{number}_segmentation.png"
        old.rename(data / f"masks/ISIC_{number}_lesion.png")
    report = ingest(data, node)
    assert (report.usable, len(report.refused)) == (0, 6)
    (hint,) = report.warnings
    assert (str(hint.kind), "--mask-suffix=_lesion" in hint.message) == ("names", True)
    assert ingest(data, node, rules=IntakeRules(mask_suffix="_lesion")).known == 3


def test_ten_refusals_of_one_kind_are_shown_shortly(data, node, capsys):
    for number in range(12):
        save(data / f"images/a{number}.png", image(number))
    (data / "masks").mkdir()
    assert main(["ingest", "--data", str(data), "--node", str(node.root)]) == 3
    text = capsys.readouterr().out
    assert "… and 7 more" in text
    assert "--format json" in text


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "__MACOSX/a.png"])
def test_files_of_operating_systems_are_passed_over(data, node, name):
    add(data, "a")
    for folder in ("images", "masks"):
        path = data / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something")
    report = ingest(data, node)
    assert (report.ingested, report.refused, len(report.skipped)) == (1, (), 2)


@pytest.mark.parametrize("name", ["患者\u300001", "می\u200cشود", "scan\u00a01"])
def test_names_in_any_language_are_taken(data, node, name):
    add(data, name)
    assert ingest(data, node).ingested == 1


def test_a_folder_of_links_is_named_so_with_a_way_out(data, node):
    add(data.with_name("store"), "a")
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
        (data / folder / "a.png").symlink_to(data.with_name("store") / folder / "a.png")
    found = refusals(ingest(data, node))
    assert list(found) == ["images/a.png"]
    assert found["images/a.png"].startswith("a symbolic link -> ")
    assert found["images/a.png"].endswith("cp -rL DATA COPY")


def test_a_linked_class_folder_is_named(data, node):
    add(data, "a")
    (data / "masks/polyp").symlink_to(data / "images")
    report = ingest(data, node)
    assert (report.ingested, kinds(report), report.skipped) == (1, ["linked-folder"], ("masks/polyp",))


def test_cmyk_is_taken_and_told(data, node):
    add(data, "a")
    Image.fromarray(image()).convert("CMYK").save(data / "images/a.jpg")
    (data / "images/a.png").unlink()
    report = ingest(data, node)
    assert (report.ingested, kinds(report)) == (1, ["converted-colours"])


# -- what the consumer could not use


def test_mixed_layouts_are_told(data, node):
    for number in range(3):
        add(data, f"a{number}", seed=number)
    add(data, "grey", pixels=image(9)[:, :, 0])
    report = ingest(data, node)
    (warning,) = report.warnings
    assert "3 of RGB with foreground; 1 of grey with foreground" in warning.message


def test_a_class_that_some_images_lack_is_told(data, node):
    for number in range(3):
        add(data, f"a{number}", seed=number, masks="masks/polyp")
    add(data, "a0", seed=0, labels=mask(5), masks="masks/tool")
    text = layout_warning(layouts(records_after(ingest(data, node), node)))
    assert text is not None
    assert "2 of 3 images have no mask of tool" in text


def records_after(report: IntakeReport, node: Node):
    assert report.refused == ()
    return node.ledger.records()


def test_one_layout_is_nothing_to_tell():
    assert layout_warning({}) is None


def test_strips_too_narrow_for_training_are_refused_with_the_side_that_would_do(data, node):
    add(data, "strip", image(0, (40, 1000)), mask(0, (40, 1000)))
    add(data, "oct", image(1, (60, 420)), mask(1, (60, 420)))
    report = ingest(data, node)
    assert (report.ingested, list(refusals(report))) == (1, ["images/strip.png"])
    assert "--max-side 251" in refusals(report)["images/strip.png"]
    assert ingest(data, node, rules=IntakeRules(max_side=251)).ingested == 1


@pytest.mark.parametrize("height", [25, 26, 40, 99])
@pytest.mark.parametrize("width", [26, 250, 420, 1000, 4321])
def test_the_side_that_would_do_is_the_pyramids(height, width):
    """One pixel less, and training would refuse the picture that intake has taken."""
    needed = least_max_side(height, width)
    if needed <= max(height, width):
        pyramid_sizes(height, width, TrainingConfig(max_side=needed, min_side=11))
        with pytest.raises(InputError, match=f"--max-side {needed} or more"):
            pyramid_sizes(height, width, TrainingConfig(max_side=needed - 1, min_side=11))
    for max_side in (64, 250, 500):
        taken = True
        try:
            check_picture(image(0, (height, width)), "x", IntakeRules(max_side=max_side))
        except InputError:
            taken = False
        trainable = max(height, width) <= max_side or needed <= max_side
        assert taken == trainable


def test_a_small_short_side_is_refused(data, node):
    add(data, "a", image(0, (24, 40)), mask(0, (24, 40)))
    assert "40x24 pixels" in refusals(ingest(data, node))["images/a.png"]


def test_a_synthetic_data_set_is_no_hospitals(tmp_path, capsys):
    data = write_pairs(tmp_path / "set")
    code, _, error = run(capsys, "ingest", "--data", data, "--node", tmp_path / "n", "--hospital", "H")
    assert (code, (tmp_path / "n").exists()) == (3, False)
    assert "metadata.jsonl names a generator" in error


# -- what changes between two runs


def test_a_new_node_needs_the_hospitals_name_and_an_old_one_does_not(data, tmp_path, capsys):
    add(data, "a")
    code, _, error = run(capsys, "ingest", "--data", data, "--node", tmp_path / "n")
    assert (code, (tmp_path / "n").exists()) == (2, False)
    assert "--hospital" in error
    unnamed = Node.create(tmp_path / "unnamed", "unnamed hospital")
    unnamed.ledger.close()
    code, told, _ = run(capsys, "ingest", "--data", data, "--node", tmp_path / "unnamed")
    assert (code, told["hospital"]) == (0, "unnamed hospital")


def test_a_corrected_mask_is_told_with_both_masks(tmp_path, node):
    for folder, correction in (("first", 1), ("second", 2)):
        for number in range(3):
            labels = mask(number if number else correction)
            add(tmp_path / folder, f"a{number}", labels=labels, seed=number)
    assert kinds(ingest(tmp_path / "first", node)) == []
    report = ingest(tmp_path / "second", node)
    assert (report.ingested, report.known, report.images, report.pictures) == (1, 2, 4, 3)
    assert kinds(report) == ["other-mask", "copies"]
    assert "images/a0.png, which the node has with other masks" in report.warnings[0].message


def test_what_left_or_changed_in_the_folder_is_told(data, node):
    for number in range(4):
        add(data, f"a{number}", seed=number)
    ingest(data, node)
    for folder in ("images", "masks"):
        (data / folder / "a0.png").unlink()
        (data / folder / "a1.png").rename(data / folder / "renamed.png")
    add(data, "a2", seed=8)
    report = ingest(data, node)
    told = {str(warning.kind): warning.files for warning in report.warnings}
    assert told == {"left-folder": ("images/a0.png",), "other-picture": ("images/a2.png",)}
    assert kinds(ingest(data, node)) == ["left-folder", "other-picture"]


def test_one_picture_with_five_masks_is_one_picture(data, node):
    for reader in range(5):
        add(data, f"scan_reader{reader}", image(0), mask(reader))
    report = ingest(data, node)
    assert (report.ingested, report.images, report.pictures, kinds(report)) == (5, 5, 1, ["copies"])
    groups = units(node, node.ledger.records())
    assert [len(group) for group in groups] == [5]


def test_mirrored_and_brightened_copies_count_once(data, node):
    add(data, "a", image(0))
    add(data, "mirrored", np.ascontiguousarray(image(0)[:, ::-1]), mask(1))
    add(data, "darker", (image(0) * 0.7).astype(np.uint8), mask(2))
    add(data, "another", image(1))
    assert (ingest(data, node).images, ingest(data, node).pictures) == (4, 2)


def test_a_mirrored_copy_cannot_be_held_out(data, node, tmp_path):
    add(data, "a", image(0))
    add(tmp_path / "held", "b", np.ascontiguousarray(image(0)[:, ::-1]))
    ingest(data, node)
    report = ingest(tmp_path / "held", node, hold_out=True)
    assert "near duplicate (images/a.png)" in refusals(report)["images/b.png"]


def test_a_fingerprint_that_the_node_did_not_write_is_not_believed(data, node):
    add(data, "a", image(0))
    ingest(data, node)
    (record,) = node.ledger.iterate()
    path = node.image_dir(record.id) / FILE
    assert path.stat().st_mode & 0o077 == 0
    found = fingerprint_of(node, record.id)
    path.write_bytes(path.read_bytes()[:64] + bytes(len(found.to_bytes())))
    assert fingerprint_of(node, record.id).to_bytes() == found.to_bytes()
    path.unlink()
    assert fingerprint_of(node, record.id).to_bytes() == found.to_bytes()


def test_a_report_survives_its_json(data, node):
    add(data, "a")
    add(data, "b", image(0), mask(1))
    (data / "images/c.png").write_bytes(b"broken")
    report = ingest(data, node)
    assert report.warnings
    assert report.refused
    assert IntakeReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_options_reach_intake(data, tmp_path, capsys):
    add(data, "a", labels=labels(1, 2))
    (data / "masks/a.png").rename(data / "masks/a_x.png")
    options = ("--mask-suffix", "_x", "--mask-map", "1=polyp,2=tool", "--max-side", "64")
    code, told, _ = run(
        capsys, "ingest", "--data", data, "--node", tmp_path / "n", "--hospital", "H", *options
    )
    assert (code, told["ingested"]) == (0, 1)
    assert Node.open(tmp_path / "n").ledger.records()[0].mask_classes == ("polyp", "tool")
    assert main(["ingest", "--data", str(data), "--node", str(tmp_path / "n"), "--mask-map", "1"]) == 2
    with pytest.raises(UsageError, match="--max-side"):
        IntakeRules(max_side=10)
    with pytest.raises(SystemExit):
        main(["ingest", "--data", "x", "--node", "y", "--mask-map", "1=a", "--mask-colour", "#ff0000=a"])
