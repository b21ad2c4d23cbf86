"""The audit of a node: candidates, states, and what one broken image does to the others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit import audit_one
from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.attacks.distance import with_channels
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.candidate_draws import Drawn, draw_candidate
from hospital_node.audit.generator_audit import ATTACKS, GeneratorAudit
from hospital_node.candidate.build import build_onnx
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import UsageError
from sharekit.generator.spec import GeneratorSpec
from sharekit.program.progress import Progress
from tests.hospital_node.trained_node import add_image, generator_of, train, trained_node

LIMITS = AuditLimits()
FEW = AuditSettings(samples=16)
IMAGE = f"{1:032x}"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return trained_node(tmp_path / "node")


def states(node: Node) -> list[GeneratorState]:
    return [record.state for record in node.ledger.generators.iterate()]


def test_every_trained_generator_gets_a_candidate_and_an_audit_of_those_bytes(node: Node) -> None:
    events: list[Progress] = []
    outcomes = audit_node(node, LIMITS, FEW, on_progress=events.append).outcomes
    assert states(node) == [GeneratorState.AUDITED] * 3
    assert (events[-1].done, events[-1].total) == (3, 3)
    for outcome in outcomes:
        candidate = node.candidate_path(outcome.generator_id).read_bytes()
        assert candidate == build_onnx(TrainedGenerator.load(node.generator_path(outcome.generator_id)))
        stored = GeneratorAudit.from_json(json.loads(node.audit_path(outcome.generator_id).read_text()))
        assert stored == outcome.audit
        assert stored.candidate_sha256 == hashlib.sha256(candidate).hexdigest()
        assert {result.attack for result in stored.attacks} == {attack.name for attack in ATTACKS}


def test_audit_files_are_private_and_name_nothing_of_the_hospital(node: Node) -> None:
    audit_node(node, LIMITS, FEW)
    first = generator_of(node, IMAGE)
    for path in (node.audit_path(first), node.candidate_path(first)):
        assert path.stat().st_mode & 0o077 == 0
    text = node.audit_path(first).read_text()
    assert "mueller" not in text
    assert IMAGE not in text


@pytest.mark.slow
def test_workers_give_the_same_audits_as_one_process(node: Node) -> None:
    alone = {one.generator_id: one.audit for one in audit_node(node, LIMITS, FEW).outcomes}
    found = audit_node(node, LIMITS, AuditSettings(16, again=True, actors=2)).outcomes
    assert [one.reason for one in found] == ["linkable: controlled access"] * 3
    assert {one.generator_id: one.audit for one in found} == alone
    assert states(node) == [GeneratorState.AUDITED] * 3
    assert not (node.root / "ray.json").exists()


def test_the_same_seed_gives_the_same_audit(node: Node) -> None:
    first = [outcome.audit for outcome in audit_node(node, LIMITS, FEW).outcomes]
    again = [outcome.audit for outcome in audit_node(node, LIMITS, AuditSettings(16, again=True)).outcomes]
    assert first == again


def test_each_generator_is_drawn_once_as_a_control_and_for_its_own_audit(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []

    def draw(candidate: bytes, spec: GeneratorSpec, seed: int, count: int) -> Drawn:
        drawn.append(candidate)
        return draw_candidate(candidate, spec, seed, count)

    monkeypatch.setattr(audit_one, "draw_candidate", draw)
    audit_node(node, LIMITS, FEW)
    assert len(drawn) == len(set(drawn)) == 3


def test_one_broken_generator_is_withheld_and_the_others_are_audited(node: Node) -> None:
    first = generator_of(node, IMAGE)
    node.generator_path(first).write_bytes(b"damaged")
    outcomes = audit_node(node, LIMITS, FEW).outcomes
    assert states(node) == [GeneratorState.WITHHELD, GeneratorState.AUDITED, GeneratorState.AUDITED]
    assert outcomes[0].audit is None
    assert "the audit failed: NodeStateError" in node.ledger.generators.get(first).reason
    assert not node.audit_path(first).exists()


def test_a_failed_audit_is_tried_again_by_the_next_run(node: Node) -> None:
    first = generator_of(node, IMAGE)
    whole = node.generator_path(first).read_bytes()
    node.generator_path(first).write_bytes(b"damaged")
    audit_node(node, LIMITS, FEW)
    node.generator_path(first).write_bytes(whole)
    outcomes = audit_node(node, LIMITS, FEW).outcomes
    assert [outcome.generator_id for outcome in outcomes] == [first]
    assert states(node) == [GeneratorState.AUDITED] * 3


def test_a_near_copy_is_withheld_with_its_distance(node: Node) -> None:
    outcomes = audit_node(node, AuditLimits(min_distance_ratio=2.0), FEW).outcomes
    assert all(outcome.state in (GeneratorState.AUDITED, GeneratorState.WITHHELD) for outcome in outcomes)
    withheld = [outcome for outcome in outcomes if outcome.state is GeneratorState.WITHHELD]
    assert withheld
    assert all("near copy" in node.ledger.generators.get(outcome.generator_id).reason for outcome in withheld)


def test_a_node_of_two_images_has_no_controls_and_is_linkable(tmp_path: Path) -> None:
    outcomes = audit_node(trained_node(tmp_path / "node", 2), LIMITS, FEW).outcomes
    for outcome in outcomes:
        assert outcome.audit is not None
        assert outcome.audit.verdict == "linkable: controlled access"
        assert "controls are missing" in outcome.audit.remarks[0]


def test_a_group_is_audited_against_all_its_images_and_no_control_is_among_them(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 2)
    generator = train(node, [add_image(node, number) for number in (11, 12, 13)], seed=7)
    found = {outcome.generator_id: outcome for outcome in audit_node(node, LIMITS, FEW).outcomes}
    assert {outcome.images for outcome in found.values()} == {1, 3}
    audit = found[generator].audit
    assert audit is not None
    assert (audit.group_size, audit.attacks[0].controls) == (3, 2)
    (single,) = {one.audit.attacks[0].controls for one in found.values() if one.images == 1 and one.audit}
    assert single == 4


def test_a_group_of_at_least_k_images_is_no_longer_linkable(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 2)
    train(node, [add_image(node, number) for number in (11, 12, 13)], seed=7)
    verdicts = {
        outcome.images: outcome.audit.verdict
        for outcome in audit_node(node, AuditLimits(k=3), FEW).outcomes
        if outcome.audit
    }
    assert verdicts[1] == "linkable: controlled access"
    assert verdicts[3] in ("k-group", "no listed attack succeeded")


def test_a_trained_file_of_another_number_of_images_is_withheld(node: Node) -> None:
    first = generator_of(node, IMAGE)
    generator = TrainedGenerator.load(node.generator_path(first))
    dataclasses.replace(generator, group_size=50).save(node.generator_path(first))
    report = audit_node(node, LIMITS, FEW)
    assert (report.audited, report.withheld, report.failed) == (2, 0, 1)
    assert "of 50 images" in node.ledger.generators.get(first).reason


@pytest.mark.parametrize("settings", [AuditSettings(samples=15), AuditSettings(seed=-1)])
def test_too_few_samples_or_a_bad_seed_are_refused(node: Node, settings: AuditSettings) -> None:
    with pytest.raises(UsageError):
        audit_node(node, LIMITS, settings)
    assert states(node) == [GeneratorState.TRAINED] * 3


def test_grey_and_rgb_are_compared_as_grey_or_three_times_grey() -> None:
    rgb = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    grey = with_channels(rgb, 1)
    assert grey.shape == (1, 2, 4)
    assert with_channels(grey, 3).shape == (3, 2, 4)
    assert with_channels(rgb, 3) is rgb
