"""Intake: a folder of images and masks becomes pixels in the node, or a refusal with a reason, one by one."""

from hospital_node.intake.ingest import ingest
from hospital_node.intake.intake_report import IntakeReport

__all__ = ["IntakeReport", "ingest"]
