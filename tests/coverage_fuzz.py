#!/usr/bin/env python
"""Fuzzing led by coverage, with atheris: whatever bytes arrive, each parser answers with our own error.

    python -m tests.coverage_fuzz -atheris_runs=2000

The first byte chooses the parser. Every run begins with valid files, which atheris changes so that they reach
new lines. `make fuzz` runs it; `tests/test_fuzz.py` runs it shortly.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sharekit", "consumer"], enable_loader_override=False):
    from sharekit.bundle import manifest
    from sharekit.errors import SharekitError
    from sharekit.generator import onnx_policy
    from sharekit.repository.metadata_folder import read_metadata
    from sharekit.signing import dsse, oms
    from sharekit.storage import container

from sharekit.signing.keys import generate
from tests.consumer.test_pull import GOLDEN
from tests.sharekit.bundles import complete, make_parts, small_bundle, tiny_onnx

KEY = generate()
SPEC, ONNX = tiny_onnx()


def _zip(data: bytes) -> None:
    path = Path(_FOLDER.name, "bundle.zip")
    path.write_bytes(data)
    box = container.open_container(path)
    for name in box.lengths:
        box.read(name)


def _metadata(data: bytes) -> None:
    path = Path(_FOLDER.name, "metadata.json")
    path.write_bytes(data)
    read_metadata(path)


PARSERS: Mapping[str, Callable[[bytes], object]] = {
    "manifest": manifest.parse,
    "signature": lambda data: oms.verify(data, [KEY.public]),
    "attestation": dsse.Envelope.from_bytes,
    "onnx": lambda data: onnx_policy.check_generator(data, "generators/x.onnx", SPEC),
    "zip": _zip,
    "metadata": _metadata,
}
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-")


def one(data: bytes) -> None:
    """Give bytes to the parser that the first byte chooses."""
    if data:
        parse = tuple(PARSERS.values())[data[0] % len(PARSERS)]
        try:
            parse(data[1:])
        except SharekitError:
            return


def seeds(folder: Path) -> Path:
    """A valid file for each parser."""
    contents = complete(make_parts(KEY))
    small_bundle(folder / "bundle.zip", KEY)
    valid = {
        "manifest": contents["manifest.json"],
        "signature": oms.sign("a model", {"a": "0" * 64}, KEY),
        "attestation": contents["privacy.json"],
        "onnx": ONNX,
        "zip": (folder / "bundle.zip").read_bytes(),
        "metadata": (GOLDEN / "metadata" / "timestamp.json").read_bytes(),
    }
    (folder / "seeds").mkdir()
    for number, name in enumerate(PARSERS):
        (folder / "seeds" / name).write_bytes(bytes([number]) + valid[name])
    return folder / "seeds"


if __name__ == "__main__":
    longest = "-max_len=60000"  # a zip of the seeds has 40,000 bytes
    atheris.Setup([*sys.argv, longest, str(seeds(Path(_FOLDER.name)))], one)
    atheris.Fuzz()
