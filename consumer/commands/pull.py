"""`consumer pull`: fetch hospitals' newest releases from a repository, and learn what was withdrawn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.errors import PartialFailureError
from sharekit.program import progress, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output, strong, warning_text
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from consumer.repositories.pull_releases import Pulled

SUMMARY = "fetch and verify hospitals' newest bundles from a repository; locks what they withdrew"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.repository_address(parser)
    parser.add_argument(
        "--hospital",
        action="append",
        required=True,
        metavar="NAME",
        help="short name of a hospital that you trust; repeat it for several",
    )
    parser.add_argument(
        "--release",
        type=whole_number(1),
        metavar="N",
        help="number of the release (left out: the newest)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for copies of the bundles (left out: only the cache)"
    )
    shared_options.identity(parser)
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.repositories.pull_releases import pull

    with progress.reporter("pull", unit="bytes") as on_progress:
        found = pull(
            args.repository,
            args.hospital,
            root=args.root,
            release=args.release,
            out=args.out,
            identities=args.identity,
            on_progress=on_progress,
        )
    output.result(found.to_json(), *_lines(found))
    return PartialFailureError.exit_code if found.refused else 0


def _lines(found: Pulled) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for name, bundle in found.bundles.items():
        claims = bundle.manifest
        lines += [
            strong(f"{bundle.verdict}: ", f"{claims.hospital}, release {claims.release}", "bold green"),
            f"  {counted(len(claims.generators), 'generator')}, key {bundle.fingerprint}",
            f"  open it by its name: consumer sample {name} …",
            *(warning_text(f"  {warning.message}") for warning in bundle.warnings),
        ]
    for one in found.locked:
        withdrawal = one.withdrawal
        lines.append(
            warning_text(
                f"withdrawn on {withdrawal.date[:10]}: release {withdrawal.release} of {one.hospital}:"
                f" {withdrawal.reason}"
            )
        )
        if one.downloaded:
            lines.append("  your copy is locked")
        lines += [f"  drawn from it: {path}" for path in one.data_sets]
    lines += [
        warning_text(f"not pulled: {name}: {error.found}; {error.next_step}")
        for name, error in found.refused.items()
    ]
    return lines
