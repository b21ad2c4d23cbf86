"""The plan of a fair comparison: everything that is decided before the first result.

A plan is a JSON file. Its SHA-256 is registered before the first cell and stands in the report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any

from sharekit.errors import InputError, UsageError
from sharekit.experiment.stages import Arm
from sharekit.experiment.tables import IOU, REAL
from sharekit.segmenter.metrics import Metric
from sharekit.storage import files

NAME = "fair"
"""Name of the comparison, as of the other tables."""
_SEGMENTER = re.compile(r"[a-z0-9]{1,32}")
SCHEMA_VERSION = 1
PACKAGED = "fair-plan.json"
REDRAWING = ("--redraw-below", "--coverage")
"""Options of `consumer sample` by which samples are drawn again."""
MAX_PLAN_BYTES = 2**20
LEAST_DRAWS = 5
"""Draws of the real images below which the report says that the comparison is too small."""


def name_with(segmenter: str) -> str:
    """Name of the comparison with one of several segmenters, as `fair_frozen`; it names its files.

    Raises:
        UsageError: the segmenter's name is no short word.
    """
    if not _SEGMENTER.fullmatch(segmenter):
        raise UsageError(
            "--segmenter",
            expected="a name of up to 32 small letters and digits",
            found=repr(segmenter),
            next_step="choose another name, such as frozen",
        )
    return f"{NAME}_{segmenter}"


def segmenter_of(name: str) -> str | None:
    """The segmenter in a table's name; empty for the only one, None for a table of another experiment."""
    first, _, segmenter = name.partition("_")
    return segmenter if first == NAME else None


class Role(StrEnum):
    """What an arm is for."""

    CLASSICAL = "classical"
    """Costs nothing: real images with augmentation. The best of these is what synthetic data must beat."""
    CONTROL = "control"
    """Shows what chance alone does."""
    SYNTHETIC = "synthetic"
    ON_BEST = "on best classical"
    """Synthetic images on top of the best classical arm, whose training options it takes."""
    LEVER = "lever"
    """One change of the arm with real and synthetic images."""


@dataclass(frozen=True)
class FairArm(Arm):
    """An arm of the comparison. Law: `from_json(to_json(x)) == x`."""

    role: Role = Role.CLASSICAL
    repeats: int = 1
    """How often each real image is listed."""
    sample_options: tuple[str, ...] = ()
    segmenter_options: tuple[str, ...] = ()
    """Options of this arm for `consumer sample` and `consumer train`, after those of all arms."""
    generator_options: tuple[str, ...] | None = None
    """Options for `hospital-node train` of other generators; None takes the experiment's own."""
    per_draw: bool = False
    """Whether one generator learns from exactly the R images of a draw, as a group. Otherwise all draws share
    the generators of the training folds' images."""
    vetted: bool = False
    """Whether only samples that the draw's node vetted are taken, fewer if its list is shorter. The node
    compares them with the draw's validation images. Needs `per_draw`."""
    judge: float | None = None
    """Least agreement of a sample with a segmenter that learnt from the draw's real images alone; with less,
    it is drawn again. None asks no segmenter."""
    elsewhere: bool = False
    """Whether the samples show the images of the other draws at the largest R, none of which this draw has:
    what a bundle from another hospital brings. Needs `per_draw`, and draws that share no image."""
    command: tuple[str, ...] | None = None
    """Command that makes the samples from a draw's real images instead of a generator. It takes their folder,
    `--samples`, `--seed` and `--out`, and prints JSON."""

    @property
    def redraws(self) -> bool:
        """Whether a sample may be drawn again; vetted samples are taken as the node saw them."""
        return self.judge is not None or any(word.startswith(REDRAWING) for word in self.sample_options)

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        del value["images"]
        # Plans that were registered by earlier releases keep their digest.
        for name in _LATER:
            if value[name] in (None, False):
                del value[name]
        for name in _OPTIONS:
            value[name] = None if value[name] is None else shlex.join(value[name])
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FairArm:
        split = {name: tuple(shlex.split(value[name])) for name in _OPTIONS if value.get(name) is not None}
        return FairArm(**{**value, **split, "role": Role(value["role"])})


_LATER = ("vetted", "judge", "elsewhere")
_OPTIONS = ("sample_options", "segmenter_options", "generator_options", "command")


@dataclass(frozen=True)
class Primary:
    """The one comparison that the verdict rests on: an arm against the best classical arm."""

    arm: str
    against: str = Role.CLASSICAL.value

    def to_json(self) -> dict[str, str]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class FairPlan:
    """A plan. Law: `from_json(to_json(x)) == x`."""

    question: str
    metric: Metric
    primary: Primary
    real: tuple[int, ...]
    """R: numbers of real images. The validation set of an R has as many, from another fold."""
    draws: int
    """Draws of the R images; each also draws its validation images."""
    seeds: int
    """Segmenters for each draw."""
    fixed_samples: bool
    """Whether all draws use the same samples of a generator."""
    updates: int
    style_steps: int
    strata: tuple[float, ...]
    """Shares of the picture that separate small from larger lesions, ascending, 0 to 1."""
    exclusions: tuple[str, ...]
    """Rules, in words, by which results are left out."""
    arms: tuple[FairArm, ...]

    def of(self, *roles: Role) -> tuple[FairArm, ...]:
        """The arms with one of the roles, in the plan's order."""
        return tuple(arm for arm in self.arms if arm.role in roles)

    @property
    def base(self) -> FairArm | None:
        """The arm that each lever changes in one thing: the first synthetic one with real images."""
        return next((arm for arm in self.of(Role.SYNTHETIC) if arm.real), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "primary": self.primary.to_json(),
            "real": list(self.real),
            "strata": list(self.strata),
            "exclusions": list(self.exclusions),
            "arms": [arm.to_json() for arm in self.arms],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any], item: object = "the plan") -> FairPlan:
        """Read the output of `to_json`.

        Raises:
            InputError: a field is missing, unknown or out of range; the error names `item`.
        """
        try:
            fields = dict(value)
            if fields.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"schema version {value['schema_version']}")
            lists = {name: tuple(fields[name]) for name in ("real", "strata", "exclusions")}
            arms = tuple(map(FairArm.from_json, fields["arms"]))
            given = {
                "metric": Metric(fields["metric"]),
                "primary": Primary(**fields["primary"]),
                "arms": arms,
            }
            plan = FairPlan(**{**fields, **lists, **given})
            if problem := _problem(plan):
                raise ValueError(problem)
            return plan
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                item,
                expected="a plan with every field of the packaged one, fair-plan.json",
                found=f"{type(error).__name__}: {error}",
                next_step="correct the plan, or leave --plan out to use the packaged one",
            ) from None


@dataclass(frozen=True)
class PlanFile:
    """A plan with the digest of the file that it was read from."""

    plan: FairPlan
    sha256: str


def read_plan(path: Path | None) -> PlanFile:
    """Read a plan; None reads the packaged one.

    Raises:
        InputError: the file is missing, is no JSON, or is no plan.
    """
    if path is None:
        data = (resources.files("sharekit.experiment") / PACKAGED).read_bytes()
    else:
        data = files.read_bytes(path, max_bytes=MAX_PLAN_BYTES)
    item = path or PACKAGED
    return PlanFile(FairPlan.from_json(files.parse_json(data, item), item), hashlib.sha256(data).hexdigest())


def _problem(plan: FairPlan) -> str | None:
    """What is wrong with a plan of the right form."""
    names = [arm.name for arm in plan.arms]
    checks = {
        f"the metric {plan.metric}, where this release compares {IOU}": plan.metric is IOU,
        "an arm twice": len(set(names)) == len(names),
        f"no classical arm named {REAL}": REAL in {arm.name for arm in plan.of(Role.CLASSICAL)},
        f"no arm named {plan.primary.arm}": plan.primary.arm in names,
        f"a primary comparison against {plan.primary.against}": plan.primary.against == Role.CLASSICAL,
        "R that are not positive and ascending": _ascending(plan.real, 0),
        "strata that are not ascending shares": _ascending(plan.strata, 0, 1),
        "a number below 1": min(plan.draws, plan.seeds, plan.updates, plan.style_steps) >= 1,
        "a synthetic arm without samples": all(
            arm.samples > 0 for arm in plan.of(Role.SYNTHETIC, Role.ON_BEST, Role.LEVER)
        ),
        "a vetted arm without per_draw": all(arm.per_draw for arm in plan.arms if arm.vetted),
        "samples from elsewhere without per_draw, with a command, or with one draw": all(
            arm.per_draw and arm.command is None and plan.draws > 1 for arm in plan.arms if arm.elsewhere
        ),
        "a classical or control arm with samples, or without real images": all(
            arm.real and not arm.samples for arm in plan.of(Role.CLASSICAL, Role.CONTROL)
        ),
    }
    return next((problem for problem, holds in checks.items() if not holds), None)


def _ascending(values: tuple[float, ...], above: float, below: float = float("inf")) -> bool:
    return list(values) == sorted(set(values)) and all(above < value < below for value in values)
