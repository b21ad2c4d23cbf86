"""`hospital-node evaluate`: evaluate a stranger's segmenter on the hold-out and sign a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import password, progress, shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from hospital_node.evaluation.evaluate import Evaluation

SUMMARY = "evaluate a submitted segmenter on the hold-out and sign a report of its means, with noise"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help="folder or zip of a submission")
    shared_options.node(parser)
    shared_options.private_key(parser, "the hospital's release")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="REPORT", help="the report, a new file: NAME.json"
    )
    shared_options.threads(parser)
    parser.add_argument(
        "--weak-confinement",
        action="store_true",
        help="run the model even where this machine cannot filter its system calls; only for a submitter "
        "that you trust",
    )
    password.configure(parser)
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.evaluation.evaluate import evaluate
    from hospital_node.evaluation.write_report import check_out, write_report
    from hospital_node.node.node import Node
    from sharekit.program.confinement import ESSENTIAL, Layer
    from sharekit.program.processors import free_processors
    from sharekit.segmenter.submission import read_submission
    from sharekit.trust.key_choice import private_key

    # A report that cannot be written must not cost an evaluation.
    check_out(args.out)
    key = private_key(args)
    signed = read_submission(args.submission)
    node = Node.open(args.node)
    with progress.reporter("evaluate", unit="images") as on_progress:
        done = evaluate(
            node,
            signed,
            threads=args.threads or free_processors(),
            required=Layer(0) if args.weak_confinement else ESSENTIAL,
            on_progress=on_progress,
        )
    write_report(node, done.report, key, args.out)
    output.result({"report": str(args.out), **done.to_json()}, *_describe(done, args.out))


def _describe(done: Evaluation, out: Path) -> list[str]:
    from sharekit.segmenter.evaluation_report import INTERVALS

    report = done.report
    repeated = ": the stored report again, nothing spent" if done.repeated else ""
    return [
        f"{counted(report.images, 'hold-out image')}, submitted by {done.submitter}{repeated}",
        f"means over images, {report.protection}; {INTERVALS}",
        *(
            f"  {name}: " + ", ".join(f"{metric} {value}" for metric, value in metrics.items())
            for name, metrics in report.classes.items()
        ),
        f"{done.spent} of {counted(done.budget, 'evaluation')} of this submitter spent, "
        f"epsilon {done.epsilon_spent:g} of {done.epsilon_budget:g}",
        *_describe_process(done),
        f"report: {out}",
    ]


def _describe_process(done: Evaluation) -> list[str]:
    """What the operator should know and must keep inside: no noise protects it."""
    if done.process is None:
        return []
    lines = [f"the model's process was confined by: {', '.join(done.process.layers.labels)}"]
    if done.process.failures:
        lines.append(
            f"images without a sound answer of the model, which count as worst: {done.process.failures}; "
            "keep this number inside, no noise protects it"
        )
    return lines
