"""A report leaves the node: signed, searched for anything of the hospital, written."""

from __future__ import annotations

from pathlib import Path

from hospital_node.audit.static import refuse_real_content
from hospital_node.node import Node
from hospital_node.release.real import node_content
from sharekit import files
from sharekit.evaluation_report import EvaluationReport, sign_report
from sharekit.keys import SigningKey


def write_report(node: Node, report: EvaluationReport, key: SigningKey, out: Path) -> None:
    """Sign a report and write it.

    Raises:
        InputError: `out` exists already.
        ExposureError: the finished bytes hold a file name, a path or an identifier; nothing was written.
    """
    files.refuse_existing(out)
    data = files.dump_json(sign_report(report, key))
    refuse_real_content({out.name: data}, node_content(node, ()))
    files.write_bytes(out, data)
