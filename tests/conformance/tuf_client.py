#!/usr/bin/env python
"""The client under test for https://github.com/theupdateframework/tuf-conformance: transport and download.

The suite is run from a copy of its own:

    pytest tuf_conformance --entrypoint "python /path/to/tests/conformance/tuf_client.py"
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from tuf.ngclient import Updater

from consumer.repositories.client import CONFIG, faults
from consumer.repositories.download import fetch
from consumer.repositories.transport import Transport
from sharekit.errors import SharekitError
from sharekit.trust.home import home


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--metadata-url", "--metadata-dir", "--target-dir", "--target-base-url"):
        parser.add_argument(option)
    parser.add_argument("--target-name", action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root")
    commands.add_parser("refresh")
    commands.add_parser("download")
    args = parser.parse_args()
    if args.command == "init":
        shutil.copyfile(args.trusted_root, Path(args.metadata_dir, "root.json"))
        return 0
    try:
        _run(args)
    except SharekitError as error:
        sys.stderr.write(f"{error}\n")
        return 1  # the suite asks for exactly this
    return 0


def _run(args: argparse.Namespace) -> None:
    # Each test of the suite is another user, with a cache of its own.
    os.environ["SHAREKIT_HOME"] = f"{args.metadata_dir}-home"
    transport = Transport(args.metadata_url)
    with faults(args.metadata_url):
        updater = Updater(
            args.metadata_dir, args.metadata_url, fetcher=transport, config=CONFIG, bootstrap=None
        )
        updater.refresh()
    for name in args.target_name if args.command == "download" else ():
        with faults(name):
            target = updater.get_targetinfo(name)
        if target is None:
            raise SystemExit(f"{name} is not in the repository")
        root = json.loads(Path(args.metadata_dir, "root.json").read_text())["signed"]
        path = target.get_prefixed_paths()[0] if root["consistent_snapshot"] else target.path
        found = fetch(
            transport, f"{args.target_base_url.rstrip('/')}/{quote(path)}", target, home() / "bundles"
        )
        shutil.copyfile(found, Path(args.target_dir, quote(name, "")))


if __name__ == "__main__":
    sys.exit(main())
