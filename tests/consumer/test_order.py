"""Generators draw several samples at a time, and the order that samples come in does not change."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import pytest

import consumer
from consumer.sampling import synthetic_bundle
from consumer.sampling.order import in_order
from consumer.sampling.sample import assign
from tests.consumer.conftest import BundleMaker
from tests.consumer.test_sampling import same
from tests.tiny import tiny_generator

FIFTY = partial(assign, generators=50)
"""Samples of fifty generators, spread evenly."""


class Recorder:
    """Draws a sample as the pair that it stands for, and remembers which batches were asked for."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[int]]] = []

    def __call__(self, position: int, indices: Sequence[int]) -> list[tuple[int, int]]:
        self.batches.append((position, list(indices)))
        return [(position, index) for index in indices]


@pytest.mark.parametrize("generators", [1, 2, 7, 50])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("window", [8, 30, 1000])
def test_every_number_comes_once_and_in_order(generators: int, batch_size: int, window: int) -> None:
    numbers = [*range(3, 120), *range(500, 503), 7]
    drawn = list(in_order(numbers, partial(assign, generators=generators), batch_size, window, Recorder()))
    assert drawn == [assign(number, generators) for number in numbers]


def test_a_generator_is_needed_once_in_a_batch_of_rounds() -> None:
    draw = Recorder()
    list(in_order(range(1000), FIFTY, 8, 400, draw))
    assert len(draw.batches) == 50 * 3  # 20 samples each: 8, 8 and 4
    assert max(len(indices) for _, indices in draw.batches) == 8


def test_the_first_sample_waits_for_one_batch_alone() -> None:
    draw = Recorder()
    stream = in_order(itertools.count(), FIFTY, 8, 400, draw)
    next(stream)
    assert draw.batches == [(0, list(range(8)))]
    list(itertools.islice(stream, 49))
    assert [position for position, _ in draw.batches] == list(range(50))


def test_no_more_than_the_window_is_drawn_ahead() -> None:
    draw = Recorder()
    for handed_out, _ in enumerate(in_order(range(500), FIFTY, 8, 60, draw), start=1):
        assert sum(len(indices) for _, indices in draw.batches) - handed_out <= 60


def test_1000_samples_of_50_generators_load_each_once_and_equal_those_drawn_one_by_one(
    make_bundle: BundleMaker,
) -> None:
    generators = [tiny_generator(seed, sizes=((6, 6),)) for seed in range(50)]
    with consumer.open_bundle(*make_bundle(*generators), device="cpu", threads=1) as bundle:
        drawn = list(bundle.sample(1000, 3))
        assert bundle.sessions_opened == 50
        for number in (0, 49, 50, 777, 999):
            assert same(drawn[number], next(bundle.sample(1, 3, start=number, batch_size=1)))


def test_the_samples_that_wait_fit_into_their_memory(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []

    def recorded(*arguments):
        windows.append(arguments[3])
        return in_order(*arguments)

    monkeypatch.setattr(synthetic_bundle, "in_order", recorded)
    generators = [tiny_generator(seed, sizes=((6, 6),)) for seed in range(5)]
    with consumer.open_bundle(*make_bundle(*generators), device="cpu", threads=1) as bundle:
        small = list(bundle.sample(20))
        monkeypatch.setattr(synthetic_bundle, "WINDOW_BYTES", 12 * 6 * 6 * 4)
        assert all(map(same, bundle.sample(20), small))
    assert windows == [40, 12]
