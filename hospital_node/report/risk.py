"""How much of its source one generator gives away, in the two figures that the report draws and sorts by."""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.audit.attack import Measure, Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, LINKAGE_RATE
from hospital_node.audit.generator_audit import GeneratorAudit
from sharekit.generator.spec import short_id


@dataclass(frozen=True)
class Risk:
    """The risk of one generator; a figure is None where the audit had no other real images."""

    name: str  # the generator's short identifier
    nearest: Measure | None
    """Distance of the nearest sample to the source / median distance between real images; 0 is a copy."""
    linked: Measure | None
    """Share of samples whose nearest real image is the source."""

    @staticmethod
    def of(audit: GeneratorAudit) -> Risk:
        return Risk(
            short_id(audit.generator_id),
            audit.measure(Space.FULL, DISTANCE_RATIO),
            audit.measure(Space.FULL, LINKAGE_RATE),
        )

    @property
    def distance(self) -> float | None:
        """Smallest first, this is the order of risk."""
        return None if self.nearest is None else self.nearest.value
