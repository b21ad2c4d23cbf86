"""The node's page as a value: generators by risk with all their sources, and nothing but text in any name."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
from PIL import Image

from hospital_node.audit.attack import AttackResult, AuditLimits, Measure
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.verdict import Verdict
from hospital_node.candidate.parity import Parity, ParityCase
from hospital_node.fidelity.fidelity_report import Better, Comparison
from hospital_node.report import audit_plots
from hospital_node.report.fidelity_section import FidelitySection
from hospital_node.report.node_page import (
    WARNING,
    Count,
    GeneratorSection,
    ImageLine,
    NodePage,
    Picture,
    Source,
    State,
    render,
)
from hospital_node.report.risk import Risk
from sharekit.intervals import Interval
from sharekit.page.mood import Mood
from tests.pages import ATTACK, Page, sound

LIMITS = AuditLimits()


def measure(name: str, value: float) -> Measure:
    bounds = {"low": value - 0.1, "high": value + 0.1, "method": "bootstrap, 95 %"}
    return Measure.from_json(
        {"name": f"full.{name}", "value": value, **bounds, "baseline": 0.25, "control": 0.9}
    )


def audit(
    identifier: str, distance: float | None, *, linked: float = 0.5, objection: str = ""
) -> GeneratorAudit:
    """An audit whose nearest sample lies at `distance`; None: there were no controls."""
    measures = (
        () if distance is None else (measure("distance_ratio", distance), measure("linkage_rate", linked))
    )
    objections = (objection,) if objection else ()
    result = AttackResult("best-of-n", "nearest", 16, 3, measures, None, objections)
    parity = Parity((ParityCase(4, 5, 1, 0.0),), 1e-4, 18, "1")
    return GeneratorAudit(identifier, "00", 2, 16, 0, LIMITS, parity, (result,), Verdict.LINKABLE)


def picture(caption: str, *, real: bool) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), 9, np.uint8)).save(buffer, "PNG")
    return Picture(caption, buffer.getvalue(), real)


def section(number: int, distance: float | None = 0.5, **options: object) -> GeneratorSection:
    """Generator `number`, of two images."""
    identifier = f"{number:08x}" + "0" * 24
    sources = tuple(
        Source(f"images/patient-{number}-{letter}.png", (picture("source (real)", real=True),))
        for letter in "ab"
    )
    samples = ((picture("sample 0", real=False), picture("its mask", real=False)),)
    found = audit(identifier, distance, **options)  # type: ignore[arg-type]
    return GeneratorSection(identifier, State("audited"), "", sources, samples, found)


def page(*generators: GeneratorSection, **changes: object) -> NodePage:
    counts = (Count(State("audited"), len(generators)),)
    made = NodePage("Test hospital", counts, 0.2, generators, len(generators), (), None)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def text_of(found: NodePage) -> str:
    return sound(render(found)).text


def test_a_generator_shows_all_its_sources_and_has_one_name_everywhere() -> None:
    found = sound(render(page(section(1), section(2))))
    captions = [image.attributes["alt"] for image in found.all("img")]
    for letter in "ab":
        assert f"source (real) of images/patient-1-{letter}.png" in captions
    assert {element.attributes.get("id") for element in found.all("section")} >= {"00000001", "00000002"}
    assert {link.attributes["href"] for link in found.all("a")} >= {"#00000001", "#00000002"}
    assert all("<!-- 00000001 -->" in plot for plot in found.plots)
    assert "0" * 24 not in found.text
    head, first, *_ = re.findall(r"<tr>.*?</tr>", render(page(section(1))), re.DOTALL)
    assert "Images" in head
    assert '<td class="number">2</td>' in first


def test_the_table_can_be_sorted_by_risk_linkage_state_and_name() -> None:
    generators = [section(3, 0.3, linked=0.2), section(1, 0.4, linked=0.9), section(2, None)]
    names = [[each.name[-1] for each in order.rows] for order in page(*generators).order]
    assert names == [["3", "1", "2"], ["1", "3", "2"], ["3", "1", "2"], ["1", "2", "3"]]
    found = sound(render(page(*generators)))
    choices = found.all("input")
    assert [choice.attributes["type"] for choice in choices] == ["radio"] * 4
    assert ["checked" in choice.attributes for choice in choices] == [True, False, False, False]


def test_the_page_begins_with_objections_and_the_nearest_sample() -> None:
    risky = section(1, 0.1, objection="near copy: the nearest sample lies at 0.100")
    text = text_of(page(risky, section(2)))
    assert "The audit objects to 1 of the 2 audited generators." in text
    assert "The sample nearest to its source: generator 00000001, at 0.10 [0.00, 0.20]" in text
    assert "The policy asks for at least 0.2." in text
    assert "objection near copy" in text
    assert page(risky).mood is Mood.WARN


def test_a_linkable_generator_is_never_shown_as_all_well() -> None:
    found = page(section(1), section(2))
    assert found.mood is Mood.PLAIN
    assert "linkable: controlled access: 2" in text_of(found)
    free = dataclasses.replace(audit("0" * 32, 0.9), verdict=Verdict.K_GROUP)
    assert page(dataclasses.replace(section(3), audit=free)).mood is Mood.GOOD


def test_without_an_audit_the_page_says_that_none_may_leave() -> None:
    bare = dataclasses.replace(section(1), audit=None, samples=())
    assert "No generator is audited, so none may leave." in text_of(page(bare))
    assert "not audited, so not to leave: 1" in text_of(page(section(2), bare))
    assert "No generator is trained yet." in text_of(page())


def test_the_warning_is_above_everything_else() -> None:
    found = Page(render(page(section(1))))
    first = next(element for element in found.elements if element.parents == ("html", "body"))
    assert (first.tag, first.attributes["class"]) == ("aside", "banner")
    assert found.text.count(WARNING) == 2


def test_plots_of_very_many_generators_stay_small_and_say_what_they_leave_out() -> None:
    risks = [Risk(f"{number:08x}", None, None) for number in range(audit_plots.MAX_ROWS + 1)]
    drawn = audit_plots.distances(risks, 0.2).decode()
    assert f"<!-- {risks[-2].name} -->" in drawn
    assert f"<!-- {risks[-1].name} -->" not in drawn
    many = page(
        *(dataclasses.replace(section(n), sources=(), samples=()) for n in range(audit_plots.MAX_ROWS + 3))
    )
    assert many.undrawn == 3


def test_equal_values_give_equal_pages() -> None:
    assert render(page(section(1), section(2))) == render(page(section(1), section(2)))


def test_whatever_is_in_a_name_it_stays_text() -> None:
    interval = Interval(0.5, 0.4, 0.6, 3)
    comparison = Comparison(ATTACK, Better.LOWER, interval, interval, interval, 0.5, 3, 3)
    hostile = dataclasses.replace(
        section(1, objection=ATTACK),
        state=State(ATTACK),
        reason=ATTACK,
        sources=(Source(ATTACK, (picture(ATTACK, real=True),)),),
        samples=((picture(ATTACK, real=False),),),
    )
    found = page(
        hostile,
        hospital=ATTACK,
        counts=(Count(State(ATTACK), 1),),
        images=(ImageLine(ATTACK, State(ATTACK), ATTACK),),
        fidelity=FidelitySection(ATTACK, (ATTACK,), ATTACK, (), (comparison,)),
    )
    assert text_of(found).count("alert(1)") >= 12
