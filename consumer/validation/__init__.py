"""Check a data set's files, masks and diversity, and report in JSON and as one HTML page."""

from consumer.validation.lpips_options import LpipsOptions
from consumer.validation.validate_data_set import summarise, validate
from consumer.validation.validation_report import Finding, Severity, ValidationReport

__all__ = ["Finding", "LpipsOptions", "Severity", "ValidationReport", "summarise", "validate"]
