"""`hospital-node evaluate`: a stranger's segmenter on the hold-out, and a signed report of its means."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sharekit.program import options, password, progress
from sharekit.program.output import Output
from sharekit.program.phrases import counted

SUMMARY = "evaluate a submitted segmenter on the hold-out and sign a report of rounded means"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help="folder or zip of a submission")
    options.node(parser)
    options.private_key(parser, "the hospital's release")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="REPORT", help="the report, a new file: NAME.json"
    )
    options.threads(parser)
    password.configure(parser)
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.evaluation.evaluate import evaluate
    from hospital_node.evaluation.write_report import check_out, write_report
    from hospital_node.node.node import Node
    from sharekit.segmenter.evaluation_report import INTERVALS
    from sharekit.segmenter.submission import read_submission
    from sharekit.signing.keys import SigningKey

    # Whatever would keep the report from being written must not cost an evaluation.
    check_out(args.out)
    key = SigningKey.load(args.key, password.from_args(args))
    signed = read_submission(args.submission)
    node = Node.open(args.node)
    threads = args.threads or len(os.sched_getaffinity(0))
    with progress.reporter("evaluate", unit="images") as on_progress:
        done = evaluate(node, signed, threads=threads, on_progress=on_progress)
    write_report(node, done.report, key, args.out)
    report = done.report
    output.result(
        {"report": str(args.out), **done.to_json()},
        f"{counted(report.images, 'hold-out image')}, submitted by {done.submitter}"
        + (": the stored report again, nothing spent" if done.repeated else ""),
        f"means over images, with {INTERVALS}",
        *(
            f"  {name}: " + ", ".join(f"{metric} {value}" for metric, value in metrics.items())
            for name, metrics in report.classes.items()
        ),
        f"{done.spent} of {counted(done.budget, 'evaluation')} of this submitter spent",
        f"report: {args.out}",
    )
