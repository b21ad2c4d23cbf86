"""A judge: samples whose masks a segmenter disagrees with are drawn again, and the data set says so."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import consumer
from consumer.cli import main
from consumer.datasets.description import DatasetDescription
from consumer.datasets.mixture import Part, sample_mixture
from consumer.datasets.sample_bundle import sample_bundle
from consumer.sampling.judge import Judge
from consumer.sampling.refinement import MAX_DRAWS_JUDGED
from consumer.sampling.request import Request
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import InputError, UsageError
from sharekit.segmenter.contract import METADATA_KEY
from sharekit.storage import schema
from tests import tiny_segmenter

CLASS = "lesion"


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    """A model that marks what is bright, of the class that the bundle draws."""
    made_for = tiny_segmenter.contract([CLASS])
    path = tmp_path / "segmenter.onnx"
    path.write_bytes(tiny_segmenter.canonical_bytes(tiny_segmenter.segmenter(made_for), made_for))
    return path


@pytest.fixture
def half(bundle: Bundle, segmenter: Path) -> Judge:
    """It agrees with about half of the first draws."""
    judge = Judge.open(segmenter)
    agreements = [judge.agreement(sample.image, sample.masks) for sample in bundle.sample(16, 7)]
    return replace(judge, least_agreement=float(np.median(agreements)))


def test_agreement_is_the_iou_of_the_masks_of_both(segmenter: Path) -> None:
    judge = Judge.open(segmenter)
    height, width = judge.contract.size
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = 255
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 255
    assert judge.agreement(image, {CLASS: mask}) == pytest.approx(1 / 3)
    assert judge.agreement(image, {CLASS: image[:, :, 0]}) == 1
    assert judge.agreement(image * 0, {CLASS: mask * 0}) == 1
    # A class that the segmenter does not know has no say.
    assert judge.agreement(image, {CLASS: image[:, :, 0], "other": mask}) == 1


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_judge_keeps_what_it_agrees_with_and_draws_the_others_again(
    bundle: Bundle, half: Judge, batch_size: int
) -> None:
    first = list(bundle.sample(16, 7))
    kept = list(bundle.sample(16, 7, judge=half, batch_size=batch_size))
    before = [half.agreement(sample.image, sample.masks) for sample in first]
    for sample, plain, agreement in zip(kept, first, before, strict=True):
        assert sample.agreement == half.agreement(sample.image, sample.masks)
        if agreement >= half.least_agreement:
            assert sample.image.tobytes() == plain.image.tobytes()
        else:
            assert sample.agreement >= agreement
    assert np.mean([sample.agreement or 0 for sample in kept]) > np.mean(before)


def test_a_judge_that_never_agrees_keeps_the_best_of_its_draws(bundle: Bundle, half: Judge) -> None:
    drawn: list[float] = []
    hard = replace(half, least_agreement=1.0)

    class Counting(Judge):
        def agreement(self, *given: object) -> float:
            drawn.append(hard.agreement(*given))  # type: ignore[arg-type]
            return drawn[-1]

    (sample,) = bundle.sample(1, 7, judge=Counting(hard.data, 1.0))
    assert len(drawn) == MAX_DRAWS_JUDGED
    assert sample.agreement == max(drawn)


def test_the_stream_of_a_training_gives_the_judged_samples(bundle: Bundle, half: Judge) -> None:
    expected = [sample.image for sample in bundle.sample(4, 7, judge=half)]
    stream = bundle.torch_dataset(7, length=4, size="trained", judge=half)
    for item, image in zip(stream, expected, strict=True):
        np.testing.assert_array_equal(item["image"].numpy().transpose(1, 2, 0), image / np.float32(255))


def test_a_judge_goes_to_another_process(half: Judge) -> None:
    assert pickle.loads(pickle.dumps(half)) == half  # noqa: S301


def test_the_data_set_names_its_judge_and_counts_what_agrees(
    bundle: Bundle, half: Judge, tmp_path: Path
) -> None:
    request = Request(7, judge=half)
    sample_bundle(bundle, tmp_path / "set", 8, request)
    value = json.loads((tmp_path / "set/dataset.json").read_text())
    schema.validate("dataset", value, "dataset.json")
    assert value["judge"] == {"sha256": half.sha256, "least_agreement": half.least_agreement}
    assert DatasetDescription.from_json(value).to_json() == value
    records = [json.loads(line) for line in (tmp_path / "set/metadata.jsonl").read_text().splitlines()]
    for record in records:
        schema.validate("dataset-record", record, "metadata.jsonl")
    assert value["agreeing"] == sum(record["agreement"] >= half.least_agreement for record in records)
    assert sample_bundle(bundle, tmp_path / "set", 8, request).drawn == 0
    with pytest.raises(InputError, match="least agreement"):
        sample_bundle(bundle, tmp_path / "set", 8, replace(request, judge=replace(half, least_agreement=0.9)))


def test_a_mixture_names_its_judge(bundle: Bundle, half: Judge, tmp_path: Path) -> None:
    (written,) = sample_mixture([Part(bundle, 1)], tmp_path / "set", 4, Request(7, judge=half)).data_sets
    assert written.description["judge"]["sha256"] == half.sha256
    assert 0 <= written.description["agreeing"] <= 4


def test_vetted_samples_are_not_judged(bundle: Bundle, half: Judge) -> None:
    with pytest.raises(UsageError, match="drawn again"):
        bundle.sample(1, 7, vetted_only=True, judge=half)


def test_what_cannot_judge_is_refused_before_anything_is_drawn(
    bundle: Bundle, segmenter: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.onnx").write_bytes(b"no model")
    without = tiny_segmenter.segmenter()
    assert not [entry for entry in without.metadata_props if entry.key == METADATA_KEY]
    (tmp_path / "without.onnx").write_bytes(without.SerializeToString())
    for name, words in (("text.onnx", "ONNX model"), ("without.onnx", "contract"), ("absent.onnx", "absent")):
        with pytest.raises(InputError, match=words):
            Judge.open(tmp_path / name)
    for least in (0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="least agreement"):
            Judge.open(segmenter, least)
    made_for = tiny_segmenter.contract(["other"])
    model = tiny_segmenter.canonical_bytes(tiny_segmenter.segmenter(made_for), made_for)
    with pytest.raises(UsageError, match="segmenter of lesion"):
        bundle.sample(1, 7, judge=Judge(model))
    with pytest.raises(UsageError, match="a Judge"):
        bundle.sample(1, 7, judge="segmenter.onnx")  # type: ignore[arg-type]


def test_the_command_judges(
    signed: tuple[Path, Path], segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = map(str, signed)
    command = ["sample", path, "--key", key, "--samples", "4", "--seed", "7", "--out", str(tmp_path / "set")]
    assert main([*command, "--judge", str(segmenter), "--least-agreement", "0.9"]) == 0
    assert "agreement 0.9 or more in" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--least-agreement", "0.9"]) == UsageError.exit_code
    assert "--judge" in capsys.readouterr().err


def test_the_judge_is_public() -> None:
    assert consumer.Judge is Judge
