"""The program `hospital-node`: from a folder of images and masks to a signed bundle of generators."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.util import find_spec

from hospital_node.commands import (
    approve,
    audit,
    canary,
    doctor,
    erase,
    evaluate,
    export,
    fidelity,
    history,
    ingest,
    policy,
    publish,
    recipient,
    reject,
    releases,
    report,
    review,
    status,
    submitter,
    train,
    where,
    withdraw,
)
from sharekit.errors import DependencyError
from sharekit.program import command_line

DESCRIPTION = "Train, audit, approve, export and publish generators inside the hospital; no image leaves."
COMMANDS = {
    "doctor": doctor,
    "ingest": ingest,
    "review": review,
    "train": train,
    "audit": audit,
    "canary": canary,
    "fidelity": fidelity,
    "policy": policy,
    "approve": approve,
    "reject": reject,
    "export": export,
    "recipient": recipient,
    "publish": publish,
    "releases": releases,
    "withdraw": withdraw,
    "submitter": submitter,
    "evaluate": evaluate,
    "report": report,
    "status": status,
    "history": history,
    "where": where,
    "erase": erase,
}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main(
        "hospital-node",
        DESCRIPTION,
        COMMANDS,
        argv,
        extra="hospital",
        private=True,
        require=require_locks,
    )


def require_locks() -> None:
    """Refuse a system without the locks and rights that a node is built on.

    Raises:
        DependencyError: the system is Windows.
    """
    if find_spec("fcntl") is None:
        raise DependencyError(
            "hospital-node",
            expected="Linux or macOS",
            found=f"a system without fcntl ({platform.system()})",
            next_step="run the node on Linux or macOS; consumer and sharekit work on Windows too",
        )
