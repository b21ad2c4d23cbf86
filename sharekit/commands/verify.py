"""`sharekit verify`: is this bundle, as a whole, what a pinned key signed?"""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import shared_options
from sharekit.program.output import Output, strong, warning_text
from sharekit.program.phrases import counted

SUMMARY = "verify a bundle's signature, digests, schemas and generators with a pinned key"

FRESHNESS = {
    "current": "the newest release that its repository offers, as of the last pull",
    "superseded": "its repository offers a newer release: pull it",
    "unknown": "checked offline; whether a newer release exists is unknown",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle",
        type=Path,
        metavar="BUNDLE",
        help="the bundle's folder or zip, or a hospital whose bundle you pulled",
    )
    shared_options.public_key(parser, "the hospital's", several=True)
    parser.add_argument(
        "--digests",
        action="store_true",
        help="check signature and digests, and leave the ONNX rules for when a generator is opened: faster",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from sharekit.bundle.bundle import Depth
    from sharekit.repository.known import bundle_at, open_verified
    from sharekit.trust.key_choice import public_keys

    depth = Depth.DIGESTS if args.digests else Depth.FULL
    bundle = open_verified(bundle_at(args.bundle), public_keys(*args.key), depth=depth)
    manifest = bundle.manifest
    output.result(
        bundle.to_json(),
        strong(bundle.verdict, f"  ({FRESHNESS[bundle.freshness]})", "bold green"),
        f"hospital     {manifest.hospital}",
        f"release      {manifest.release}, {manifest.created:%Y-%m-%d} to {manifest.expires:%Y-%m-%d}",
        f"fingerprint  {bundle.fingerprint}",
        f"manifest     {bundle.manifest_sha256}",
        f"holds        {counted(len(manifest.generators), 'generator')}, "
        f"{counted(len(bundle.names), 'file')}",
        *(warning_text(warning.message) for warning in bundle.warnings),
    )
