"""`sharekit verify`: is this bundle, as a whole, what a pinned key signed?"""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.output import Output, strong, warning_text
from sharekit.program.phrases import counted

SUMMARY = "verify a bundle's signature, digests, schemas and generators with a pinned key"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder or zip")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="public key of the hospital, PEM; repeat it to allow one of several",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from sharekit.bundle.bundle import verify_bundle
    from sharekit.signing.keys import PublicKey

    bundle = verify_bundle(args.bundle, [PublicKey.load(path) for path in args.key])
    manifest = bundle.manifest
    output.result(
        bundle.to_json(),
        strong(
            bundle.verdict, "  (checked offline; whether a newer release exists is unknown)", "bold green"
        ),
        f"hospital     {manifest.hospital}",
        f"release      {manifest.release}, {manifest.created:%Y-%m-%d} to {manifest.expires:%Y-%m-%d}",
        f"fingerprint  {bundle.fingerprint}",
        f"manifest     {bundle.manifest_sha256}",
        f"holds        {counted(len(manifest.generators), 'generator')}, "
        f"{counted(len(bundle.names), 'file')}",
        *(warning_text(warning.message) for warning in bundle.warnings),
    )
