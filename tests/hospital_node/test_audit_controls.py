"""Three columns, one test for every attack, planted leaks found, and which sample is nearest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hospital_node.audit.attack import AttackContext, AttackResult, AuditLimits
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.attacks.canary import Canary
from hospital_node.audit.attacks.frames import OtherFrames
from hospital_node.audit.attacks.inversion import Inversion
from hospital_node.audit.attacks.nearest import BestOfN
from hospital_node.audit.attacks.patches import PatchCopying
from hospital_node.audit.attacks.retrieval import Retrieval
from hospital_node.audit.attacks.zero_noise import ZeroNoise
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import SAMPLES, AuditSettings, samples_of
from hospital_node.audit.audited import read_asking
from hospital_node.audit.candidate_draws import draw_candidate
from hospital_node.audit.exposure import DECIDING, exposure
from hospital_node.audit.figure_words import QUANTITIES, figure_in_words
from hospital_node.audit.generator_audit import ATTACKS, GeneratorAudit, audit_generator
from hospital_node.candidate.build import build_onnx
from hospital_node.candidate.parity import Parity, ParityCase
from hospital_node.cli import main
from hospital_node.node.node import Node
from hospital_node.node.seals import Sealed, seal
from hospital_node.singan.config import PROFILES, TrainingConfig
from sharekit.generator.tensors import pixels_to_tensor
from tests import planted_leaks as planted
from tests.hospital_node.trained_node import generator_of, picture, trained_node
from tests.tiny import tiny_generator

CONTROLS, STORED, SAMPLED = 12, 6, 200


def real(seed: int) -> planted.Array:
    """A smooth picture with its mask, `(4, 48, 60)` in [-1, 1]."""
    pair = picture(seed).resized(planted.HEIGHT, planted.WIDTH)
    return pair.tensor()


def attacked(leak: planted.Leak | None, canaries: tuple[planted.Array, ...] = ()) -> AttackContext:
    """A hand-made generator that leaks `real(0)`."""
    rng = np.random.default_rng(5)
    candidate, spec = planted.generator("a" * 32, [real(900 + n) for n in range(STORED)], rng, real(0), leak)
    other, _ = planted.generator("b" * 32, [real(800 + n) for n in range(STORED)], rng, real(0), None)
    known = Known(
        real(0)[None, :3], 1, [real(100 + number)[:3] for number in range(CONTROLS)], canaries=canaries
    )
    drawn, strangers = (draw_candidate(one, spec, 0, SAMPLED) for one in (candidate, other))
    return attack_context(spec, drawn, known, strangers, AuditLimits(), 0)


@pytest.fixture(scope="module")
def clean() -> AttackContext:
    return attacked(None)


def test_no_attack_succeeds_on_a_generator_without_a_leak(clean: AttackContext) -> None:
    parity = Parity((ParityCase(48, 60, 1, 0.0),), 1e-4, 18, "1")
    found = audit_generator(clean, parity)
    assert found.conclusion == "no listed attack succeeded"
    assert found.passed
    assert {one.attack for one in found.attacks} == {one.name for one in ATTACKS}


@pytest.mark.parametrize(
    ("leak", "attack"),
    [
        (planted.near_copy(0.02), BestOfN()),
        (planted.copied_patch(24), PatchCopying()),
        (planted.stored_z_star(), ZeroNoise()),
        (planted.calm_copy(), ZeroNoise()),
        (planted.overfitted(0.7), BestOfN()),
    ],
)
def test_each_planted_leak_is_found(leak: planted.Leak, attack: BestOfN, clean: AttackContext) -> None:
    assert attack.run(attacked(leak)).succeeded
    assert not attack.run(clean).succeeded


def test_a_planted_canary_fails_the_audit_and_a_canary_that_stays_away_does_not(clean: AttackContext) -> None:
    pattern = planted.canary_of(np.random.default_rng(3))
    found = Canary().run(attacked(planted.returning_canary(pattern, 0.5), (pattern,)))
    assert "canary: a planted pattern comes back" in found.objections[0]
    assert Canary().run(attacked(None, (pattern,))).objections == ()
    assert Canary().run(clean).description == "not made: no pattern was planted in these images"


def test_every_figure_has_the_attack_a_member_and_a_stranger(clean: AttackContext) -> None:
    for attack in (BestOfN(), ZeroNoise(), Retrieval()):
        for measure in attack.run(clean).measures:
            assert measure.control is not None, measure.name
            assert measure.stranger is not None, measure.name
    copied = attacked(planted.near_copy(0.1))
    (ratio,) = (one for one in BestOfN().run(copied).measures if one.name == "full.distance_ratio")
    assert ratio.value < 0.2 < min(ratio.control or 0, ratio.stranger or 0)
    assert (ratio.effect or 0) > 5


def test_every_output_scale_of_our_own_graph_is_attacked_and_its_noise_is_optimised() -> None:
    made = tiny_generator(3)
    sources = np.stack([pixels_to_tensor(picture(0).image)])
    known = Known(sources, 1, [pixels_to_tensor(picture(100 + n).image) for n in range(4)])
    drawn = draw_candidate(build_onnx(made), made.spec, 0, 16)
    context = attack_context(made.spec, drawn, known, drawn, AuditLimits(), 0)
    names = {measure.name for measure in BestOfN().run(context).measures}
    assert {"scale-0.best_distance", "scale-1.best_distance", "full.best_distance"} <= names
    (inverted,) = Inversion().run(context).measures
    assert inverted.stranger == pytest.approx(inverted.value)
    (best,) = (one for one in BestOfN().run(context).measures if one.name == "full.best_distance")
    assert inverted.value < best.value


def test_other_frames_of_a_scene_are_compared_where_they_are_known(clean: AttackContext) -> None:
    assert OtherFrames().run(clean).description.startswith("not made")
    frames = attacked(planted.near_copy(0.1))
    object.__setattr__(frames, "frames", frames.sources)
    assert OtherFrames().run(frames).succeeded


def test_a_source_like_the_others_is_at_chance_and_one_far_below_them_is_not() -> None:
    others = np.random.default_rng(0).normal(0, 1, 32)
    assert exposure(np.array([others.min() - 0.1]), others).at_chance is True
    assert exposure(np.array([-8.0]), others).at_chance is False
    assert exposure(np.array([0.0, -8.0]), others).at_chance is False
    assert exposure(others[:16] - 2, others).at_chance is False
    assert exposure(np.array([-8.0]), others[:1]).at_chance is None
    assert exposure(np.array([0.0]), others[: DECIDING - 1]).at_chance is None
    assert exposure(np.array([-99.0]), others[: DECIDING - 1]).at_chance is False
    alarms = [
        exposure(rng.normal(size=3), rng.normal(size=8)).at_chance is False
        for rng in map(np.random.default_rng, range(400))
    ]
    assert np.mean(alarms) < 0.02


def test_the_number_of_samples_follows_from_the_training() -> None:
    assert samples_of(PROFILES["private"], 16) == SAMPLES
    assert samples_of(TrainingConfig(iterations=2, generator_steps=1, discriminator_steps=1), 16) == 16
    assert samples_of(TrainingConfig(iterations=20, generator_steps=1, discriminator_steps=1), 16) == 40


def test_every_figure_has_words_without_its_code() -> None:
    assert all(one.words and "_" not in one.words for one in QUANTITIES)
    assert len({one.name for one in QUANTITIES}) == len(QUANTITIES)
    result: AttackResult = BestOfN().run(attacked(None))
    shown = [figure_in_words(measure) for measure in result.measures]
    assert len(set(shown)) == len(shown)
    assert "distance of the nearest sample to a source (RMSE), at full size" in shown


# -- a node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    made = trained_node(tmp_path_factory.mktemp("audited") / "node")
    audit_node(made, AuditLimits(), AuditSettings(samples=16))
    return made


def stored(node: Node) -> GeneratorAudit:
    path = node.audit_path(generator_of(node, f"{1:032x}"))
    return GeneratorAudit.from_json(json.loads(path.read_text()))


def test_one_command_answers_which_sample_is_nearest(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    generator, audit = generator_of(node, f"{1:032x}"), stored(node)
    assert main(["audit", "--node", str(node.root), "--nearest", generator[:8], "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["generator"], shown["sample"]) == (generator, audit.nearest[0])
    assert shown["source"] == "images/patient-mueller-001.png"
    path = Path(shown["picture"])
    assert path.parent == node.reports_dir
    assert path.stat().st_mode & 0o077 == 0
    assert Image.open(path).size == (2 * 24 + 4, 20)
    assert main(["audit", "--node", str(node.root), "--nearest", "zz"]) != 0
    assert "no such generator" in capsys.readouterr().err


def test_what_is_published_does_not_say_which_sample_is_nearest(node: Node) -> None:
    audit = stored(node)
    assert "nearest" in audit.to_json()
    assert "nearest" not in audit.published()
    assert GeneratorAudit.from_json(audit.to_json()) == audit


def test_an_audit_of_an_earlier_version_names_the_command_that_repeats_it(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "a node", 2)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    record = node.ledger.generators.get(generator_of(node, f"{1:032x}"))
    value = stored(node).to_json()
    del value["schema_version"], value["nearest"]
    data = json.dumps(value).encode()
    trained = hashlib.sha256(node.generator_path(record.id).read_bytes()).digest()
    sealed = seal(node, Sealed.AUDIT, record.id.encode(), "\n".join(record.images).encode(), trained, data)
    node.audit_path(record.id).write_bytes(data)
    node.audit_seal_path(record.id).write_text(sealed)
    (found,) = (one for one in read_asking(node)[0] if one.record.id == record.id)
    assert found.candidate.audit is None
    assert f"hospital-node audit --node '{node.root}' --again" in found.candidate.no_audit
