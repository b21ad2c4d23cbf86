"""The audit of one generator: every attack on the bytes that would leave, and the verdict."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hospital_node.audit.attack import (
    Attack,
    AttackContext,
    AttackResult,
    AuditLimits,
    Measure,
    Quantity,
    Question,
)
from hospital_node.audit.attacks.canary import Canary
from hospital_node.audit.attacks.frames import OtherFrames
from hospital_node.audit.attacks.inversion import Inversion
from hospital_node.audit.attacks.mean import MeanOfSamples
from hospital_node.audit.attacks.nearest import BestOfN, nearest_sample
from hospital_node.audit.attacks.patches import PatchCopying
from hospital_node.audit.attacks.retrieval import Retrieval
from hospital_node.audit.attacks.static import StaticCheck
from hospital_node.audit.attacks.styled import AfterStyle
from hospital_node.audit.attacks.text import TextInSamples
from hospital_node.audit.attacks.zero_noise import ZeroNoise
from hospital_node.audit.verdict import Verdict, verdict
from hospital_node.candidate.parity import TOLERANCE, Parity

SCHEMA_VERSION = 2
"""Version 1 had three attacks and one control."""
ATTACKS: tuple[Attack, ...] = (
    BestOfN(),
    MeanOfSamples(),
    ZeroNoise(),
    Inversion(),
    PatchCopying(),
    Retrieval(),
    OtherFrames(),
    Canary(),
    StaticCheck(),
    TextInSamples(),
    AfterStyle(),
)
NONE_SUCCEEDED = "no listed attack succeeded"
MISSING_CONTROLS = "controls are missing: fewer than two other real images to compare with"


@dataclass(frozen=True)
class GeneratorAudit:
    """What was found about one candidate, with nothing of the hospital. Law: `from_json(to_json(x)) == x`."""

    generator_id: str
    candidate_sha256: str  # digest of the attacked ONNX file, hexadecimal
    group_size: int  # units behind the generator: patients, or distinct pictures where they are unknown
    samples: int
    seed: int
    limits: AuditLimits
    parity: Parity
    attacks: tuple[AttackResult, ...]
    verdict: Verdict
    remarks: tuple[str, ...] = ()
    nearest: tuple[int, int] = (0, 0)
    """Index of the sample nearest to a source, and number of that source. Never published: it would show a
    recipient where to look."""

    @property
    def objections(self) -> tuple[str, ...]:
        """Why this generator may not leave; empty: the audit allows it."""
        found = [objection for attack in self.attacks for objection in attack.objections]
        # An audit does not choose its tolerance. Each difference counts: a maximum may lose NaN.
        differences = [case.max_abs_difference for case in self.parity.cases]
        if not differences or not all(difference <= TOLERANCE for difference in differences):
            found.append(
                f"the ONNX file differs from the trained network by {max(differences, default=math.nan):.2e},"
                f" more than {TOLERANCE:g}"
            )
        return tuple(found)

    @property
    def passed(self) -> bool:
        return not self.objections

    @property
    def succeeded(self) -> tuple[str, ...]:
        """Names of the attacks that learnt more of the sources than of other images."""
        return tuple(attack.attack for attack in self.attacks if attack.succeeded)

    @property
    def conclusion(self) -> str:
        """The outcome of all attacks, in words."""
        if self.succeeded:
            return f"succeeded: {', '.join(self.succeeded)}"
        undecided = [attack.attack for attack in self.attacks if attack.samples and attack.at_chance is None]
        if undecided:
            return f"not known, with too few other real images to compare with: {', '.join(undecided)}"
        return NONE_SUCCEEDED

    def measure(self, space: str, quantity: Quantity) -> Measure | None:
        """What the attacks found for `quantity`; None: nothing, as where controls are missing."""
        found = (attack.measure(space, quantity) for attack in self.attacks)
        return next((measure for measure in found if measure is not None), None)

    def published(self) -> dict[str, Any]:
        """As `privacy.json` shows it."""
        return {key: value for key, value in self.to_json().items() if key != "nearest"}

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "generator_id": self.generator_id,
            "candidate_sha256": self.candidate_sha256,
            "group_size": self.group_size,
            "samples": self.samples,
            "seed": self.seed,
            "limits": self.limits.to_json(),
            "parity": self.parity.to_json(),
            "attacks": [attack.to_json() for attack in self.attacks],
            "verdict": str(self.verdict),
            "remarks": list(self.remarks),
            "nearest": list(self.nearest),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> GeneratorAudit:
        """Read an audit.

        Raises:
            KeyError, TypeError, ValueError: not an audit, or one of another version.
        """
        if version_of(value) != SCHEMA_VERSION:
            raise ValueError(f"an audit of version {version_of(value)}, not {SCHEMA_VERSION}")
        sample, source = value["nearest"]
        return GeneratorAudit(
            value["generator_id"],
            value["candidate_sha256"],
            int(value["group_size"]),
            int(value["samples"]),
            int(value["seed"]),
            AuditLimits.from_json(value["limits"]),
            Parity.from_json(value["parity"]),
            tuple(AttackResult.from_json(attack) for attack in value["attacks"]),
            Verdict(value["verdict"]),
            tuple(value["remarks"]),
            (int(sample), int(source)),
        )


def question_of(attack: str) -> Question | None:
    """The question that the attack of this name helps to answer; None: no such attack."""
    return next((one.question for one in ATTACKS if one.name == attack), None)


def version_of(value: Mapping[str, Any]) -> int:
    """Version of an audit's JSON; the first had no number."""
    return int(value.get("schema_version", 1))


def audit_generator(
    context: AttackContext, parity: Parity, *, attacks: Sequence[Attack] = ATTACKS
) -> GeneratorAudit:
    """Run every attack on one candidate and put the verdict in words.

    Args:
        context: the candidate, its samples, its sources and the other real images.
        parity: how far the candidate lies from the trained network.
        attacks: all of them count; none can be skipped by a caller who wants a better verdict.
    """
    results = tuple(attack.run(context) for attack in attacks)
    return GeneratorAudit(
        generator_id=context.generator_id,
        candidate_sha256=hashlib.sha256(context.candidate).hexdigest(),
        group_size=context.units,
        samples=len(context.samples),
        seed=context.seed,
        limits=context.limits,
        parity=parity,
        attacks=results,
        verdict=verdict(context.units, context.limits.k, results),
        remarks=() if context.has_controls else (MISSING_CONTROLS,),
        nearest=nearest_sample(context),
    )
