#!/usr/bin/env python
"""The adapter for the OpenSSF model-signing conformance suite: our signatures over a folder of any files.

The suite (https://github.com/sampras343/model-signing-conformance, with the schemas of
https://github.com/sampras343/model-signing-spec) is run from a copy of its own:

    pytest test --entrypoint /path/to/tests/conformance/oms_client.py

Sharekit signs with the key method on P-256, every file, and reads no other form. The adapter adds nothing to
that, so the suite shows where Sharekit is narrower than the specification: `docs/adr/0002-stricter-verifier.md`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from sharekit.errors import SharekitError, UsageError, VerificationError
from sharekit.signing import oms
from sharekit.signing.keys import PublicKey, SigningKey
from sharekit.storage import container, files

MAX_SIGNATURE_BYTES = files.MAX_JSON_BYTES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sign, verify = commands.add_parser("sign-model"), commands.add_parser("verify-model")
    for command in (sign, verify):
        command.add_argument("--method", required=True)
        command.add_argument("--model-path", type=Path, required=True)
        command.add_argument("--ignore-paths", action="append", default=[])
    sign.add_argument("--output-bundle", type=Path, required=True)
    sign.add_argument("--private-key", type=Path)
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--public-key", type=Path)
    verify.add_argument("--ignore-unsigned-files", action="store_true")
    args, others = parser.parse_known_args()
    try:
        _require(args.method == "key", "--method", "key", args.method)
        _require(not others, "options", "those of the key method", " ".join(others))
        _require(not args.ignore_paths, "--ignore-paths", "every file signed", ", ".join(args.ignore_paths))
        if args.command == "sign-model":
            _sign(args.model_path, args.private_key, args.output_bundle)
        else:
            unsigned = "unsigned files" if args.ignore_unsigned_files else ""
            _require(not unsigned, "--ignore-unsigned-files", "every file signed", unsigned)
            _verify(args.model_path, args.public_key, args.bundle)
    except SharekitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _sign(model: Path, key: Path, bundle: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The suite's keys can be read by everybody, which Sharekit refuses.
        private = Path(shutil.copyfile(key, Path(folder, "key")))
        private.chmod(0o600)
        signer = SigningKey.load(private)
    digests = _digests(model, bundle)
    _require(bool(digests), str(model), "files", "none")
    bundle.write_bytes(oms.sign(model.name, digests, signer))


def _verify(model: Path, key: Path, bundle: Path) -> None:
    signed, _ = oms.verify(files.read_bytes(bundle, max_bytes=MAX_SIGNATURE_BYTES), [PublicKey.load(key)])
    found = _digests(model, bundle)
    differing = sorted(name for name, _ in signed.digests.items() ^ found.items())
    if differing:
        raise VerificationError(
            differing[0], expected="the signed files", found="a difference", next_step="do not use it"
        )


def _digests(model: Path, bundle: Path) -> dict[str, str]:
    """SHA-256 of each file, without the signature."""
    box = container.open_container(model)
    own = bundle.relative_to(model).as_posix() if bundle.is_relative_to(model) else None
    return {name: hashlib.sha256(box.read(name)).hexdigest() for name in box.lengths if name != own}


def _require(holds: bool, item: str, expected: str, found: str) -> None:
    if not holds:
        raise UsageError(item, expected=expected, found=found, next_step="leave it out")


if __name__ == "__main__":
    sys.exit(main())
