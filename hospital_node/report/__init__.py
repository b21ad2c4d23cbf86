"""The hospital's own page of a node: sources beside samples. It has real images in it and never leaves."""

from hospital_node.report.node_report import write_report

__all__ = ["write_report"]
