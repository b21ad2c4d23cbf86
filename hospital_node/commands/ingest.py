"""`hospital-node ingest`: a folder of images and masks into the node."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import progress, shared_options
from sharekit.program.output import Output, warning_text
from sharekit.program.phrases import counted, next_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hospital_node.intake.intake_report import IntakeReport, Refusal
    from hospital_node.intake.intake_rules import IntakeRules

SUMMARY = "take a folder of images and masks into a node, made if it does not exist"
GOES_ON = True
SHOWN = 5
"""Refusals that the text lists for each next step; it only counts the rest."""


def configure(parser: argparse.ArgumentParser) -> None:
    from hospital_node.intake.intake_rules import IntakeRules
    from sharekit.pictures.orientation import Turn

    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with images/ and masks/ (or masks/CLASS/): PNG, JPEG or TIFF, paired by name",
    )
    shared_options.node(parser)
    parser.add_argument(
        "--hospital",
        metavar="NAME",
        help="name that bundles will carry; needed when the node is made, and fixed from then on",
    )
    parser.add_argument(
        "--hold-out",
        action="store_true",
        help="keep these images for the evaluation of segmenters; nothing is ever trained on them",
    )
    parser.add_argument(
        "--mask-suffix",
        metavar="SUFFIX",
        help="end of every mask's name, as in NAME_lesion.png (left out: the usual ones, such as _mask and "
        "_segmentation)",
    )
    values = parser.add_mutually_exclusive_group()
    values.add_argument(
        "--mask-map",
        metavar="MAP",
        help="classes of masks that hold numbers, as 1=polyp,2=instrument,255=ignore; *=cell is every other "
        "number; 0 is background",
    )
    values.add_argument(
        "--mask-colour",
        metavar="MAP",
        help="classes of masks in colours, as '#ff0000=polyp,#00ff00=instrument'; black is background",
    )
    parser.add_argument(
        "--apply-orientation",
        type=Turn,
        choices=list(Turn),
        help="turn picture and mask, the picture alone, or neither, where only one has an EXIF orientation",
    )
    parser.add_argument(
        "--allow-empty-masks",
        action="store_true",
        help="take images without a finding, whose masks are empty",
    )
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE.csv",
        help="CSV with the columns image and group: each image's patient, kept as a keyed digest",
    )
    parser.add_argument(
        "--keep-overlays",
        action="store_true",
        help="leave text and graphics that a device wrote into the pictures (left out: paint them over)",
    )
    parser.add_argument(
        "--max-side",
        type=int,
        default=IntakeRules().max_side,
        metavar="PIXELS",
        help="long side that training will use; strips too narrow for it are refused",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Exit 0 when the whole folder is in the node, 7 when a part was refused, 3 when nothing is usable."""
    from hospital_node.intake import ingest
    from hospital_node.intake.ingest import check_data
    from hospital_node.node.node import Node
    from sharekit.errors import InputError, PartialFailureError

    rules = _rules(args)
    # A wrong --data must not leave an empty node behind.
    check_data(args.data)
    node = Node.create_or_open(args.node, args.hospital)
    with progress.reporter("ingest", unit="images") as on_progress:
        report = ingest(args.data, node, on_progress, rules=rules, hold_out=args.hold_out)
    output.result(report.to_json(), *_text(report))
    if not report.usable and not report.review:
        raise InputError(
            args.data,
            expected="at least one usable pair of an image and its masks",
            found=f"none; {len(report.refused)} refused",
            next_step="correct what the list of refusals says, then ingest again",
        )
    if report.refused:
        raise PartialFailureError(
            args.data,
            expected="every file of the folder in a usable pair",
            found=f"{len(report.refused)} refused, {report.usable} usable",
            next_step="go on with what was taken, or correct what the list of refusals says and ingest again",
        )
    if report.review:
        raise PartialFailureError(
            args.data,
            expected="pictures whose text and graphics are certain",
            found=f"{len(report.review)} that a person has to look at, {report.usable} usable",
            next_step=f"hospital-node review --node {report.node}",
        )
    return 0


def _rules(args: argparse.Namespace) -> IntakeRules:
    from hospital_node.intake.intake_rules import IntakeRules
    from sharekit.pictures.mask_map import MaskMap

    mask_map = None
    if args.mask_map is not None:
        mask_map = MaskMap.of_numbers(args.mask_map)
    elif args.mask_colour is not None:
        mask_map = MaskMap.of_colours(args.mask_colour)
    return IntakeRules(
        max_side=args.max_side,
        mask_suffix=args.mask_suffix,
        mask_map=mask_map,
        turn=args.apply_orientation,
        allow_empty_masks=args.allow_empty_masks,
        groups=args.groups,
        keep_overlays=args.keep_overlays,
    )


def _text(report: IntakeReport) -> Iterator[RenderableType]:
    verb, following = (
        ("held out", ("evaluate", "SUBMISSION")) if report.hold_out else ("ingested", ("train",))
    )
    waiting = f", {len(report.review)} wait for a review" if report.review else ""
    yield f"{report.ingested} {verb}, {report.known} known already, {len(report.refused)} refused{waiting}"
    if report.images:
        yield _units(report)
    if report.refused:
        yield from _refusals(report.refused)
    for one in report.review[:SHOWN]:
        yield warning_text(f"for review: {one.path} ({one.doubt})")
    for warning in report.warnings:
        named = ", ".join(warning.files[:3]) + (" …" if len(warning.files) > 3 else "")
        yield warning_text(f"warning: {warning.message}" + (f" ({named})" if named else ""))
    yield from (f"skipped: {path}" for path in report.skipped)
    if report.usable:
        yield next_command("hospital-node", *following, "--node", report.node)


def _units(report: IntakeReport) -> str:
    """How many patients the images count as."""
    whose = "the hold-out" if report.hold_out else "training"
    if not report.unknown_patients:
        return f"{whose}: {counted(report.images, 'image')} of {counted(report.units, 'patient')}"
    unknown = "their patients are unknown"
    if report.unknown_patients < report.images:
        unknown = f"the patient of {report.unknown_patients} is unknown"
    return (
        f"{whose}: {counted(report.images, 'image')}, {unknown}; with each distinct picture as a patient,"
        f" they count {report.units} (name the patients with --groups FILE.csv)"
    )


def _refusals(refusals: Sequence[Refusal]) -> Iterator[RenderableType]:
    """A table of the first few refusals of every kind, and how many more there are."""
    from rich.table import Table

    kinds: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        kinds.setdefault(refusal.next_step, []).append(refusal)
    table = Table("refused", "expected", "found", "next")
    for next_step, found in kinds.items():
        for refusal in found[:SHOWN]:
            table.add_row(refusal.path, refusal.expected, refusal.found, next_step)
        if len(found) > SHOWN:
            table.add_row(f"… and {len(found) - SHOWN} more", "", "", "as above")
    yield table
    if any(len(found) > SHOWN for found in kinds.values()):
        yield "all of them: --format json"
