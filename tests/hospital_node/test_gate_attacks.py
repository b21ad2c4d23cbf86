"""Attacks by somebody who can write a node's files but has none of its secrets: each is one refusal."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.approve import approve
from hospital_node.release.export import export_bundle
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import PolicyError
from tests.hospital_node.trained_node import APPROVER_NAME, make_keys, trained_node

KEYS = make_keys()
FEW = AuditSettings(samples=16)
AGAIN = "hospital-node audit --again"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited node of two generators, which every test copies."""
    root = tmp_path_factory.mktemp("template") / "node"
    node = trained_node(root, 2)
    save_policy(
        node.policy_path,
        Policy((Approver(APPROVER_NAME, KEYS.approver.public.pem().decode()),), release_linkable=True),
    )
    audit_node(node, load_policy(node.policy_path).limits, FEW)
    node.ledger.close()
    return root


@pytest.fixture
def node(template: Path, tmp_path: Path) -> Node:
    return Node.open(shutil.copytree(template, tmp_path / "node"))


def generators(node: Node) -> list[str]:
    return [record.id for record in node.ledger.generators.records()]


def edit(node: Node, generator: str, **changes: object) -> None:
    """Edit an audit by hand."""
    path = node.audit_path(generator)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(node: Node, generator: str) -> str:
    """Why neither an approval nor an export lets this generator out."""
    with pytest.raises(PolicyError) as caught:
        approve(node, KEYS.approver, APPROVER_NAME, generators=[generator])
    with pytest.raises(PolicyError, match=AGAIN):
        export_bundle(node, node.root.parent / "bundle", KEYS.release)
    return caught.value.found


def test_a_failed_generator_does_not_leave_by_an_edited_audit(node: Node) -> None:
    limits = load_policy(node.policy_path).limits
    strict = dataclasses.replace(limits, min_distance_ratio=1000)
    assert audit_node(node, strict, dataclasses.replace(FEW, again=True)).withheld == 2
    for generator in generators(node):
        attacks = json.loads(node.audit_path(generator).read_text())["attacks"]
        passed = [attack | {"objections": []} for attack in attacks]
        edit(node, generator, attacks=passed, limits=limits.to_json())
        # The ledger is a file, too, and its state is no secret.
        node.ledger.generators.transition(generator, GeneratorState.AUDITED)
    assert "changed after the audit" in refused(node, generators(node)[0])


def test_an_edit_without_any_meaning_is_refused_too(node: Node) -> None:
    for generator in generators(node):
        edit(node, generator)
    assert "changed after the audit" in refused(node, generators(node)[0])


def test_a_changed_candidate_is_not_approved_though_the_audit_names_its_digest(node: Node) -> None:
    for generator in generators(node):
        path = node.candidate_path(generator)
        path.write_bytes(path.read_bytes() + b"\0")
        edit(node, generator, candidate_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert "changed after the audit" in refused(node, generators(node)[0])


def test_a_generator_of_one_image_does_not_leave_as_a_group(node: Node) -> None:
    for generator in generators(node):
        edit(node, generator, group_size=5, verdict="k-group")
    assert "changed after the audit" in refused(node, generators(node)[0])


def test_a_trained_file_that_claims_a_group_is_refused(node: Node) -> None:
    generator = generators(node)[0]
    trained = TrainedGenerator.load(node.generator_path(generator))
    dataclasses.replace(trained, group_size=5).save(node.generator_path(generator))
    with pytest.raises(PolicyError, match="of 5 images"):
        approve(node, KEYS.approver, APPROVER_NAME, generators=[generator])


def test_another_trained_file_needs_another_audit(node: Node) -> None:
    for generator in generators(node):
        trained = TrainedGenerator.load(node.generator_path(generator))
        dataclasses.replace(trained, hardware="another").save(node.generator_path(generator))
    assert "trained file" in refused(node, generators(node)[0])


def test_the_audit_and_seal_of_another_generator_are_refused(node: Node) -> None:
    first, second = generators(node)
    places = (node.audit_path, node.audit_seal_path, node.candidate_path)
    for place in places:
        shutil.copy(place(first), place(second))
    with pytest.raises(PolicyError, match="changed after the audit"):
        approve(node, KEYS.approver, APPROVER_NAME, generators=[second])


def test_the_seal_of_another_node_is_refused(node: Node) -> None:
    (node.secrets_dir / "commitment.key").write_bytes(bytes(32))
    assert "changed after the audit" in refused(node, generators(node)[0])


def test_an_audit_without_a_seal_leaves_after_another_audit(node: Node, tmp_path: Path) -> None:
    for generator in generators(node):
        node.audit_seal_path(generator).unlink()
    assert "no seal of this node" in refused(node, generators(node)[0])
    audit_node(node, load_policy(node.policy_path).limits, dataclasses.replace(FEW, again=True))
    approve(node, KEYS.approver, APPROVER_NAME)
    assert len(export_bundle(node, tmp_path / "bundle", KEYS.release).released) == 2


def test_deleting_the_record_of_published_statistics_resets_no_budget(node: Node, tmp_path: Path) -> None:
    first, second = generators(node)
    policy = load_policy(node.policy_path).with_setting("max_total_epsilon=1")
    save_policy(node.policy_path, policy)
    approve(node, KEYS.approver, APPROVER_NAME, generators=[first])
    export_bundle(node, tmp_path / "one", KEYS.release)
    (node.root / "published-statistics.json").unlink(missing_ok=True)
    approve(node, KEYS.approver, APPROVER_NAME, generators=[second])
    with pytest.raises(PolicyError, match="1 spent, 1 more wanted"):
        export_bundle(node, tmp_path / "two", KEYS.release)
