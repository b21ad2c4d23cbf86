"""`sharekit inspect`: show what a bundle says about itself, which only a key can verify."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output, strong, warning_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from sharekit.bundle.inspection import Inspection
    from sharekit.bundle.manifest import GeneratorEntry, Manifest

SUMMARY = "show what a bundle says that it holds; unverified unless --key is given"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder or zip")
    shared_options.public_key(parser, "for verification first: the hospital's", required=False, several=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from sharekit.bundle.inspection import inspect_bundle
    from sharekit.trust.key_choice import public_keys

    found = inspect_bundle(args.bundle, public_keys(*args.key))
    manifest = found.manifest
    output.result(
        found.to_json(),
        _heading(found),
        f"{manifest.hospital}, release {manifest.release}, "
        f"{manifest.created:%Y-%m-%d} to {manifest.expires:%Y-%m-%d}",
        *(warning_text(warning.message) for warning in found.warnings),
        _generators(manifest),
        _files(found.lengths),
        _needs(manifest),
        *_overlays(manifest),
    )


def _heading(found: Inspection) -> Text:
    if found.fingerprint is None:
        doubt = ": anyone could have written what follows; give --key to verify"
        return strong("UNVERIFIED", doubt, "bold red")
    return strong(found.verdict, f"  (key {found.fingerprint})", "bold green")


def _generators(manifest: Manifest) -> Table:
    table = _table("Generators")
    table.add_column("id")
    table.add_column("draws")
    table.add_column("audit")
    for entry in manifest.generators:
        spec = entry.spec
        image = "RGB" if spec.layout.image_channels == 3 else "grey"
        table.add_row(
            spec.id,
            f"{spec.width}x{spec.height} {image} + {', '.join(spec.layout.mask_classes)}\n"
            f"{entry.profile}, ONNX error {entry.parity.max_abs_difference:.0e}",
            "\n".join([entry.verdict, *_behind(entry)]),
        )
    return table


def _behind(entry: GeneratorEntry) -> Iterator[str]:
    if entry.group is not None:
        yield str(entry.group)
    if (vetted := entry.vetted) is not None:
        yield f"{len(vetted.good)} of {vetted.candidates} samples of seed {vetted.seed} vetted"


def _files(lengths: Mapping[str, int]) -> Table:
    table = _table("Files")
    table.add_column("path")
    table.add_column("bytes", justify="right")
    for name in sorted(lengths):
        table.add_row(name, f"{lengths[name]:,}")
    return table


def _needs(manifest: Manifest) -> str:
    needs = manifest.dependencies
    style = f"style statistics of {needs.features.name}" if needs.features else "no style statistics"
    limits = manifest.limits
    return (
        f"ONNX opset {needs.onnx_opset}, IR {needs.onnx_ir_version}; noise {needs.noise_scheme}; "
        f"{style}; at most {limits.max_side} pixels a side, {limits.max_batch} samples a batch"
    )


def _overlays(manifest: Manifest) -> Iterator[str | Text]:
    counts = manifest.overlays
    if counts is not None:
        text = f"text and graphics that devices write into pictures: {counts}"
        yield warning_text(text) if counts.kept or counts.unknown else text


def _table(title: str) -> Table:
    from rich.table import Table

    return Table(title=title, title_justify="left", show_edge=False)
