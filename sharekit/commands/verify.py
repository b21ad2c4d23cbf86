"""`sharekit verify`: is this bundle, as a whole, what a pinned key signed?"""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.output import Output
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
    from datetime import UTC, datetime

    from rich.text import Text

    from sharekit.bundle.bundle import verify_bundle
    from sharekit.signing.keys import PublicKey

    bundle = verify_bundle(args.bundle, [PublicKey.load(path) for path in args.key])
    manifest = bundle.manifest
    expired = manifest.expired(datetime.now(UTC))
    data = {
        "bundle": str(bundle.path),
        "verdict": bundle.verdict,
        "freshness": "unknown",
        "hospital": manifest.hospital,
        "release": manifest.release,
        "created": manifest.created.isoformat(),
        "expires": manifest.expires.isoformat(),
        "expired": expired,
        "fingerprint": bundle.fingerprint,
        "manifest_sha256": bundle.manifest_sha256,
        "files": len(bundle.names),
        "generators": len(manifest.generators),
    }
    old = Text("The bundle has expired: ask the hospital for a newer release.", style="yellow")
    output.result(
        data,
        Text.assemble(
            (bundle.verdict, "bold green"), "  (checked offline; whether a newer release exists is unknown)"
        ),
        f"hospital     {manifest.hospital}",
        f"release      {manifest.release}, {manifest.created:%Y-%m-%d} to {manifest.expires:%Y-%m-%d}",
        f"fingerprint  {bundle.fingerprint}",
        f"manifest     {bundle.manifest_sha256}",
        f"holds        {counted(data['generators'], 'generator')}, {counted(data['files'], 'file')}",
        *([old] if expired else []),
    )
