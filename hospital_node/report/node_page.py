"""The node's report as one HTML page, on the frame that every page of ours has. It holds real images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from hospital_node.audit.attack import Measure
from hospital_node.audit.figure_words import figure_in_words
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.verdict import Verdict
from hospital_node.report import WARNING, audit_plots
from hospital_node.report.fidelity_section import FidelitySection
from hospital_node.report.risk import Risk
from sharekit.generator.spec import short_id
from sharekit.page.mood import Mood
from sharekit.page.shell import Embedded, Order, orders
from sharekit.page.shell import render as render_page

_MOODS = {
    "refused": Mood.WARN,
    "failed": Mood.WARN,
    "quarantined": Mood.BAD,
    "withheld": Mood.BAD,
}


@dataclass(frozen=True)
class State:
    """The state of an image or a generator."""

    name: str

    @property
    def mood(self) -> Mood:
        return _MOODS.get(self.name, Mood.PLAIN)


@dataclass(frozen=True)
class Count:
    """How many images or generators are in one state."""

    what: str
    number: int


@dataclass(frozen=True)
class Picture:
    """One picture of the page."""

    caption: str
    png: bytes
    real: bool

    @property
    def embedded(self) -> Embedded:
        return Embedded(self.png, "image/png", self.caption)


Strip = tuple[Picture, ...]
"""An image with its masks."""


@dataclass(frozen=True)
class Source:
    """A real image that a generator learned from."""

    name: str
    """Name of its file in the hospital's folder, which never leaves."""
    pictures: Strip


@dataclass(frozen=True)
class GeneratorSection:
    """What the page says about one generator."""

    id: str
    state: State
    reason: str
    sources: tuple[Source, ...]
    samples: tuple[Strip, ...]
    audit: GeneratorAudit | None

    @property
    def words(self) -> Callable[[Measure], str]:
        """Puts a figure in words."""
        return figure_in_words

    @property
    def name(self) -> str:
        """Its name in plots, tables and links."""
        return short_id(self.id)

    @cached_property
    def risk(self) -> Risk:
        return Risk(self.name, None, None) if self.audit is None else Risk.of(self.audit)


@dataclass(frozen=True)
class ImageLine:
    """An image that no generator has learned from."""

    name: str
    state: State
    reason: str


@dataclass(frozen=True)
class NodePage:
    """Everything that the page shows."""

    hospital: str
    counts: tuple[Count, ...]
    limit: float
    """The policy's least distance of a sample to its source."""
    generators: tuple[GeneratorSection, ...]
    """Generators, the nearest to a source first."""
    pictured: int
    """Number of generators with pictures on the page: the first ones."""
    images: tuple[ImageLine, ...]
    fidelity: FidelitySection | None

    @property
    def warning(self) -> str:
        return WARNING

    @cached_property
    def audits(self) -> tuple[GeneratorAudit, ...]:
        return tuple(each.audit for each in self.generators if each.audit is not None)

    @property
    def objected(self) -> int:
        """Generators to which the audit objects."""
        return sum(not audit.passed for audit in self.audits)

    @property
    def verdicts(self) -> tuple[tuple[str, int], ...]:
        """Each verdict with its number of generators, the most frequent first."""
        return tuple(Counter(str(audit.verdict) for audit in self.audits).most_common())

    @property
    def mood(self) -> Mood:
        if self.objected:
            return Mood.WARN
        linkable = any(audit.verdict is Verdict.LINKABLE for audit in self.audits)
        return Mood.GOOD if self.audits and not linkable else Mood.PLAIN

    @property
    def nearest(self) -> Risk | None:
        """The generator with the sample that lies nearest to a source."""
        known = (each.risk for each in self.generators if each.risk.nearest is not None)
        return min(known, key=lambda risk: risk.distance or 0.0, default=None)

    @property
    def order(self) -> tuple[Order[GeneratorSection], ...]:
        """The table of generators, in every order that the page offers."""
        return orders(
            self.generators,
            {
                "nearest sample first": lambda each: each.risk.distance,
                "most linked first": lambda each: (
                    None if each.risk.linked is None else -each.risk.linked.value
                ),
                "state": lambda each: each.state.name,
                "identifier": lambda each: each.id,
            },
        )

    @cached_property
    def plots(self) -> tuple[tuple[str, Embedded], ...]:
        """Title and plot of every question that the audits answer."""
        risks = [each.risk for each in self.generators if each.audit is not None]
        if not risks:
            return ()
        return (
            (
                "How near do samples come to their source?",
                Embedded.svg(
                    audit_plots.distances(risks, self.limit),
                    "Each generator's nearest sample: its distance to the source and to other real images",
                ),
            ),
            (
                "Which real image is each sample nearest to?",
                Embedded.svg(
                    audit_plots.linkage(risks),
                    "Share of each generator's samples whose nearest real image is the source",
                ),
            ),
        )

    @property
    def undrawn(self) -> int:
        """Audited generators that the plots leave out."""
        return max(0, len(self.audits) - audit_plots.MAX_ROWS)


def render(page: NodePage) -> str:
    """The page as text."""
    return render_page("hospital_node.report", "node.html", page)
