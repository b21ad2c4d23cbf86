"""Measure how often drawing from many generators loads one, and its samples a processor second.

The earlier order was round robin: it planned at most 64 samples ahead, kept at most 16 generators loaded, and
checked the file at every load. Both orders draw the same samples from the same bundle of tiny generators, in
turn, in this process. The last column shows the new order with the generators in a confined process.

    python benchmarks/sampling.py [--generators 1 16 17 100 1000] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import consumer
from consumer.sampling import runtime
from consumer.sampling.drawing import Draw
from consumer.sampling.numbering import Numbering
from consumer.sampling.order import in_order
from consumer.sampling.request import Request
from consumer.sampling.sample import Sample, samples_of
from consumer.sampling.synthetic_bundle import Bundle
from hospital_node.candidate.build import build_onnx
from sharekit.signing import keys
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

SIZES = ((9, 11), (14, 17), (20, 24))
SEED = 3
BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Row:
    """Cost of drawing from a number of generators. Rates are medians over the rounds."""

    generators: int
    samples: int
    round_robin_loaded: int
    loaded: int
    round_robin_rate: float  # samples a processor second, those of the process with limits included
    rate: float
    isolated_rate: float
    ratio: float
    """New rate / old rate: the median of the rounds' ratios."""
    lowest_ratio: float
    highest_ratio: float


class RoundRobin:
    """The earlier order of drawing, kept for this comparison."""

    MAX_OPEN_SESSIONS = 16
    MAX_WAITING = 64

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.opened = 0
        self.sessions: OrderedDict[str, object] = OrderedDict()

    def sample(self, count: int) -> Iterator[Sample]:
        entries = self.bundle.generators
        request = Request(SEED, batch_size=BATCH_SIZE)
        window = max(BATCH_SIZE, min(BATCH_SIZE * len(entries), self.MAX_WAITING))

        def draw(position: int, indices: list[int]) -> list[Sample]:
            entry = entries[position]
            noise = Draw(entry.spec, SEED, tuple(indices)).noise()
            image, mask = runtime.run_session(self.session(entry), noise)
            return list(samples_of(image, mask, entry, request, indices))

        return in_order(range(count), Numbering.of(entries, request), BATCH_SIZE, window, draw)

    def session(self, entry):
        if entry.file not in self.sessions:
            data = self.bundle.verified.read(entry.file)
            self.sessions[entry.file] = runtime.open_session(
                data, entry.spec, entry.file, self.bundle.provider, threads=1
            )
            self.opened += 1
            if len(self.sessions) > self.MAX_OPEN_SESSIONS:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(entry.file)
        return self.sessions[entry.file]


def write_bundle(folder: Path, generators: int) -> tuple[Path, Path]:
    """Paths of a new signed bundle and of its public key."""
    key = keys.generate()
    key.public.save(folder / "hospital.pub")
    made = (tiny_generator(seed, sizes=SIZES) for seed in range(generators))
    small_bundle(folder / "bundle", key, generators={one.spec: build_onnx(one) for one in made})
    return folder / "bundle", folder / "hospital.pub"


def measure(generators: int, rounds: int) -> Row:
    """Draw at least twice from every generator in both orders, alternating, for `rounds` rounds."""
    count = max(1000, 2 * generators)
    with tempfile.TemporaryDirectory() as directory:
        path, key = write_bundle(Path(directory), generators)
        here, apart = (
            consumer.open_bundle(path, key, device="cpu", threads=1, isolate=isolate)
            for isolate in (False, True)
        )
        same = zip(RoundRobin(here).sample(20), apart.sample(20, SEED), strict=True)
        assert all(np.array_equal(old.image, new.image) for old, new in same)
        apart.close()
        old, new, isolated = [], [], []
        for _ in range(rounds):
            before = RoundRobin(here)
            old.append(rate(before.sample, count))
            new.append(rate_of(here, count))
            isolated.append(rate_of(apart, count))
        loaded = loaded_for(here, count)
    ratios = [b / a for a, b in zip(old, new, strict=True)]
    return Row(
        generators,
        count,
        before.opened,
        loaded,
        *(round(float(np.median(rates)), 1) for rates in (old, new, isolated)),
        *(round(float(figure), 2) for figure in (np.median(ratios), min(ratios), max(ratios))),
    )


def rate(draw: Callable[[int], Iterator[Sample]], count: int) -> float:
    """Samples a processor second when no generator is loaded and no process runs at the start."""
    started = sum(os.times()[:4])
    drawn = sum(1 for _ in draw(count))
    assert drawn == count
    return count / (sum(os.times()[:4]) - started)


def rate_of(bundle: Bundle, count: int) -> float:
    """The rate of a bundle. It is closed within, because only then is the time of its process known."""

    def draw(count: int) -> Iterator[Sample]:
        with bundle:
            yield from bundle.sample(count, SEED, batch_size=BATCH_SIZE)

    return rate(draw, count)


def loaded_for(bundle: Bundle, count: int) -> int:
    """How often a generator is loaded while `count` samples are drawn."""
    with bundle:
        assert sum(1 for _ in bundle.sample(count, SEED, batch_size=BATCH_SIZE)) == count
        return bundle.sessions_opened


def table(rows: list[Row]) -> Table:
    found = Table(title="samples of tiny generators a processor second, batches of 8, one thread")
    for column in (
        "generators",
        "samples",
        "loaded before",
        "loaded",
        "a second before",
        "a second",
        "ratio",
    ):
        found.add_column(column, justify="right")
    found.add_column("isolated, a second", justify="right")
    for row in rows:
        found.add_row(
            f"{row.generators:,}",
            f"{row.samples:,}",
            f"{row.round_robin_loaded:,}",
            f"{row.loaded:,}",
            f"{row.round_robin_rate:.0f}",
            f"{row.rate:.0f}",
            f"{row.ratio:.2f} [{row.lowest_ratio:.2f}, {row.highest_ratio:.2f}]",
            f"{row.isolated_rate:.0f}",
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generators", type=int, nargs="+", default=[1, 16, 17, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    args = parser.parse_args()
    rows = [measure(generators, args.rounds) for generators in args.generators]
    if args.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
    else:
        Console(width=110).print(table(rows))


if __name__ == "__main__":
    main()
