"""What a request costs is known before a generator is loaded: refused, or drawn in smaller batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import consumer
from consumer.cli import main
from consumer.sampling import bounds
from consumer.sampling.bounds import Bounds
from consumer.sampling.request import Size
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import UsageError
from sharekit.generator.cost import CostLimits
from sharekit.signing import keys
from tests.consumer.test_sampling import same
from tests.sharekit.bundles import make_parts

LARGE = Size(width=200, height=160)


@pytest.fixture
def opened(signed: tuple[Path, Path]) -> Bundle:
    return consumer.open_bundle(*signed, device="cpu", threads=1, isolate=False)


def test_a_size_that_needs_too_much_is_refused_before_anything_is_loaded(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits, word in (
        (CostLimits(memory=2**20), "memory"),
        (CostLimits(multiply_adds=10**6), "multiply-adds"),
    ):
        monkeypatch.setattr(bounds, "BATCH_LIMITS", limits)
        with pytest.raises(UsageError) as caught:
            opened.sample(1, size=LARGE)
        assert word in caught.value.expected
        assert opened.generators[0].spec.id in caught.value.item
        assert "200x160" in caught.value.found
    assert opened.sessions_opened == 0


def test_the_command_refuses_it_with_2_and_writes_nothing(
    signed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "BATCH_LIMITS", CostLimits(memory=2**20))
    arguments = ["sample", str(signed[0]), "--key", str(signed[1]), "--samples", "1", "--seed", "1"]
    assert main([*arguments, "--size", str(LARGE), "--device", "cpu", "--out", str(tmp_path / "set")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_needs_too_much_is_drawn_in_smaller_ones(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(opened.sample(9, 3, size=LARGE))
    entry = opened.generators[0]
    computation = opened.verified.computations[entry.file]
    size = (LARGE.height, LARGE.width)
    monkeypatch.setattr(bounds, "BATCH_LIMITS", CostLimits(memory=computation.cost(size, 2).memory))
    assert Bounds(opened.verified.computations).batch_size(entry, LARGE, 8) in (1, 2)
    assert Bounds(opened.verified.computations).batch_size(entry, None, 8) == 8
    assert all(map(same, opened.sample(9, 3, size=LARGE), expected))


def test_a_bundle_with_a_smaller_limit_is_drawn_without_asking_for_it(tmp_path: Path) -> None:
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    parts = make_parts(key)
    manifest = replace(parts.manifest, limits=replace(parts.manifest.limits, max_batch=3))
    replace(parts, manifest=manifest).write(tmp_path / "bundle", key)
    opened = consumer.open_bundle(tmp_path / "bundle", tmp_path / "hospital.pub", device="cpu")
    assert len(list(opened.sample(10))) == 10
    with pytest.raises(UsageError, match="1 to 3, the bundle's limit"):
        opened.sample(10, batch_size=4)


def test_patience_grows_with_the_work(opened: Bundle) -> None:
    entry, limits = opened.generators[0], Bounds(opened.verified.computations)
    small, batch, large = (limits.seconds(entry, *asked) for asked in ((None, 1), (None, 64), (LARGE, 64)))
    assert bounds.PATIENCE < small < batch < large


def test_every_generator_has_its_computation(opened: Bundle) -> None:
    computations = opened.verified.computations
    assert set(computations) == {entry.file for entry in opened.generators}
    assert all(computations[entry.file].spec == entry.spec for entry in opened.generators)
