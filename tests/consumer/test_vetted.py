"""Vetted samples come first, are marked, and end; without a list nothing changes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import consumer
from consumer.cli import main
from consumer.datasets.folder_writer import write_dataset
from consumer.datasets.sample_bundle import sample_bundle
from consumer.sampling.numbering import Numbering
from consumer.sampling.request import Request, Size
from consumer.sampling.sample import assign
from consumer.sampling.synthetic_bundle import Bundle
from hospital_node.candidate.build import build_onnx
from sharekit.bundle.vetted import Vetted
from sharekit.errors import UsageError
from sharekit.signing import keys
from sharekit.storage import files, schema
from tests.consumer.test_sampling import same
from tests.sharekit.bundles import make_parts
from tests.tiny import tiny_generator

SEED = 1
GOOD = ((1, 4, 5), (), (0,), (2, 7))
"""Vetted indices of four generators; the last one is of another layout."""
VETTED = sum(map(len, GOOD))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of four generators: three RGB ones, the second without a good sample, and a grey one."""
    folder = tmp_path_factory.mktemp("vetted")
    key = keys.generate()
    key.public.save(folder / "hospital.pub")
    made = [tiny_generator(seed, sizes=((6, 7), (8, 9))) for seed in range(3)]
    made.append(tiny_generator(3, sizes=((6, 7), (8, 9)), image_channels=1))
    parts = make_parts(key, {one.spec: build_onnx(one) for one in made})
    entries = tuple(
        dataclasses.replace(entry, vetted=Vetted(SEED, 8, good))
        for entry, good in zip(parts.manifest.generators, GOOD, strict=True)
    )
    manifest = dataclasses.replace(parts.manifest, generators=entries)
    dataclasses.replace(parts, manifest=manifest).write(folder / "bundle", key)
    return folder / "bundle", folder / "hospital.pub"


@pytest.fixture(scope="module")
def bundle(paths: tuple[Path, Path]) -> Bundle:
    return consumer.open_bundle(*paths, device="cpu", threads=1)


def places(bundle: Bundle, samples: Sequence[consumer.Sample]) -> list[tuple[int, int]]:
    positions = {entry.spec.id: position for position, entry in enumerate(bundle.generators)}
    return [(positions[sample.generator], sample.index) for sample in samples]


def test_vetted_samples_take_turns_and_the_rest_begins_beyond_the_lists(bundle: Bundle) -> None:
    assert bundle.vetted_seed == SEED
    samples = list(bundle.sample(VETTED + 5, SEED))
    first = [(0, 1), (2, 0), (3, 2), (0, 4), (3, 7), (0, 5)]
    rest = [(0, 8), (1, 8), (2, 8), (3, 8), (0, 9)]
    assert places(bundle, samples) == first + rest
    assert [sample.vetted for sample in samples] == [True] * VETTED + [False] * 5
    assert "vetted" in repr(samples[0])


def test_a_sample_is_the_same_wherever_a_request_begins(bundle: Bundle) -> None:
    samples = list(bundle.sample(12, SEED))
    for number in (0, 3, VETTED, 11):
        assert same(samples[number], next(bundle.sample(1, SEED, start=number, batch_size=1)))
    grey = [sample for sample in samples if sample.generator == bundle.generators[3].spec.id]
    alone = bundle.sample(len(grey), SEED, generator=bundle.generators[3].spec.id)
    assert all(map(same, grey, alone))


def test_every_sample_beyond_the_lists_comes_once(bundle: Bundle) -> None:
    numbering = Numbering.of(bundle.generators, Request(SEED))
    places = [numbering(number) for number in range(100)]
    assert len(set(places)) == 100
    assert not {(position, index) for position, index in places[VETTED:] if index < 8}
    for count in (0, 3, VETTED, 50):
        shares = numbering.shares(count)
        assert shares == [len(numbers) for numbers in numbering.by_generator(count)]
        assert sum(shares) == count


@pytest.mark.parametrize(
    "request_",
    [
        Request(2),
        Request(SEED, size=Size(18, 16)),
        Request(SEED, refinement=consumer.Refinement(temperature=0.9)),
        Request(SEED, refinement=consumer.Refinement(mask_threshold=0.4)),
    ],
    ids=["another seed", "another size", "another temperature", "another threshold"],
)
def test_other_samples_than_those_looked_at_are_unvetted_and_numbered_as_ever(
    bundle: Bundle, request_: Request
) -> None:
    numbering = Numbering.of(bundle.generators, request_)
    assert [numbering(number) for number in range(20)] == [assign(number, 4) for number in range(20)]
    samples = itertools.islice(bundle.draw_numbers(range(8), request_, bundle.generators), 8)
    assert not any(sample.vetted for sample in samples)


def test_the_trained_size_by_its_name_is_what_the_hospital_looked_at(bundle: Bundle) -> None:
    assert all(sample.vetted for sample in bundle.sample(VETTED, SEED, size=Size(9, 8)))


def test_a_second_draw_is_unvetted(bundle: Bundle) -> None:
    refinement = consumer.Refinement(redraw_below=0.999)
    firsts = list(bundle.sample(VETTED, SEED))
    again = list(bundle.sample(VETTED, SEED, refinement=refinement))
    assert [sample.vetted for sample in again] == list(map(same, firsts, again))
    assert not all(sample.vetted for sample in again)


def test_vetted_samples_alone_end_with_an_error_that_says_how_many_there_are(bundle: Bundle) -> None:
    assert len(list(bundle.sample(VETTED, SEED, vetted_only=True))) == VETTED
    with pytest.raises(UsageError, match=f"at most {VETTED} samples"):
        bundle.sample(VETTED + 1, SEED, vetted_only=True)
    with pytest.raises(UsageError, match="at most 0 samples"):
        bundle.sample(1, 2, vetted_only=True)
    with pytest.raises(UsageError, match="drawn again"):
        bundle.sample(1, SEED, vetted_only=True, refinement=consumer.Refinement(redraw_below=0.1))


def test_a_torch_data_set_of_vetted_samples_alone_ends_with_them(bundle: Bundle) -> None:
    rgb = {"layout": bundle.layouts[0], "vetted_only": True}
    vetted = [sample for sample in bundle.sample(VETTED, SEED) if sample.image.shape[2] == 3]
    items = bundle.torch_dataset(SEED, **rgb)
    assert len(items) == len(vetted) == 4
    for item, sample in zip(items, vetted, strict=True):
        np.testing.assert_array_equal(item["image"].numpy() * 255, sample.image.transpose(2, 0, 1))
    assert len(bundle.torch_dataset(SEED, start=3, **rgb)) == 1
    for start, length in ((4, None), (0, 5)):
        with pytest.raises(UsageError, match="at most 4 samples"):
            bundle.torch_dataset(SEED, start=start, length=length, **rgb)
    with pytest.raises(UsageError, match="at most 4 samples"):
        items.seek(1)


def test_data_sets_say_of_each_sample_whether_it_is_vetted(bundle: Bundle, tmp_path: Path) -> None:
    result = sample_bundle(bundle, tmp_path / "out", 9, Request(SEED))
    assert [written.description.vetted for written in result.data_sets] == [4, 2]
    drawn = list(bundle.sample(9, SEED))
    for written in result.data_sets:
        schema.validate("dataset", files.parse_json((written.path / "dataset.json").read_bytes(), "x"), "x")
        lines = [json.loads(line) for line in (written.path / "metadata.jsonl").read_text().splitlines()]
        for line in lines:
            schema.validate("dataset-record", line, "x")
        layout = set(written.description.generators)
        assert [(line["generator"], line["index"], line["vetted"]) for line in lines] == [
            (sample.generator, sample.index, sample.vetted) for sample in drawn if sample.generator in layout
        ]
    again = sample_bundle(bundle, tmp_path / "out", 9, Request(SEED))
    assert again.drawn == 0
    assert [written.description for written in again.data_sets] == [
        written.description for written in result.data_sets
    ]


def test_a_bundle_without_a_list_says_nothing_of_vetting(tmp_path: Path) -> None:
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    make_parts(key).write(tmp_path / "bundle", key)
    plain = consumer.open_bundle(tmp_path / "bundle", tmp_path / "hospital.pub", device="cpu", threads=1)
    assert plain.vetted_seed is None
    written = write_dataset(plain, tmp_path / "out", 2, Request(SEED))
    assert written.description.vetted is None
    assert "vetted" not in (tmp_path / "out" / "metadata.jsonl").read_text()


def test_the_program_says_how_many_are_vetted_and_refuses_more(
    paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, key = map(str, paths)
    command = ["sample", bundle, "--key", key, "--layout", "rgb-lesion", "--device", "cpu"]
    assert main([*command, "--samples", "6", "--seed", "1", "--out", str(tmp_path / "a")]) == 0
    assert "vetted 4 of 6" in capsys.readouterr().out
    assert main([*command, "--samples", "2", "--seed", "3", "--out", str(tmp_path / "b")]) == 0
    assert "vetted 0 of 2: the list holds for seed 1 at the trained size" in capsys.readouterr().out
    only = [*command, "--samples", "5", "--seed", "1", "--vetted-only", "--out", str(tmp_path / "c")]
    assert main(only) == 2
    assert "at most 4 samples" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_bundle_of_an_earlier_release_gives_the_samples_that_it_gave_then() -> None:
    golden = Path(__file__).parent / "golden"
    opened = consumer.open_bundle(golden / "bundle.zip", golden / "hospital.pub", device="cpu", threads=1)
    assert all(entry.group is entry.vetted is None for entry in opened.generators)
    with np.load(golden / "samples.npz") as before:
        for number, sample in enumerate(opened.sample(5, SEED)):
            assert sample.index == before["indices"][number]
            # Another kind of processor may round differently.
            assert np.abs(sample.image.astype(int) - before["images"][number]).max() <= 1
            assert (sample.mask != before["masks"][number]).mean() < 0.03
            assert not sample.vetted
