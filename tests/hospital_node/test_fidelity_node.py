"""Fidelity of a node: measured on the candidates' bytes, written inside the node, shown in its report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.cli import main
from hospital_node.fidelity.fidelity_report import FidelityReport
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.inception import ENVIRONMENT_VARIABLE
from hospital_node.fidelity.measure_node import measure, write
from hospital_node.node.node import Node
from hospital_node.report.node_report import write_report
from sharekit.errors import NodeStateError, PolicyError, UsageError, VerificationError
from tests.hospital_node.feature_network import random_stem
from tests.hospital_node.trained_node import add_image, add_trained, generator_of, train, trained_node
from tests.pages import Page

IMAGES = 7
SETTINGS = FidelitySettings(samples=3, halves=20)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node = trained_node(tmp_path_factory.mktemp("fidelity") / "node", IMAGES)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    return node.root


@pytest.fixture
def node(audited: Path, tmp_path: Path) -> Node:
    shutil.copytree(audited, tmp_path / "node")
    (tmp_path / "node").chmod(0o700)
    return Node.open(tmp_path / "node")


@pytest.fixture(scope="module")
def report(audited: Path) -> FidelityReport:
    return measure(Node.open(audited, read_only=True), random_stem(), SETTINGS)


def test_every_figure_has_an_interval_and_what_it_is_held_against(report: FidelityReport) -> None:
    names = [found.name for found in report.comparisons]
    assert names[:6] == [
        f"{name} (64-d)" for name in ("FID", "KID", "precision", "recall", "density", "coverage")
    ]
    assert [name for name in names if "lesion" in name] == names[6:]
    for found in report.comparisons:
        assert found.floor.low <= found.floor.mean <= found.floor.high
        assert found.samples.count == found.floor.count == IMAGES // 2
        assert (found.real_count, found.sample_count) == (IMAGES, IMAGES * 3)
    assert [found.p is not None for found in report.comparisons] == [False] * 6 + [True, False]
    assert [found.value.count for found in report.figures] == [IMAGES, IMAGES]
    assert all(found.reference is not None for found in report.figures)
    assert report.missing == ()
    assert len(report.generators) == IMAGES


def test_samples_of_untrained_generators_are_worse_than_real_images(report: FidelityReport) -> None:
    assert next(found for found in report.comparisons if found.name == "FID (64-d)").worse


def test_from_json_undoes_to_json(report: FidelityReport) -> None:
    assert FidelityReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_the_same_seed_measures_the_same_and_another_does_not(node: Node) -> None:
    again = [measure(node, None, FidelitySettings(3, seed, 20)) for seed in (0, 0, 1)]
    assert again[0] == again[1] != again[2]


def test_without_a_feature_network_the_report_says_what_is_missing(node: Node) -> None:
    found = measure(node, None, SETTINGS)
    assert "lesion" in found.comparisons[0].name
    assert found.generators[0].sifid is None
    (line,) = found.missing
    assert ENVIRONMENT_VARIABLE in line
    assert "FID" in line


def test_too_few_images_for_halves_leave_the_figures_of_single_generators(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", 1)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    found = measure(node, random_stem(), SETTINGS)
    assert found.comparisons == ()
    assert found.generators[0].sifid is not None
    assert found.generators[0].sifid_others is None
    assert "has 1" in found.missing[0]
    write(node, found)
    assert "needs 6 audited generators" in write_report(node).read_text()


def test_a_damaged_candidate_and_a_generator_without_audit_are_left_out_with_the_reason(node: Node) -> None:
    waiting = add_trained(node, 50)
    damaged = generator_of(node, f"{1:032x}")
    node.candidate_path(damaged).write_bytes(b"not ONNX")
    found = measure(node, None, SETTINGS)
    assert set(found.left_out) == {waiting, damaged}
    assert len(found.generators) == IMAGES - 1
    write(node, found)
    assert "Left out" in write_report(node).read_text()


def test_a_node_before_its_audit_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NodeStateError, match="hospital-node audit"):
        measure(trained_node(tmp_path / "node", 2), None, SETTINGS)


def test_a_group_is_measured_against_its_nearest_image(node: Node) -> None:
    group = train(node, [add_image(node, number) for number in (61, 62, 63)], seed=9)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    found = measure(node, random_stem(), SETTINGS)
    (of_group,) = (one for one in found.generators if one.generator_id == group)
    assert of_group.sifid is not None
    assert of_group.sifid_others is not None
    assert found.comparisons[0].real_count == IMAGES + 1
    assert found.missing == ()


def test_generators_that_share_images_are_not_compared_as_sets(node: Node) -> None:
    """A sample of one would meet an image behind its own generator in the other half."""
    train(node, [f"{number:032x}" for number in (1, 2)], seed=9)
    audit_node(node, AuditLimits(), AuditSettings(samples=16))
    found = measure(node, None, SETTINGS)
    assert len(found.generators) == IMAGES + 1
    assert found.comparisons[0].real_count == IMAGES
    assert f"only {IMAGES} of {IMAGES + 1} generators count, which share no image" in found.missing[-1]


@pytest.mark.parametrize("settings", [FidelitySettings(samples=1), FidelitySettings(seed=-1)])
def test_settings_without_sense_are_refused(node: Node, settings: FidelitySettings) -> None:
    with pytest.raises(UsageError):
        measure(node, None, settings)


def test_file_is_private_names_no_file_and_does_not_leave_the_node(
    node: Node, report: FidelityReport, tmp_path: Path
) -> None:
    path = write(node, report)
    assert path.parent == node.reports_dir.resolve()
    assert path.stat().st_mode & 0o077 == 0
    assert "mueller" not in path.read_text()
    path.unlink()
    node.reports_dir.rmdir()
    (tmp_path / "outside").mkdir()
    node.reports_dir.symlink_to(tmp_path / "outside")
    with pytest.raises(PolicyError):
        write(node, report)
    assert not list((tmp_path / "outside").iterdir())


def test_report_shows_fidelity_in_words_and_plots(node: Node, report: FidelityReport) -> None:
    assert "as good as real" not in write_report(node).read_text()
    write(node, report)
    page = write_report(node).read_text()
    assert re.search(
        r"FID \(64-d\), lower is better: real against real [\d.]+ \[.*samples against real", page
    )
    assert "worse than real images" in page
    assert len(Page(page).plots) == 4
    assert "Measured before" not in page


def test_report_says_when_candidates_have_changed_since(node: Node, report: FidelityReport) -> None:
    write(node, report)
    candidate = node.candidate_path(generator_of(node, f"{2:032x}"))
    candidate.write_bytes(candidate.read_bytes() + b"\0")
    assert f"Measured before 1 of {IMAGES} candidates changed" in write_report(node).read_text()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": 1}'])
def test_report_of_a_damaged_measurement_says_so(node: Node, content: str) -> None:
    (node.reports_dir / "fidelity.json").write_text(content)
    assert "cannot be read" in write_report(node).read_text()


def test_command_prints_tables_and_writes_the_file(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    command = ["fidelity", "--node", str(node.root), "--samples", "2", "--threads", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "samples against real" in " ".join(printed.split())
    assert "missing: SIFID" in printed
    assert main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    written = json.loads((node.reports_dir / "fidelity.json").read_text())
    assert {name: value for name, value in found.items() if name != "fidelity"} == written
    with pytest.raises(SystemExit) as ended:
        main([*command[:-1], "0"])
    assert ended.value.code == UsageError.exit_code


def test_command_refuses_weights_that_are_not_pinned(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"anything")
    command = ["fidelity", "--node", str(node.root), "--features", str(weights)]
    assert main(command) == VerificationError.exit_code
    assert "pinned" in capsys.readouterr().err
