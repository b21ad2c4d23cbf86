"""`hospital-node export`: write audited and approved generators into a signed bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from hospital_node.release.vetting_settings import CANDIDATES
from sharekit.program import password, progress, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output
from sharekit.program.phrases import counted, next_command

SUMMARY = "write the signed bundle of every generator that audit, policy and approval let leave"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="a new folder, or a new zip: NAME.zip"
    )
    shared_options.private_key(parser, "the hospital's release")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="feature network for style statistics (left out: the node looks for one)",
    )
    parser.add_argument(
        "--vetted",
        type=whole_number(),
        metavar="N",
        default=CANDIDATES,
        help="samples of groups to look at; the manifest lists the good ones, which consumers draw first (0: "
        "no list)",
    )
    parser.add_argument(
        "--encrypt-for",
        action="append",
        default=[],
        metavar="NAME",
        help="registered recipient; writes BUNDLE.zip.age too, which these recipients alone can read; "
        "repeat it for several",
    )
    password.configure(parser)
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.encrypted_copy import encrypted_export, encrypted_path, keys_of
    from hospital_node.release.export import export_bundle
    from hospital_node.release.recipients import named
    from hospital_node.release.vetting import in_words_nearest
    from sharekit.trust.key_choice import private_key

    key = private_key(args)
    node = Node.open(args.node)
    recipients = named(node, args.encrypt_for)
    encrypted_out = encrypted_path(args.out) if recipients else None
    keys_of(recipients)  # refuse before the release is counted
    with progress.reporter("look at samples", unit="samples") as on_progress:
        result = export_bundle(
            node,
            args.out,
            key,
            features_path=args.features,
            vetted=args.vetted,
            on_progress=on_progress,
        )
    encrypted = (
        None if encrypted_out is None else encrypted_export(node, result.bundle, encrypted_out, recipients)
    )
    refused = [f"  {name}: {'; '.join(reasons)}" for name, reasons in result.refused.items()]
    output.result(
        {**result.to_json(), "encrypted": None if encrypted is None else str(encrypted)},
        f"bundle       {result.bundle.path}",
        f"release      {result.bundle.manifest.release}, {result.bundle.verdict}",
        f"generators   {len(result.released)}, of {counted(result.images, 'real image')};"
        f" ONNX within {result.max_abs_difference:.1e} of the trained networks",
        f"style        {result.style}",
        f"vetted       {result.vetted}",
        f"as a whole   {result.whole}",
        *(f"nearest      {line}" for line in in_words_nearest(result.looked_at)),
        f"searched     {counted(len(result.bundle.names) + 1, 'finished file')}: nothing real found",
        f"signed by    {result.bundle.fingerprint}",
        *([f"encrypted    {encrypted}, for {', '.join(args.encrypt_for)}"] if encrypted else []),
        *(f"warning      {warning}" for warning in result.warnings),
        *([f"not released {len(refused)}", "\n".join(refused)] if refused else []),
        next_command("sharekit", "verify", result.bundle.path, "--key", _public_half(args.key)),
    )


def _public_half(key: Path) -> Path | str:
    """The public key as `sharekit keys new` places it next to the private one."""
    path = key.with_suffix(".pub")
    return path if path.is_file() else "PUB"
