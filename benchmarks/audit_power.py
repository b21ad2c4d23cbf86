"""Measure what the audit can see: leaks of graded size in hand-made generators, and generators without any.

Each trial makes a generator of its own. Its sources, the other real images and the pictures in the generator
come from one library of drawn pictures (`sharekit/demo/phantom.py`). Trials of a kind have different sources;
the other pictures are chosen at random for each trial. A leak is found when any attack succeeds. An attack
that succeeds without a leak is a false alarm. Intervals are exact (Clopper and Pearson).

With --out, each trial is written to a file, and the next run makes only those that are missing.

    python benchmarks/audit_power.py [--trials 72] [--graded 8] [--clean 120] [--out FILE] [--show] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hospital_node.audit.attack import AuditLimits, StyleTarget
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.attacks.canary import Canary
from hospital_node.audit.attacks.distance import resize
from hospital_node.audit.attacks.patches import PatchCopying
from hospital_node.audit.attacks.styled import AfterStyle
from hospital_node.audit.attacks.zero_noise import ZeroNoise
from hospital_node.audit.candidate_draws import Drawn, draw_candidate
from hospital_node.audit.generator_audit import ATTACKS
from hospital_node.candidate.build import build_onnx
from hospital_node.release.group_differences import fewest_apart
from hospital_node.statistics.gram_matrices import load_torch_once, style_statistics
from hospital_node.statistics.style_differences import smallest_part
from sharekit.bundle import features
from sharekit.demo.phantom import draw_frame
from sharekit.generator.spec import GeneratorSpec
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.intervals import Interval, clopper_pearson
from tests import planted_leaks as planted
from tests.planted_leaks import HEIGHT, WIDTH
from tests.tiny import tiny_generator

Array = NDArray[np.float32]
LIBRARY = 300
"""Drawn pictures that trials choose from."""
CONTROLS = 24
STORED = 10
"""Pictures that a hand-made generator blends."""
SAMPLES = 250
K = 5
LISTED, NO_LEAK, GRADED, RULE = "listed", "no leak", "graded", "rule"
"""A listed leak has to be found in 95 % of the trials; graded ones show where the audit begins to see. The
release gate decides about differences by a rule."""
ALL_OF = {LISTED: "all listed leaks in generators", NO_LEAK: "all generators without a leak"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial: random choices of its own, and which pictures of the library are its sources."""

    rng: np.random.Generator
    number: int


Find = Callable[[Trial], str | None]
"""Makes one trial and returns what found a leak, if anything did."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of trial."""

    name: str
    role: str  # NO_LEAK, LISTED, GRADED or RULE
    find: Find
    share: float = 1.0
    """Share of the role's number of trials: some are slow."""


@dataclasses.dataclass(frozen=True)
class Row:
    """How often one kind of leak was found, or how often a generator without a leak gave a false alarm."""

    kind: str
    role: str
    found: Interval
    by: dict[str, int]  # attack to the trials in which it was the first to succeed

    @staticmethod
    def of(kind: str, role: str, outcomes: Sequence[str | None]) -> Row:
        by = Counter(name for name in outcomes if name is not None)
        return Row(kind, role, clopper_pearson(by.total(), len(outcomes)), dict(by.most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=72, help="trials of each listed leak")
    parser.add_argument("--graded", type=int, default=8, help="trials of each other size of a leak")
    parser.add_argument("--clean", type=int, default=120, help="trials of each kind without a leak")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    parser.add_argument("--out", type=Path, help="file that keeps finished trials; the next run goes on")
    parser.add_argument("--show", action="store_true", help="print what --out holds, and make no trial")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    trials = {LISTED: args.trials, RULE: args.trials, GRADED: args.graded, NO_LEAK: args.clean}
    done = Done(args.out, args.seed)
    every = list(kinds(Library((), None, "not drawn") if args.show else Library.draw(args.seed)))
    outcomes: dict[str, list[str | None]] = {}
    for kind in every:
        wanted = range(max(1, round(kind.share * trials[kind.role])))
        outcomes[kind.name] = [
            done.trial(kind, number) for number in wanted if not args.show or done.has(kind, number)
        ]
        print(kind.name, len(outcomes[kind.name]), file=sys.stderr, flush=True)
    rows = [Row.of(kind.name, kind.role, outcomes[kind.name]) for kind in every if outcomes[kind.name]]
    for role, name in ALL_OF.items():
        together = [one for kind in every if kind.role == role for one in outcomes[kind.name]]
        rows += [Row.of(name, role, together)] if together else []
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        show(rows)


class Done:
    """Finished trials, in a file of JSON lines if there is one."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._path, self._seed = path, seed
        self._found: dict[tuple[str, int, int], str | None] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                one = json.loads(line)
                self._found[one["kind"], one["seed"], one["trial"]] = one["found"]

    def has(self, kind: Kind, number: int) -> bool:
        """Whether the file holds this trial; the gate's rule needs no file."""
        return kind.role == RULE or (kind.name, self._seed, number) in self._found

    def trial(self, kind: Kind, number: int) -> str | None:
        """What found the leak of one trial, from the file or made now."""
        key = kind.name, self._seed, number
        if key not in self._found:
            random = np.random.default_rng((self._seed, number, *kind.name.encode()))
            self._found[key] = kind.find(Trial(random, number))
            if self._path is not None:
                value: dict[str, Any] = dict(zip(("kind", "seed", "trial"), key, strict=True))
                with self._path.open("a") as file:
                    file.write(json.dumps({**value, "found": self._found[key]}) + "\n")
        return self._found[key]


@dataclasses.dataclass(frozen=True)
class Library:
    """Drawn pictures with their masks, each `(C + 1, H, W)` in [-1, 1], and a generator of some of them."""

    pictures: tuple[Array, ...]
    other: Drawn | None
    """Samples of a generator that never saw `pictures`."""
    style: StyleTarget | str
    """Style statistics of some of them."""

    @staticmethod
    def draw(seed: int) -> Library:
        found = []
        for number in range(LIBRARY + STORED):
            frame = draw_frame(np.random.default_rng((seed, number)), 2 * HEIGHT, 2 * WIDTH)
            tensor = pixels_to_tensor(np.dstack([frame.image, frame.mask]))
            found.append(resize(tensor[None], HEIGHT, WIDTH)[0])
        rng = np.random.default_rng(seed)
        other, spec = planted.generator("f" * 32, found[LIBRARY:], rng, found[0], None)
        path = features.find()
        style: StyleTarget | str = "no weights"
        if path is not None:
            pictures = (one[: planted.LAYOUT.image_channels] for one in found[LIBRARY:])
            style = StyleTarget(style_statistics(pictures, load_torch_once(path), k=K), path)
        return Library(tuple(found[:LIBRARY]), draw_candidate(other, spec, 0, SAMPLES), style)

    def choose(self, trial: Trial, sources: int, others: int) -> list[Array]:
        """The sources of a trial, then other pictures."""
        first = [(trial.number * sources + number) % LIBRARY for number in range(sources)]
        rest = [number for number in trial.rng.permutation(LIBRARY) if number not in first]
        return [self.pictures[number] for number in (*first, *rest[:others])]

    def attack(
        self,
        trial: Trial,
        leak: planted.Leak | None = None,
        *,
        sources: int = 1,
        canaries: tuple[Array, ...] = (),
        likely: str = "",
        styled: bool = False,
    ) -> str | None:
        """Attack a hand-made generator; return the first attack that succeeds, `likely` tried first."""
        real = self.choose(trial, sources, CONTROLS + STORED)
        stored = real[sources + CONTROLS :]
        candidate, spec = planted.generator(trial.rng.bytes(16).hex(), stored, trial.rng, real[0], leak)
        known = _known(real[: sources + CONTROLS], sources, canaries)
        return self._first_success(candidate, spec, known, likely, styled)

    def attack_random_weights(self, trial: Trial) -> str | None:
        """Attack a generator of our own contract, which inversion needs; it learnt nothing."""
        sizes = [(scale.height, scale.width) for scale in planted.SCALES]
        made = tiny_generator(int(trial.rng.integers(2**31)), sizes=sizes)
        return self._first_success(build_onnx(made), made.spec, _known(self.choose(trial, 1, CONTROLS), 1))

    def _first_success(
        self, candidate: bytes, spec: GeneratorSpec, known: Known, likely: str = "", styled: bool = False
    ) -> str | None:
        drawn = draw_candidate(candidate, spec, 0, SAMPLES)
        context = attack_context(spec, drawn, known, self.other, AuditLimits(), 0)
        if styled:
            context = dataclasses.replace(context, style=self.style)
        attacks = [one for one in ATTACKS if one.name == AfterStyle.name] if styled else ATTACKS
        in_order = sorted(attacks, key=lambda one: one.name != likely)
        return next((one.name for one in in_order if one.run(context).succeeded), None)


def _known(real: Sequence[Array], sources: int, canaries: tuple[Array, ...] = ()) -> Known:
    images = [one[: planted.LAYOUT.image_channels] for one in real]
    return Known(np.stack(images[:sources]), sources, images[sources:], canaries=canaries)


def kinds(library: Library) -> Iterator[Kind]:
    """Every kind of trial, the ones that matter most first."""

    def planting(leak: planted.Leak, likely: str = "", *, styled: bool = False) -> Find:
        return lambda trial: library.attack(trial, leak, likely=likely, styled=styled)

    def canary(strength: float) -> Find:
        def find(trial: Trial) -> str | None:
            pattern = planted.canary_of(trial.rng)
            leak = planted.returning_canary(pattern, strength)
            return library.attack(trial, leak, canaries=(pattern,), likely=Canary.name)

        return find

    patch, copy = "copied patch of {0}x{0} pixels", "near copy at {:.1%} of the noise"
    overfitted = "overfitted k = 1: {:.0%} of every sample is the source"
    faint = "canary at {:.0%} of its contrast"
    yield Kind("one source, blends of other pictures", NO_LEAK, library.attack)
    # One generator in 150 draws no copy in 250 samples, so this kind needs more trials.
    yield Kind(copy.format(0.02), LISTED, planting(planted.near_copy(0.02)), 5 / 3)
    yield Kind(overfitted.format(0.7), LISTED, planting(planted.overfitted(0.7)))
    yield Kind("z* stored in the file", LISTED, planting(planted.stored_z_star(), ZeroNoise.name))
    zero = "z* redrawn: zero noise gives the source"
    yield Kind(zero, LISTED, planting(planted.calm_copy(), ZeroNoise.name))
    yield Kind(faint.format(0.5), LISTED, canary(0.5))
    yield Kind(patch.format(24), LISTED, planting(planted.copied_patch(24), PatchCopying.name))
    yield Kind(f"style statistics of k and of k - 1 pictures, k = {K}", RULE, lambda one: style(one, K - 1))
    yield Kind(f"groups that differ by k - 1 pictures, k = {K}", RULE, lambda one: group(one, K - 1))
    yield Kind(
        "ten sources, blends of other pictures", NO_LEAK, lambda one: library.attack(one, sources=10), 0.25
    )
    yield Kind("one source, random weights", NO_LEAK, library.attack_random_weights, 1 / 6)
    yield Kind(f"style statistics of k new pictures, k = {K}", RULE, lambda one: style(one, K))
    yield Kind(f"groups that differ by k pictures, k = {K}", RULE, lambda one: group(one, K))
    yield Kind(
        "one source, after style transfer alone",
        NO_LEAK,
        lambda trial: library.attack(trial, styled=True),
        0.1,
    )
    after = f"{overfitted.format(0.7)}, after style transfer alone"
    yield Kind(after, GRADED, planting(planted.overfitted(0.7), styled=True))
    for side in (16, 12):
        yield Kind(patch.format(side), GRADED, planting(planted.copied_patch(side), PatchCopying.name))
    for share in (0.1, 0.005):
        yield Kind(copy.format(share), GRADED, planting(planted.near_copy(share)))
    for strength in (0.4, 0.2):
        yield Kind(overfitted.format(strength), GRADED, planting(planted.overfitted(strength)))
    for strength in (0.3, 0.15):
        yield Kind(faint.format(strength), GRADED, canary(strength))


def style(trial: Trial, shared: int) -> str | None:
    """Whether the gate refuses an average of `shared` of K published pictures, or of K others."""
    names = [trial.rng.bytes(8).hex() for _ in range(2 * K)]
    second = names[:shared] if shared < K else names[K:]
    part = smallest_part({frozenset(names[:K])}, frozenset(second), K)
    return None if part is None else "release gate"


def group(trial: Trial, added: int) -> str | None:
    """Whether the gate refuses a group of a released group's pictures and `added` new ones."""
    names = [trial.rng.bytes(8).hex() for _ in range(2 * K + added)]
    apart = fewest_apart(frozenset(names), frozenset(names[: 2 * K]), K)
    return None if apart is None else "release gate"


def show(rows: Sequence[Row]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("planted", "role", "found", "95 % interval", "trials", "first found by"):
        table.add_column(title)
    for row in rows:
        by = ", ".join(f"{name} {count}" for name, count in row.by.items())
        found = row.found
        interval = f"{found.low:.1%} to {found.high:.1%}"
        table.add_row(row.kind, row.role, f"{found.mean:.1%}", interval, str(found.count), by)
    table.caption = (
        "listed: to be found in 95 % of trials; no leak: at most 5 %; rule: k - 1 refused, k allowed"
    )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
