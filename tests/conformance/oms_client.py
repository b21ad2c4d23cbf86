#!/usr/bin/env python
"""The adapter for the OpenSSF model-signing conformance suite: our signatures over a folder of any files.

The suite (https://github.com/sampras343/model-signing-conformance, with the schemas of
https://github.com/sampras343/model-signing-spec) is run from a copy of its own:

    pytest test --entrypoint /path/to/tests/conformance/oms_client.py

Sharekit signs with the key method on P-256 and reads no other form, and the suite shows that. The adapter
chooses the files to look at, because a bundle of Sharekit ignores none (docs/adr/0002-stricter-verifier.md).
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sharekit.errors import SharekitError, UsageError, VerificationError
from sharekit.signing import oms
from sharekit.signing.keys import PublicKey, SigningKey
from sharekit.storage import container, files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sign, verify = commands.add_parser("sign-model"), commands.add_parser("verify-model")
    for command in (sign, verify):
        command.add_argument("--method", required=True)
        command.add_argument("--model-path", type=Path, required=True)
        command.add_argument("--ignore-paths", type=Path, action="append", default=[])
    sign.add_argument("--output-bundle", type=Path, required=True)
    sign.add_argument("--private-key", type=Path)
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--public-key", type=Path)
    verify.add_argument("--ignore-unsigned-files", action="store_true")
    args, others = parser.parse_known_args()
    try:
        _require(args.method == "key", "--method", "key", args.method)
        _require(not others, "options", "those of the key method", " ".join(others))
        if args.command == "sign-model":
            digests = _digests(args.model_path, {args.output_bundle, *args.ignore_paths})
            _require(bool(digests), str(args.model_path), "files", "none")
            args.output_bundle.write_bytes(
                oms.sign(args.model_path.name, digests, _private_key(args.private_key))
            )
        else:
            data = files.read_bytes(args.bundle, max_bytes=files.MAX_JSON_BYTES)
            signed, _ = oms.verify(data, [PublicKey.load(args.public_key)])
            found = _digests(args.model_path, {args.bundle, *args.ignore_paths})
            _compare(signed.digests, found, args.ignore_unsigned_files)
    except SharekitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _private_key(path: Path) -> SigningKey:
    with tempfile.TemporaryDirectory() as folder:
        # The suite's keys can be read by everybody, which Sharekit refuses.
        private = Path(shutil.copyfile(path, Path(folder, "key")))
        private.chmod(0o600)
        return SigningKey.load(private)


def _digests(model: Path, ignored: set[Path]) -> dict[str, str]:
    """SHA-256 of each file of a model's folder."""
    box = container.open_container(model)
    names = [name for name in box.lengths if model / name not in ignored]
    return {name: hashlib.sha256(box.read(name)).hexdigest() for name in names}


def _compare(signed: Mapping[str, str], found: Mapping[str, str], ignore_unsigned: bool) -> None:
    if ignore_unsigned:
        found = {name: digest for name, digest in found.items() if name in signed}
    differing = sorted(name for name, _ in signed.items() ^ found.items())
    if differing:
        raise VerificationError(
            differing[0], expected="the signed files", found="a difference", next_step="do not use it"
        )


def _require(holds: bool, item: str, expected: str, found: str) -> None:
    if not holds:
        raise UsageError(item, expected=expected, found=found, next_step="leave it out")


if __name__ == "__main__":
    sys.exit(main())
