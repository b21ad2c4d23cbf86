"""Small, real bundles for tests: random weights, true signatures, attestations that fit their schemas."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital_node.audit.attacks.nearest import BestOfN
from hospital_node.candidate.build import build_onnx
from sharekit.bundle import bundle
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.bundle.manifest import (
    Dependencies,
    FeatureSource,
    FileEntry,
    GeneratorEntry,
    Manifest,
    Parity,
)
from sharekit.bundle.style_statistics import DESCRIPTION_FILE
from sharekit.generator.onnx_contract import IR_VERSION, OPSET
from sharekit.generator.spec import GeneratorSpec
from sharekit.signing import dsse, oms
from sharekit.signing.keys import SigningKey
from sharekit.storage import files
from tests.tiny import tiny_generator

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EXPIRES = datetime(2999, 1, 1, tzinfo=UTC)
VERDICT = "linkable: controlled access"


@dataclasses.dataclass(frozen=True)
class Parts:
    """What `write_bundle` takes, for tests that change it first."""

    contents: dict[str, bytes]
    manifest: Manifest

    def write(self, out: Path, key: SigningKey) -> VerifiedBundle:
        return bundle.write_bundle(out, self.contents, self.manifest, key)


@functools.cache
def tiny_onnx(seed: int = 0) -> tuple[GeneratorSpec, bytes]:
    """A generator of random weights and its ONNX file; equal seeds, equal bytes."""
    generator = tiny_generator(seed, sizes=((5, 6), (7, 8)))
    return generator.spec, build_onnx(generator)


def make_parts(
    key: SigningKey,
    generators: Mapping[GeneratorSpec, bytes] | None = None,
    *,
    hospital: str = "Test hospital",
    release: int = 1,
    expires: datetime = EXPIRES,
    extra: Mapping[str, bytes] | None = None,
) -> Parts:
    """Contents and manifest of a bundle of these generators (default: two tiny ones) and `extra` files."""
    if generators is None:
        generators = dict(tiny_onnx(seed) for seed in (0, 1))
    entries = tuple(
        GeneratorEntry(
            spec, f"generators/{spec.id}.onnx", sha256(data), "quick", Parity(1e-6, OPSET), VERDICT
        )
        for spec, data in generators.items()
    )
    contents = {entry.file: data for entry, data in zip(entries, generators.values(), strict=True)} | {
        "CARD.md": b"# A test bundle\n",
        "privacy.json": attestation(bundle.PRIVACY_PREDICATE, entries, privacy_predicate(entries), key),
        "provenance.json": attestation(
            bundle.PROVENANCE_PREDICATE, entries, provenance_predicate(entries), key
        ),
        **(extra or {}),
    }
    needs = Dependencies(OPSET, IR_VERSION, features=_features(contents))
    manifest = Manifest(hospital, release, CREATED, expires, entries, needs)
    return Parts(contents, manifest)


def _features(contents: Mapping[str, bytes]) -> FeatureSource | None:
    """The network of the style statistics among the contents."""
    if DESCRIPTION_FILE not in contents:
        return None
    network = json.loads(contents[DESCRIPTION_FILE]).get("network")
    return network and FeatureSource.from_json(network)


def small_bundle(out: Path, key: SigningKey, **options: Any) -> VerifiedBundle:
    """`make_parts`, written to `out`: a folder, or a zip when it ends in `.zip`."""
    return make_parts(key, **options).write(out, key)


def complete(parts: Parts) -> dict[str, bytes]:
    """The contents with `manifest.json`, without a signature."""
    entries = tuple(FileEntry(name, len(data), sha256(data)) for name, data in sorted(parts.contents.items()))
    manifest = dataclasses.replace(parts.manifest, files=entries)
    return parts.contents | {"manifest.json": files.dump_json(manifest.to_json())}


def write_signed(out: Path, contents: Mapping[str, bytes], key: SigningKey) -> Path:
    """A folder of these files with a right signature over whatever they hold, as a careless signer makes."""
    for name, data in contents.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    digests = {name: sha256(data) for name, data in contents.items()}
    (out / oms.SIGNATURE_NAME).write_bytes(oms.sign("test", digests, key))
    return out


def attestation(
    predicate_type: str, entries: tuple[GeneratorEntry, ...], predicate: Mapping[str, Any], key: SigningKey
) -> bytes:
    """A signed in-toto statement about these generators."""
    subjects = tuple(dsse.Subject(entry.file, entry.sha256) for entry in entries)
    return dsse.sign_statement(dsse.Statement(subjects, predicate_type, predicate), key).to_bytes()


def privacy_predicate(entries: tuple[GeneratorEntry, ...]) -> dict[str, Any]:
    attack = {
        "attack": BestOfN.name,
        "description": "RMSE of every sample to the source and to other real images",
        "samples": 8,
        "controls": 3,
        "measures": [],
        "at_chance": False,
        "objections": [],
    }
    return {
        "schema_version": 1,
        "summary": [],
        "audits": [
            {
                "generator_id": entry.spec.id,
                "candidate_sha256": entry.sha256,
                "group_size": 1,
                "samples": 8,
                "seed": 0,
                "limits": {"k": 5, "min_distance_ratio": 0.1, "min_samples": 8},
                "parity": {
                    "cases": [{"height": 7, "width": 8, "batch": 2, "max_abs_difference": 1e-6}],
                    "tolerance": 1e-4,
                    "opset": OPSET,
                    "onnxruntime": "1.20.0",
                },
                "attacks": [attack],
                "verdict": entry.verdict,
                "remarks": [],
            }
            for entry in entries
        ],
    }


def provenance_predicate(entries: tuple[GeneratorEntry, ...]) -> dict[str, Any]:
    digest = sha256(b"test")
    training = {"profile": "quick", "config": {}, "group_size": 1, "hardware": "cpu"}
    return {
        "buildDefinition": {
            "buildType": "urn:sharekit:build:singan-seg:v1",
            "externalParameters": {"training": {entry.spec.id: training for entry in entries}},
            "internalParameters": {
                "policy_sha256": digest,
                "approvals": {entry.spec.id: [digest] for entry in entries},
            },
            "resolvedDependencies": [
                {
                    "name": "data set",
                    "digest": {"hmac-sha256": digest},
                    "annotations": {"images": len(entries)},
                }
            ],
        },
        "runDetails": {
            "builder": {
                "id": "urn:sharekit:builder:hospital-node",
                "version": {
                    "sharekit": "0.1.0",
                    "python": "3.11",
                    "system": "Linux",
                    "machine": "x86_64",
                    "accelerator": "none",
                },
            },
            "metadata": {"invocationId": "release-1", "finishedOn": "2026-01-02T03:04:05Z"},
        },
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
