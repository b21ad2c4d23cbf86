"""`consumer catalogue`: what the hospitals of a repository offer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output, warning_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sharekit.repository.known import Seen

SUMMARY = "show what hospitals offer: generators, images behind them, verdict, size, licence"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.repository_address(
        parser, required=False, left_out="what the last pulls saw, without a network"
    )
    parser.add_argument(
        "--sheets", action="store_true", help="fetch the contact sheets of synthetic samples too"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from sharekit.repository.known import seen_repositories
    from sharekit.trust.home import home

    if args.repository is None:
        found = seen_repositories()
    else:
        from consumer.repositories.pull_releases import fetch_sheet, look

        client, seen = look(args.repository, args.root)
        found = [seen]
        if args.sheets:
            for hospital in seen.hospitals.values():
                for offer in hospital.offers:
                    fetch_sheet(client, offer)
    sheets = {path.stem: str(path) for path in (home() / "sheets").glob("*.png")}
    output.result(
        {"repositories": [seen.to_json() for seen in found], "sheets": sheets},
        *(part for seen in found for part in _parts(seen)),
        *(f"contact sheet: {path}" for path in sheets.values()),
        *([] if found else ["no repository is known; name one"]),
    )


def _parts(seen: Seen) -> list[RenderableType]:
    from rich.table import Table

    table = Table("hospital", "release", "date", "modality", "holds", "images", "verdict", "MB", "licence")
    parts: list[RenderableType] = [f"{seen.address}, as of {seen.checked:%Y-%m-%d %H:%M} UTC"]
    for name, hospital in seen.hospitals.items():
        for offer in hospital.offers:
            record = offer.record
            table.add_row(
                name,
                str(record.release),
                record.created[:10],
                record.modality,
                f"{record.generators} of {'; '.join(record.layouts)}",
                str(record.images),
                "; ".join(record.verdicts),
                f"{offer.length / 1e6:.1f}{', encrypted' if record.encryption else ''}",
                record.licence,
            )
    parts.append(table)
    for name, hospital in seen.hospitals.items():
        parts += [
            warning_text(f"{name}: release {one.release} was withdrawn on {one.date[:10]}: {one.reason}")
            for one in hospital.withdrawn
        ]
        if hospital.problem:
            parts.append(warning_text(f"{name}: refused: {hospital.problem}"))
    return parts
