"""The hospital's own page of a node: sources and samples. It holds real images and never leaves."""

from hospital_node.report.node_report import write_report

__all__ = ["write_report"]
