"""The program `hospital-node`: from a folder of images and masks to a signed bundle of generators."""

from __future__ import annotations

from collections.abc import Sequence

from hospital_node.commands import (
    approve,
    audit,
    doctor,
    evaluate,
    export,
    fidelity,
    ingest,
    policy,
    report,
    status,
    submitter,
    train,
)
from sharekit.program import command_line

DESCRIPTION = "Train, audit, approve and export generators inside the hospital; no image leaves."
COMMANDS = {
    "doctor": doctor,
    "ingest": ingest,
    "train": train,
    "audit": audit,
    "fidelity": fidelity,
    "policy": policy,
    "approve": approve,
    "export": export,
    "submitter": submitter,
    "evaluate": evaluate,
    "report": report,
    "status": status,
}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main("hospital-node", DESCRIPTION, COMMANDS, argv, extra="hospital", private=True)
