"""`consumer report`: verify a hospital's report on a submitted segmenter and show it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output, strong
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.text import Text

    from consumer.submission.verified_report import VerifiedReport

SUMMARY = "verify a hospital's evaluation report and show what it says"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="check signature, form, and what it is about")
    verify.add_argument("report", type=Path, metavar="REPORT", help="the file that the hospital sent")
    shared_options.public_key(verify, "the hospital's")
    verify.add_argument("--submission", type=Path, metavar="SUBMISSION", help="submission it must be about")
    add_output_options(verify, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.submission.verified_report import verify_report
    from sharekit.trust.key_choice import public_keys

    verified = verify_report(args.report, public_keys(args.key), args.submission)
    output.result(verified.to_json(), *_describe(verified))


def _describe(verified: VerifiedReport) -> list[str | Text]:
    from sharekit.segmenter.evaluation_report import INTERVALS

    report = verified.report
    about = "the submission" if verified.belongs_to_submission else "unknown: give --submission to check"
    return [
        strong("authentic"),
        f"hospital     {report.hospital}, {report.date}",
        f"about        {about}",
        f"hold-out     {counted(report.images, 'real image')}; means over images",
        f"protection   {report.protection}",
        f"             {INTERVALS}",
        *(
            f"  {name}: " + ", ".join(f"{metric} {value}" for metric, value in metrics.items())
            for name, metrics in report.classes.items()
        ),
        f"fingerprint  {verified.fingerprint}",
    ]
