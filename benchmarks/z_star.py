"""Measure what zero noise and inversion find in trained generators whose z* was kept or redrawn.

The authors' code draws the reconstruction noise z* of scale 0 again in every iteration, as the profiles
`paper` and `fast` do. Every noise is then trained to rebuild the image. Each generator learns from one drawn
picture of 48 pixels. Finished generators are kept in --out, and the next run goes on.

    python benchmarks/z_star.py --out FOLDER [--pictures 6] [--iterations 150] [--variants fast …] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hospital_node.audit.attack import Attack, AttackContext, AttackResult, AuditLimits, Space
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.attacks.distance import resize
from hospital_node.audit.attacks.inversion import DISTANCE, Inversion
from hospital_node.audit.attacks.nearest import BEST_DISTANCE, BestOfN
from hospital_node.audit.attacks.zero_noise import CALM_DISTANCE, ZeroNoise
from hospital_node.audit.candidate_draws import draw_candidate
from hospital_node.candidate.build import build_onnx
from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.trained import TrainedGenerator
from hospital_node.singan.training import train
from sharekit.demo.phantom import draw_frame
from sharekit.generator.tensors import ChannelLayout, pixels_to_tensor
from sharekit.intervals import bootstrap_mean, clopper_pearson

HEIGHT, WIDTH = 38, 48
LAYOUT = ChannelLayout(3, ("lesion",))
CONTROLS = 24
SAMPLES = 100
VARIANTS: Mapping[str, TrainingConfig] = {
    "fast": PROFILES["fast"],
    "fast, z* kept": dataclasses.replace(PROFILES["fast"], redraw_z_star=False),
    "paper": PROFILES["paper"],
    "private": PROFILES["private"],
}
"""`private` is `paper` with z* kept."""
ATTACKS: tuple[tuple[Attack, Any], ...] = (
    (BestOfN(), BEST_DISTANCE),
    (ZeroNoise(), CALM_DISTANCE),
    (Inversion(), DISTANCE),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained generators")
    parser.add_argument("--pictures", type=int, default=6, help="pictures, one generator each and variant")
    parser.add_argument("--iterations", type=int, default=150, help="updates of each scale")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS)[:2])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(args.pictures):
        for variant in args.variants:
            generator = trained(args.out, variant, number, args.iterations)
            results = attacked(generator, number)
            found.setdefault(variant, []).append(results)
            print(variant, number, results, file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def picture(number: int) -> NDArray[np.float32]:
    """A drawn picture with its mask, `(4, HEIGHT, WIDTH)` in [-1, 1]."""
    frame = draw_frame(np.random.default_rng((7, number)), 2 * HEIGHT, 2 * WIDTH)
    return resize(pixels_to_tensor(np.dstack([frame.image, frame.mask]))[None], HEIGHT, WIDTH)[0]


def trained(out: Path, variant: str, number: int, iterations: int) -> TrainedGenerator:
    """The generator of one picture, from `out` or trained now."""
    config = VARIANTS[variant]
    steps = max(config.generator_steps, config.discriminator_steps)
    config = dataclasses.replace(config, iterations=max(1, iterations // steps))
    folder = out / f"{variant.replace(',', '').replace('*', '').replace(' ', '-')}-{number}-{iterations}"
    path = folder / "generator.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = train(
            [picture(number)],
            LAYOUT,
            config,
            generator_id=f"{number:032x}",
            profile="benchmark",
            checkpoint_dir=folder,
            seed=number,
        )
        generator.save(path)
    return TrainedGenerator.load(path)


def attacked(generator: TrainedGenerator, number: int) -> dict[str, Any]:
    """Each attack with its distance, what it is compared with, and whether it succeeded."""
    image = LAYOUT.image_channels
    others = [picture(1000 + other)[:image] for other in range(CONTROLS)]
    known = Known(picture(number)[None, :image], 1, others)
    drawn = draw_candidate(build_onnx(generator), generator.spec, 0, SAMPLES)
    context: AttackContext = attack_context(generator.spec, drawn, known, None, AuditLimits(), 0)
    found = {}
    for attack, quantity in ATTACKS:
        result: AttackResult = attack.run(context)
        measure = result.measure(Space.FULL, quantity)
        if measure is None:
            raise ValueError(f"{attack.name} has no {quantity.name}")
        found[attack.name] = {
            "distance": measure.value,
            "baseline": measure.baseline,
            "effect": measure.effect,
            "succeeded": result.succeeded,
        }
    return found


def show(found: Mapping[str, list[dict[str, Any]]]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("variant", "attack", "found", "95 % interval", "distance (RMSE)", "effect", "generators"):
        table.add_column(title)
    for variant, results in found.items():
        for attack, _ in ATTACKS:
            one = [result[attack.name] for result in results]
            rate = clopper_pearson(sum(each["succeeded"] for each in one), len(one))
            distance, effect = (
                str(bootstrap_mean([each[name] for each in one])) for name in ("distance", "effect")
            )
            interval = f"{rate.low:.0%} to {rate.high:.0%}"
            table.add_row(variant, attack.name, f"{rate.mean:.0%}", interval, distance, effect, str(len(one)))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
