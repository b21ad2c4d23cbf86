"""A consumer's base install: no torch, no ray, no SciPy, and errors that name the extra to install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from sharekit.demo import phantom
from sharekit.errors import DependencyError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("sharekit", "hospital_node", "consumer", "schemas")
OPTIONAL = (
    *("torch", "ray", "safetensors", "opendp", "psutil", "scipy", "matplotlib"),
    *("tifffile", "skimage", "lpips", "torchvision", "segmentation_models_pytorch"),
    *("tuf", "securesystemslib", "pkcs11"),
)


# One environment for all of them: without this, each of pytest's workers would install its own.
pytestmark = pytest.mark.xdist_group("bare")
TEMPLATES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/*/templates/*"))
HIDDEN = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))"
"""Python that makes every import of an optional package fail as if it were not installed."""


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Bare:
    """Where no optional package can be imported: a fresh environment, or this one with them hidden."""

    bin: Path | None  # of the fresh environment

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        if self.bin is None:
            return _run(sys.executable, "-c", f"{HIDDEN}\n{code}")
        # -I: neither the current folder nor PYTHONPATH can bring in what is not installed.
        return _run(self.bin / "python", "-I", "-c", code)

    def program(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        if self.bin is not None:
            return _run(self.bin / name, *arguments)
        package = name.replace("-", "_")
        given = [str(argument) for argument in arguments]
        return self.python(f"from {package}.cli import main; sys.exit(main({given}))")


@pytest.fixture(scope="module", params=["hidden", pytest.param("installed", marks=pytest.mark.slow)])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """Optional packages hidden or, in the slow run, a fresh environment with the project's wheel alone."""
    if request.param == "hidden":
        return Bare(None)
    root = tmp_path_factory.mktemp("bare")
    source = root / "source"
    # A copy, because building a wheel leaves a folder in the tree.
    for package in SOURCES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environment = root / "venv"
    created = _run(sys.executable, "-m", "venv", environment)
    assert created.returncode == 0, created.stderr
    python = environment / "bin" / "python"
    installed = _run(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--constraint", ROOT / ".ci" / "constraints.txt", source),
    )
    assert installed.returncode == 0, installed.stderr
    return Bare(environment / "bin")


@pytest.mark.parametrize("package", OPTIONAL)
def test_the_optional_packages_are_really_absent(bare: Bare, package: str) -> None:
    result = bare.python(f"import {package}")
    assert "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize(
    "module",
    [
        "consumer",
        "consumer.cli",
        "consumer.sampling.runtime",
        "consumer.sampling.synthetic_bundle",
        "sharekit.cli",
        "schemas",
    ],
)
def test_what_a_consumer_imports_works(bare: Bare, module: str) -> None:
    result = bare.python(f"import {module}")
    assert result.returncode == 0, result.stderr


def test_the_one_line_api_is_there(bare: Bare) -> None:
    result = bare.python("import consumer; consumer.open_bundle")
    assert result.returncode == 0, result.stderr


def test_a_page_is_rendered_from_the_templates_in_the_wheel(bare: Bare) -> None:
    result = bare.python("from sharekit.experiment.experiment_page import render; print(render([]))")
    assert result.stdout.startswith("<!DOCTYPE html>"), result.stderr
    if bare.bin is not None:
        packages = next(bare.bin.parent.glob("lib/python*/site-packages"))
        assert [path for path in TEMPLATES if not (packages / path).is_file()] == []


def test_every_template_is_listed_for_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["package-data"]
    assert len(TEMPLATES) >= 6
    # "*" is every package.
    taken = [path for path in TEMPLATES if any(path.match(f"*/{glob}") for glob in listed["*"])]
    assert taken == TEMPLATES


@pytest.mark.parametrize("program", ["consumer", "sharekit", "hospital-node"])
def test_help_works(bare: Bare, program: str) -> None:
    result = bare.program(program, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {program}")


@pytest.mark.parametrize(
    "command", ["pull", "catalogue", "sample", "style", "validate", "train", "submit", "report"]
)
def test_help_of_the_consumers_commands_works(bare: Bare, command: str) -> None:
    result = bare.program("consumer", command, "--help")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("program", "extra"),
    [
        ("from sharekit.intervals import student_mean; student_mean([1.0, 2.0])", "experiment"),
        ("from sharekit.storage.weights import read_safetensors; read_safetensors(b'', 'FILE')", "torch"),
    ],
)
def test_a_function_that_needs_an_extra_names_it(bare: Bare, program: str, extra: str) -> None:
    assert f"pip install 'sharekit[{extra}]'" in bare.python(program).stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("hospital-node", "train", "--node", "{node}"), "hospital"),
        (("hospital-node", "audit", "--node", "{node}"), "hospital"),
        (("consumer", "validate", "{data}"), "validate"),
        (("consumer", "pull", "{data}", "--hospital", "north"), "repository"),
        (("sharekit", "repository", "refresh", "{data}", "--key", "{data}/online.key"), "repository"),
        (
            (
                *("hospital-node", "publish", "{data}", "--node", "{node}", "--repository", "{data}"),
                *("--key", "{data}/person.key"),
            ),
            "repository",
        ),
        (
            ("consumer", "train", "{data}", "--validation", "{data}", "--out", "{data}/segmenter.onnx"),
            "train",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_what_needs_an_extra_names_it(
    bare: Bare, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    data, node = tmp_path / "data", tmp_path / "node"
    phantom.write_data_set(data, 1, height=64, width=64)
    ingested = bare.program(
        "hospital-node", "ingest", "--data", data, "--node", node, "--hospital", "H", "--keep-overlays"
    )
    assert ingested.returncode == 0, ingested.stderr
    program, *rest = (argument.format(data=data, node=node) for argument in arguments)
    result = bare.program(program, *rest)
    assert result.returncode == DependencyError.exit_code, result.stderr
    assert f"pip install 'sharekit[{extra}]'" in result.stderr
