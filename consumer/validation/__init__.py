"""Is a data set sound? Checks of files, masks and diversity, as a report in JSON and as one HTML page."""

from consumer.validation.options import LpipsOptions
from consumer.validation.report import Finding, Severity, ValidationReport
from consumer.validation.run import summarise, validate

__all__ = ["Finding", "LpipsOptions", "Severity", "ValidationReport", "summarise", "validate"]
