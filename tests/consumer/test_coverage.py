"""A range of coverage: samples are drawn again until their masks lie in it, and what missed it is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consumer.cli import main
from consumer.datasets.mixture import Part, sample_mixture
from consumer.sampling import refinement as refinements
from consumer.sampling.refinement import Coverage, Refinement
from consumer.sampling.request import Request
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import UsageError
from sharekit.storage import schema
from tests.consumer.test_sampling import same

SEED = 7


@pytest.fixture(scope="module")
def only(bundle: Bundle) -> str:
    """The generator that all samples in a range come from: each of the bundle marks shares of its own."""
    return bundle.generators[0].spec.id


@pytest.fixture(scope="module")
def reachable(bundle: Bundle, only: str) -> Coverage:
    """A range that about half of the samples miss at first."""
    shares = [sample.coverage for sample in bundle.sample(24, SEED, generator=only)]
    low, high = np.quantile(shares, [0.25, 0.75])
    return Coverage(float(low), float(high))


@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_sample_in_a_range_is_a_function_of_its_number_alone(
    bundle: Bundle, only: str, reachable: Coverage, batch_size: int
) -> None:
    refinement = Refinement(coverage=reachable)
    drawn = list(bundle.sample(12, SEED, generator=only, batch_size=batch_size, refinement=refinement))
    assert all(reachable.least <= sample.coverage <= reachable.most for sample in drawn)
    for number in (0, 5, 11):
        alone = next(bundle.sample(1, SEED, generator=only, start=number, refinement=refinement))
        assert same(drawn[number], alone)
    first = list(bundle.sample(12, SEED, generator=only))
    kept = [reachable.least <= sample.coverage <= reachable.most for sample in first]
    assert [same(*pair) for pair in zip(first, drawn, strict=True)] == kept
    assert len(set(kept)) == 2


def test_of_a_range_out_of_reach_the_nearest_draw_stays(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinements, "MAX_DRAWS_IN_RANGE", 6)
    refinement = Refinement(coverage=(0.5, 0.6))
    drawn = list(bundle.sample(3, SEED, refinement=refinement))
    assert all(refinement.miss(sample.coverage) > 0 for sample in drawn)
    for sample in drawn:
        every = [
            next(bundle.draw(entry, Request(SEED), [refinements.index_of_draw(sample.index, draw)])).coverage
            for entry in bundle.generators
            if entry.spec.id == sample.generator
            for draw in range(6)
        ]
        assert sample.coverage == min(every, key=refinement.miss)


@pytest.mark.parametrize(
    "value", [(0.3, 0.1), (0.1,), (-0.1, 0.5), (0.2, 1.1), "0.1-0.3", ("a", "b"), 0.2, (0.1, float("nan"))]
)
def test_what_is_no_range_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"0\.05:0\.3|number"):
        Refinement(coverage=value)  # type: ignore[arg-type]


def test_a_range_comes_back_from_its_json_and_is_absent_without_one() -> None:
    refinement = Refinement(coverage=Coverage.of("0.05:.3"))
    assert refinement.coverage == (0.05, 0.3)
    assert Refinement.from_json(json.loads(json.dumps(refinement.to_json()))) == refinement
    assert "coverage" not in Refinement().to_json()


def test_a_torch_data_set_has_the_same_range(bundle: Bundle, only: str, reachable: Coverage) -> None:
    items = list(
        bundle.torch_dataset(SEED, length=6, generator=only, refinement=Refinement(coverage=reachable))
    )
    covered = [float(item["mask"].amax(dim=0).mean()) for item in items]
    assert all(reachable.least - 1e-6 <= share <= reachable.most + 1e-6 for share in covered)


def test_the_command_writes_coverages_and_says_how_many_lie_in_the_range(
    signed: tuple[Path, Path],
    tmp_path: Path,
    only: str,
    reachable: Coverage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def drawn(name: str, coverage: str) -> tuple[Path, str]:
        out = tmp_path / name
        bundle, key = map(str, signed)
        asked = ["sample", bundle, "--key", key, "--samples", "6", "--seed", str(SEED), "--out", str(out)]
        assert main([*asked, "--generator", only, "--coverage", coverage]) == 0
        return out, capsys.readouterr().out

    text = f"{reachable.least:.6f}:{reachable.most:.6f}"
    out, said = drawn("met", text)
    description = json.loads((out / "dataset.json").read_text())
    records = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    schema.validate("dataset", description, out)
    for record in records:
        schema.validate("dataset-record", record, out)
    assert all(reachable.least - 1e-6 <= record["coverage"] <= reachable.most + 1e-6 for record in records)
    assert description["refinement"]["coverage"] == [float(end) for end in text.split(":")]
    assert description["within_coverage"] == 6
    assert "in 6 of 6" in said
    assert "in 6 of 6" in drawn("met", text)[1]  # finished before

    out, said = drawn("missed", "0.5:0.6")
    assert json.loads((out / "dataset.json").read_text())["within_coverage"] == 0
    assert "coverage 0.5:0.6 in 0 of 6; the others are the nearest of 50 draws" in said


def test_a_mixture_counts_too(bundle: Bundle, reachable: Coverage, tmp_path: Path) -> None:
    request = Request(SEED, refinement=Refinement(coverage=reachable), generator=bundle.generators[0].spec.id)
    for _ in range(2):
        mixture = sample_mixture([Part(bundle, 1.0)], tmp_path / "out", 4, request)
        (written,) = mixture.data_sets
        assert written.description["within_coverage"] == 4
