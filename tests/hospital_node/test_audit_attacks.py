"""Attacks find leaks that were built in, and nothing where there is none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from hospital_node.audit.attack import (
    Array,
    AttackContext,
    AttackResult,
    AuditLimits,
    Measure,
    Quantity,
    Space,
)
from hospital_node.audit.attacks.distance import between, rmse
from hospital_node.audit.attacks.mean import CORRELATION, DISTANCE, MeanOfSamples
from hospital_node.audit.attacks.nearest import (
    BEST_DISTANCE,
    DISTANCE_RATIO,
    LINKAGE_RATE,
    RANK,
    BestOfN,
    near_copy,
    nearness,
)
from hospital_node.audit.attacks.text import TEXT_RATE, TextInSamples
from hospital_node.audit.generator_audit import MISSING_CONTROLS, GeneratorAudit, audit_generator
from hospital_node.audit.release_summary import TOP_1_ACCURACY, summarise
from hospital_node.audit.verdict import Verdict, verdict
from hospital_node.candidate.parity import Parity, ParityCase
from hospital_node.leaks.correlation import correlation
from sharekit.generator.tensors import pixels_to_tensor
from tests.hospital_node.trained_node import picture

PARITY = Parity((ParityCase(20, 24, 1, 1e-6),), 1e-4, 18, "1.0")


def real(seed: int) -> Array:
    return pixels_to_tensor(picture(seed).image)


def context(samples: Array, *, controls: int = 8, sources: Sequence[int] = (0,)) -> AttackContext:
    others = [real(seed) for seed in range(100, 100 + controls)]
    return AttackContext(
        generator_id="0" * 32,
        candidate=b"",
        samples=samples.astype(np.float32),
        sources=np.stack([real(source) for source in sources]),
        units=len(sources),
        controls=np.stack(others) if others else np.zeros((0, *real(0).shape), np.float32),
        real=(),
        limits=AuditLimits(),
        seed=0,
    )


def copies(noise: float, count: int = 32) -> Array:
    """The source with fresh noise in every sample, clipped to [-1, 1]."""
    random = np.random.default_rng(5)
    return np.clip(real(0) + noise * random.standard_normal((count, *real(0).shape)), -1, 1)


def strangers(count: int = 32) -> Array:
    """Pictures that have nothing to do with the source."""
    return np.stack([real(1000 + seed) for seed in range(count)])


def measure(result: AttackResult, quantity: Quantity) -> Measure:
    found = result.measure(Space.FULL, quantity)
    assert found is not None
    return found


def test_rmse_is_the_root_mean_squared_difference() -> None:
    first, second = strangers(3), strangers(5)[2:].astype(np.float32)
    expected = [[np.sqrt(np.mean((a - b) ** 2)) for b in second] for a in first]
    assert rmse(first, second) == pytest.approx(np.array(expected), abs=1e-6)
    assert len(between(strangers(5))) == 10


def test_correlation_ignores_scale_and_offset() -> None:
    image = real(0)
    assert correlation(image, 3 * image - 7) == pytest.approx(1)
    assert correlation(image, -image) == pytest.approx(-1)
    assert correlation(image, np.ones_like(image)) == 0


def test_best_of_n_links_samples_near_the_source_to_it() -> None:
    result = BestOfN().run(context(copies(0.4)))
    assert measure(result, LINKAGE_RATE).value == 1
    assert measure(result, LINKAGE_RATE).baseline == pytest.approx(1 / 9)
    assert measure(result, RANK).value == 1
    assert measure(result, BEST_DISTANCE).value < measure(result, BEST_DISTANCE).control
    assert result.at_chance is False


def test_best_of_n_is_at_chance_for_unrelated_samples() -> None:
    result = BestOfN().run(context(strangers()))
    rate = measure(result, LINKAGE_RATE)
    assert rate.low <= rate.baseline
    assert result.at_chance is True
    assert result.objections == ()


def test_best_of_n_objects_to_a_near_copy() -> None:
    result = BestOfN().run(context(copies(0.01)))
    assert any("near copy" in objection for objection in result.objections)


def test_best_of_n_objects_to_one_near_copy_among_many_samples() -> None:
    samples = strangers()
    samples[17] = real(0)
    assert any("near copy" in objection for objection in BestOfN().run(context(samples)).objections)


def test_mean_of_samples_sees_through_noise_that_hides_the_source_in_each_sample() -> None:
    samples = real(0) + 0.5 * np.random.default_rng(1).standard_normal((400, *real(0).shape))
    noisy = context(samples)
    assert measure(BestOfN().run(noisy), DISTANCE_RATIO).value > 0.5
    result = MeanOfSamples().run(noisy)
    assert measure(result, CORRELATION).value > 0.99
    assert any("near copy" in objection for objection in result.objections)
    assert result.at_chance is False


def test_mean_of_samples_is_at_chance_for_unrelated_samples() -> None:
    result = MeanOfSamples().run(context(strangers(), sources=[3]))
    assert result.objections == ()
    assert abs(measure(result, CORRELATION).value) < 0.5


@pytest.mark.parametrize("attack", [BestOfN(), MeanOfSamples()])
@pytest.mark.parametrize("samples", [copies(0.3), strangers()])
def test_every_figure_lies_in_its_interval(attack: BestOfN, samples: Array) -> None:
    for item in attack.run(context(samples)).measures:
        assert item.low - 1e-9 <= item.value <= item.high + 1e-9, item.name


@pytest.mark.parametrize("attack", [BestOfN(), MeanOfSamples()])
def test_without_controls_nothing_is_called_chance_and_the_source_is_its_own_measure(attack: BestOfN) -> None:
    for controls in (0, 1):
        result = attack.run(context(strangers(), controls=controls))
        assert result.at_chance is None
        assert result.objections == ()
        near = attack.run(context(copies(0.001), controls=controls))
        assert any("the source's own contrast" in objection for objection in near.objections)


def test_samples_of_a_dark_image_are_no_copies_because_other_images_are_bright() -> None:
    rng = np.random.default_rng(2)
    dark = (-0.95 + 0.02 * rng.standard_normal((20, *real(0).shape))).astype(np.float32)
    kinds = dataclasses.replace(context(dark[1:]), sources=dark[:1])
    for attack in (BestOfN(), MeanOfSamples()):
        assert attack.run(kinds).objections == ()
        copies_of_it = dataclasses.replace(kinds, samples=np.repeat(dark[:1], 8, axis=0))
        assert "the source's own contrast" in attack.run(copies_of_it).objections[0]


def test_a_group_is_linked_by_any_of_its_sources_and_chance_grows_with_their_number() -> None:
    for sources in ([0, 51, 52], [51, 0, 52], [51, 52, 0]):
        result = BestOfN().run(context(copies(0.4), sources=sources))
        rate, rank = measure(result, LINKAGE_RATE), measure(result, RANK)
        assert (rate.value, rank.value) == (1, 1)
        assert rate.baseline == pytest.approx(3 / 11)
        assert rank.baseline == 1 + 8 / 4
        assert result.at_chance is False


def test_the_order_of_the_sources_changes_no_figure() -> None:
    for attack in (BestOfN(), MeanOfSamples()):
        first, second = (
            attack.run(context(copies(0.3), sources=sources)) for sources in ([0, 51, 52], [52, 0, 51])
        )
        for one, other in zip(first.measures, second.measures, strict=True):
            assert (one.name, one.value) == (other.name, pytest.approx(other.value))


def test_a_near_copy_of_any_source_of_a_group_is_an_objection() -> None:
    for attack in (BestOfN(), MeanOfSamples()):
        result = attack.run(context(copies(0.01), sources=[51, 0, 52]))
        assert any("near copy" in objection for objection in result.objections)


def test_the_mean_of_a_groups_samples_is_compared_with_the_source_that_it_is_nearest_to() -> None:
    alone = MeanOfSamples().run(context(copies(0.3)))
    grouped = MeanOfSamples().run(context(copies(0.3), sources=[51, 0]))
    for space in Space:
        for quantity in (DISTANCE, CORRELATION):
            found, expected = grouped.measure(space, quantity), alone.measure(space, quantity)
            assert found is not None
            assert expected is not None
            assert found.value == pytest.approx(expected.value)


def test_unrelated_samples_link_groups_at_the_rate_of_chance() -> None:
    """On average: some pictures lie in the middle of many, and are nearest more often than others."""
    chosen = [range(200 + start, 204 + start) for start in range(0, 80, 4)]
    rates = [
        measure(BestOfN().run(context(strangers(16), sources=sources)), LINKAGE_RATE) for sources in chosen
    ]
    assert {rate.baseline for rate in rates} == {4 / 12}
    assert np.mean([rate.value for rate in rates]) == pytest.approx(4 / 12, abs=0.08)


def test_a_plain_source_has_nothing_to_copy() -> None:
    plain = np.full_like(real(0), 0.3)
    found = nearness(0.0, plain[None], np.zeros(0))
    assert near_copy("a sample", [found], AuditLimits()) == ()


def audit(samples: Array, *, controls: int = 8, group_size: int = 1) -> GeneratorAudit:
    attacks = (BestOfN(), MeanOfSamples())
    # The first source is the one that the samples may copy.
    sources = [0, *range(500, 499 + group_size)]
    return audit_generator(context(samples, controls=controls, sources=sources), PARITY, attacks=attacks)


def test_audit_of_one_image_is_linkable_however_well_it_does() -> None:
    found = audit(strangers())
    assert found.verdict is Verdict.LINKABLE
    assert found.passed


def test_audit_without_controls_says_so() -> None:
    found = audit(strangers(), controls=1, group_size=50)
    assert found.remarks == (MISSING_CONTROLS,)
    assert found.verdict is Verdict.LINKABLE


def test_audit_fails_when_the_file_is_not_the_trained_network() -> None:
    far = dataclasses.replace(PARITY, cases=(ParityCase(20, 24, 1, 0.01),))
    found = audit_generator(context(strangers()), far, attacks=(BestOfN(),))
    assert not found.passed
    assert "differs from the trained network" in found.objections[0]


def test_audit_survives_its_json() -> None:
    found = audit(copies(0.01))
    assert GeneratorAudit.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_names_of_measures_in_an_audit_stay_what_they_were() -> None:
    """Approvals are about the digest of this JSON, and `privacy.json` is read outside."""
    nearest = ["best_distance", "distance_ratio", "rank", "linkage_rate"]
    mean = ["distance", "correlation", "median_distance"]
    written = audit(strangers()).to_json()["attacks"]
    for attack, quantities in zip(written, (nearest, mean), strict=True):
        found = [item["name"] for item in attack["measures"]]
        assert found == [f"{space}.{quantity}" for space in ("thumbnail", "full") for quantity in quantities]
    keys = {"name", "value", "low", "high", "method", "baseline", "control", "stranger", "effect"}
    assert all(set(item) == keys for attack in written for item in attack["measures"])


def test_a_measure_is_found_with_its_own_attack_alone() -> None:
    found = audit(strangers())
    nearest, mean = found.attacks
    assert found.measure(Space.FULL, RANK) == nearest.measure(Space.FULL, RANK) != None  # noqa: E711
    assert found.measure(Space.THUMBNAIL, DISTANCE) == mean.measure(Space.THUMBNAIL, DISTANCE)
    assert nearest.measure(Space.FULL, DISTANCE) is mean.measure(Space.FULL, RANK) is None
    assert audit(strangers(), controls=0).measure(Space.FULL, RANK) is None


def test_a_new_attack_can_object_by_itself() -> None:
    class Refusing:
        name = "refusing"

        def run(self, given: AttackContext) -> AttackResult:
            return AttackResult(self.name, "always", len(given.samples), 8, (), None, ("because",))

    found = audit_generator(context(strangers()), PARITY, attacks=(BestOfN(), Refusing()))
    assert found.objections == ("because",)


def test_summary_counts_generators_that_are_linked_to_their_source() -> None:
    accuracy = summarise([audit(copies(0.4)), audit(copies(0.2)), audit(strangers())])[1]
    assert (accuracy.space, accuracy.quantity) == (Space.FULL, TOP_1_ACCURACY.name)
    assert accuracy.value >= 2 / 3
    assert accuracy.low < accuracy.value <= accuracy.high
    assert summarise([audit(strangers(), controls=0)]) == ()
    (_, grouped) = summarise([audit(copies(0.4), group_size=3)])
    assert grouped.baseline == pytest.approx(3 / 11)


RESULTS = st.builds(
    AttackResult,
    attack=st.just("any"),
    description=st.just("any"),
    samples=st.integers(0, 100),
    controls=st.integers(0, 100),
    measures=st.just(()),
    at_chance=st.sampled_from([True, False, None]),
)


@given(st.integers(-3, 100), st.lists(RESULTS))
def test_anonymous_is_never_said_of_one_image(k: int, results: list[AttackResult]) -> None:
    assert verdict(1, k, results) == "linkable: controlled access"


@given(st.integers(2, 50), st.lists(RESULTS))
def test_a_group_needs_at_least_k_images_and_controls(k: int, results: list[AttackResult]) -> None:
    assert verdict(k - 1, k, results) is Verdict.LINKABLE
    if verdict(k, k, results) is not Verdict.LINKABLE:
        assert all(result.controls >= 2 for result in results if result.samples)


@given(st.lists(RESULTS))
def test_an_anonymous_claim_needs_every_attack_at_chance(results: list[AttackResult]) -> None:
    if verdict(9, 5, results) is Verdict.NO_ATTACK_SUCCEEDED:
        assert all(result.at_chance is True for result in results if result.samples)


def large(text: str, count: int) -> Array:
    """Smooth pictures with a line of text in each, or without."""
    pictures = []
    for seed in range(count):
        small = np.random.default_rng(seed).integers(80, 150, (4, 6, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((240, 160), Image.Resampling.BICUBIC)
        ImageDraw.Draw(image).text((20, 10), text, (255, 255, 255), font=ImageFont.load_default(18))
        pictures.append(pixels_to_tensor(np.asarray(image)))
    return np.stack(pictures)


def test_text_that_samples_repeat_withholds_the_generator_and_plain_samples_do_not():
    shared = context(strangers(), controls=0)
    written = dataclasses.replace(shared, samples=large("DOE JANE 12/03/1954", 4))
    plain = dataclasses.replace(shared, samples=large("", 4))
    found = TextInSamples().run(written)
    assert found.measure(Space.FULL, TEXT_RATE).value == 1
    assert "4 of 4 samples" in found.objections[0]
    assert TextInSamples().run(plain).objections == ()
