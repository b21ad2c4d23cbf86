"""A validation report names what is wrong, how badly, and shows it without running anything."""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.cli import main
from consumer.datasets.reader import read_folder
from consumer.validation import Severity, ValidationReport, validate, validation_plots
from consumer.validation.measure_files import short
from consumer.validation.validation_page import render
from consumer.validation.validation_report import MAX_ITEMS
from consumer.validation.validation_words import answers
from sharekit.errors import InputError
from sharekit.intervals import Interval
from sharekit.page.shell import CONTENT_SECURITY_POLICY
from sharekit.pictures.mask_statistics import BINS, coverage, coverage_histogram
from sharekit.signing import keys
from sharekit.storage import files, schema
from tests.consumer.pairs import disc, picture, read_records, save, write_pairs, write_records
from tests.pages import sound
from tests.sharekit.bundles import small_bundle

STATISTICS = {
    "schema_version": 1,
    "image_count": 6,
    "coverage": {
        "bin_edges_percent": list(range(0, 101, 5)),
        "histograms": {"lesion": [0, 3, 2, 1, *[0] * 16]},
    },
    "protection": {
        "mechanism": "discrete Laplace (geometric)",
        "library": "opendp 0.12.0",
        "neighbours": "one image replaced by another",
        "epsilon": 1.0,
        "l1_sensitivity": 2,
        "scale": 2.0,
        "post_processing": "negative counts set to 0",
    },
    "total_epsilon": 1.0,
}


def drawn(number: int) -> np.ndarray:
    """A picture in which the disc of the same number can be seen."""
    pixels = picture(number) // 3
    pixels[disc(number) > 0] += 160
    return pixels


def sound_pairs(root: Path, count: int = 6, **options: Any) -> Path:
    write_pairs(root, count, **options)
    for number in range(count):
        save(root / f"images/{number:06d}.png", drawn(number))
    return root


def report(root: Path, statistics: dict[str, Any] | None = None) -> ValidationReport:
    return validate(read_folder(root), statistics)[0]


def kinds(root: Path) -> dict[str, tuple[Severity, int]]:
    return {finding.kind: (finding.severity, finding.count) for finding in report(root).findings}


def page(root: Path) -> str:
    folder = read_folder(root)
    return render(*validate(folder), folder)


def test_a_sound_data_set_has_nothing_to_report(tmp_path: Path) -> None:
    found = report(sound_pairs(tmp_path / "set"))
    assert found.findings == ()
    assert found.verdict.startswith("Sound")
    assert (found.images, found.exit_code) == (6, 0)
    assert [(entry.id, entry.images) for entry in found.generators] == [("a" * 32, 3), ("b" * 32, 3)]


def test_the_report_is_read_again_from_json(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set")
    save(root / "images/000001.png", drawn(0))
    found = report(root, STATISTICS)
    value = json.loads(json.dumps(found.to_json()))
    schema.validate("validation", value, "report")
    assert ValidationReport.from_json(value) == found


def test_figures_are_those_of_the_masks(tmp_path: Path) -> None:
    (summary,) = report(sound_pairs(tmp_path / "set")).classes
    coverages = [coverage(disc(number)) for number in range(6)]
    assert summary.coverage.mean == pytest.approx(np.mean(coverages))
    assert summary.coverage.low < summary.coverage.mean < summary.coverage.high
    assert (summary.components.mean, summary.with_holes.mean) == (1, 0)
    assert summary.histogram == tuple(coverage_histogram(coverages))
    assert len(summary.histogram) == BINS


def break_size(root: Path) -> None:
    save(root / "masks/000002.png", disc(2, (10, 24)))


def break_image(root: Path) -> None:
    (root / "images/000002.png").write_bytes(b"broken")


def break_mask(root: Path) -> None:
    (root / "masks/000002.png").write_bytes((root / "masks/000002.png").read_bytes()[:60])


def break_into_a_speck(root: Path) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[7, 9] = 255
    save(root / "images/000002.png", picture(2, mask.shape))
    save(root / "masks/000002.png", mask)


def break_fit(root: Path) -> None:
    for number in range(0, 6, 2):
        save(root / f"masks/{number:06d}.png", np.roll(disc(number), (9, 11), (0, 1)))


BREAKAGES: dict[str, tuple[Severity, Any]] = {
    "missing-file": (Severity.ERROR, lambda root: (root / "masks/000002.png").unlink()),
    "unreadable-image": (Severity.ERROR, break_image),
    "unreadable-mask": (Severity.ERROR, break_mask),
    "size-mismatch": (Severity.ERROR, break_size),
    "class-numbers": (Severity.ERROR, lambda root: save(root / "masks/000002.png", disc(2) // 255 * 3)),
    "grey-mask": (Severity.ERROR, lambda root: save(root / "masks/000002.png", picture(2)[:, :, 0])),
    "empty-mask": (Severity.WARNING, lambda root: save(root / "masks/000002.png", disc(2) * 0)),
    "speck-mask": (Severity.WARNING, break_into_a_speck),
    "full-mask": (Severity.WARNING, lambda root: save(root / "masks/000002.png", disc(2) * 0 + 255)),
    "flat-image": (Severity.WARNING, lambda root: save(root / "images/000002.png", picture(2) * 0)),
    "exact-duplicates": (Severity.WARNING, lambda root: save(root / "images/000002.png", drawn(1))),
    "near-duplicates": (
        Severity.NOTE,
        lambda root: save(root / "images/000002.png", np.clip(drawn(1), 1, 254)),
    ),
    "edges-missed": (Severity.WARNING, break_fit),
    "unlisted-file": (Severity.WARNING, lambda root: save(root / "images/extra.png", picture(2))),
    "broken-metadata": (Severity.ERROR, lambda root: (root / "dataset.json").write_text("{")),
    "inexact-mask": (
        Severity.NOTE,
        lambda root: save(root / "masks/000002.png", np.clip(disc(2), 3, 250)),
    ),
    "holes": (
        Severity.NOTE,
        lambda root: save(
            root / "masks/000002.png", np.pad(np.zeros((16, 20), np.uint8), 2, constant_values=255)
        ),
    ),
    "many-components": (
        Severity.NOTE,
        lambda root: save(root / "masks/000002.png", np.tile(np.uint8([[255, 0], [0, 0]]), (10, 12))),
    ),
}


@pytest.mark.parametrize("kind", BREAKAGES)
def test_each_fault_is_found_with_its_severity(tmp_path: Path, kind: str) -> None:
    root = sound_pairs(tmp_path / "set")
    severity, damage = BREAKAGES[kind]
    damage(root)
    assert kinds(root).get(kind) == (severity, 1)
    assert report(root).exit_code == (3 if severity is Severity.ERROR else 0)


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 80, 60), (7, 7, 7)])
def test_an_image_of_any_single_colour_is_flat_until_a_pixel_differs(
    tmp_path: Path, colour: tuple[int, int, int]
) -> None:
    root = sound_pairs(tmp_path / "set")
    pixels = np.full((20, 24, 3), colour, np.uint8)
    save(root / "images/000002.png", pixels)
    assert kinds(root).get("flat-image") == (Severity.WARNING, 1)
    pixels[-1, -1, 1] += 1
    save(root / "images/000002.png", pixels)
    assert "flat-image" not in kinds(root)


def test_one_broken_image_does_not_hide_the_others(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set")
    break_image(root)
    assert report(root).images == 5


def test_an_empty_data_set_is_an_error_with_a_page(tmp_path: Path) -> None:
    (tmp_path / "set/images").mkdir(parents=True)
    assert kinds(tmp_path / "set") == {"no-pairs": (Severity.ERROR, 1)}
    assert "No image with a mask" in page(tmp_path / "set")


def test_errors_come_first_and_long_lists_are_cut_but_counted(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set", MAX_ITEMS + 5)
    for number in range(MAX_ITEMS + 5):
        save(root / f"masks/{number:06d}.png", disc(number) * 0)
    break_image(root)
    first, *_, second = report(root).findings[:2]
    assert (first.severity, second.kind) == (Severity.ERROR, "empty-mask")
    assert (second.count, len(second.items)) == (MAX_ITEMS + 4, MAX_ITEMS)


def test_a_repeating_generator_is_less_diverse(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set", 8)
    for number in (1, 3, 5, 7):
        save(root / f"images/{number:06d}.png", picture(99))
    found = report(root)
    varied, repeating = found.generators
    assert repeating.mean_distance == repeating.pixel_std == Interval(0.0, 0.0, 0.0, 4)
    assert varied.mean_distance is not None
    assert 20 < varied.mean_distance.low < varied.mean_distance.high
    assert found.mean_distance is not None
    assert found.mean_distance.count == 8


@pytest.mark.parametrize(
    ("collapsed", "expected"),
    [
        ("", "Each generator varies widely."),
        ("f", "5 of 6 generators vary widely; many samples of ffffffff add little."),
        (
            "bcdef",
            "1 of 6 generators vary widely; many samples of 5 generators (bbbbbbbb, cccccccc, dddddddd and 2"
            " more) add little.",
        ),
        ("abcdef", "Most variety is between generators: many samples of one add little."),
    ],
)
def test_a_collapsed_generator_is_named_however_varied_the_others_are(
    tmp_path: Path, collapsed: str, expected: str
) -> None:
    names = "abcdef"
    root = sound_pairs(tmp_path / "set", 18, generators=[letter * 32 for letter in names])
    for number in range(18):
        if names[number % 6] in collapsed:
            save(root / f"images/{number:06d}.png", picture(100 + number % 6))
    (told,) = (answer.text for answer in answers(report(root)) if answer.question == "How varied is it?")
    assert told.startswith(expected)


def test_the_only_class_of_each_side_is_compared(tmp_path: Path) -> None:
    (reference,) = report(sound_pairs(tmp_path / "set"), STATISTICS).reference
    assert (reference.name, reference.image_count, reference.noise_scale) == ("foreground", 6, 2.0)
    for distance in (reference.total_variation, reference.kolmogorov_smirnov):
        assert distance is not None
        assert 0 <= distance.interval.low <= distance.interval.mean <= distance.interval.high <= 1
        assert distance.interval.count == 6


def test_a_data_set_unlike_the_real_masks_is_told_so(tmp_path: Path) -> None:
    exact = {**STATISTICS, "image_count": 400, "protection": {**STATISTICS["protection"], "scale": 0.5}}  # type: ignore[dict-item]
    exact["coverage"] = {"histograms": {"lesion": [0] * 15 + [400, 0, 0, 0, 0]}}
    found = report(sound_pairs(tmp_path / "set"), exact)
    (reference,) = found.reference
    assert reference.kolmogorov_smirnov is not None
    assert reference.kolmogorov_smirnov.is_beyond_chance
    assert reference.kolmogorov_smirnov.interval.low > 0.99
    assert any(answer.text.startswith("No. The Kolmogorov") for answer in answers(found))


def test_every_broken_sample_is_listed(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set", MAX_ITEMS + 5)
    for number in range(MAX_ITEMS + 3):
        save(root / f"masks/{number:06d}.png", disc(number) * 0)
    save(root / f"masks/{MAX_ITEMS + 3:06d}.png", disc(0) * 0 + 255)
    found = report(root)
    assert found.broken == tuple(f"images/{number:06d}.png" for number in range(MAX_ITEMS + 4))
    assert "24 of 25" in answers(found)[0].text


def test_a_class_that_an_image_lacks_does_not_break_the_sample(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set")
    save(root / "masks/second.png", disc(0) * 0)
    records = read_records(root)
    write_records(root, [records[0] | {"second_mask_file_name": "masks/second.png"}, *records[1:]])
    found = report(root)
    assert "empty-mask" in {finding.kind for finding in found.findings}
    assert found.broken == ()


def test_without_scikit_image_everything_else_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sound_pairs(tmp_path / "set")
    monkeypatch.setitem(sys.modules, "skimage", None)
    folder = read_folder(root)
    found, measured = validate(folder)
    assert (found.edges, found.findings) == (None, ())
    assert [entry.edges for entry in found.generators] == [None, None]
    (missing,) = found.missing
    assert missing.next_step == "pip install 'sharekit[validate]'"
    assert "sharekit[validate]" in unescape(render(found, measured, folder))
    assert ValidationReport.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_hostile_data_set_cannot_inject_anything_into_the_page(tmp_path: Path) -> None:
    attack = "<script>alert(1)<.script><img src=x onerror=alert(1)>\"'&"
    root = sound_pairs(tmp_path / f"{attack}set", generators=(attack, "b"))
    records = read_records(root)
    (root / records[0]["file_name"]).rename(root / f"images/{attack}.png")
    save(root / "images/000003.png", picture(1))
    save(root / f"masks/{attack}/000000.png", disc(0))
    mask = {f"{attack}_mask_file_name": f"masks/{attack}/000000.png"}
    write_records(root, [records[0] | mask | {"file_name": f"images/{attack}.png"}, *records[1:]])
    (root / f"images/{attack}stray.png").touch()
    text = page(root)
    found = sound(text)
    assert attack not in text
    assert "&lt;script&gt;" in text
    sources = [image.attributes["src"] for image in found.all("img")]
    assert sources
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", source) for source in sources)


def test_the_page_forbids_scripts_and_loads_nothing(tmp_path: Path) -> None:
    sound(page(sound_pairs(tmp_path / "set")))
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "script-src" not in CONTENT_SECURITY_POLICY


def test_a_generator_has_one_name_on_the_page_in_plots_and_in_words(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set")
    break_fit(root)
    found = sound(page(root))
    by_generator = [plot for plot in found.plots if "<!-- aaaaaaaa" in plot]
    assert len(by_generator) >= 3
    assert not any("a" * 9 in plot for plot in found.plots)
    # Once whole, to be copied to a command line.
    assert found.text.count("a" * 32) == 1
    assert "aaaaaaaa: " in found.text  # in the finding
    names = ("all images", "aaaaaaaa", "polyps", "gener…tor-12")
    assert tuple(map(short, ("all", "a" * 32, "polyps", "generator-number-generator-12"))) == names


def test_the_weakest_generators_are_shown_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_plots, "MAX_ROWS", 1)
    root = sound_pairs(tmp_path / "set")
    break_fit(root)
    found = sound(page(root))
    rows = [element for element in found.all("code") if "title" in element.attributes]
    # Edges, regions, holes, name; LPIPS, difference, images, name. The first one's masks were displaced.
    assert len(rows) == 8
    assert rows[0].attributes["title"] == "a" * 32
    assert "The 1 lowest of 2 generators are drawn." in found.text
    assert "1 more is in the JSON report." in found.text


def test_equal_data_sets_give_equal_pages(tmp_path: Path) -> None:
    root = sound_pairs(tmp_path / "set")
    assert page(root) == page(root)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["validate", *arguments, "--lpips-images", "0", "--format", "json", "--verbose"])
    captured = capsys.readouterr()
    sys.stderr.write(captured.err)  # pytest shows it if the test fails
    return code, json.loads(captured.out or "{}")


def test_the_command_writes_both_forms_and_fails_on_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sound_pairs(tmp_path / "set")
    code, result = run(capsys, str(root))
    assert (code, result["page"]) == (0, str(tmp_path / "set-report.html"))
    assert (tmp_path / "set-report.html").read_text().startswith("<!DOCTYPE html>")
    break_image(root)
    code, result = run(capsys, str(root), "--out", str(tmp_path / "other.html"))
    assert code == 3
    assert result["findings"][0]["items"][0].startswith("images/000002.png: ")


def test_the_command_refuses_a_page_that_cannot_be_written_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("measured")

    # Where the name is used: the module is imported before it is patched.
    monkeypatch.setattr("consumer.validation.validate_folder.measure", refuse)
    root = sound_pairs(tmp_path / "set")
    for page in ("missing/a.html", "set"):
        assert run(capsys, str(root), "--out", str(tmp_path / page))[0] == InputError.exit_code
    assert not (tmp_path / "missing").exists()


def test_the_command_replaces_an_older_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sound_pairs(tmp_path / "set")
    (tmp_path / "page.html").write_text("older")
    assert run(capsys, str(root), "--out", str(tmp_path / "page.html"))[0] == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_the_command_compares_with_a_verified_bundle_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sound_pairs(tmp_path / "set")
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    small_bundle(tmp_path / "bundle", key, extra={"statistics.json": files.dump_json(STATISTICS)})
    arguments = [str(root), "--bundle", str(tmp_path / "bundle"), "--key", str(tmp_path / "hospital.pub")]
    code, result = run(capsys, *arguments)
    assert code == 0
    assert result["reference"][0]["counts"] == STATISTICS["coverage"]["histograms"]["lesion"]  # type: ignore[index]
    text = (tmp_path / "set-report.html").read_text()
    assert key.public.fingerprint in text
    data = (tmp_path / "bundle/statistics.json").read_bytes()
    (tmp_path / "bundle/statistics.json").write_bytes(data.replace(b"3", b"4", 1))
    assert run(capsys, *arguments)[0] == 4


@pytest.mark.real_data
def test_real_nuclei_are_sound(dsb2018_nuclei: Path) -> None:
    found = report(dsb2018_nuclei)
    assert (found.images, found.exit_code) == (22, 0)
    assert found.classes[0].components_median > 10
    assert found.broken == ()
