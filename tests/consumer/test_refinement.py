"""Departures from the published sampling: each is written down, and a sample does not depend on its batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from consumer.cli import main
from consumer.sampling.refinement import UNREFINED, Refinement, cleaned
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import UsageError
from sharekit.generator.tensors import tensor_to_pixels


def square(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((32, 32), bool)
    for top, bottom, left, right in rectangles:
        mask[top:bottom, left:right] = True
    return mask


def test_cleaning_drops_specks_and_fills_pinholes_and_keeps_what_is_large() -> None:
    whole = square((2, 22, 2, 22), (25, 30, 25, 31))
    dirty = whole.copy()
    dirty[10:12, 10:12] = False
    dirty[28, 4] = True
    np.testing.assert_array_equal(cleaned(dirty), whole)


def test_cleaning_keeps_a_large_hole_and_an_empty_and_a_full_mask() -> None:
    ring = square((2, 30, 2, 30)) & ~square((8, 24, 8, 24))
    for mask in (ring, square(), square((0, 32, 0, 32))):
        np.testing.assert_array_equal(cleaned(mask), mask)


def test_the_published_sampling_is_the_default(bundle: Bundle) -> None:
    """The generator's own output for standard normal noise, with a mask where that is above 0.5."""
    for sample in bundle.sample(3, 7):
        entry = next(entry for entry in bundle.generators if entry.spec.id == sample.generator)
        noise = entry.spec.noise(7, [sample.index])
        data = bundle.verified.read(entry.file)
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        image, mask = session.run(["image", "mask"], {f"noise_{n}": z for n, z in enumerate(noise)})
        np.testing.assert_array_equal(sample.image, tensor_to_pixels(image[0]))
        np.testing.assert_array_equal(sample.mask > 0, (mask[0, 0] + 1) / 2 > 0.5)


def test_the_threshold_decides_what_is_foreground(bundle: Bundle) -> None:
    for threshold in (0.3, 0.7):
        sample = next(
            bundle.sample(1, 7, probabilities=True, refinement=Refinement(mask_threshold=threshold))
        )
        assert sample.probabilities is not None
        for name, mask in sample.masks.items():
            np.testing.assert_array_equal(mask > 0, sample.probabilities[name] > threshold)


def test_calmer_noise_varies_less(bundle: Bundle) -> None:
    one = bundle.generators[0].spec.id

    def spread(temperature: float) -> float:
        drawn = bundle.sample(8, 7, generator=one, refinement=Refinement(temperature=temperature))
        return float(np.stack([sample.image for sample in drawn]).std(axis=0).mean())

    assert spread(0.25) < spread(1.0)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_what_is_drawn_again_does_not_depend_on_the_batch(bundle: Bundle, batch_size: int) -> None:
    published = [float((s.mask > 0).mean()) for s in bundle.sample(16, 7)]
    # Half of the samples mark less, so that many are drawn several times.
    refinement = Refinement(redraw_below=float(np.median(published)))
    expected = [next(bundle.sample(1, 7, start=index, refinement=refinement)) for index in range(16)]
    drawn = list(bundle.sample(16, 7, batch_size=batch_size, refinement=refinement))
    assert [s.image.tobytes() for s in drawn] == [s.image.tobytes() for s in expected]
    assert [s.index for s in drawn] == [s.index for s in bundle.sample(16, 7)]
    covered = [float((s.mask > 0).mean()) for s in drawn]
    assert np.mean(covered) > np.mean(published)
    kept = [coverage >= refinement.redraw_below for coverage in published]
    assert [covered[i] for i, keep in enumerate(kept) if keep] == [
        published[i] for i, keep in enumerate(kept) if keep
    ]


@pytest.mark.parametrize(
    "refinement",
    [
        Refinement(temperature=0),
        Refinement(temperature=2.5),
        Refinement(mask_threshold=0),
        Refinement(mask_threshold=1),
        Refinement(temperature=float("nan")),
        Refinement(redraw_below=1),
        Refinement(redraw_below=-0.1),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(bundle: Bundle, refinement: Refinement) -> None:
    with pytest.raises(UsageError):
        bundle.sample(1, 7, refinement=refinement)


def test_a_refinement_comes_back_from_its_json() -> None:
    refinement = Refinement(0.8, 0.4, clean_masks=True, redraw_below=0.05)
    assert Refinement.from_json(refinement.to_json()) == refinement


def test_the_data_set_says_how_it_was_refined_and_nothing_where_it_was_not(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    def described(name: str, *options: str) -> dict[str, object]:
        bundle, key = map(str, signed)
        out = tmp_path / name
        drawn = ["sample", bundle, "--key", key, "--count", "2", "--seed", "1", "--out", str(out)]
        assert main([*drawn, *options]) == 0
        return json.loads((out / "dataset.json").read_text())

    assert "refinement" not in described("plain")
    refined = described(
        "refined",
        "--temperature",
        "0.8",
        "--mask-threshold",
        "0.4",
        "--clean-masks",
        "--redraw-below",
        "0.05",
    )
    assert refined["refinement"] == Refinement(0.8, 0.4, True, 0.05).to_json()
    assert UNREFINED.to_json() != refined["refinement"]
