"""How fast a bundle is verified, next to sha256sum and the public tool; a first sample; a large catalogue.

Run it on a quiet machine: `python -m benchmarks.verification --generators 1000`. The bundle then has 4 GB;
with `--keep DIR` it is made once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hospital_node.candidate.build import build_onnx
from sharekit.bundle.bundle import Depth, verify_bundle
from sharekit.generator.spec import GeneratorSpec
from sharekit.signing.keys import generate
from sharekit.storage.files import sha256_of
from tests.repository_world import World
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

MEMORY = (
    "import os, subprocess, sys;"
    "started = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL);"
    "print(os.wait4(started.pid, 0)[2].ru_maxrss)"
)
SIZES = tuple((int(25 * 1.333**scale), int(30 * 1.333**scale)) for scale in range(9))
"""The nine scales of the published method's pyramid."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generators", type=int, default=100, help="number of generators of 4 MB")
    parser.add_argument("--releases", type=int, default=1000, help="releases in the catalogue")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder in which the bundle stays")
    parser.add_argument("--way", action="append", default=[], help="only this way of verifying; repeatable")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, in turn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["SHAREKIT_HOME"] = str(root / "home")
        kept = args.keep or root
        kept.mkdir(exist_ok=True)
        bundle, key = kept / "bundle", kept / "key.pub"
        if not bundle.exists():
            _bundle(bundle, args.generators)
        result = {
            **_verification(bundle, key, args.rounds, args.way),
            **_memory(bundle, key),
            **_first_sample(bundle, key),
            **_catalogue(root, args.releases),
        }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _bundle(path: Path, generators: int) -> None:
    """A bundle of generators with the same weights and their own identifiers."""
    key = generate()
    key.public.save(path.parent / "key.pub")
    contents: dict[GeneratorSpec, bytes] = {}
    for number in range(generators):
        made = tiny_generator(number, sizes=SIZES, hidden_channels=64)
        contents[made.spec] = build_onnx(made)
    small_bundle(path, key, generators=contents)


def _verification(bundle: Path, key: Path, rounds: int, chosen: Sequence[str]) -> dict[str, object]:
    from sharekit.signing.keys import PublicKey

    keys = [PublicKey.load(key)]
    files = [path for path in bundle.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    one = min(path.stem for path in (bundle / "generators").iterdir())

    def one_generator() -> None:
        verified = verify_bundle(bundle, keys, depth=Depth.ON_USE)
        assert verified.computations[f"generators/{one}.onnx"]

    ways: dict[str, Callable[[], object]] = {
        "sha256sum": lambda: subprocess.run(["sha256sum", *files], check=True, capture_output=True),
        "hashlib": lambda: [sha256_of(path) for path in files],
        "signature and digests": lambda: verify_bundle(bundle, keys, depth=Depth.DIGESTS),
        "everything": lambda: verify_bundle(bundle, keys),
        "one generator": one_generator,
        "model_signing": lambda: _model_signing(bundle, key),
    }
    ways = {name: way for name, way in ways.items() if not chosen or name in chosen}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), _processor_seconds()
            way()
            spent[name].append((_processor_seconds() - processor, time.perf_counter() - wall))
    result: dict[str, object] = {"bytes": size}
    for at, clock in enumerate(("processor", "wall")):
        best = {name: min(one[at] for one in found) for name, found in spent.items()}
        rates = {name: size / 1e6 / seconds for name, seconds in best.items() if name != "one generator"}
        result[f"{clock} seconds"] = {
            name: [round(one[at], 2) for one in found] for name, found in spent.items()
        }
        result[f"MB/s, {clock}"] = {name: round(rate) for name, rate in rates.items()}
        result[f"digests' share of the rate of, {clock}"] = {
            name: round(rates["signature and digests"] / rates[name], 2)
            for name in ("sha256sum", "hashlib", "model_signing")
            if {name, "signature and digests"} <= rates.keys()
        }
    return result


def _memory(bundle: Path, key: Path) -> dict[str, object]:
    """Largest memory of the verifying program, and of one that only starts."""
    program = Path(sys.executable).parent / "sharekit"
    found = {}
    for name, command in (
        ("digests", ["verify", bundle, "--key", key, "--digests"]),
        ("nothing but its start", ["--version"]),
    ):
        # A small process starts the program: a new process counts the memory of the one that started it.
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, program, *command], check=True, capture_output=True
        )
        found[name] = round(int(done.stdout) / 1024)
    return {"memory, MiB": found}


def _processor_seconds() -> float:
    """Processor time of this process and its children so far: other programs of the machine do not count."""
    return sum(os.times()[:4])


def _model_signing(bundle: Path, key: Path) -> None:
    from model_signing import hashing, verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[bundle / "model.sig"]))
    config.verify(bundle, bundle / "model.sig")


def _first_sample(bundle: Path, key: Path) -> dict[str, object]:
    """Seconds of a fresh process from its start to its first sample."""
    code = (
        "import sys, consumer;"
        "bundle = consumer.open_bundle(sys.argv[1], sys.argv[2], isolate=False, threads=1);"
        "next(bundle.sample(1))"
    )
    return {
        "first sample from cold, s": [_timed([sys.executable, "-c", code, bundle, key]) for _ in range(3)]
    }


def _catalogue(root: Path, releases: int) -> dict[str, object]:
    """Seconds of a fresh process for the catalogue of one hospital with many releases."""
    place = root / "catalogue"
    place.mkdir()
    world = World.make(place, "alpha")
    metadata = world.store.newest("alpha")
    assert metadata is not None
    (first,) = metadata.signed.targets.values()

    def many(targets: object) -> None:
        for number in range(2, releases + 1):
            record = json.loads(json.dumps(first.custom))
            record["sharekit"] |= {"release": number, "manifest_sha256": f"{number:064x}"}
            copy = type(first).from_dict(
                json.loads(json.dumps(first.to_dict())), f"alpha/release-{number}.zip"
            )
            copy.unrecognized_fields["custom"] = record
            targets.targets[copy.path] = copy  # type: ignore[attr-defined]

    world.change("alpha", many)
    # The files of the copies do not exist; the catalogue reads metadata alone.
    world.sneak("alpha")
    command = [Path(sys.executable).parent / "consumer", "catalogue"]
    address = [str(world.folder), "--root", world.root_fingerprint, "--format", "json"]
    ways = (("fetched", address), ("remembered", ["--format", "json"]))
    found = {name: [_timed([*command, *arguments]) for _ in range(3)] for name, arguments in ways}
    done = subprocess.run([*command, *ways[1][1]], check=True, capture_output=True)
    (seen,) = json.loads(done.stdout)["repositories"]
    assert len(seen["hospitals"]["alpha"]["offers"]) == releases
    return {"catalogue, s": found}


def _timed(command: Sequence[str | Path]) -> dict[str, float]:
    """Seconds of a command on the wall's clock, and of the processor."""
    wall, processor = time.perf_counter(), _processor_seconds()
    subprocess.run(command, check=True, capture_output=True)
    return {
        "wall": round(time.perf_counter() - wall, 2),
        "processor": round(_processor_seconds() - processor, 2),
    }


if __name__ == "__main__":
    main()
