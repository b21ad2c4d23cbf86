"""One node and one bundle per fold or draw, so that no generator sees two folds; each is trained once.

    OUT/keys/                         keys of this experiment's approver and of its releases
    OUT/folds/FOLD-KEY/data/          the images to train on, of a fold or of one draw
    OUT/folds/FOLD-KEY/node/          a hospital node with only these images
    OUT/folds/FOLD-KEY/RELEASE/bundle the signed bundle of its generators
    …/results/                        output of each command; a command with a result is not run again

KEY is a digest of the images, training options and version; RELEASE is one of the feature file and version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharekit import __version__
from sharekit.bundle.vetted import Vetted
from sharekit.experiment.experiment_settings import GeneratorSettings
from sharekit.experiment.folds import Split
from sharekit.experiment.picture_pool import Picture, digest_of, write_pictures
from sharekit.experiment.tasks import file_digest
from sharekit.pictures.folder import stem_of
from sharekit.steps.processes import Processes
from sharekit.steps.step import DONE_FOR_SOME, Step, read_record, run_step
from sharekit.storage import files

HOSPITAL = "Experiment"
OFFICER = "Officer"
RELEASED = "released"
STATUS = "node-status.json"


@dataclass(frozen=True)
class Sources:
    """Pictures that the generators of one node learn from, and how."""

    label: str
    """Names the fold or the draw that the pictures are from."""
    pictures: tuple[Picture, ...]
    train_options: tuple[str, ...]
    """Options for `hospital-node train`."""
    others: tuple[Picture, ...] = ()
    """Pictures that no generator learns from, for the node to compare samples with before it vets them."""


@dataclass(frozen=True)
class FoldPlan:
    """What is made from one fold or draw, and where."""

    label: str
    pictures: tuple[Picture, ...]
    """Pictures to train on."""
    folder: Path
    release: Path
    keys: Path
    train_options: tuple[str, ...] = ()
    others: tuple[Picture, ...] = ()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def other_data(self) -> Path:
        return self.folder / "others"

    @property
    def node(self) -> Path:
        return self.folder / "node"

    @property
    def bundle(self) -> Path:
        return self.release / "bundle"

    @property
    def public_key(self) -> Path:
        return self.keys / "release.pub"


@dataclass(frozen=True)
class FoldGenerators:
    """The released generators of one fold or draw."""

    label: str
    bundle: Path
    key: Path
    """Public key that verifies the bundle."""
    manifest_sha256: str
    pictures: tuple[Picture, ...]
    """Pictures that the node was given, in the fold's order."""
    generators: Mapping[str, str]
    """Picture name to generator identifier, for released generators. A group has one for several pictures."""
    reasons: Mapping[str, str]
    """Picture name to state and reason, for pictures without a released generator."""
    vetted: Mapping[str, Vetted] = field(default_factory=dict)
    """Generator identifier to the samples that its node vetted."""

    @property
    def members(self) -> Mapping[str, frozenset[str]]:
        """Generator identifier to the names of all pictures that it learnt from."""
        found: dict[str, set[str]] = {}
        for name, identifier in self.generators.items():
            found.setdefault(identifier, set()).add(name)
        return {identifier: frozenset(names) for identifier, names in found.items()}


def fold_sources(
    split: Split, settings: GeneratorSettings, labels: Collection[str] | None = None
) -> tuple[Sources, ...]:
    """What generators of folds learn from; pure.

    Args:
        labels: labels of the folds; None takes all.
    """
    return tuple(
        Sources(label, pictures[: settings.images_per_fold], settings.train_options)
        for label, pictures in split.folds.items()
        if labels is None or label in labels
    )


def plan_folds(sources: Sequence[Sources], settings: GeneratorSettings) -> tuple[FoldPlan, ...]:
    """Plan the folders of each fold or draw; pure, except that it reads the feature file for its digest.

    Raises:
        InputError: the feature file is missing or cannot be read.
    """
    features = "" if settings.features is None else file_digest(settings.features)
    plans = []
    for each in sources:
        others = (digest_of(each.others),) if each.others else ()
        key = _key(digest_of(each.pictures), *each.train_options, *others)
        folder = settings.out / "folds" / f"{each.label}-{key}"
        release = folder / f"release-{_key(features)}"
        keys = settings.out / "keys"
        plans.append(
            FoldPlan(each.label, each.pictures, folder, release, keys, each.train_options, each.others)
        )
    return tuple(plans)


def key_steps(keys: Path) -> tuple[Step, ...]:
    """The steps that make the two signing keys of an experiment."""
    return tuple(
        Step(
            f"{name} key",
            ("sharekit", "keys", "new", "--no-password", "--out", str(keys / name)),
            keys / f"{name}.json",
            (keys / f"{name}.key", keys / f"{name}.pub"),
        )
        for name in ("release", "approver")
    )


def fold_steps(plan: FoldPlan, settings: GeneratorSettings) -> tuple[Step, ...]:
    """Every command from a fold's images to its bundle; pure."""
    node = ("--node", str(plan.node))
    made, released = plan.folder / "results", plan.release / "results"
    features = () if settings.features is None else ("--features", str(settings.features))
    approver = plan.keys / "approver"

    def command(name: str, *arguments: object) -> tuple[str, ...]:
        return ("hospital-node", name, *node, *map(str, arguments))

    def taken_in(data: Path, name: str = "") -> tuple[Step, ...]:
        ingest = command("ingest", "--data", data, "--hospital", HOSPITAL)
        record = f"{name}-" if name else ""
        return (
            Step(f"ingest {name}".strip(), ingest, made / f"{record}ingest.json", accepted=DONE_FOR_SOME),
            # A group of exactly R pictures needs all of them; in an experiment nobody waits for a person.
            Step("review", command("review", "--accept"), made / f"{record}review.json"),
            Step("ingest after review", ingest, made / f"{record}reviewed.json", accepted=DONE_FOR_SOME),
        )

    return (
        *taken_in(plan.data),
        Step(
            "train",
            # The experiments compare each picture with its own generator, unless the options say otherwise.
            command("train", "--group-size", 1, *plan.train_options),
            made / "train.json",
            accepted=DONE_FOR_SOME,
        ),
        # After the training, so that no generator learns from them.
        *(taken_in(plan.other_data, "others") if plan.others else ()),
        Step(
            "policy",
            command(
                "policy", "--approver", f"{approver}.pub", "--name", OFFICER, "--set", "release_linkable=true"
            ),
            made / "policy.json",
        ),
        Step("audit", command("audit"), made / "audit.json", accepted=DONE_FOR_SOME),
        Step(
            "approve",
            command("approve", "--key", f"{approver}.key", "--by", OFFICER, "--all", "--yes"),
            made / "approve.json",
        ),
        Step(
            "export",
            command("export", "--out", plan.bundle, "--key", plan.keys / "release.key", *features),
            released / "export.json",
            (plan.bundle,),
        ),
        Step("status", command("status", "--all"), released / STATUS),
    )


def make_generators(
    root: Path,
    sources: Sequence[Sources],
    settings: GeneratorSettings,
    processes: Processes,
    on_step: Callable[[str, Step], None],
) -> tuple[FoldGenerators, ...]:
    """Train, audit and release the generators of folds or draws, skipping finished steps.

    Args:
        root: folder with the pictures.
        on_step: called before each step with the label of the sources and the step.

    Raises:
        SharekitError: a command failed; this is its own error.
    """
    for step in key_steps(settings.out / "keys"):
        on_step("all", step)
        run_step(step, processes)
    made = []
    for plan in plan_folds(sources, settings):
        write_pictures(root, plan.pictures, plan.data)
        if plan.others:
            write_pictures(root, plan.others, plan.other_data)
        for step in fold_steps(plan, settings):
            on_step(plan.label, step)
            run_step(step, processes)
        made.append(read_generators(plan))
    return tuple(made)


def read_generators(plan: FoldPlan) -> FoldGenerators:
    """Read which picture has which generator from the results of a fold's finished steps."""
    status = read_record(plan.release / "results" / STATUS)
    others = {picture.name for picture in plan.others}
    reasons = {
        name: _why(image)
        for image in status["named_images"]
        if (name := stem_of(image["source_image"])) not in others
    }
    generators = {}
    for generator in status["named_generators"]:
        for name in map(stem_of, generator["sources"]):
            if generator["state"] == RELEASED:
                generators[name] = generator["id"]
            else:
                reasons[name] = _why(generator)
    manifest = files.read_bytes(plan.bundle / "manifest.json", max_bytes=files.MAX_JSON_BYTES)
    return FoldGenerators(
        plan.label,
        plan.bundle,
        plan.public_key,
        hashlib.sha256(manifest).hexdigest(),
        plan.pictures,
        generators,
        {name: why for name, why in reasons.items() if name not in generators},
        _vetted(manifest, plan.bundle),
    )


def _vetted(manifest: bytes, item: Path) -> dict[str, Vetted]:
    entries = files.parse_json(manifest, item).get("generators", ())
    return {entry["spec"]["id"]: Vetted.from_json(entry["vetted"]) for entry in entries if "vetted" in entry}


def _why(record: Mapping[str, str]) -> str:
    return f"{record['state']}: {record['reason']}"


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join((__version__, *parts)).encode()).hexdigest()[:12]
