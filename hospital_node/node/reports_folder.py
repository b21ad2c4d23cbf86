"""Find the folder of the node's own pages, and check that it lies inside the node."""

from __future__ import annotations

from pathlib import Path

from hospital_node.node.node import Node
from sharekit.errors import PolicyError


def reports_folder(node: Node) -> Path:
    """The reports folder.

    Raises:
        PolicyError: it leads out of the node.
    """
    folder = node.reports_dir.resolve()
    if not folder.is_relative_to(node.root.resolve()):
        raise PolicyError(
            node.reports_dir,
            expected="a folder inside the node",
            found=f"a link to {folder}",
            next_step="replace the link by a folder: the report contains real images",
        )
    return folder
