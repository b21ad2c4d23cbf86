"""What must hold after a run, whatever went wrong: nothing lost, nothing trained twice, nothing left."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from hospital_node.isolation import sockets
from hospital_node.ledger.ledger import ImageState
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
        images: all that were in the node before.
        others: processes that were there before.
        finished: no image waits any more.
    """
    _, left = psutil.wait_procs([child for child in processes() if child not in others], timeout=GONE)
    left = [child for child in left if alive(child)]
    assert list(sockets.listeners(left)) == []
    assert left == []
    assert not (node.root / "ray.json").exists()
    assert not (node.root / "training.json").exists()
    assert [path.name for path in node.root.rglob("*.tmp")] == []

    records = {record.id: record for record in node.ledger.records()}
    assert set(records) == set(images)
    for image, record in records.items():
        after = [event.after for event in node.ledger.events(image)]
        trained = record.state is ImageState.TRAINED
        assert after.count(ImageState.TRAINED) == trained
        assert node.generator_path(image).exists() == trained
        if trained:
            assert TrainedGenerator.load(node.generator_path(image)).spec.id == record.generator_id
        waits = record.state in (ImageState.INGESTED, ImageState.TRAINING)
        assert not (finished and waits)
        if not waits:
            assert not (node.model_dir(image) / "checkpoint.pt").exists()
