"""Text and graphics that a device wrote: found, painted over, and put before a person when in doubt."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from hospital_node.cli import main
from hospital_node.intake import ingest
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.ledger.states import ImageState
from hospital_node.node.node import Node
from hospital_node.overlays import rapidocr_weights
from hospital_node.overlays.graphics import detached, rows_of_blocks
from hospital_node.overlays.outcome import Overlays, Ruling, Treatment, decide, on_masks
from hospital_node.overlays.paint import paint_over
from hospital_node.overlays.region import Kind, Region, covered
from hospital_node.overlays.strokes import completed, strokes
from hospital_node.overlays.survey import LINE, Survey
from hospital_node.overlays.text_detector import POSSIBLE, TextDetector, load_detector
from hospital_node.overlays.text_reader import load_reader

TEXT = "DOE JANE 12/03/1954"
HEIGHT, WIDTH = 160, 240


def ground(seed: int = 0) -> np.ndarray:
    """A smooth coloured picture without text."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(90, 150, (4, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).copy()


def with_text(
    pixels: np.ndarray, at: tuple[int, int] = (20, 20), text: str = TEXT, size: int = 16
) -> np.ndarray:
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text(at, text, (255, 255, 255), font=ImageFont.load_default(size))
    return np.asarray(image)


def certain(pixels: np.ndarray) -> list[Region]:
    """Lines of text that are no larger than a caption."""
    found = load_detector().find(pixels)
    return [one for one in found if one.score >= POSSIBLE and one.bottom - one.top < 40]


def write(data, pictures, box=(100, 100, 140, 140)) -> None:
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(data / "images" / f"{name}.png")
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 255
        Image.fromarray(mask).save(data / "masks" / f"{name}.png")


@pytest.fixture
def node(tmp_path):
    return Node.create(tmp_path / "node")


def test_text_is_painted_over_and_the_rest_stays_as_it_was(tmp_path, node):
    write(tmp_path / "data", {"a": with_text(ground())})
    report = ingest(tmp_path / "data", node)
    (record,) = node.ledger.iterate(ImageState.INGESTED)
    stored = node.load_pair(record.id).image
    assert [warning.kind for warning in report.warnings] == ["overlays"]
    assert not covered(certain(stored), HEIGHT, WIDTH)[15:45, 15:220].any()
    found = Overlays.from_text(record.overlays)
    changed = covered([region.grown(2, HEIGHT, WIDTH) for region in found.painted], HEIGHT, WIDTH)
    assert found.treatment is Treatment.PAINTED
    assert np.array_equal(stored[~changed], with_text(ground())[~changed])
    assert stored[changed].max() < 200


def test_kept_overlays_are_kept_on_purpose_and_the_ledger_knows(tmp_path, node):
    write(tmp_path / "data", {"a": with_text(ground())})
    report = ingest(tmp_path / "data", node, rules=IntakeRules(keep_overlays=True))
    (record,) = node.ledger.iterate(ImageState.INGESTED)
    assert np.array_equal(node.load_pair(record.id).image, with_text(ground()))
    assert Overlays.from_text(record.overlays).treatment is Treatment.KEPT
    assert [warning.kind for warning in report.warnings] == ["kept-overlays"]


def test_text_on_a_finding_is_told_and_the_mask_stays(tmp_path, node):
    write(tmp_path / "data", {"a": with_text(ground())}, box=(10, 10, 120, 60))
    report = ingest(tmp_path / "data", node)
    (record,) = node.ledger.iterate(ImageState.INGESTED)
    assert "overlays-on-mask" in [warning.kind for warning in report.warnings]
    mask = node.load_pair(record.id).masks["foreground"]
    assert mask.sum() == 255 * 110 * 50


def test_a_doubtful_picture_waits_for_a_person_and_is_then_taken_or_refused(
    tmp_path, node, monkeypatch, capsys
):
    big = with_text(ground(), (40, 40), "AB", 70)
    write(tmp_path / "data", {"big": big, "plain": ground(1)})
    report = ingest(tmp_path / "data", node)
    assert (report.ingested, [one.path for one in report.review]) == (1, ["images/big.png"])
    (record,) = node.ledger.iterate(ImageState.REVIEW)
    assert not node.image_dir(record.id).exists()
    assert ingest(tmp_path / "data", node).review == report.review
    assert main(["review", "--node", str(node.root), "--format", "json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in page["waiting"]] == [record.id]
    assert "never leaves the node" in (node.reports_dir / "overlays.html").read_text()
    assert main(["review", "--node", str(node.root), "--keep", record.id]) == 0
    taken = ingest(tmp_path / "data", node)
    assert (taken.ingested, taken.review) == (1, ())
    assert not list(node.ledger.iterate(ImageState.REVIEW))
    kept = next(one for one in node.ledger.iterate() if one.source_image == "images/big.png")
    assert Overlays.from_text(kept.overlays).treatment is Treatment.CLEARED
    assert np.array_equal(node.load_pair(kept.id).image, big)


def test_a_refused_picture_stays_out(tmp_path, node):
    write(tmp_path / "data", {"big": with_text(ground(), (40, 40), "AB", 70)})
    ingest(tmp_path / "data", node)
    assert main(["review", "--node", str(node.root), "--refuse"]) == 0
    report = ingest(tmp_path / "data", node)
    assert (report.ingested, report.review) == (0, ())
    assert "refused at the review" in report.refused[0].found


def test_a_waiting_picture_that_left_the_folder_is_told_with_the_command(tmp_path, node):
    write(tmp_path / "data", {"big": with_text(ground(), (40, 40), "AB", 70), "plain": ground(1)})
    ingest(tmp_path / "data", node)
    (record,) = node.ledger.iterate(ImageState.REVIEW)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder / "big.png").unlink()
    texts = [warning.message for warning in ingest(tmp_path / "data", node).warnings]
    assert any(message.endswith(f"hospital-node erase --node {node.root} {record.id}") for message in texts)


def test_painting_keeps_nothing_of_the_old_pixels():
    dark, light = ground(), ground()
    region = Region(Kind.TEXT, 20, 20, 120, 40)
    dark[18:42, 18:122], light[18:42, 18:122] = 0, 255
    assert np.array_equal(paint_over(dark, [region]), paint_over(light, [region]))


def test_what_the_file_declares_outside_becomes_black():
    pixels = ground()
    assert not paint_over(pixels, [Region(Kind.DECLARED, 0, 0, WIDTH, 30)])[:30].any()


def test_graphics_on_dark_ground_are_found_and_cells_are_not():
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:, 100:280] = ground()[:, :1].mean(axis=(0, 1)).astype(np.uint8)
    plain = pixels.copy()
    pixels[20:40, 20:60], pixels[150:160, 0:8] = (0, 200, 150), 255
    found = detached(pixels)
    assert covered(found, 200, 300)[20:40, 20:60].all()
    assert covered(found, 200, 300)[150:160, 0:8].all()
    assert detached(plain) == []
    cells = np.zeros((200, 300, 3), np.uint8)
    for number in range(8):
        cells[20 * number + 5 : 20 * number + 15, 40:60] = 200
    assert detached(cells) == []


def test_a_weak_answer_counts_where_the_device_writes():
    lines = [Region(Kind.TEXT, 10, y, 90, y + 16, 0.9) for y in (20, 40, 60)]
    weak = Region(Kind.TEXT, 10, 60, 90, 76, 0.25)
    survey = Survey(_Answers({"new": [*lines[:2], weak]}), load_reader())
    assert weak not in survey.overlays("new", ground())
    for number in range(4):
        survey.remember(f"{number}", HEIGHT, WIDTH, lines)
    assert weak in survey.overlays("new", ground())


class _Answers:
    """A detector that answers as it is asked to, to test what is made of its answers."""

    def __init__(self, answers) -> None:
        self.answers = list(answers.values())

    def find(self, pixels):
        return self.answers.pop(0)


def test_a_graphic_that_many_pictures_share_is_found():
    survey = Survey(_Answers({name: [] for name in map(str, range(10))}), load_reader())
    pictures = {f"{seed}": ground(seed) for seed in range(10)}
    for name, pixels in pictures.items():
        pixels[120:136, 200:216] = (40, 230, 230)
        survey.look(name, pixels)
    found = survey.overlays("3", pictures["3"])
    assert covered([one for one in found if one.kind is Kind.CONSTANT], HEIGHT, WIDTH)[122:134, 202:214].all()


def with_glints(pixels: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """Highlights on wet tissue: round and slanting white spots, close together."""
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for x, y, wide, high in ((0, 2, 6, 14), (9, 0, 5, 18), (17, 6, 9, 8), (4, 20, 12, 5), (20, 18, 6, 9)):
        pen.ellipse((at[0] + x, at[1] + y, at[0] + x + wide, at[1] + y + high), fill=(250, 246, 240))
    return np.asarray(image)


def test_what_the_detector_sees_does_not_depend_on_the_number_of_threads(monkeypatch):
    picture = with_text(ground())
    seen = []
    for threads in (1, 2):
        monkeypatch.setattr(rapidocr_weights, "free_processors", lambda threads=threads: threads)
        seen.append(
            TextDetector(rapidocr_weights.load_session(rapidocr_weights.DETECTOR)).probabilities(picture)
        )
    assert np.array_equal(*seen)


def test_highlights_that_the_detector_takes_for_text_are_none_and_a_short_mark_is():
    glints = Region(Kind.TEXT, 96, 46, 128, 76, 0.7)
    pixels = with_text(with_glints(ground(), (98, 48)), (150, 100), "DH", 22)
    mark = Region(Kind.TEXT, 146, 98, 188, 128, 0.7)
    assert mark.long_side < LINE * mark.short_side
    found = Survey(_Answers({"a": [glints, mark]}), load_reader()).overlays("a", pixels)
    assert found == [completed(strokes(pixels), mark)]


def test_a_line_gets_the_letters_that_the_detector_left_out():
    pixels = with_text(ground(), (30, 60))
    (left, _, right, _) = ImageDraw.Draw(Image.fromarray(pixels)).textbbox(
        (30, 60), TEXT, font=ImageFont.load_default(16)
    )
    middle = Region(Kind.TEXT, 80, 58, 120, 80, 0.9)
    line = completed(strokes(pixels), middle)
    assert (line.left, line.right) == (pytest.approx(left, abs=4), pytest.approx(right, abs=4))
    assert completed(strokes(ground()), middle) == middle


def test_a_place_where_the_device_writes_is_painted_only_if_something_is_written():
    lines = [Region(Kind.TEXT, 10, y, 90, y + 16, 0.9) for y in (20, 40, 60)]
    pixels = with_text(ground(), (12, 60), "12:30:45", 14)
    for drawn, there in ((pixels, True), (ground(), False)):
        survey = Survey(_Answers({"new": lines[:2]}), load_reader())
        for number in range(4):
            survey.remember(f"{number}", HEIGHT, WIDTH, lines)
        found = survey.overlays("new", drawn)
        assert bool(covered(found, HEIGHT, WIDTH)[64:72, 20:60].all()) is there


def test_rows_of_equal_blocks_are_drawn_and_spots_are_not():
    blocks, spots = ground(), ground()
    for number in range(4):
        blocks[60:72, 20 + 16 * number : 32 + 16 * number] = 235
    image = Image.fromarray(spots)
    for number in range(4):
        ImageDraw.Draw(image).ellipse((20 + 16 * number, 60, 32 + 16 * number, 72), fill=(235, 235, 235))
    (row,) = rows_of_blocks(blocks)
    assert (row.left, row.top, row.right, row.bottom) == (20, 60, 80, 72)
    assert rows_of_blocks(np.asarray(image)) == []


def test_doubt_follows_from_the_regions():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[50:90, 50:90] = 255
    sure, on_mask = Region(Kind.TEXT, 0, 0, 60, 12, 0.9), Region(Kind.TEXT, 60, 60, 80, 70, 0.9)
    weak, large = Region(Kind.TEXT, 60, 60, 80, 70, 0.4), Region(Kind.TEXT, 0, 100, 90, 150, 0.9)

    def treat(regions, ruling=None, **options):
        return decide(regions, {"lesion": mask}, HEIGHT, WIDTH, ruling, **options)

    assert treat([sure, on_mask]).painted == (sure, on_mask)
    assert on_masks(treat([sure, on_mask]), {"lesion": mask}, HEIGHT, WIDTH) == ["lesion"]
    assert treat([sure, weak]).treatment is Treatment.WAITING
    assert treat([sure, large]).doubtful == (large,)
    assert treat([sure, large], Ruling.PAINT).painted == (sure, large)
    assert treat([sure, large], Ruling.KEEP).painted == (sure,)
    assert treat([], says_burned_in=True).treatment is Treatment.WAITING
    found = treat([sure, large])
    assert Overlays.from_text(found.to_text()) == found
