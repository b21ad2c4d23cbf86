"""The node's report: complete, self-contained, and inside the node only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.node.node import Node
from hospital_node.report import node_report as report
from hospital_node.report.node_report import write_report
from sharekit.errors import PolicyError, UsageError
from tests.hospital_node.trained_node import add_image, train, trained_node
from tests.pages import Page, sound


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    made = trained_node(tmp_path_factory.mktemp("report") / "node")
    audit_node(made, AuditLimits(), AuditSettings(samples=16))
    return made


def test_report_shows_sources_beside_samples_and_says_that_it_must_not_leave(node: Node) -> None:
    page = write_report(node).read_text()
    assert "Contains real images: never leaves the node." in page
    assert page.count("source (real)") >= 3
    assert page.count("sample 0") >= 3
    assert len(Page(page).plots) == 2
    assert "patient-mueller-001.png" in page
    assert "linkable: controlled access" in page


def test_generators_beyond_the_pictured_keep_their_audit_and_the_page_says_how_many_have_pictures(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Pictures of the first" not in write_report(node).read_text()
    monkeypatch.setattr(report, "MAX_PICTURED", 1)
    page = write_report(node).read_text()
    assert page.count("<figcaption>source (real)") == 1
    assert "Pictures of the first 1 of 3 generators only; audits are of all." in page
    assert page.count("16 samples, verdict:") == 3
    for record in node.ledger.generators.iterate():
        # matplotlib writes a label's text as a comment beside its glyphs: a row in each of the two plots.
        drawn = [f"<!-- {record.id[:8]} -->" in plot for plot in Page(page).plots]
        assert drawn == [True, True]


def test_an_image_whose_pictures_are_lost_keeps_its_audit(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 2)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    for path in node.image_dir(f"{1:032x}").iterdir():
        path.unlink()
    page = write_report(node).read_text()
    assert page.count("no pictures:") == 1
    assert page.count("16 samples, verdict:") == 2


def test_report_is_one_file_without_scripts_or_links(node: Node) -> None:
    page = write_report(node).read_text()
    assert not re.search(r"<script|<link|href=\"http|src=\"(?!data:)|url\(http", page)
    sound(page)


def test_report_lies_in_the_node_and_is_private(node: Node) -> None:
    path = write_report(node, "mine.html")
    assert path.resolve().parent == node.reports_dir.resolve()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../report.html", "/report.html", "a/b.html", ".html", "report.txt", ""])
def test_report_outside_the_node_is_refused(node: Node, name: str) -> None:
    with pytest.raises(UsageError):
        write_report(node, name)


def test_report_through_a_link_that_leaves_the_node_is_refused(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    node.reports_dir.rmdir()
    node.reports_dir.symlink_to(outside)
    with pytest.raises(PolicyError):
        write_report(node)
    assert not list(outside.iterdir())


def test_report_of_a_node_before_its_audit_and_with_a_lost_image(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 1)
    lost = add_image(node, 2)
    train(node, [lost], seed=2)
    for path in node.image_dir(lost).iterdir():
        path.unlink()
    page = write_report(node).read_text()
    assert "no pictures" in page
    assert "sample 0" not in page


def test_a_group_is_shown_with_its_images_and_an_image_without_a_generator_by_itself(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 1)
    group = train(node, [add_image(node, number) for number in (11, 12, 13)], seed=7)
    waiting = add_image(node, 9)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    page = write_report(node).read_text()
    names = ", ".join(f"images/patient-mueller-{number:03}.png" for number in (11, 12, 13))
    assert f"Learned from 3 images: {names}." in page
    assert re.search(rf'<section id="{group[:8]}\w*">', page)
    assert waiting not in page
    assert re.search(r"Images without a generator.*images/patient-mueller-009\.png", page, re.DOTALL)
    assert page.count("<figcaption>source (real)") == 4
    assert "<b>5</b><span>images ingested</span>" in page
    assert "<b>2</b><span>generators audited</span>" in page
