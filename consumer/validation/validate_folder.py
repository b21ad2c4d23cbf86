"""Validate a data-set folder and write the page; a bundle is verified before the comparison."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.datasets.reader import read_folder
from consumer.trust import verify_for
from consumer.validation.lpips_options import LpipsOptions
from consumer.validation.measure_files import measure
from consumer.validation.perceptual import perceive
from consumer.validation.validate_data_set import summarise
from consumer.validation.validation_page import Origin, render
from consumer.validation.validation_report import ValidationReport
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.storage import files

Stage = Callable[[str, str], AbstractContextManager[ProgressCallback]]
"""Opens a progress callback for a stage's name and unit."""


@dataclass(frozen=True)
class ValidatedFolder:
    """A validation report, and the page that shows it."""

    report: ValidationReport
    page: Path
    warnings: tuple[str, ...] = ()
    """Warnings about the bundle that the data set was compared with."""

    def to_json(self) -> dict[str, Any]:
        return {**self.report.to_json(), "page": str(self.page), "warnings": list(self.warnings)}


def silent(_stage: str, _unit: str) -> AbstractContextManager[ProgressCallback]:
    """A stage that reports no progress."""
    return nullcontext(ignore)


def validate_folder(
    dataset: Path,
    bundle: Path | None = None,
    key: str | Path | None = None,
    page: Path | None = None,
    lpips: LpipsOptions | None = None,
    *,
    stage: Stage = silent,
) -> ValidatedFolder:
    """Validate a data set and write the page.

    Args:
        dataset: folder of the data set.
        bundle: folder or zip of a bundle to compare mask coverage with; None skips the comparison.
        key: the hospital's public key; None takes the key that the data set was drawn with.
        page: HTML file to write; None puts it next to the data set. An older page is replaced.
        lpips: options of the LPIPS comparison.
        stage: opens the progress of the measurement, and of the LPIPS comparison.

    Raises:
        VerificationError: the bundle is not what the key's owner signed.
        InputError: the folder is not a data set, or the page cannot be written.
    """
    folder = read_folder(dataset)
    root = dataset.resolve()
    page = page or root.with_name(f"{root.name}-report.html")
    # Check now, because reading the images and running LPIPS takes minutes.
    files.check_writable(page)
    statistics, origin = None, None
    warnings: tuple[str, ...] = ()
    if bundle is not None:
        verified = verify_for(folder, bundle, key)
        claims = verified.manifest
        warnings = tuple(warning.message for warning in verified.warnings)
        origin = Origin(claims.hospital, claims.release, verified.verdict, verified.fingerprint)
        if "statistics.json" in verified.names:
            statistics = files.parse_json(verified.read("statistics.json"), "statistics.json")
    with stage("validate", "images") as on_progress:
        measured = measure(folder, on_progress)
    with stage("LPIPS", "generators") as on_progress:
        perceived = perceive(folder, measured, lpips or LpipsOptions(), on_progress)
    report = summarise(folder, measured, statistics, perceived)
    files.write_text(page, render(report, measured, folder, origin))
    return ValidatedFolder(report, page, warnings)
