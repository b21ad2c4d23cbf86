"""A sample is a function of generator, seed, index and size, and of nothing else."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import consumer
from consumer.sampling import sessions
from consumer.sampling.request import Size
from consumer.sampling.sample import Sample, assign
from consumer.sampling.synthetic_bundle import Bundle
from hospital_node.singan.networks import sample as sample_torch
from sharekit.errors import InputError, UsageError, VerificationError
from tests.consumer.conftest import BundleMaker
from tests.tiny import tiny_generator


def same(one: Sample, other: Sample) -> bool:
    """Equal to the bit."""
    return (
        (one.generator, one.seed, one.index) == (other.generator, other.seed, other.index)
        and one.image.tobytes() == other.image.tobytes()
        and [(k, v.tobytes()) for k, v in one.masks.items()]
        == [(k, v.tobytes()) for k, v in other.masks.items()]
        and [(k, v.tobytes()) for k, v in (one.probabilities or {}).items()]
        == [(k, v.tobytes()) for k, v in (other.probabilities or {}).items()]
    )


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> list[Sample]:
    """Samples 0 to 22 of seed 7, one at a time."""
    return list(bundle.sample(23, 7, batch_size=1, probabilities=True))


@pytest.mark.parametrize("batch_size", [2, 3, 8, 64])
def test_batch_size_changes_no_bit(bundle: Bundle, expected: list[Sample], batch_size: int) -> None:
    drawn = list(bundle.sample(23, 7, batch_size=batch_size, probabilities=True))
    assert len(drawn) == 23
    assert all(map(same, drawn, expected))


def test_threads_change_no_bit(signed: tuple[Path, Path], expected: list[Sample]) -> None:
    threaded = consumer.open_bundle(*signed, provider="cpu", threads=2)
    assert all(map(same, threaded.sample(23, 7, probabilities=True), expected))


def test_where_the_drawing_starts_changes_no_bit(bundle: Bundle, expected: list[Sample]) -> None:
    drawn = list(bundle.sample(9, 7, start=11, probabilities=True))
    assert all(map(same, drawn, expected[11:20]))


def test_one_chosen_generator_gives_the_same_samples_as_among_all(
    bundle: Bundle, expected: list[Sample]
) -> None:
    chosen = bundle.generators[1].spec.id
    drawn = bundle.sample(5, 7, generator=chosen, probabilities=True)
    assert all(map(same, drawn, [sample for sample in expected if sample.generator == chosen][:5]))


def test_a_bundle_opened_again_gives_the_same_samples(
    signed: tuple[Path, Path], expected: list[Sample]
) -> None:
    again = copy.copy(consumer.open_bundle(*signed, provider="cpu"))
    assert all(map(same, again.sample(6, 7, probabilities=True), expected))


def test_seeds_and_indices_give_different_samples(bundle: Bundle) -> None:
    drawn = [sample for seed in (0, 1) for sample in bundle.sample(6, seed)]
    assert len({sample.image.tobytes() for sample in drawn}) == 12


def test_samples_are_spread_evenly_in_the_manifest_s_order(bundle: Bundle, expected: list[Sample]) -> None:
    identifiers = [entry.spec.id for entry in bundle.generators]
    assert [sample.generator for sample in expected[:4]] == [*identifiers, identifiers[0]]
    counts = Counter(sample.generator for sample in expected)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_assignment_numbers_every_generator_s_samples_without_gaps() -> None:
    assigned = {assign(number, 7) for number in range(70)}
    assert assigned == {(position, index) for position in range(7) for index in range(10)}


def test_pixels_are_the_trained_network_s(make_bundle: BundleMaker) -> None:
    generator = tiny_generator(5)
    opened = consumer.open_bundle(*make_bundle(generator), provider="cpu")
    (drawn,) = opened.sample(1, 3, start=4, probabilities=True)
    truth = np.clip(sample_torch(generator, generator.spec.noise(3, [4])), -1, 1)[0]
    np.testing.assert_allclose(drawn.image, (truth[:3].transpose(1, 2, 0) + 1) * 127.5, atol=0.51)
    assert drawn.probabilities is not None
    np.testing.assert_allclose(drawn.probabilities["lesion"], (truth[3] + 1) / 2, atol=1e-4)


def test_masks_are_0_or_255_where_the_probability_says_so(expected: list[Sample]) -> None:
    for sample in expected:
        assert sample.probabilities is not None
        np.testing.assert_array_equal(sample.mask, np.where(sample.probabilities["lesion"] > 0.5, 255, 0))
    assert {0, 255} == {value for sample in expected for value in np.unique(sample.mask)}


def test_probabilities_are_kept_only_on_request(bundle: Bundle) -> None:
    assert next(bundle.sample(1)).probabilities is None


@pytest.mark.parametrize(("height", "width"), [(20, 31), (40, 12), (9, 9)])
def test_any_size_and_aspect_ratio_is_drawn(bundle: Bundle, height: int, width: int) -> None:
    for sample in bundle.sample(3, size=Size(width, height)):
        assert sample.image.shape == (height, width, 3)
        assert sample.mask.shape == (height, width)


def test_grey_images_and_several_classes_keep_their_names(make_bundle: BundleMaker) -> None:
    generator = tiny_generator(3, sizes=((9, 9), (12, 13)), image_channels=1, mask_classes=("polyp", "tool"))
    (sample,) = consumer.open_bundle(*make_bundle(generator), provider="cpu").sample(1)
    assert sample.image.shape == (12, 13, 1)
    assert list(sample.masks) == ["polyp", "tool"]


def test_more_generators_than_open_sessions_are_all_drawn(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSION_BYTES", 4 * sessions.session_bytes(10_000))
    count = 18
    generators = [tiny_generator(seed, sizes=((8, 8),)) for seed in range(count)]
    opened = consumer.open_bundle(*make_bundle(*generators), provider="cpu", threads=1)
    drawn = list(opened.sample(2 * count, batch_size=1))
    again = list(opened.sample(2 * count, batch_size=8))
    assert all(map(same, drawn, again))
    assert Counter(sample.generator for sample in drawn) == {g.spec.id: 2 for g in generators}


@pytest.mark.parametrize(
    ("arguments", "item"),
    [
        ({"n": -1}, "n"),
        ({"n": 1, "seed": -1}, "seed"),
        ({"n": 1, "start": -1}, "start"),
        ({"n": 1, "start": 2**63}, "start"),
        ({"n": 1, "batch_size": 0}, "batch size"),
        ({"n": 1, "batch_size": 65}, "batch size"),
        ({"n": 1, "size": (0, 5)}, "size"),
        ({"n": 1, "size": (5, 1025)}, "size"),
        ({"n": 1, "generator": "nobody"}, "generator"),
    ],
)
def test_a_request_beyond_the_limits_is_refused_at_once(bundle: Bundle, arguments: dict, item: str) -> None:
    with pytest.raises(UsageError) as caught:
        bundle.sample(**arguments)
    assert caught.value.item == item


def test_a_bundle_of_another_key_is_not_opened(signed: tuple[Path, Path], make_bundle: BundleMaker) -> None:
    _, other_key = make_bundle(tiny_generator(9, sizes=((8, 8),)))
    with pytest.raises(VerificationError):
        consumer.open_bundle(signed[0], other_key)


def test_a_missing_bundle_is_an_input_error(signed: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        consumer.open_bundle(tmp_path / "nothing", signed[1])


def test_no_threads_are_wrong_usage(signed: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="threads"):
        consumer.open_bundle(*signed, threads=0)


def test_a_generator_that_changes_after_verification_is_not_loaded(make_bundle: BundleMaker) -> None:
    path, key = make_bundle(tiny_generator(0, sizes=((8, 8),)))
    opened = consumer.open_bundle(path, key, provider="cpu")
    file = path / opened.generators[0].file
    data = bytearray(file.read_bytes())
    data[-200] ^= 1
    file.write_bytes(data)
    with pytest.raises(VerificationError) as caught:
        next(opened.sample(1))
    assert caught.value.item == opened.generators[0].file
