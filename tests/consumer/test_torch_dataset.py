"""The stream is the data set of the same seed, from any start and with any number of workers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import consumer
from consumer.sampling.request import Size
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import UsageError
from tests.consumer.conftest import BundleMaker
from tests.tiny import tiny_generator

SIZE = Size(width=20, height=16)
SHAPE = (16, 20)


def key(item: dict[str, torch.Tensor]) -> bytes:
    return item["image"].numpy().tobytes() + item["mask"].numpy().tobytes()


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> list[bytes]:
    return [key(item) for item in islice(bundle.torch_dataset(3, size=SIZE), 24)]


def test_items_are_the_folder_s_pixels_over_255(bundle: Bundle) -> None:
    stream = bundle.torch_dataset(3, size=SIZE, start=2)
    for item, sample in zip(stream, bundle.sample(5, 3, size=SIZE, start=2), strict=False):
        assert set(item) == {"image", "mask"}
        assert (item["image"].dtype, item["image"].shape) == (torch.float32, (3, *SHAPE))
        assert (item["mask"].dtype, item["mask"].shape) == (torch.float32, (1, *SHAPE))
        torch.testing.assert_close(item["image"], torch.from_numpy(sample.image).permute(2, 0, 1) / 255)
        torch.testing.assert_close(item["mask"][0], torch.from_numpy(sample.mask) / 255)


def test_seeking_goes_on_where_a_run_stopped(bundle: Bundle, expected: list[bytes]) -> None:
    stream = bundle.torch_dataset(3, size=SIZE)
    stream.seek(17)
    assert [key(item) for item in islice(stream, 4)] == expected[17:21]
    stream.seek(0)
    assert [key(item) for item in islice(stream, 2)] == expected[:2]


def test_two_passes_give_the_same(bundle: Bundle, expected: list[bytes]) -> None:
    stream = bundle.torch_dataset(3, size=SIZE, batch_size=2)
    assert [key(item) for item in islice(stream, 3)] == [key(item) for item in islice(stream, 3)]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_the_same_stream_in_the_same_order(
    bundle: Bundle, expected: list[bytes], context: str
) -> None:
    loader = DataLoader(
        bundle.torch_dataset(3, size=SIZE),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=context,
    )
    assert [key(item) for item in islice(loader, 8)] == expected[:8]


def test_batches_of_workers_hold_the_same_samples_each_once(bundle: Bundle, expected: list[bytes]) -> None:
    loader = DataLoader(bundle.torch_dataset(3, size=SIZE), batch_size=4, num_workers=2)
    batches = list(islice(loader, 6))
    assert all(batch["image"].shape == (4, 3, *SHAPE) for batch in batches)
    items = [
        {name: batch[name][place] for name in ("image", "mask")} for batch in batches for place in range(4)
    ]
    assert sorted(map(key, items)) == sorted(expected)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_a_start_outside_the_numbers_is_wrong_usage(bundle: Bundle, number: int) -> None:
    with pytest.raises(UsageError):
        bundle.torch_dataset(3).seek(number)


def test_generators_of_different_classes_do_not_mix(make_bundle: BundleMaker, tmp_path: Path) -> None:
    one = tiny_generator(0, sizes=((8, 8),), mask_classes=("polyp",))
    other = tiny_generator(1, sizes=((8, 8),), mask_classes=("tool",))
    opened = consumer.open_bundle(*make_bundle(one, other), provider="cpu")
    with pytest.raises(UsageError, match="polyp"):
        opened.torch_dataset()
