"""`consumer validate`: is a data set sound?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.command_line import Output

if TYPE_CHECKING:
    from consumer.validation import ValidationReport

SUMMARY = "check a data set's files, masks and diversity; write a report"


def configure(parser: argparse.ArgumentParser) -> None:
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
        "--key", type=Path, metavar="PUB", help="the hospital's public key; by default the data set's own"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="REPORT.html",
        help="the report, with pictures of the data set; by default beside it, DATASET-report.html",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.pinning import verify_for
    from consumer.reader import read_folder
    from consumer.validation import validate
    from consumer.validation.page import Origin, render
    from sharekit import files
    from sharekit.progress import reporter

    folder = read_folder(args.dataset)
    statistics, origin = None, None
    if args.bundle is not None:
        bundle = verify_for(folder, args.bundle, args.key)
        claims = bundle.manifest
        origin = Origin(claims.hospital, claims.release, bundle.verdict, bundle.fingerprint)
        if "statistics.json" in bundle.names:
            statistics = files.parse_json(bundle.read("statistics.json"), "statistics.json")
    with reporter("validate", unit="images") as on_progress:
        report, measured = validate(folder, statistics, on_progress=on_progress)
    root = args.dataset.resolve()
    page = args.out or root.with_name(f"{root.name}-report.html")
    files.write_text(page, render(report, measured, folder, origin))
    output.result({**report.to_json(), "page": str(page)}, *_lines(report, page))
    return report.exit_code


def _lines(report: ValidationReport, page: Path) -> list[str]:
    from rich.markup import escape

    lines = [
        f"[bold]{report.verdict}[/bold]",
        f"{report.images} images with masks in {escape(report.dataset)}",
    ]
    lines += [
        f"  {finding.severity:<8}{escape(finding.message)}: {finding.count}" for finding in report.findings
    ]
    for entry in report.reference:
        if entry.total_variation is not None:
            lines.append(
                f"  coverage of {escape(entry.name)}: total variation distance to the real masks "
                f"{entry.total_variation:.2f} (protected counts)"
            )
    return [*lines, f"report: {escape(str(page))}"]
