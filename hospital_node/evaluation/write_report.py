"""Sign a report, search it for anything of the hospital, and write it outside the node."""

from __future__ import annotations

import os
from pathlib import Path

from hospital_node.leaks.node_content import node_content
from hospital_node.leaks.search import refuse_real_content
from hospital_node.node.node import Node
from sharekit.errors import InputError
from sharekit.segmenter.evaluation_report import EvaluationReport, sign_report
from sharekit.signing.keys import Signer
from sharekit.storage import files


def check_out(out: Path) -> None:
    """Refuse a place where no report can be written.

    Raises:
        InputError: `out` exists, or its folder is missing or cannot be written to.
    """
    files.refuse_existing(out)
    if not (out.parent.is_dir() and os.access(out.parent, os.W_OK | os.X_OK)):
        raise InputError(
            out,
            expected="a folder that can be written to",
            found="one that cannot" if out.parent.is_dir() else f"no folder {out.parent}",
            next_step="make the folder, or choose another path",
        )


def write_report(node: Node, report: EvaluationReport, key: Signer, out: Path) -> None:
    """Sign a report and write it.

    Raises:
        InputError: as `check_out`.
        ExposureError: the finished bytes hold a file name, a path or an identifier; nothing was written.
    """
    check_out(out)
    data = sign_report(report, key).to_bytes()
    refuse_real_content({out.name: data}, node_content(node, ()))
    files.write_bytes(out, data)
