"""`hospital-node export`: what was audited and approved becomes a signed bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import password
from sharekit.program.command_line import Output

SUMMARY = "write the signed bundle of every generator that audit, policy and approval let leave"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="a new folder, or a new zip: NAME.zip"
    )
    parser.add_argument("--key", type=Path, required=True, help="the hospital's private release key")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="feature network of the style statistics; else looked for",
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.export import export_bundle
    from sharekit.signing.keys import SigningKey

    key = SigningKey.load(args.key, password.from_args(args))
    result = export_bundle(Node.open(args.node), args.out, key, features_path=args.features)
    manifest = result.bundle.manifest
    parity = max(entry.parity.max_abs_difference for entry in manifest.generators)
    refused = [f"  {name}: {'; '.join(reasons)}" for name, reasons in result.refused.items()]
    output.result(
        {
            "bundle": str(result.bundle.path),
            "release": manifest.release,
            "verdict": result.bundle.verdict,
            "fingerprint": result.bundle.fingerprint,
            "generators": list(result.released),
            "max_abs_difference": parity,
            "refused": {name: list(reasons) for name, reasons in result.refused.items()},
            "style": result.style,
        },
        f"bundle       {result.bundle.path}",
        f"release      {manifest.release}, {result.bundle.verdict}",
        f"generators   {len(result.released)}; ONNX within {parity:.1e} of the trained networks",
        f"style        {result.style}",
        f"searched     {len(result.bundle.names) + 1} finished files: nothing real found",
        f"signed by    {result.bundle.fingerprint}",
        *([f"not released {len(refused)}", "\n".join(refused)] if refused else []),
    )
