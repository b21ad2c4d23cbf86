"""Export: a clean node becomes a verified bundle; anything missing or real stops it before it is written."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.audited import read_asking, store_audit
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.leaks.node_content import node_content
from hospital_node.leaks.search import find_real_content
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.approve import generators_of, give_approval, propose
from hospital_node.release.contents import data_set_commitment
from hospital_node.release.export import ExportResult, export_bundle
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from sharekit.bundle import features
from sharekit.bundle.bundle import VerifiedBundle, verify_bundle
from sharekit.errors import ExposureError, InputError, PolicyError, VerificationError
from sharekit.program import umask
from sharekit.storage import files
from tests.hospital_node.trained_node import (
    APPROVER_NAME,
    Keys,
    add_image,
    add_trained,
    generator_of,
    make_keys,
    train,
    trained_node,
)

FEW = AuditSettings(samples=16)
IMAGE = f"{1:032x}"
KEYS = make_keys()


def audited(root: Path, images: int = 3) -> Node:
    node = trained_node(root, images)
    approver = Approver(APPROVER_NAME, KEYS.approver.public.pem().decode())
    save_policy(node.policy_path, Policy((approver,), release_linkable=True))
    audit_node(node, load_policy(node.policy_path).limits, FEW)
    return node


def approve(node: Node, generators: list[str] | None = None, keys: Keys = KEYS) -> Path:
    policy = load_policy(node.policy_path)
    return give_approval(node, policy, propose(node, policy, generators), keys.approver, APPROVER_NAME)


def states(node: Node) -> set[GeneratorState]:
    return {record.state for record in node.ledger.generators.iterate()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited node of three images, copied by every test that changes it."""
    root = tmp_path_factory.mktemp("template") / "node"
    audited(root).ledger.close()
    return root


@pytest.fixture
def unapproved(template: Path, tmp_path: Path) -> Node:
    return Node.open(shutil.copytree(template, tmp_path / "node"))


@pytest.fixture
def node(unapproved: Node) -> Node:
    approve(unapproved)
    return unapproved


@pytest.fixture(scope="module")
def released(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, VerifiedBundle]:
    root = tmp_path_factory.mktemp("released")
    node = Node.open(shutil.copytree(template, root / "node"))
    approve(node)
    return node, export_bundle(node, root / "bundle", KEYS.release).bundle


def payload(bundle: VerifiedBundle, name: str) -> dict:
    return json.loads(base64.b64decode(json.loads(bundle.read(name))["payload"]))


def test_bundle_verifies_and_every_generator_is_released(released: tuple[Node, VerifiedBundle]) -> None:
    node, bundle = released
    assert verify_bundle(bundle.path, [KEYS.release.public]).verdict == "authentic"
    assert len(bundle.manifest.generators) == 3
    assert states(node) == {GeneratorState.RELEASED}


def test_the_bundle_has_the_user_s_permissions_and_the_node_keeps_its_own(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(umask, "users", None)
    before = os.umask(0o027)
    try:
        umask.make_private()
        export_bundle(node, tmp_path / "bundle", KEYS.release)
    finally:
        os.umask(before)
    bundle = (tmp_path / "bundle", *(tmp_path / "bundle").rglob("*"))
    assert {f"{path.stat().st_mode & 0o777:o}" for path in bundle} == {"750", "640"}
    assert {path.stat().st_mode & 0o077 for path in (node.root, *node.root.rglob("*"))} == {0}


def test_bundle_holds_the_audited_bytes(released: tuple[Node, VerifiedBundle]) -> None:
    node, bundle = released
    for record in node.ledger.generators.records():
        name = f"generators/{record.id}.onnx"
        assert bundle.read(name) == node.candidate_path(record.id).read_bytes()


def test_nothing_real_is_in_the_bundle(released: tuple[Node, VerifiedBundle]) -> None:
    node, bundle = released
    real = node_content(node, [item.generator for item in read_asking(node)[0]])
    contents = {path.name: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()}
    assert find_real_content(contents, real) == []
    contents["CARD.md"] += real[0].pixels[0].tobytes()
    assert find_real_content(contents, real) != []


def test_image_identifiers_stay_inside(released: tuple[Node, VerifiedBundle]) -> None:
    node, bundle = released
    everything = b"".join(bundle.read(name) for name in bundle.names)
    for record in node.ledger.records():
        assert record.id.encode() not in everything


def test_privacy_statement_is_about_the_files_and_says_linkable(
    released: tuple[Node, VerifiedBundle],
) -> None:
    statement = payload(released[1], "privacy.json")
    assert statement["predicateType"] == "urn:sharekit:privacy:v1"
    for audit in statement["predicate"]["audits"]:
        assert audit["verdict"] == "linkable: controlled access"
    assert "anonymous" not in json.dumps(statement).lower()


def test_provenance_commits_to_the_data_under_a_key_and_names_the_approver(
    released: tuple[Node, VerifiedBundle],
) -> None:
    predicate = payload(released[1], "provenance.json")["predicate"]
    data_set = predicate["buildDefinition"]["resolvedDependencies"][0]
    assert list(data_set["digest"]) == ["hmac-sha256"]
    approvals = predicate["buildDefinition"]["internalParameters"]["approvals"]
    assert set(map(tuple, approvals.values())) == {(KEYS.approver.public.fingerprint,)}


def test_card_says_linkable_in_words_and_never_anonymous(released: tuple[Node, VerifiedBundle]) -> None:
    card = released[1].read("CARD.md").decode()
    assert "linkable: controlled access" in card
    assert "can be linked to it" in card
    assert "anonymous" not in card.lower()


def test_fewer_than_k_images_give_no_style_and_the_result_says_why(node: Node, tmp_path: Path) -> None:
    result = export_bundle(node, tmp_path / "bundle", KEYS.release)
    assert not [name for name in result.bundle.names if name.startswith("style/")]
    assert "3 images are fewer than k = 5" in result.style
    assert result.style in result.bundle.read("CARD.md").decode()
    assert result.bundle.manifest.dependencies.features is None


def test_k_images_give_style_statistics_of_the_network_that_was_found(tmp_path: Path) -> None:
    if features.find() is None:
        pytest.skip("no file of a feature network on this machine")
    node = audited(tmp_path / "node", 5)
    approve(node)
    result = export_bundle(node, tmp_path / "bundle", KEYS.release)
    source = result.bundle.manifest.dependencies.features
    assert source is not None
    assert source.name in result.style
    assert "style/style.json" in result.bundle.names


def test_zip_is_written_where_the_name_says_so(node: Node, tmp_path: Path) -> None:
    result = export_bundle(node, tmp_path / "bundle.zip", KEYS.release)
    assert (tmp_path / "bundle.zip").is_file()
    assert verify_bundle(result.bundle.path, [KEYS.release.public])


def test_repeated_export_counts_up_and_draws_no_new_noise(node: Node, tmp_path: Path) -> None:
    first = export_bundle(node, tmp_path / "one", KEYS.release).bundle
    second = export_bundle(node, tmp_path / "two", KEYS.release).bundle
    assert second.manifest.release > first.manifest.release
    assert first.read("statistics.json") == second.read("statistics.json")


def test_nothing_is_left_in_the_node_but_what_belongs_there(node: Node, tmp_path: Path) -> None:
    export_bundle(node, tmp_path / "one", KEYS.release)
    assert not list(node.root.glob("outgoing*"))


def refused(node: Node, out: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        export_bundle(node, out, KEYS.release)
    assert not out.exists()
    assert not list(node.root.glob("outgoing*"))
    assert GeneratorState.RELEASED not in states(node)
    return caught.value.found


def test_export_without_audit_is_refused(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node")
    save_policy(node.policy_path, Policy())
    assert "no candidate" in refused(node, tmp_path / "bundle")


def test_export_without_approval_is_refused(unapproved: Node, tmp_path: Path) -> None:
    assert "approved by 0 of 1" in refused(unapproved, tmp_path / "bundle")


def test_export_with_an_unreadable_policy_is_refused(node: Node, tmp_path: Path) -> None:
    node.policy_path.write_text("{")
    refused(node, tmp_path / "bundle")


def test_export_without_a_policy_is_refused(node: Node, tmp_path: Path) -> None:
    node.policy_path.unlink()
    refused(node, tmp_path / "bundle")


def test_export_of_candidates_that_changed_after_the_audit_is_refused(node: Node, tmp_path: Path) -> None:
    for record in node.ledger.generators.records():
        with node.candidate_path(record.id).open("ab") as file:
            file.write(b"\0")
    assert "other bytes" in refused(node, tmp_path / "bundle")


def test_export_with_audits_that_changed_after_the_approval_is_refused(node: Node, tmp_path: Path) -> None:
    for record in node.ledger.generators.records():
        path = node.audit_path(record.id)
        path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    assert "approved by 0 of 1" in refused(node, tmp_path / "bundle")


def test_a_group_that_a_sealed_audit_makes_up_is_refused(unapproved: Node, tmp_path: Path) -> None:
    node = unapproved
    for record in node.ledger.generators.records():
        audit = json.loads(node.audit_path(record.id).read_text()) | {"group_size": 50, "verdict": "k-group"}
        store_audit(node, record, GeneratorAudit.from_json(audit))
    with pytest.raises(PolicyError, match="counts 50 images behind it, the ledger 1"):
        approve(node)
    assert "counts 50 images behind it, the ledger 1" in refused(node, tmp_path / "bundle")


def test_export_with_a_tampered_approval_is_refused(node: Node, tmp_path: Path) -> None:
    for path in node.approvals_dir.iterdir():
        path.write_text(path.read_text().replace('"sig": "M', '"sig": "N'))
    assert "approved by 0 of 1" in refused(node, tmp_path / "bundle")


def test_only_approved_generators_leave(unapproved: Node, tmp_path: Path) -> None:
    node = unapproved
    first = generator_of(node, IMAGE)
    approve(node, [first])
    result = export_bundle(node, tmp_path / "bundle", KEYS.release)
    assert len(result.released) == 1
    assert len(result.refused) == 2
    assert node.ledger.generators.get(first).state is GeneratorState.RELEASED


def test_a_generator_trained_later_does_not_ride_on_an_earlier_approval(node: Node, tmp_path: Path) -> None:
    later = add_trained(node, 9)
    audit_node(node, load_policy(node.policy_path).limits, FEW)
    result = export_bundle(node, tmp_path / "bundle", KEYS.release)
    assert later in result.refused


def test_a_file_name_in_the_hospitals_own_name_stops_the_export(tmp_path: Path, node: Node) -> None:
    node.hospital = "Clinic of patient-mueller-002.png"
    out = tmp_path / "bundle"
    with pytest.raises(ExposureError, match="name from the hospital"):
        export_bundle(node, out, KEYS.release)
    assert not out.exists()
    assert not list(node.root.glob("outgoing*"))
    assert GeneratorState.RELEASED not in states(node)


def test_a_bundle_is_never_written_into_the_node_or_over_something(node: Node, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out in (node.root / "bundle", tmp_path / "node" / ".." / "node" / "b.zip", tmp_path / "there"):
        with pytest.raises(InputError):
            export_bundle(node, out, KEYS.release)


def test_approval_by_an_unlisted_key_is_not_even_written(node: Node) -> None:
    policy = load_policy(node.policy_path)
    before = set(node.approvals_dir.iterdir())
    with pytest.raises(PolicyError, match="listed approver"):
        give_approval(node, policy, propose(node, policy), KEYS.stranger, "Somebody")
    assert set(node.approvals_dir.iterdir()) == before


def test_what_the_audit_withholds_cannot_be_approved_by_name(unapproved: Node) -> None:
    node = unapproved
    first = generator_of(node, IMAGE)
    node.ledger.generators.transition(first, GeneratorState.WITHHELD, "near copy")
    policy = load_policy(node.policy_path)
    with pytest.raises(PolicyError, match="near copy"):
        propose(node, policy, [first])
    assert first in propose(node, policy).refused
    with pytest.raises(InputError):
        propose(node, policy, ["0" * 32])


def test_an_image_names_the_generators_that_learnt_from_it(unapproved: Node) -> None:
    node = unapproved
    first = generator_of(node, IMAGE)
    group = train(node, [IMAGE, f"{2:032x}"], seed=5)
    assert generators_of(node, [IMAGE]) == [first, group]
    assert generators_of(node, [IMAGE, f"{2:032x}"]) == [first, group, generator_of_two(node)]
    for image, why in ((add_image(node, 8), "no such generator"), ("0" * 32, "no image")):
        with pytest.raises(InputError, match=why):
            generators_of(node, [image])


def generator_of_two(node: Node) -> str:
    """The generator of the second image alone."""
    return next(one.id for one in node.ledger.generators.of_image(f"{2:032x}") if len(one.images) == 1)


def test_approvals_are_private_envelopes(node: Node) -> None:
    (path,) = node.approvals_dir.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    envelope = files.parse_json(path.read_bytes(), path)
    assert set(envelope) == {"payload", "payloadType", "signatures"}


def test_flipping_a_byte_of_the_bundle_is_found(node: Node, tmp_path: Path) -> None:
    bundle = export_bundle(node, tmp_path / "bundle", KEYS.release).bundle
    path = bundle.path / "privacy.json"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=r"privacy\.json"):
        verify_bundle(bundle.path, [KEYS.release.public])


# -- generators of several images


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, ExportResult]:
    """Two generators of one image each, and one of these two and a third."""
    root = tmp_path_factory.mktemp("mixed")
    node = trained_node(root / "node", 2)
    images = [record.id for record in node.ledger.iterate()]
    train(node, [*images, add_image(node, 3)], seed=5)
    add_image(node, 4)
    save_policy(
        node.policy_path,
        Policy((Approver(APPROVER_NAME, KEYS.approver.public.pem().decode()),), release_linkable=True),
    )
    audit_node(node, load_policy(node.policy_path).limits, FEW)
    approve(node)
    return node, export_bundle(node, root / "bundle", KEYS.release)


def test_images_behind_several_generators_count_once(mixed: tuple[Node, ExportResult]) -> None:
    _, result = mixed
    assert result.images == 3
    assert sorted(result.group_sizes.values()) == [1, 1, 3]
    assert json.loads(result.bundle.read("statistics.json"))["image_count"] == 3
    predicate = payload(result.bundle, "provenance.json")["predicate"]["buildDefinition"]
    assert predicate["resolvedDependencies"][0]["annotations"] == {"images": 3}
    training = predicate["externalParameters"]["training"]
    assert {name: one["group_size"] for name, one in training.items()} == dict(result.group_sizes)
    assert "3 images are fewer than k = 5" in result.style


def test_the_commitment_is_to_the_images_whatever_generators_they_stand_behind(
    mixed: tuple[Node, ExportResult],
) -> None:
    node, _ = mixed
    images = [record.id for record in node.ledger.iterate()]
    assert data_set_commitment(node, images) == data_set_commitment(node, images[::-1])
    assert data_set_commitment(node, images) != data_set_commitment(node, images[:3])


def test_nothing_of_any_image_of_a_group_is_in_the_bundle(mixed: tuple[Node, ExportResult]) -> None:
    node, result = mixed
    real = node_content(node, [item.generator for item in read_asking(node)[0]])
    contents = {name: result.bundle.read(name) for name in result.bundle.names}
    assert find_real_content(contents, real) == []
    for image in (record.id for record in node.ledger.iterate()):
        planted = node.load_pair(image).image.tobytes()
        found = find_real_content({**contents, "CARD.md": planted}, real)
        behind = bool(node.ledger.generators.of_image(image))
        assert [f"image of {image}" == finding.kind for finding in found] == [True] * behind


def test_card_says_how_many_images_stand_behind_a_generator(mixed: tuple[Node, ExportResult]) -> None:
    card = " ".join(mixed[1].bundle.read("CARD.md").decode().split())
    assert "Real images behind a generator: 1 (2 of 3), 3 (1 of 3)" in card
    assert "trained on images of 1 to 3 distinct pictures: fewer than the policy asks of a group" in card
    assert "coverage of the masks of 3 real images" in card
    assert "anonymous" not in card.lower()
