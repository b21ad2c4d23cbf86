"""The manifest: what is written is what is read, and entries that disagree are refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.bundle import manifest
from sharekit.bundle.manifest import (
    Dependencies,
    FeatureSource,
    FileEntry,
    GeneratorEntry,
    Group,
    Limits,
    Manifest,
    Parity,
    Unit,
)
from sharekit.bundle.vetted import Vetted
from sharekit.errors import VerificationError
from sharekit.generator.noise import NOISE_SCHEME
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout
from sharekit.storage import files, schema

VECTORS = Path(__file__).resolve().parents[2] / "schemas" / "v1" / "vectors" / "manifest"
FULL = json.loads((VECTORS / "valid" / "full.json").read_text(encoding="utf-8"))

times = st.datetimes(datetime(2000, 1, 1), datetime(9999, 1, 1)).map(
    lambda time: time.replace(microsecond=0, tzinfo=UTC)
)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
file_entries = st.builds(FileEntry, st.just("a/b"), st.integers(0, 2**29), digests)
specs = st.builds(
    GeneratorSpec,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.builds(ChannelLayout, st.sampled_from([1, 3]), st.just(("polyp", "tool"))),
    st.lists(st.builds(Scale, st.integers(1, 99), st.integers(1, 99), st.integers(1, 5)), max_size=3).map(
        tuple
    ),
)
vetted_lists = st.integers(1, 40).flatmap(
    lambda count: st.builds(
        Vetted,
        st.integers(0, 2**63 - 1),
        st.just(count),
        st.sets(st.integers(0, count - 1)).map(lambda good: tuple(sorted(good))),
    )
)
generator_entries = st.builds(
    GeneratorEntry,
    specs,
    st.just("generators/x.onnx"),
    digests,
    st.just("private"),
    st.builds(Parity, st.floats(0, 2), st.integers(11, 64)),
    st.text(min_size=1, max_size=20),
    st.none() | st.builds(Group, st.integers(1, 99), st.integers(1, 99), st.sampled_from(Unit)),
    st.none() | vetted_lists,
)
dependencies = st.builds(
    Dependencies,
    st.integers(11, 64),
    st.integers(4, 64),
    features=st.none() | st.builds(FeatureSource, st.just("vgg16"), digests),
)
manifests = st.builds(
    Manifest,
    st.text(min_size=1, max_size=20),
    st.integers(1, 2**31 - 1),
    times,
    times,
    st.lists(generator_entries, max_size=2).map(tuple),
    dependencies,
    st.builds(Limits, st.integers(1, 16384), st.integers(1, 4096)),
    st.lists(file_entries, max_size=2).map(tuple),
)


@given(manifests)
def test_manifest_round_trips(value: Manifest) -> None:
    assert Manifest.from_json(value.to_json()) == value
    assert Manifest.from_json(json.loads(files.dump_json(value.to_json()))) == value


@pytest.mark.parametrize("path", sorted((VECTORS / "valid").glob("*.json")), ids=lambda path: path.stem)
def test_every_field_of_the_schema_is_kept(path: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert manifest.parse(path.read_bytes()).to_json() == value


def test_schema_and_code_name_the_same_noise() -> None:
    dependencies_schema = schema.load("manifest")["$defs"]["dependencies"]["properties"]
    assert dependencies_schema["noise_scheme"]["const"] == NOISE_SCHEME


def test_expiry_is_a_moment_from_which_it_has_expired() -> None:
    value = Manifest.from_json(FULL)
    assert not value.expired(value.expires - timedelta(seconds=1))
    assert value.expired(value.expires)


def test_generator_is_found_by_its_identifier() -> None:
    value = Manifest.from_json(FULL)
    assert value.generator(value.generators[1].spec.id) == value.generators[1]
    with pytest.raises(KeyError):
        value.generator("0" * 32)


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 1, 1),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
    ],
    ids=["without zone", "another zone", "fraction of a second"],
)
def test_time_that_json_would_change_is_refused(time: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        dataclasses.replace(Manifest.from_json(FULL), created=time)


def _file_twice(value: dict[str, Any]) -> None:
    value["files"].insert(0, value["files"][0])


def _files_unsorted(value: dict[str, Any]) -> None:
    value["files"].reverse()


def _generator_twice(value: dict[str, Any]) -> None:
    value["generators"].append(value["generators"][0])


def _generator_with_another_digest(value: dict[str, Any]) -> None:
    value["generators"][0]["sha256"] = "9" * 64


def _generators_swapped(value: dict[str, Any]) -> None:
    first, second = value["generators"]
    first["file"], second["file"] = second["file"], first["file"]


def _generator_not_among_the_files(value: dict[str, Any]) -> None:
    value["files"] = [entry for entry in value["files"] if not entry["path"].endswith(".onnx")]


def _generator_file_that_no_entry_describes(value: dict[str, Any]) -> None:
    value["generators"].pop()


def _noise_channels_that_do_not_fit(value: dict[str, Any]) -> None:
    value["generators"][0]["spec"]["scales"][1]["noise_channels"] = 3


def _many_noise_channels_at_the_coarsest_scale(value: dict[str, Any]) -> None:
    value["generators"][0]["spec"]["scales"][0]["noise_channels"] = 4


def _scales_from_fine_to_coarse(value: dict[str, Any]) -> None:
    value["generators"][0]["spec"]["scales"][0]["height"] = 4096


def _expiry_before_creation(value: dict[str, Any]) -> None:
    value["expires"] = value["created"]


def _more_units_than_images(value: dict[str, Any]) -> None:
    value["generators"][0]["group"] = {"images": 3, "units": 4, "unit": "patient"}


def _vetted_samples_of_two_seeds(value: dict[str, Any]) -> None:
    for seed, generator in enumerate(value["generators"]):
        generator["vetted"] = {"seed": seed, "candidates": 8, "good": "ff"}


def _vetted_list_of_another_length(value: dict[str, Any]) -> None:
    value["generators"][0]["vetted"] = {"seed": 1, "candidates": 9, "good": "ff"}


def _vetted_sample_beyond_the_candidates(value: dict[str, Any]) -> None:
    value["generators"][0]["vetted"] = {"seed": 1, "candidates": 7, "good": "80"}


@pytest.mark.parametrize(
    "change",
    [
        _more_units_than_images,
        _vetted_samples_of_two_seeds,
        _vetted_list_of_another_length,
        _vetted_sample_beyond_the_candidates,
        _file_twice,
        _files_unsorted,
        _generator_twice,
        _generator_with_another_digest,
        _generators_swapped,
        _generator_not_among_the_files,
        _generator_file_that_no_entry_describes,
        _noise_channels_that_do_not_fit,
        _many_noise_channels_at_the_coarsest_scale,
        _scales_from_fine_to_coarse,
        _expiry_before_creation,
    ],
    ids=lambda change: change.__name__.strip("_").replace("_", " "),
)
def test_entries_that_disagree_are_refused(change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(json.dumps(FULL))
    change(value)
    schema.validate("manifest", value, "manifest.json")  # the schema alone would let it through
    with pytest.raises(VerificationError) as caught:
        manifest.parse(files.dump_json(value))
    assert caught.value.item == "manifest.json"
