"""Intake: a folder of images and masks becomes pixels in the node, or a refusal with a reason, one by one."""

from hospital_node.intake.ingest import IntakeReport, ingest

__all__ = ["IntakeReport", "ingest"]
