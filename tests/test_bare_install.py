"""A consumer's base install, in an environment that holds nothing else: no torch, no ray, no SciPy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharekit.demo import phantom
from sharekit.errors import DependencyError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("sharekit", "hospital_node", "consumer", "schemas")
OPTIONAL = (
    *("torch", "ray", "safetensors", "opendp", "psutil", "scipy", "matplotlib"),
    *("tifffile", "skimage", "lpips", "torchvision", "segmentation_models_pytorch"),
)


# One environment for all of them: without this, each of pytest's workers would install its own.
pytestmark = pytest.mark.xdist_group("bare")


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment: the project's wheel and the base dependencies alone."""
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
    return environment / "bin"


def _python(bare: Path, program: str) -> subprocess.CompletedProcess[str]:
    # -I: neither the current folder nor PYTHONPATH can bring in what is not installed.
    return _run(bare / "python", "-I", "-c", program)


@pytest.mark.parametrize("package", OPTIONAL)
def test_the_optional_packages_are_really_absent(bare: Path, package: str) -> None:
    result = _python(bare, f"import {package}")
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
def test_what_a_consumer_imports_works(bare: Path, module: str) -> None:
    result = _python(bare, f"import {module}")
    assert result.returncode == 0, result.stderr


def test_the_one_line_api_is_there(bare: Path) -> None:
    result = _python(bare, "import consumer; consumer.open_bundle")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("program", ["consumer", "sharekit", "hospital-node"])
def test_help_works(bare: Path, program: str) -> None:
    result = _run(bare / program, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {program}")


@pytest.mark.parametrize("command", ["sample", "style", "validate", "train", "submit", "report"])
def test_help_of_the_consumers_commands_works(bare: Path, command: str) -> None:
    result = _run(bare / "consumer", command, "--help")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("hospital-node", "train", "--node", "{node}"), "hospital"),
        (("hospital-node", "audit", "--node", "{node}"), "hospital"),
        (("consumer", "validate", "{data}"), "validate"),
        (
            ("consumer", "train", "{data}", "--validation", "{data}", "--out", "{data}/segmenter.onnx"),
            "train",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_what_needs_an_extra_names_it(
    bare: Path, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    data, node = tmp_path / "data", tmp_path / "node"
    phantom.write_data_set(data, 1, height=64, width=64)
    ingested = _run(bare / "hospital-node", "ingest", "--data", data, "--node", node, "--hospital", "H")
    assert ingested.returncode == 0, ingested.stderr
    program, *rest = (argument.format(data=data, node=node) for argument in arguments)
    result = _run(bare / program, *rest)
    assert result.returncode == DependencyError.exit_code, result.stderr
    assert f"pip install 'sharekit[{extra}]'" in result.stderr
