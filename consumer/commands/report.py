"""`consumer report`: what a hospital says of a submitted segmenter, verified."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

SUMMARY = "verify a hospital's evaluation report and show what it says"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="check signature, form, and what it is about")
    verify.add_argument("report", type=Path, metavar="REPORT", help="the file that the hospital sent")
    verify.add_argument("--key", type=Path, required=True, metavar="PUB", help="the hospital's public key")
    verify.add_argument("--submission", type=Path, metavar="SUBMISSION", help="what the report must be about")
    add_output_options(verify, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from rich.text import Text

    from sharekit.segmenter.evaluation_report import INTERVALS, check_belongs, read_report
    from sharekit.segmenter.submission import read_submission
    from sharekit.signing.keys import PublicKey

    key = PublicKey.load(args.key)
    report = read_report(args.report, [key])
    if args.submission is not None:
        check_belongs(report, read_submission(args.submission).submission, args.report)
    about = "the submission" if args.submission else "unknown: give --submission to check"
    output.result(
        {
            "verdict": "authentic",
            "fingerprint": key.fingerprint,
            "belongs_to_submission": True if args.submission else None,
            "model_sha256": report.model_sha256,
            "submission_sha256": report.submission_sha256,
            **report.to_statement().to_json()["predicate"],
        },
        Text("authentic", style="bold"),
        f"hospital     {report.hospital}, {report.date}",
        f"about        {about}",
        f"hold-out     {counted(report.images, 'real image')}; means over images",
        f"             {INTERVALS}",
        *(
            f"  {name}: " + ", ".join(f"{metric} {value}" for metric, value in metrics.items())
            for name, metrics in report.classes.items()
        ),
        f"fingerprint  {key.fingerprint}",
    )
