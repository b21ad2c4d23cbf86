"""Measure what the audit can see: leaks of graded size in hand-made generators, and generators without any.

Every trial splits one library of drawn pictures (`sharekit/demo/phantom.py`) at random: sources, other real
images, and the pictures that the generator was made of. A leak is found when any attack succeeds. An attack
that succeeds without a leak is a false alarm. Intervals are Wilson's.

    python benchmarks/audit_power.py [--trials 60] [--graded 12] [--clean 60] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.attacks.distance import resize
from hospital_node.audit.candidate_draws import Drawn, draw_candidate
from hospital_node.audit.generator_audit import ATTACKS
from hospital_node.candidate import build_onnx
from hospital_node.statistics.style_differences import smallest_part
from sharekit.demo.phantom import draw_frame
from sharekit.generator.spec import GeneratorSpec
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.intervals import Interval, wilson
from tests import planted_leaks as planted
from tests.planted_leaks import HEIGHT, WIDTH
from tests.tiny import tiny_generator

Array = NDArray[np.float32]
LIBRARY = 120
"""Drawn pictures that trials choose from."""
CONTROLS = 24
STORED = 10
"""Pictures that a hand-made generator blends."""
SAMPLES = 250
K = 5
NO_LEAK, LISTED, GRADED = "no leak", "listed", "graded"
"""A listed leak has to be found in 95 % of the trials; graded ones show where the audit begins to see."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of trial."""

    name: str
    role: str  # NO_LEAK, LISTED or GRADED
    find: Callable[[np.random.Generator], str | None]
    """Makes one trial and returns what found a leak, if anything did."""


@dataclasses.dataclass(frozen=True)
class Row:
    """How often one kind of leak was found, or how often a generator without a leak gave a false alarm."""

    kind: str
    role: str
    share: Interval
    by: dict[str, int]  # attack to the trials in which it was the first to succeed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60, help="trials of each listed leak")
    parser.add_argument("--graded", type=int, default=12, help="trials of each other size of a leak")
    parser.add_argument("--clean", type=int, default=60, help="trials of each kind without a leak")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    trials = {LISTED: args.trials, GRADED: args.graded, NO_LEAK: args.clean}
    rows = []
    for number, kind in enumerate(kinds(Library.draw(args.seed))):
        rows.append(measure(kind, args.seed + number, trials[kind.role]))
        print(dataclasses.asdict(rows[-1]), file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        show(rows)


def measure(kind: Kind, seed: int, trials: int) -> Row:
    found = [kind.find(np.random.default_rng((seed, trial))) for trial in range(trials)]
    by = Counter(name for name in found if name is not None)
    return Row(kind.name, kind.role, wilson(by.total(), trials), dict(by.most_common()))


@dataclasses.dataclass(frozen=True)
class Library:
    """Drawn pictures with their masks, each `(C + 1, H, W)` in [-1, 1], and a generator of some of them."""

    pictures: tuple[Array, ...]
    other: Drawn
    """Samples of a generator that never saw `pictures`."""

    @staticmethod
    def draw(seed: int) -> Library:
        found = []
        for number in range(LIBRARY + STORED):
            frame = draw_frame(np.random.default_rng((seed, number)), 2 * HEIGHT, 2 * WIDTH)
            tensor = pixels_to_tensor(np.dstack([frame.image, frame.mask]))
            found.append(resize(tensor[None], HEIGHT, WIDTH)[0])
        rng = np.random.default_rng(seed)
        other, spec = planted.generator("f" * 32, found[LIBRARY:], rng, found[0], None)
        return Library(tuple(found[:LIBRARY]), draw_candidate(other, spec, 0, SAMPLES))

    def choose(self, rng: np.random.Generator, count: int) -> list[Array]:
        return [self.pictures[number] for number in rng.permutation(len(self.pictures))[:count]]

    def attack(
        self,
        rng: np.random.Generator,
        leak: planted.Leak | None = None,
        *,
        sources: int = 1,
        canaries: tuple[Array, ...] = (),
    ) -> str | None:
        """Attack a hand-made generator; return the first attack that succeeds."""
        real = self.choose(rng, sources + CONTROLS + STORED)
        stored = real[sources + CONTROLS :]
        candidate, spec = planted.generator(rng.bytes(16).hex(), stored, rng, real[0], leak)
        return self.first_success(candidate, spec, real[: sources + CONTROLS], sources, canaries)

    def attack_random_weights(self, rng: np.random.Generator) -> str | None:
        """Attack a generator of our own contract, which inversion needs; it learnt nothing."""
        sizes = [(scale.height, scale.width) for scale in planted.SCALES]
        made = tiny_generator(int(rng.integers(2**31)), sizes=sizes)
        return self.first_success(build_onnx(made), made.spec, self.choose(rng, 1 + CONTROLS), 1)

    def first_success(
        self,
        candidate: bytes,
        spec: GeneratorSpec,
        real: Sequence[Array],
        sources: int,
        canaries: tuple[Array, ...] = (),
    ) -> str | None:
        images = [one[: planted.LAYOUT.image_channels] for one in real]
        known = Known(np.stack(images[:sources]), sources, images[sources:], canaries=canaries)
        drawn = draw_candidate(candidate, spec, 0, SAMPLES)
        context = attack_context(spec, drawn, known, self.other, AuditLimits(), 0)
        return next((one.name for one in ATTACKS if one.run(context).succeeded), None)


def kinds(library: Library) -> Iterator[Kind]:
    """Every kind of trial, the ones that matter most first."""

    def planting(leak: planted.Leak) -> Callable[[np.random.Generator], str | None]:
        return lambda rng: library.attack(rng, leak)

    def canary(strength: float) -> Callable[[np.random.Generator], str | None]:
        def find(rng: np.random.Generator) -> str | None:
            pattern = planted.canary_of(rng)
            return library.attack(rng, planted.returning_canary(pattern, strength), canaries=(pattern,))

        return find

    patch, copy = "copied patch of {0}x{0} pixels", "near copy at {:.1%} of the noise"
    overfitted = "overfitted k = 1: {:.0%} of every sample is the source"
    faint = "canary at {:.0%} of its contrast"
    yield Kind(copy.format(0.02), LISTED, planting(planted.near_copy(0.02)))
    yield Kind(overfitted.format(0.7), LISTED, planting(planted.overfitted(0.7)))
    yield Kind("z* stored in the file", LISTED, planting(planted.stored_z_star()))
    yield Kind("z* redrawn: zero noise gives the source", LISTED, planting(planted.calm_copy()))
    yield Kind(faint.format(0.5), LISTED, canary(0.5))
    yield Kind(patch.format(24), LISTED, planting(planted.copied_patch(24)))
    yield Kind(f"style statistics of k and of k - 1 pictures, k = {K}", LISTED, lambda rng: style(rng, K - 1))
    yield Kind("one source, blends of other pictures", NO_LEAK, library.attack)
    yield Kind("ten sources, blends of other pictures", NO_LEAK, lambda rng: library.attack(rng, sources=10))
    yield Kind("one source, random weights", NO_LEAK, library.attack_random_weights)
    yield Kind(f"style statistics of k new pictures, k = {K}", NO_LEAK, lambda rng: style(rng, K))
    for side in (16, 12):
        yield Kind(patch.format(side), GRADED, planting(planted.copied_patch(side)))
    for share in (0.1, 0.005):
        yield Kind(copy.format(share), GRADED, planting(planted.near_copy(share)))
    for strength in (0.4, 0.2):
        yield Kind(overfitted.format(strength), GRADED, planting(planted.overfitted(strength)))
    for strength in (0.3, 0.15):
        yield Kind(faint.format(strength), GRADED, canary(strength))


def style(rng: np.random.Generator, shared: int) -> str | None:
    """Whether the gate refuses an average of `shared` of K published pictures, or of K others."""
    names = [rng.bytes(8).hex() for _ in range(2 * K)]
    second = names[:shared] if shared < K else names[K:]
    part = smallest_part({frozenset(names[:K])}, frozenset(second), K)
    return None if part is None else "release gate"


def show(rows: Sequence[Row]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("planted", "role", "found", "95 % interval", "trials", "first found by"):
        table.add_column(title)
    for row in rows:
        by = ", ".join(f"{name} {count}" for name, count in row.by.items())
        share = row.share
        interval = f"{share.low:.1%} to {share.high:.1%}"
        table.add_row(row.kind, row.role, f"{share.mean:.1%}", interval, str(share.count), by)
    table.caption = "listed: to be found in 95 % of the trials; no leak: at most 5 %"
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
