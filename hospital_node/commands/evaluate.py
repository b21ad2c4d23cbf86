"""`hospital-node evaluate`: a stranger's segmenter on the hold-out, and a signed report of its means."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sharekit.program import password
from sharekit.program.command_line import Output, thread_count

SUMMARY = "evaluate a submitted segmenter on the hold-out and sign a report of rounded means"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help="folder or zip of a submission")
    parser.add_argument("--node", type=Path, required=True, metavar="NODE", help="the node's folder")
    parser.add_argument("--key", type=Path, required=True, help="the hospital's private release key")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="REPORT", help="the report, a new file: NAME.json"
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="of the model's process; by default every core"
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from rich.markup import escape

    from hospital_node.evaluation.evaluate import evaluate
    from hospital_node.evaluation.write_report import check_out, write_report
    from hospital_node.node.node import Node
    from sharekit.program.progress import reporter
    from sharekit.segmenter.evaluation_report import INTERVALS
    from sharekit.segmenter.submission import read_submission
    from sharekit.signing.keys import SigningKey

    # Whatever would keep the report from being written must not cost an evaluation.
    check_out(args.out)
    key = SigningKey.load(args.key, password.from_args(args))
    signed = read_submission(args.submission)
    node = Node.open(args.node)
    threads = args.threads or len(os.sched_getaffinity(0))
    with reporter("evaluate", unit="images") as on_progress:
        done = evaluate(node, signed, threads=threads, on_progress=on_progress)
    write_report(node, done.report, key, args.out)
    report = done.report
    output.result(
        {
            "report": str(args.out),
            "repeated": done.repeated,
            "submitter": done.submitter,
            "spent": done.spent,
            "budget": done.budget,
            **report.to_statement().to_json()["predicate"],
        },
        f"{report.images} hold-out images, submitted by {escape(done.submitter)}"
        + (": the stored report again, nothing spent" if done.repeated else ""),
        f"means over images, with {INTERVALS}",
        *(
            f"  {escape(name)}: " + ", ".join(f"{metric} {value}" for metric, value in metrics.items())
            for name, metrics in report.classes.items()
        ),
        f"{done.spent} of {done.budget} evaluations of this submitter spent",
        f"report: {escape(str(args.out))}",
    )
