"""Attacks on samples that were styled as a consumer could style them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.attack import AttackContext, AuditLimits, Question, StyleTarget
from hospital_node.audit.attacks.styled import AfterStyle, style_small
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_one import Comparison
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.figure_words import figure_in_words
from hospital_node.audit.generator_audit import ATTACKS, question_of
from hospital_node.audit.real_images import node_units
from hospital_node.audit.style_target import style_target
from hospital_node.statistics.gram_matrices import grams_of, load_torch_once, style_statistics
from sharekit.bundle import features
from tests import planted_leaks as planted
from tests.hospital_node.test_audit_controls import attacked, real
from tests.hospital_node.trained_node import trained_node
from tests.tiny_features import write_checkpoint


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a few random features, which every search for features finds."""
    path = tmp_path / "features.ckpt"
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", write_checkpoint(path))
    monkeypatch.setenv(features.ENVIRONMENT_VARIABLE, str(path))
    return path


def target(path: Path) -> StyleTarget:
    pictures = (real(number)[:3] for number in range(200, 206))
    return StyleTarget(style_statistics(pictures, load_torch_once(path), k=5), path)


def styled(context: AttackContext, path: Path) -> AttackContext:
    return replace(context, style=target(path))


def test_samples_that_are_styled_come_nearer_to_the_style(network: Path) -> None:
    images = np.stack([real(number)[:3] for number in range(3)])
    means = target(network).statistics.grams

    def far(pictures: np.ndarray) -> float:
        grams = grams_of(list(pictures), load_torch_once(network), 256)
        return sum(float(((one[name] - mean) ** 2).sum()) for one in grams for name, mean in means.items())

    after = style_small(images, target(network))
    assert after.shape == images.shape
    assert far(after) < 0.7 * far(images)


def test_a_source_in_every_sample_is_found_after_style_transfer_and_without_a_leak_nothing_is(
    network: Path,
) -> None:
    found = AfterStyle().run(styled(attacked(planted.overfitted(0.9)), network))
    assert found.succeeded
    assert any(line.startswith("after style transfer: near copy") for line in found.objections)
    (nearest,) = (one for one in found.measures if one.name == "styled-full.best_distance")
    assert figure_in_words(nearest).endswith("(RMSE), after style transfer, at full size")
    assert nearest.stranger is not None
    clean = AfterStyle().run(styled(attacked(None), network))
    assert clean.at_chance is True
    assert clean.objections == ()
    assert "best-of-n, mean-of-samples, zero-noise, patch-copying, retrieval again" in clean.description


def test_a_node_without_statistics_or_weights_says_so_in_the_record(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = trained_node(tmp_path / "node", 3)
    records = node.ledger.generators.records()
    few = style_target(node, records, node_units(node), 5, 0)
    assert few == (
        "the node would release no style statistics of 3 patients or distinct pictures, fewer than k = 5"
    )
    assert isinstance(style_target(node, records, node_units(node), 3, 0), StyleTarget)
    monkeypatch.setattr(features, "find", lambda name=None: None)
    audit = audit_node(node, AuditLimits(k=3), AuditSettings(samples=16)).outcomes[0].audit
    assert audit is not None
    (after,) = (one for one in audit.attacks if one.attack == AfterStyle.name)
    assert after.description.startswith("not made: no weights")
    assert after.at_chance is None


def test_some_generators_of_a_run_are_styled_and_the_others_say_that_they_were_not(network: Path) -> None:
    compared = Comparison((), (), (), target(network), frozenset({"a", "b"}))
    assert isinstance(compared.style_for("a"), StyleTarget)
    assert compared.style_for("c") == "this run styled samples of 2 other generators"


def test_every_attack_says_which_question_it_helps_to_answer() -> None:
    about_the_file = {one.name for one in ATTACKS if one.question is Question.EXTRACTION}
    assert about_the_file == {"mean-of-samples", "zero-noise", "inversion", "static"}
    assert question_of("after-style") is Question.QUERY
    assert question_of("an attack of tomorrow") is None
