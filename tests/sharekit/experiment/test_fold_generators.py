"""A fold's released generators are found in what `hospital-node status` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from sharekit.experiment.experiment_settings import GeneratorSettings
from sharekit.experiment.fold_generators import FoldPlan, fold_steps, read_generators
from sharekit.storage import files
from tests.hospital_node.trained_node import add_image, add_trained, train


def test_every_picture_has_its_generator_or_the_reason_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Node.create(tmp_path / "node", "Experiment")
    single, withheld = add_trained(node, 1), add_trained(node, 2)
    group = train(node, [add_image(node, number) for number in (3, 4)], seed=3)
    add_image(node, 5)
    for generator in (single, group):
        node.ledger.generators.transition(generator, GeneratorState.AUDITED)
        node.ledger.generators.transition(generator, GeneratorState.RELEASED, "release 1")
    node.ledger.generators.transition(withheld, GeneratorState.WITHHELD, "near copy")
    plan = FoldPlan("0", (), tmp_path, tmp_path / "release", tmp_path / "keys")
    *_, status = fold_steps(plan, GeneratorSettings(tmp_path, tmp_path))
    assert main([*status.command[1:], "--format", "json"]) == 0
    status.record.parent.mkdir(parents=True)
    files.write_json(status.record, {"result": json.loads(capsys.readouterr().out)})
    plan.bundle.mkdir(parents=True)
    files.write_json(plan.bundle / "manifest.json", {})
    found = read_generators(plan)
    name = "patient-mueller-{:03}".format
    assert found.generators == {name(1): single, name(3): group, name(4): group}
    assert found.reasons == {name(2): "withheld: near copy", name(5): "ingested: "}


def test_pictures_that_wait_for_a_person_are_taken_in_before_training(tmp_path: Path) -> None:
    plan = FoldPlan("0", (), tmp_path, tmp_path / "release", tmp_path / "keys")
    names = [step.name for step in fold_steps(plan, GeneratorSettings(tmp_path, tmp_path))]
    assert names[:4] == ["ingest", "review", "ingest after review", "train"]
    records = [step.record for step in fold_steps(plan, GeneratorSettings(tmp_path, tmp_path))]
    assert len(records) == len(set(records))
