"""`consumer decrypt`: open a bundle that a hospital encrypted for you, and verify it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import shared_options
from sharekit.program.output import Output, strong, warning_text
from sharekit.program.phrases import counted

SUMMARY = "open and verify a bundle that a hospital encrypted for you and handed over as a file"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("encrypted", type=Path, metavar="FILE", help="the encrypted bundle, NAME.zip.age")
    shared_options.identity(parser, required=True)
    shared_options.public_key(parser, "the hospital's")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="a new zip: NAME.zip")


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.repositories.encrypted_file import decrypt_bundle
    from sharekit.trust.key_choice import public_keys

    bundle = decrypt_bundle(args.encrypted, args.out, args.identity, public_keys(args.key))
    claims = bundle.manifest
    output.result(
        bundle.to_json(),
        strong(f"{bundle.verdict}: ", f"{claims.hospital}, release {claims.release}", "bold green"),
        f"  {counted(len(claims.generators), 'generator')}, key {bundle.fingerprint}",
        *(warning_text(f"  {warning.message}") for warning in bundle.warnings),
    )
