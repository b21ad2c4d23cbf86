"""Upgrade a node's folder from an earlier release; the next upgrade finishes a killed one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hospital_node.ledger.ledger import Ledger
from hospital_node.node.write_lock import write_lock
from sharekit.storage import files

SCHEMA_VERSION = 2
OLDER_VERSIONS = frozenset({1})
"""In version 1 a generator's files lay under its image's identifier."""
_FOLDERS = ("models", "candidates", "audit")


def upgrade(root: Path, description: Mapping[str, Any]) -> None:
    """Upgrade the ledger, rename every generator's files to its own identifier, then record the new version.

    Args:
        root: a node's folder of version 1.
        description: what its node.json holds.

    Raises:
        NodeStateError: another process writes the node.
    """
    with write_lock(root):
        ledger = Ledger(root / "ledger.sqlite")
        _move(root, {record.images[0]: record.id for record in ledger.generators.iterate()})
        ledger.close()
        # A killed run of an earlier release may leave a record in an older format.
        (root / "training.json").unlink(missing_ok=True)
        os.sync()
        files.write_json(root / "node.json", {**description, "schema_version": SCHEMA_VERSION}, mode=0o600)


def _move(root: Path, owners: Mapping[str, str]) -> None:
    """Rename what lies under an image's identifier (a key of `owners`) to its generator's."""
    for folder in _FOLDERS:
        for path in sorted((root / folder).iterdir()):
            image, dot, ending = path.name.partition(".")
            if image in owners:
                path.rename(path.with_name(f"{owners[image]}{dot}{ending}"))
