"""Audit several generators at once, in workers of a closed Ray on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.audit_one import Comparison, Outcome, audit_one
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.isolation import sockets
from hospital_node.isolation.closed_ray import closed_ray
from hospital_node.ledger.states import GeneratorRecord, GeneratorState
from hospital_node.node.node import Node

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def audit_on_workers(
    node: Node,
    records: Sequence[GeneratorRecord],
    compared: Comparison,
    limits: AuditLimits,
    settings: AuditSettings,
) -> Iterator[tuple[GeneratorRecord, Outcome]]:
    """Every record with its outcome, in the order in which they finish.

    Workers read the node and write candidates and audits; only the caller writes the ledger. A worker that
    dies costs one audit, which the next run makes again.
    """
    import ray

    with closed_ray(node.root / "ray.json") as directory:
        task = ray.remote(_audit).options(num_cpus=1, max_retries=0, runtime_env={"env_vars": THREADS})
        shared = ray.put(compared)
        waiting, running = list(records), dict[Any, GeneratorRecord]()
        while waiting or running:
            while waiting and len(running) < settings.actors:
                record = waiting.pop(0)
                running[task.remote(node.root, record, shared, limits, settings)] = record
            (done, *_), _ = ray.wait(list(running))
            sockets.check_sockets(directory)
            record = running.pop(done)
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:
                reason = f"the audit failed: its worker died: {type(error).__name__}"
                outcome = Outcome(record.id, len(record.images), GeneratorState.WITHHELD, reason, None)
            yield record, outcome


def _audit(
    root: Path, record: GeneratorRecord, compared: Comparison, limits: AuditLimits, settings: AuditSettings
) -> Outcome:
    return audit_one(Node.open(root, read_only=True), record, compared, limits, settings)
