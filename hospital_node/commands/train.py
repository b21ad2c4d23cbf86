"""`hospital-node train`: a generator for every group of images, or for every image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hospital_node.pool.training_options import GPU_LANES, GroupOptions, PoolOptions, TrainingReport
from hospital_node.singan.config import (
    DEFAULT_PROFILE,
    GROUP_PROFILE,
    PRECISIONS,
    PROFILES,
    TrainingSettings,
)
from sharekit.errors import PartialFailureError, UsageError
from sharekit.program import progress, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output
from sharekit.program.phrases import next_command

if TYPE_CHECKING:
    from hospital_node.node.node import Node

SUMMARY = "train generators on the ingested images; the same command again goes on after an interruption"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    defaults, groups = PoolOptions(), GroupOptions()
    shared_options.node(parser)
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        help=f"settings of the method (left out: {GROUP_PROFILE} for the groups that a node makes by itself, "
        f"otherwise {DEFAULT_PROFILE})",
    )
    parser.add_argument(
        "--group-size",
        type=int,
        metavar="K",
        help="least number of patients or distinct pictures behind each generator, grouped at random within "
        "one channel layout (left out, without --profile and --groups: the policy's min_group, once a layout "
        "has that number; 1 otherwise)",
    )
    parser.add_argument(
        "--groups",
        type=Path,
        default=groups.file,
        metavar="FILE.csv",
        help="CSV with the columns image and group: images of one group (a patient, a sequence) all go to the"
        " same generator",
    )
    parser.add_argument(
        "--iterations",
        type=whole_number(1),
        metavar="N",
        help="iterations of each scale, instead of the profile's",
    )
    parser.add_argument(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="long side of the finest scale, instead of the profile's",
    )
    parser.add_argument(
        "--upright",
        action="store_true",
        help="the pictures have a right way up (a chest radiograph, unlike an endoscopic image): the profile"
        " group turns them by 15 degrees at most and mirrors none, and its samples give more away",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="precision of pictures and convolutions, instead of the profile's",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        default=defaults.address,
        help="join this Ray cluster (`auto` or ip:port; with its token) instead of running a closed Ray here",
    )
    parser.add_argument(
        "--gpus",
        type=float,
        default=defaults.gpus,
        metavar="F",
        help="share of a GPU for each worker, 0 for the CPU (left out: a whole GPU if this machine has one)",
    )
    parser.add_argument(
        "--actors",
        type=whole_number(least=1),
        default=defaults.actors,
        metavar="N",
        help="workers that train at once (left out: as many as CPUs and GPUs allow)",
    )
    parser.add_argument(
        "--cpus-per-actor",
        type=int,
        default=defaults.cpus_per_actor,
        metavar="N",
        help="CPU threads for each worker",
    )
    parser.add_argument(
        "--lanes",
        type=int,
        default=defaults.lanes,
        metavar="N",
        help="most generators of one shape that a worker trains side by side, as far as memory holds them "
        f"(left out: {GPU_LANES} on a GPU, 1 on the CPU)",
    )
    parser.add_argument(
        "--max-attempts",
        type=int,
        default=defaults.max_attempts,
        metavar="N",
        help="worker deaths after which a generator is quarantined",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="train interrupted, failed and quarantined generators from the beginning",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Train, print the report; exit code 7 when generators of the node have failed."""
    from hospital_node.node.node import Node
    from hospital_node.pool.driver import train_node

    _check_numbers(args)
    node = Node.open(args.node)
    profile, groups = _chosen(args, node)
    settings = _settings(args, profile)
    pool = PoolOptions(
        args.address, args.actors, args.cpus_per_actor, args.gpus, args.max_attempts, lanes=args.lanes
    )
    with progress.reporter("train", unit="% of the work") as on_progress:
        report = train_node(
            node,
            settings,
            pool,
            groups,
            restart=args.restart,
            on_progress=on_progress,
            on_plan=lambda words: output.announce(f"{words}, profile {profile}"),
        )
    output.result(report.to_json(), *_describe(report, args.node))
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed or report.quarantined:
        raise PartialFailureError(
            args.node,
            expected="every generator trained",
            found=f"{len(report.failed)} failed and {len(report.quarantined)} quarantined",
            next_step="read the reasons above; `--restart` tries these generators again from the beginning",
        )
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that no profile can take, before the node is opened."""
    least_side = PROFILES[args.profile or DEFAULT_PROFILE].min_side
    for name, least in (("iterations", 1), ("max_side", least_side), ("group_size", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(
                f"--{name.replace('_', '-')}",
                expected=f"at least {least}",
                found=str(value),
                next_step="give a larger number",
            )


def _chosen(args: argparse.Namespace, node: Node) -> tuple[str, GroupOptions]:
    """The profile and the grouping: those of the options, or what the node trains by default."""
    from hospital_node.pool.default_training import default_training
    from hospital_node.release.release_policy import policy_or_default

    profile, size = args.profile, args.group_size
    if size is None and args.groups is None and profile in (None, GROUP_PROFILE):
        k = policy_or_default(node.policy_path).min_group
        if profile is None:
            default = default_training(node, k, restart=args.restart)
            profile, k = default.profile, default.group_size
        size = k
    return profile or DEFAULT_PROFILE, GroupOptions(size or GroupOptions.size, args.groups)


def _settings(args: argparse.Namespace, profile: str) -> TrainingSettings:
    """The profile's settings with the overrides; a generator's record holds them all."""
    changes = {"iterations": args.iterations, "max_side": args.max_side, "precision": args.precision}
    settings = TrainingSettings.of(
        profile, **{name: value for name, value in changes.items() if value is not None}
    )
    return settings.upright() if args.upright else settings


def _describe(report: TrainingReport, node: Path) -> list[str]:
    speed = f", {report.iterations_per_second:g} iterations a second" if report.seconds else ""
    lines = [
        f"{report.trained} trained, {report.waiting} waiting, {len(report.failed)} failed, "
        f"{len(report.quarantined)} quarantined; {report.seconds:g} s{speed}"
    ]
    for state, reasons in (("failed", report.failed), ("quarantined", report.quarantined)):
        lines += [f"  {name}  {state}: {reason}" for name, reason in reasons.items()]
    lines += report.notes
    if report.trained and not report.interrupted:
        lines.append(next_command("hospital-node", "audit", "--node", node))
    return lines
