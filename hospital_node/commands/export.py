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
    from rich.markup import escape

    from hospital_node.node.node import Node
    from hospital_node.release.export import export_bundle
    from sharekit.signing.keys import SigningKey

    key = SigningKey.load(args.key, password.from_args(args))
    result = export_bundle(Node.open(args.node), args.out, key, features_path=args.features)
    refused = [f"  {name}: {'; '.join(reasons)}" for name, reasons in result.refused.items()]
    output.result(
        result.to_json(),
        f"bundle       {escape(str(result.bundle.path))}",
        f"release      {result.bundle.manifest.release}, {result.bundle.verdict}",
        f"generators   {len(result.released)}, of {result.images} real images;"
        f" ONNX within {result.max_abs_difference:.1e} of the trained networks",
        f"style        {escape(result.style)}",
        f"searched     {len(result.bundle.names) + 1} finished files: nothing real found",
        f"signed by    {result.bundle.fingerprint}",
        *([f"not released {len(refused)}", escape("\n".join(refused))] if refused else []),
    )
