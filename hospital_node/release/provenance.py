"""The two signed statements of a bundle: the audit's findings, and how the generators were made."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from hospital_node.audit.attack import AttackResult
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.release_summary import summarise
from hospital_node.release.officer import Officer
from hospital_node.singan.trained import TrainedGenerator
from sharekit import __version__
from sharekit.bundle.bundle import PRIVACY_PREDICATE, PROVENANCE_NAME, PROVENANCE_PREDICATE
from sharekit.signing import dsse
from sharekit.storage import container, schema

BUILD_TYPE = "urn:sharekit:build:singan-seg:v1"
BUILDER = "urn:sharekit:builder:hospital-node"
PRIVACY_VERSION = 2
"""Version 1 of the predicate had one control for each figure."""
PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "opendp", "torch")


@dataclass(frozen=True)
class Made:
    """How a release came to be."""

    generators: Sequence[TrainedGenerator]
    approvals: Mapping[str, Sequence[str]]  # generator: fingerprints of its approvers
    policy_sha256: str
    images: int  # distinct ones behind the generators
    data_set_commitment: str  # HMAC-SHA256 under the node's own key
    history: tuple[int, str]  # number and code of the last entry of the node's history
    release: int
    finished: str  # UTC, RFC 3339


def privacy_statement(
    audits: Sequence[GeneratorAudit], officer: Officer, bundle: Sequence[AttackResult]
) -> dsse.Statement:
    """The audits' findings about the exact files of the bundle; the predicate has the schema `privacy`."""
    return dsse.Statement(
        tuple(_subject(audit) for audit in audits),
        PRIVACY_PREDICATE,
        {
            "schema_version": PRIVACY_VERSION,
            "summary": [measure.to_json() for measure in summarise(audits)],
            "audits": [audit.published() for audit in audits],
            "bundle": [attack.to_json() for attack in bundle],
            "officer": officer.to_json(audits),
        },
    )


def provenance_statement(audits: Sequence[GeneratorAudit], made: Made) -> dsse.Statement:
    """How the generators were made, in SLSA's provenance predicate, version 1.

    The predicate has the schema `provenance`.

    Source: https://slsa.dev/spec/v1.0/provenance
    """
    data_set = {
        "name": "data set",
        "digest": {"hmac-sha256": made.data_set_commitment},
        "annotations": {"images": made.images},
    }
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "training": {
                generator.spec.id: {
                    "profile": generator.profile,
                    "config": generator.config.to_json(),
                    "group_size": generator.group_size,
                    "hardware": generator.hardware,
                }
                for generator in made.generators
            }
        },
        "internalParameters": {
            "policy_sha256": made.policy_sha256,
            "approvals": {name: list(fingerprints) for name, fingerprints in made.approvals.items()},
            "history": {"entries": made.history[0], "head": made.history[1]},
        },
        "resolvedDependencies": [data_set, *installed_packages()],
    }
    run = {
        "builder": {"id": BUILDER, "version": {"sharekit": __version__, **hardware()}},
        "metadata": {"invocationId": f"release-{made.release}", "finishedOn": made.finished},
    }
    return dsse.Statement(
        tuple(_subject(audit) for audit in audits),
        PROVENANCE_PREDICATE,
        {"buildDefinition": definition, "runDetails": run},
    )


def carried_history(path: Path) -> tuple[int, str]:
    """Number and code of the last entry of the node's history when a bundle was exported.

    The bundle is not verified: a wrong code cannot be in the node's history by chance.

    Args:
        path: the bundle's folder or zip.

    Raises:
        VerificationError: the bundle is malformed, or carries no such code, as those of earlier releases.
    """
    data = container.open_container(path).read(PROVENANCE_NAME)
    envelope = dsse.Envelope.from_bytes(data, PROVENANCE_NAME)
    predicate = dsse.Statement.from_bytes(envelope.payload, PROVENANCE_NAME).predicate
    schema.validate("provenance", predicate, PROVENANCE_NAME)
    found = predicate["buildDefinition"]["internalParameters"].get("history")
    if found is None:
        raise dsse.refusal(path, "a bundle that carries the head of the history", "one of an earlier release")
    return found["entries"], found["head"]


def installed_packages() -> list[dict[str, str]]:
    """Package URLs of what computed the numbers."""
    found = []
    for name in PACKAGES:
        try:
            found.append({"uri": f"pkg:pypi/{name}@{version(name)}"})
        except ModuleNotFoundError:
            continue
    return found


def hardware() -> dict[str, str]:
    """The class of the machine that exports, without its name or serial number."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "python": platform.python_version(),
        "system": platform.system() or "unknown",
        "machine": platform.machine() or "unknown",
        "accelerator": re.sub(r"[^\w .()/-]", "", accelerator) or "unknown",
    }


def _subject(audit: GeneratorAudit) -> dsse.Subject:
    return dsse.Subject(f"generators/{audit.generator_id}.onnx", audit.candidate_sha256)
