"""A generator of three images goes the whole way, by the programs: train, audit, approve, export, sample."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import consumer.cli
import hospital_node.cli
import sharekit.cli
from hospital_node.leaks.node_content import node_content
from hospital_node.leaks.search import find_real_content
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.singan.trained import TrainedGenerator
from sharekit.bundle.bundle import VerifiedBundle, verify_bundle
from sharekit.demo.phantom import write_data_set
from sharekit.signing.keys import PublicKey
from tests.hospital_node.trained_node import Keys, make_keys

TINY = ("--profile", "quick", "--iterations", "2", "--max-side", "32", "--actors", "1")
PICTURES = 3


def call(main: Callable[[list[str]], int], *arguments: object, expect: int = 0) -> Any:
    """A program's JSON result."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main([*map(str, arguments), "--format", "json"]) == expect
    return json.loads(printed.getvalue())


@dataclass(frozen=True)
class Way:
    """What the commands printed, in their order."""

    root: Path
    trained: dict[str, Any]
    status: dict[str, Any]
    audited: dict[str, Any]
    approved: dict[str, Any]
    exported: dict[str, Any]
    singles: dict[str, Any]
    exported_again: dict[str, Any]

    @property
    def node(self) -> Node:
        return Node.open(self.root / "node", read_only=True)

    def bundle(self, name: str) -> VerifiedBundle:
        return verify_bundle(self.root / name, [PublicKey.load(self.root / "release.pub")])


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """Three pictures of unlike sizes in a group, and two grey ones that are too few for another."""
    root = tmp_path_factory.mktemp("way")
    write_data_set(root / "data", PICTURES, height=72, width=90)
    write_data_set(root / "more", 2, seed=1, height=72, width=90)
    for number in (1, 2):
        with Image.open(root / "more" / "images" / f"case-{number:04d}.jpg") as picture:
            picture.convert("L").save(root / "data" / "images" / f"grey-{number}.png")
        shutil.copy(
            root / "more" / "masks" / f"case-{number:04d}.png", root / "data" / "masks" / f"grey-{number}.png"
        )
    keys: Keys = make_keys()
    for name in ("release", "approver"):
        getattr(keys, name).save(root / f"{name}.key")
        getattr(keys, name).public.save(root / f"{name}.pub")
    node = ("--node", root / "node")

    def hospital(command: str, *arguments: object) -> Any:
        return call(hospital_node.cli.main, command, *node, *arguments)

    hospital("ingest", "--data", root / "data", "--hospital", "St. Test")
    hospital(
        "policy", "--approver", root / "approver.pub", "--name", "Officer", "--set", "k=3", "min_group=3"
    )
    trained = hospital("train", *TINY, "--group-size", 3)
    status = hospital("status", "--all")
    audited = hospital("audit", "--samples", 16)
    approver = ("--key", root / "approver.key")
    approve = ("approve", *approver, "--by", "Officer", "--yes")
    approved = hospital(*approve, "--generator", audited["generators"][0]["id"])
    export = ("export", "--key", root / "release.key", "--out")
    exported = hospital(*export, root / "bundle")
    singles = hospital("train", *TINY)
    hospital("audit", "--samples", 16)
    image = next(one["id"] for one in status["named_images"] if "grey-1" in one["source_image"])
    hospital("policy", *approver, "--set", "release_linkable=true")
    # The approval of the group was given under another policy.
    hospital(*approve, "--generator", approved["approved"][0]["generator"])
    hospital(*approve, "--image", image)
    exported_again = hospital(*export, root / "both.zip")
    return Way(root, trained, status, audited, approved, exported, singles, exported_again)


@pytest.mark.ray
def test_three_images_become_a_group_and_two_of_another_layout_wait(way: Way) -> None:
    assert (way.trained["trained"], way.trained["waiting"], way.trained["failed"]) == (1, 0, {})
    (note,) = way.trained["notes"]
    assert note.startswith("2 images wait: of grey images with masks ")
    assert note.endswith(", a generator needs at least 3")
    (group,) = way.status["named_generators"]
    assert len(set(group["images"])) == PICTURES
    assert all("grey" not in source for source in group["sources"])
    assert way.status["images_behind"]["trained"] == PICTURES


@pytest.mark.ray
def test_a_trained_generator_knows_how_many_images_it_learnt_from(way: Way) -> None:
    node = way.node
    for record in node.ledger.generators.iterate():
        generator = TrainedGenerator.load(node.generator_path(record.id))
        assert generator.group_size == len(record.images)
        (pair, *_) = node.load_sources(record.id)
        height, width = pair.image.shape[:2]
        fit = 32 / max(height, width)
        assert (generator.spec.height, generator.spec.width) == pytest.approx(
            (height * fit, width * fit), abs=1
        )


@pytest.mark.ray
def test_the_audit_takes_every_image_of_the_group_for_a_source(way: Way) -> None:
    for one in way.audited["generators"]:
        assert one["audit"]["group_size"] == one["images"]
        # All others of the node, the grey ones too.
        assert one["audit"]["attacks"][0]["controls"] == PICTURES + 2 - one["images"]
        assert one["audit"]["verdict"] in ("k-group", "no listed attack succeeded")


@pytest.mark.ray
def test_what_was_approved_is_exported_verified_and_sampled(way: Way) -> None:
    (approved,) = way.approved["approved"]
    assert way.exported["generators"] == [approved["generator"]]
    assert way.exported["group_sizes"] == {approved["generator"]: approved["images"]}
    assert way.exported["images"] == approved["images"]
    verified = call(sharekit.cli.main, "verify", way.root / "bundle", "--key", way.root / "release.pub")
    assert verified["verdict"] == "authentic"
    call(
        *(consumer.cli.main, "sample", way.root / "bundle", "--key", way.root / "release.pub"),
        *("--count", 4, "--seed", 1, "--out", way.root / "samples"),
    )
    pictures = sorted((way.root / "samples" / "images").iterdir())
    assert len(pictures) == 4
    samples = [np.asarray(Image.open(path)) for path in pictures]
    assert all(sample.ndim == 3 for sample in samples)
    assert not np.array_equal(samples[0], samples[1])


@pytest.mark.ray
def test_nothing_of_any_image_of_the_group_is_in_the_bundle(way: Way) -> None:
    node, bundle = way.node, way.bundle("bundle")
    generators = [TrainedGenerator.load(node.generator_path(name)) for name in way.exported["generators"]]
    real = node_content(node, generators)
    assert len([one for one in real if one.pixels]) == way.exported["images"]
    assert find_real_content({name: bundle.read(name) for name in bundle.names}, real) == []


@pytest.mark.ray
def test_single_images_are_trained_after_it_and_go_the_same_way(way: Way) -> None:
    assert (way.singles["trained"], way.singles["notes"]) == (1 + PICTURES + 2, [])
    group = way.exported["generators"][0]
    assert way.exported_again["group_sizes"].pop(group) >= 3
    assert list(way.exported_again["group_sizes"].values()) == [1]
    assert way.exported_again["images"] == way.exported["images"] + 1
    verdicts = {entry.spec.id: entry.verdict for entry in way.bundle("both.zip").manifest.generators}
    assert verdicts.pop(group) != "linkable: controlled access"
    assert set(verdicts.values()) == {"linkable: controlled access"}
    counts = way.node.ledger.generators.counts()
    assert (counts[GeneratorState.RELEASED], counts[GeneratorState.TRAINED]) == (2, 0)
