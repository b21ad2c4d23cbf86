"""The Python interface: what its help says runs, sizes mean one thing, and wrong types are our own errors."""

from __future__ import annotations

import pydoc
import re
import shutil
import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import consumer
from consumer import Refinement, Size, UsageError
from consumer.sampling.synthetic_bundle import Bundle
from tests.consumer.conftest import BundleMaker
from tests.tiny import tiny_generator

SIZE = Size(width=20, height=16)


def test_help_shows_what_a_user_needs() -> None:
    shown = pydoc.render_doc(consumer, renderer=pydoc.plaintext)
    for name in consumer.__all__:
        assert name in shown
    for words in ("open_bundle(", "torch_dataset(", "clean_masks", "redraw_below", "length", "transform"):
        assert words in shown
    assert "Sizes are (width, height)" in shown


def test_every_exported_name_is_there_and_no_other_pretends_to_be() -> None:
    assert set(consumer.__all__) <= set(dir(consumer))
    assert all(getattr(consumer, name).__doc__ for name in consumer.__all__)
    assert all(
        issubclass(getattr(consumer, name), consumer.SharekitError)
        for name in consumer.__all__
        if "Error" in name
    )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        consumer.nothing  # noqa: B018


def test_the_examples_of_the_help_run(signed: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(signed[0], tmp_path / "bundle")
    shutil.copy(signed[1], tmp_path / "hospital.pub")
    blocks = re.findall(r"(?:^    .*\n|^\n)+", consumer.__doc__ or "", re.MULTILINE)
    program = "".join(textwrap.dedent(block) for block in blocks)
    assert program.count("bundle.") >= 3
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("torch.Size([4, 3, 14, 17]) torch.Size([4, 1, 14, 17])") == 2


def test_repr_says_hospital_release_generators_and_layout(bundle: Bundle) -> None:
    assert repr(bundle) == "<Bundle of Test hospital, release 1: 3 generators, rgb-lesion>"
    sample = next(bundle.sample(1, 7))
    assert repr(sample) == (
        f"<Sample 0 of seed 7 from generator {sample.generator}: 17x14 RGB, masks of lesion>"
    )


def test_a_size_is_width_then_height_wherever_it_is_given(bundle: Bundle) -> None:
    for size in (Size(31, 20), (31, 20), [31, 20], Size.of("31x20"), (np.int64(31), np.int16(20))):
        assert next(bundle.sample(1, size=size)).image.shape == (20, 31, 3)
        assert next(iter(bundle.torch_dataset(size=size)))["image"].shape == (3, 20, 31)
    assert str(Size(31, 20)) == "31x20"


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 1.5},
        {"n": "3"},
        {"n": None},
        {"n": True},
        {"n": 1, "seed": 0.5},
        {"n": 1, "seed": "1"},
        {"n": 1, "seed": np.float32(1)},
        {"n": 1, "start": [1]},
        {"n": 1, "size": 64},
        {"n": 1, "size": (64,)},
        {"n": 1, "size": (64.5, 64)},
        {"n": 1, "size": "64"},
        {"n": 1, "size": ("a", "b")},
        {"n": 1, "generator": 3},
        {"n": 1, "generator": b"x"},
        {"n": 1, "layout": 3},
        {"n": 1, "batch_size": "8"},
        {"n": 1, "batch_size": np.array([1, 2])},
        {"n": 1, "probabilities": 1},
        {"n": 1, "refinement": {"temperature": 1}},
        {"n": 1, "refinement": Refinement(temperature="hot")},  # type: ignore[arg-type]
        {"n": 1, "refinement": Refinement(clean_masks="yes")},  # type: ignore[arg-type]
        {"n": 1, "refinement": Refinement(mask_threshold=None)},  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_wrong_type_is_wrong_usage_at_once(bundle: Bundle, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        bundle.sample(**wrong)
    assert len(caught.value.found) < 150


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"length": 2.0},
        {"transform": "flip"},
        {"start": "0"},
        {"size": "large"},
        {"size": 64},
        {"refinement": None},
    ],
    ids=str,
)
def test_a_torch_data_set_refuses_wrong_types_too(bundle: Bundle, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        bundle.torch_dataset(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"path": 3}, {"key": None}, {"device": 1}, {"device": "tpu"}, {"threads": "2"}, {"isolate": "no"}],
)
def test_opening_refuses_wrong_types_too(signed: tuple[Path, Path], wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"path": signed[0], "key": signed[1], **wrong}
    with pytest.raises(UsageError):
        consumer.open_bundle(given.pop("path"), given.pop("key"), **given)


def test_numbers_of_numpy_and_paths_as_texts_are_welcome(signed: tuple[Path, Path], bundle: Bundle) -> None:
    opened = consumer.open_bundle(str(signed[0]), str(signed[1]), device="cpu", threads=np.int64(1))
    (one,) = opened.sample(np.int32(1), np.uint8(7), refinement=Refinement(temperature=np.float32(1)))
    assert one.image.tobytes() == next(bundle.sample(1, 7)).image.tobytes()


def test_the_former_name_of_the_device_still_works(signed: tuple[Path, Path]) -> None:
    assert consumer.open_bundle(*signed, provider="cpu").provider.name == "cpu"


def test_the_obvious_loader_works_though_generators_differ_in_size(bundle: Bundle) -> None:
    assert len({sample.image.shape for sample in bundle.sample(3)}) == 2
    batch = next(iter(DataLoader(bundle.torch_dataset(), batch_size=4)))
    assert batch["image"].shape == (4, 3, 14, 17)  # what two of the three were trained at
    assert batch["mask"].shape == (4, 1, 14, 17)


def test_each_generator_s_own_size_is_there_for_who_asks(bundle: Bundle) -> None:
    shapes = [tuple(item["image"].shape[1:]) for item in islice(bundle.torch_dataset(size="trained"), 3)]
    assert shapes == [(14, 17), (14, 17), (12, 12)]


def key(item: dict[str, torch.Tensor]) -> bytes:
    return item["image"].numpy().tobytes() + item["mask"].numpy().tobytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_has_its_length_and_every_sample_once(bundle: Bundle, workers: int) -> None:
    stream = bundle.torch_dataset(3, size=SIZE, length=10)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    assert (len(stream), len(loader)) == (10, 10)
    first = [key(item) for item in loader]
    assert first == [key(item) for item in islice(bundle.torch_dataset(3, size=SIZE), 10)]
    stream.seek(10)
    second = [key(item) for item in loader]
    assert len(second) == 10
    assert not set(first) & set(second)


def test_batches_of_an_epoch_hold_all_of_it_with_workers(bundle: Bundle) -> None:
    loader = DataLoader(bundle.torch_dataset(3, size=SIZE, length=12), batch_size=3, num_workers=2)
    batches = list(loader)
    assert [batch["image"].shape[0] for batch in batches] == [3, 3, 3, 3]
    items = [{name: batch[name][i] for name in batch} for batch in batches for i in range(3)]
    expected = islice(bundle.torch_dataset(3, size=SIZE), 12)
    assert sorted(map(key, items)) == sorted(map(key, expected))


def test_a_stream_without_end_has_no_length(bundle: Bundle) -> None:
    with pytest.raises(TypeError, match="length="):
        len(bundle.torch_dataset())


def flipped(item: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return item["image"].flip(2), item["mask"].flip(2)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_transform_changes_every_item_in_the_workers(bundle: Bundle, context: str) -> None:
    stream = bundle.torch_dataset(3, size=SIZE, transform=flipped, length=4)
    loader = DataLoader(stream, batch_size=2, num_workers=2, multiprocessing_context=context)
    images = torch.cat([image for image, _ in loader])
    plain = [item["image"].flip(2) for item in islice(bundle.torch_dataset(3, size=SIZE), 4)]
    assert sorted(image.numpy().tobytes() for image in images) == sorted(i.numpy().tobytes() for i in plain)


def test_a_torch_data_set_takes_every_refinement(bundle: Bundle) -> None:
    refinement = Refinement(temperature=0.5, mask_threshold=0.4, clean_masks=True, redraw_below=0.2)
    stream = bundle.torch_dataset(3, size=SIZE, refinement=refinement)
    for item, sample in zip(stream, bundle.sample(6, 3, size=SIZE, refinement=refinement), strict=False):
        np.testing.assert_array_equal(item["mask"][0].numpy() * 255, sample.mask)
        np.testing.assert_array_equal(np.rint(item["image"].numpy() * 255), sample.image.transpose(2, 0, 1))


def test_two_bundles_do_not_share_generators(make_bundle: BundleMaker) -> None:
    one, other = (make_bundle(tiny_generator(seed, sizes=((8, 8),))) for seed in (0, 1))
    with consumer.open_bundle(*one, device="cpu") as a, consumer.open_bundle(*other, device="cpu") as b:
        assert next(a.sample(1)).generator != next(b.sample(1)).generator
