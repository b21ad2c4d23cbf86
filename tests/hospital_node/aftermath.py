"""What must hold after a run, whatever went wrong: nothing lost, nothing trained twice, nothing left."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from hospital_node.isolation import sockets
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.singan.trained import TrainedGenerator

GONE = 15.0  # seconds that processes may take to be gone


def processes() -> list[psutil.Process]:
    """All below this process, to be given to `assert_nothing_lost_or_left` after a run."""
    return psutil.Process().children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """It runs, and is not just waiting for its parent to take note of its end."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_nothing_lost_or_left(
    node: Node, images: Collection[str], others: Collection[psutil.Process], *, finished: bool = True
) -> None:
    """The node's files and ledger agree, and no process, socket or record of the run is left.

    Args:
        images: all that were in the node before, each behind one generator.
        others: processes that were there before.
        finished: no generator waits any more.
    """
    _, left = psutil.wait_procs([child for child in processes() if child not in others], timeout=GONE)
    left = [child for child in left if alive(child)]
    assert list(sockets.listeners(left)) == []
    assert left == []
    assert not (node.root / "ray.json").exists()
    assert not (node.root / "training.json").exists()
    assert [path.name for path in node.root.rglob("*.tmp")] == []

    assert {record.id for record in node.ledger.records()} == set(images)
    generators = node.ledger.generators.records()
    assert sorted(image for record in generators for image in record.images) == sorted(images)
    for record in generators:
        after = [event.after for event in node.ledger.events(record.id)]
        trained = record.state is GeneratorState.TRAINED
        assert after.count(GeneratorState.TRAINED) == trained
        assert node.generator_path(record.id).exists() == trained
        if trained:
            generator = TrainedGenerator.load(node.generator_path(record.id))
            assert generator.spec.id == record.id
        waits = record.state in (GeneratorState.PLANNED, GeneratorState.TRAINING)
        assert not (finished and waits)
        if not waits:
            assert not (node.model_dir(record.id) / "checkpoint.pt").exists()
