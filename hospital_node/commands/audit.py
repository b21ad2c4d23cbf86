"""`hospital-node audit`: attack every trained generator; without it nothing leaves."""

from __future__ import annotations

import argparse

from hospital_node.audit.audit_settings import SAMPLES, AuditSettings
from sharekit.program import progress, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output
from sharekit.program.phrases import next_command

SUMMARY = "build each trained generator's candidate, attack it, and put the verdict in words"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--samples",
        type=whole_number(),
        metavar="N",
        default=AuditSettings.samples,
        help=f"number of samples from each candidate (default: {SAMPLES}, fewer after a short training)",
    )
    shared_options.seed(parser, AuditSettings.seed, "samples, choice of controls and bootstrap")
    parser.add_argument(
        "--again",
        action="store_true",
        help="also repeat earlier audits (audited, withheld, released), for example after a policy change",
    )
    parser.add_argument(
        "--actors",
        type=whole_number(least=1),
        metavar="N",
        default=AuditSettings.actors,
        help="number of generators to audit at once, in Ray actors on this machine",
    )
    parser.add_argument(
        "--nearest",
        metavar="GENERATOR",
        help="show which sample of an audited generator is nearest to a real image, and attack nothing",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    return _audit(args, output) if args.nearest is None else _show_nearest(args, output)


def _show_nearest(args: argparse.Namespace, output: Output) -> int:
    from hospital_node.node.node import Node
    from hospital_node.report.nearest_sample import nearest_sample_of

    found = nearest_sample_of(Node.open(args.node), args.nearest)
    distance = "" if found.ratio is None else f", at {found.ratio:.2f} of the distance between real images"
    output.result(
        found.to_json(),
        f"sample {found.sample} of seed {found.seed} is nearest to {found.source}{distance}",
        f"picture  {found.picture}  (contains a real image: keep it in the node)",
    )
    return 0


def _audit(args: argparse.Namespace, output: Output) -> int:
    from hospital_node.audit.audit_node import audit_node
    from hospital_node.audit.canaries import canary_in_words, planted_in
    from hospital_node.node.node import Node
    from hospital_node.release.audit_words import audit_table
    from hospital_node.release.policy_change import current_policy
    from sharekit.errors import PartialFailureError

    node = Node.open(args.node)
    limits = current_policy(node, create=True).limits
    settings = AuditSettings(args.samples, args.seed, args.again, args.actors)
    with progress.reporter("audit", unit="generators") as on_progress:
        report = audit_node(node, limits, settings, on_progress=on_progress)
    rows = [(one.generator_id, one.images, one.state, one.reason, one.audit) for one in report.outcomes]
    planted = planted_in(node)
    audits = [one.audit for one in report.outcomes if one.audit is not None]
    approve = ("hospital-node", "approve", "--node", args.node, "--key", "KEY", "--all")
    output.result(
        report.to_json(),
        audit_table(rows),
        f"{report.audited} may be put forward, {report.withheld + report.failed} withheld",
        *([] if planted is None else [canary_in_words(planted, audits)]),
        *([next_command(*approve)] if report.audited and planted is None else []),
    )
    return PartialFailureError.exit_code if report.failed else 0
