"""What is published: a wheel that holds what runs, and a source distribution that is the whole project."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sharekit", "hospital_node", "consumer", "schemas")
VECTORS = "schemas/v1/vectors/"
BUILD = "import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"


def _sources() -> list[str]:
    """Every file of the project, as a clone would have it, and what is new."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("the files of the project are known by git alone")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def _build(kind: str, source: Path, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    built = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind=kind), out],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def sources() -> list[str]:
    return _sources()


@pytest.fixture(scope="module")
def sdist(sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packaging")
    for name in sources:
        target = root / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return _build("sdist", root / "source", root / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> zipfile.ZipFile:
    """The wheel that the source distribution builds."""
    root = sdist.parents[1] / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(root, filter="data")
    (source,) = root.iterdir()
    return zipfile.ZipFile(_build("wheel", source, root.parent / "wheel"))


def test_the_source_distribution_is_the_whole_project(sdist: Path, sources: list[str]) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted(set(sources) - names) == []


def test_the_wheel_holds_what_runs_and_no_test_vectors(wheel: zipfile.ZipFile, sources: list[str]) -> None:
    expected = {
        name for name in sources if name.partition("/")[0] in PACKAGES and not name.startswith(VECTORS)
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_says_where_the_project_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    labels = {line.partition(",")[0] for line in metadata.get_all("Project-URL")}
    assert {"Homepage", "Documentation", "Issues", "Changelog"} <= labels
