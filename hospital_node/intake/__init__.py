"""Intake: take images and masks of a folder into the node as pixels, or refuse each with a reason."""

from hospital_node.intake.ingest import ingest
from hospital_node.intake.intake_report import IntakeReport

__all__ = ["IntakeReport", "ingest"]
