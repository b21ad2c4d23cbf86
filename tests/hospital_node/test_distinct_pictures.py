"""Copies of one picture count once, wherever a number of pictures protects somebody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.evaluation import evaluate
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.release.approve import approve
from hospital_node.release.export import ExportResult, export_bundle
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from sharekit.errors import PolicyError
from sharekit.segmenter.contract import SegmenterContract
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, picture, train

KEYS = make_keys()
FEW = AuditSettings(samples=16)


def reader(number: int) -> Pair:
    """The same picture for every reader, a little brighter each, with a mask of the reader's own."""
    brighter = np.clip(picture(1).image.astype(int) + number, 0, 255).astype(np.uint8)
    return Pair(brighter, picture(number).masks)


def node_of(root: Path, pairs: Sequence[Pair], groups: Sequence[Sequence[int]]) -> Node:
    """An audited and approved node of these pairs, with a generator of each group of them."""
    node = Node.create(root, "Test hospital")
    images = [add_image(node, number, pair) for number, pair in enumerate(pairs, 1)]
    for seed, group in enumerate(groups):
        train(node, [images[index] for index in group], seed)
    save_policy(
        node.policy_path,
        Policy((Approver(APPROVER_NAME, KEYS.approver.public.pem().decode()),), release_linkable=True),
    )
    audit_node(node, load_policy(node.policy_path).limits, FEW)
    approve(node, KEYS.approver, APPROVER_NAME)
    return node


@pytest.fixture(scope="module")
def five_readers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, ExportResult]:
    """One picture, five readers: a generator of each of two readings, and one of all five."""
    root = tmp_path_factory.mktemp("readers")
    node = node_of(root / "node", [reader(number) for number in range(1, 6)], [[0], [1], range(5)])
    return node, export_bundle(node, root / "bundle", KEYS.release)


def test_the_style_of_one_picture_by_five_readers_is_not_published(
    five_readers: tuple[Node, ExportResult],
) -> None:
    _, result = five_readers
    assert "5 images show 1 distinct picture and are fewer than k = 5" in result.style
    assert not [name for name in result.bundle.names if name.startswith("style/")]


def test_one_picture_by_five_readers_counts_once_in_the_coverage(
    five_readers: tuple[Node, ExportResult],
) -> None:
    _, result = five_readers
    assert json.loads(result.bundle.read("statistics.json"))["image_count"] == 1


def test_five_copies_are_no_group_and_no_controls_of_each_other(
    five_readers: tuple[Node, ExportResult],
) -> None:
    node, _ = five_readers
    for outcome in audit_node(node, AuditLimits(), AuditSettings(16, again=True)).outcomes:
        assert outcome.audit is not None
        assert outcome.audit.verdict == "linkable: controlled access"
        assert outcome.audit.group_size == 1
        assert {result.controls for result in outcome.audit.attacks} == {0}
        assert "controls are missing" in outcome.audit.remarks[0]


def test_controls_that_are_copies_of_each_other_count_once(tmp_path: Path) -> None:
    node = node_of(tmp_path / "node", [picture(9), *map(reader, range(1, 4)), picture(8)], [[0]])
    (outcome,) = audit_node(node, AuditLimits(), AuditSettings(16, again=True)).outcomes
    assert outcome.audit is not None
    assert outcome.audit.attacks[0].controls == 2


def test_copies_in_the_hold_out_count_once_towards_its_minimum(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", "Test hospital")
    for number in range(1, 21):
        pair, image_id = reader(number), f"{number:032x}"
        node.store_pair(image_id, pair)
        height, width = pair.image.shape[:2]
        node.ledger.add(
            ImageRecord(
                image_id,
                f"{number}.png",
                (f"{number}-mask.png",),
                ImageState.HELD_OUT,
                height=height,
                width=width,
                image_channels=3,
                mask_classes=("lesion",),
                content_key=str(number),
            )
        )
    contract = SegmenterContract(3, (32, 32), (0.0,) * 3, (1.0,) * 3, "logits", ("lesion",))
    with pytest.raises(PolicyError, match=r"at least 20 images .* without copies") as caught:
        evaluate.hold_out_images(node, contract, 20)
    assert caught.value.found == "1"


def test_mixed_layouts_are_warned_of_when_they_leave(tmp_path: Path) -> None:
    lesion = picture(1)
    both = Pair(picture(2).image, {**picture(2).masks, "tool": picture(3).masks["lesion"]})
    node = node_of(tmp_path / "node", [lesion, both], [[0], [1]])
    result = export_bundle(node, tmp_path / "bundle", KEYS.release)
    (warning,) = result.to_json()["warnings"]
    assert "images of 2 layouts" in warning
    assert "no mask of tool" in warning


def test_one_layout_gives_no_warning(five_readers: tuple[Node, ExportResult]) -> None:
    assert five_readers[1].warnings == ()
