"""A trial node with a planted pattern: the audit looks for it, and nothing may leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.canaries import SIDE, TRIAL, Planted, canary_in_words, plant_canary, planted_in
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.approve import propose
from hospital_node.release.release_policy import Policy, save_policy
from hospital_node.singan.config import PROFILES, TrainingSettings
from hospital_node.singan.training import train as train_generator
from sharekit.errors import InputError, PolicyError
from tests.hospital_node.trained_node import HEIGHT, WIDTH, add_image, train


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node.create(tmp_path / "node", "Test hospital")
    for number in range(1, 4):
        add_image(made, number)
    return made


def audited(trial: Node, generator: str) -> GeneratorAudit:
    limits = Policy(release_linkable=True).limits
    (outcome,) = audit_node(trial, limits, AuditSettings(samples=16)).outcomes
    assert outcome.generator_id == generator
    assert outcome.audit is not None
    return outcome.audit


def test_one_command_copies_pictures_and_marks_one(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trial"
    command = ["canary", "--node", str(node.root), "--out", str(out), "--images", "2"]
    assert main([*command, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    trial = Node.open(out)
    planted = planted_in(trial)
    assert planted is not None
    assert (shown["images"], shown["height"], shown["width"]) == (2, HEIGHT, WIDTH)
    assert shown["marked"].startswith("images/patient-mueller-")
    marked = trial.load_pair(planted.image).image
    place = marked[planted.y : planted.y + SIDE, planted.x : planted.x + SIDE]
    assert set(np.unique(place)) == {0, 255}
    originals = [node.load_pair(record.id).image for record in node.ledger.iterate()]
    changed = min(int((marked != one).any(axis=2).sum()) for one in originals)
    assert 0 < changed <= SIDE * SIDE
    assert planted_in(node) is None
    assert Planted.from_json(planted.to_json()) == planted
    assert main(command) != 0


def test_the_audit_of_a_trial_looks_for_the_pattern_and_nothing_leaves(node: Node, tmp_path: Path) -> None:
    trial = Node.open(plant_canary(node, tmp_path / "trial").root)
    planted = planted_in(trial)
    assert planted is not None
    generator = train(trial, [planted.image], seed=5)
    audit = audited(trial, generator)
    (found,) = (one for one in audit.attacks if one.attack == "canary")
    assert found.samples > 0
    assert found.succeeded is False
    assert canary_in_words(planted, [audit]).startswith("canary: found in the samples of 0 of 1 generator")
    policy = Policy(release_linkable=True)
    save_policy(trial.policy_path, policy)
    with pytest.raises(PolicyError, match=TRIAL):
        propose(trial, policy)


def test_a_generator_of_other_pictures_is_not_asked_for_the_pattern(node: Node, tmp_path: Path) -> None:
    trial = Node.open(plant_canary(node, tmp_path / "trial", images=2).root)
    planted = planted_in(trial)
    assert planted is not None
    (other,) = (record.id for record in trial.ledger.iterate() if record.id != planted.image)
    audit = audited(trial, train(trial, [other], seed=5))
    assert "not looked for" in canary_in_words(planted, [audit])


def test_a_node_with_too_few_pictures_or_too_small_ones_has_no_trial(node: Node, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 9 images"):
        plant_canary(node, tmp_path / "trial", images=9)
    assert not (tmp_path / "trial").exists()


@pytest.mark.slow
def test_a_generator_that_learnt_the_marked_picture_draws_the_pattern_and_the_audit_finds_it(
    node: Node, tmp_path: Path
) -> None:
    trial = Node.open(plant_canary(node, tmp_path / "trial").root)
    planted = planted_in(trial)
    assert planted is not None
    (generator_id,) = trial.ledger.generators.plan([[planted.image]])
    settings = TrainingSettings("quick", PROFILES["quick"])
    trial.ledger.generators.begin(generator_id, settings.profile, settings.canonical)
    pair = trial.load_pair(planted.image)
    made = train_generator(
        [pair.tensor()],
        pair.layout,
        settings.config,
        generator_id=generator_id,
        profile="quick",
        checkpoint_dir=trial.model_dir(generator_id),
        seed=1,
    )
    made.save(trial.generator_path(generator_id))
    trial.ledger.generators.transition(generator_id, GeneratorState.TRAINED)
    audit = audited(trial, generator_id)
    (found,) = (one for one in audit.attacks if one.attack == "canary")
    assert "canary: a planted pattern comes back" in found.objections[0]
