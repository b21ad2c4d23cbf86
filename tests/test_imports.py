"""Who may import whom, and what the source never does; read from the syntax tree, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import (
    PACKAGES,
    ROOT,
    Import,
    every_module,
    imports_in,
    imports_of,
    modules,
    name_of,
    tree_of,
)

HEAVY = {
    "tifffile",
    "torch",
    "scipy",
    "matplotlib",
    "torchvision",
    "segmentation_models_pytorch",
    "skimage",
    "lpips",
}

NEVER = {
    "sharekit": {"hospital_node", "consumer", "ray", "safetensors", "opendp", "psutil"} | HEAVY,
    "hospital_node": {"consumer"},
    "consumer": {"hospital_node", "ray", "safetensors", "opendp", "psutil"},
    "schemas": {"sharekit", "hospital_node", "consumer", "numpy", "ray", "onnx", "onnxruntime"} | HEAVY,
}
"""Not even inside a function."""

ALLOWED = {
    "sharekit/intervals.py": {"scipy"},
    "sharekit/storage/weights.py": {"safetensors"},
    "sharekit/page/plots.py": {"matplotlib"},
    "sharekit/pictures/tiff.py": {"tifffile"},
    "sharekit/steps/cluster.py": {"ray"},
}
"""Inside functions alone: the base install works without them, see docs/adr/0020, 0024 and 0032."""

ENTRIES = {"consumer.__init__", "consumer.cli"}

DESERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RESTRICTED_UNPICKLER = "sharekit/storage/weights.py"
"""Reads one file with a pinned sha256 through an unpickler that allows NumPy arrays and nothing else."""


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    wrong = [
        f"{name_of(path)}:{found.line} imports {found.package}"
        for path in modules(package)
        for found in imports_of(path)
        if found.package in NEVER[package]
        and not (found.inside_function and found.package in ALLOWED.get(name_of(path), ()))
    ]
    assert wrong == []


def test_nothing_heavy_is_imported_with_the_consumer() -> None:
    """A module that cannot do without (a torch data set is a subclass) is imported by functions alone."""
    at_import = {path: [i for i in imports_of(path) if i.at_import] for path in modules("consumer")}
    heavy = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path, imports in at_import.items()
        if any(found.package in HEAVY for found in imports)
    }
    wrong = [
        f"{name_of(path)}:{found.line} imports {module}"
        for path, imports in at_import.items()
        for found in imports
        for module in heavy
        if f"{found.module}.".startswith(f"{module}.")
    ]
    assert wrong == []
    assert not [name for name in heavy if name in ENTRIES or name.startswith("consumer.commands")]


def test_the_reader_of_imports_sees_every_form() -> None:
    lines = ["import a.b", "from c import d", "from . import e", "def f():", "    import g"]
    lines += ["if TYPE_CHECKING:", "    import h"]
    assert list(imports_in(ast.parse("\n".join(lines)))) == [
        Import("a.b", 1, inside_function=False, typing_only=False),
        Import("c.d", 2, inside_function=False, typing_only=False),
        Import("g", 5, inside_function=True, typing_only=False),
        Import("h", 7, inside_function=False, typing_only=True),
    ]


def test_nothing_that_runs_code_on_load_is_read() -> None:
    wrong = [
        f"{name_of(path)}:{found.line} imports {found.package}"
        for path in every_module()
        for found in imports_of(path)
        if found.package in DESERIALISERS and name_of(path) != RESTRICTED_UNPICKLER
    ]
    assert wrong == []


def test_torch_and_numpy_load_data_only() -> None:
    wrong = []
    for path in every_module():
        for name, call in _calls(path):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "torch.load" and options.get("weights_only") != "True":
                wrong.append(f"{name_of(path)}:{call.lineno} torch.load without weights_only=True")
            if options.get("allow_pickle", "False") != "False":
                wrong.append(f"{name_of(path)}:{call.lineno} allow_pickle")
    assert wrong == []


def test_no_text_is_run_as_code_or_by_a_shell() -> None:
    wrong = []
    for path in every_module():
        for name, call in _calls(path):
            shell = any(
                keyword.arg == "shell" and ast.unparse(keyword.value) != "False" for keyword in call.keywords
            )
            if shell or name in {"eval", "exec", "os.system", "os.popen"}:
                wrong.append(f"{name_of(path)}:{call.lineno} {ast.unparse(call)}")
    assert wrong == []


def test_progress_and_results_do_not_go_through_print() -> None:
    """`output` and `progress` own stdout and stderr; another print would break `--format json`."""
    allowed = {"sharekit/program/output.py", "sharekit/program/progress.py"}
    wrong = [
        f"{name_of(path)}:{call.lineno}"
        for path in every_module()
        for name, call in _calls(path)
        if name == "print" and name_of(path) not in allowed
    ]
    assert wrong == []
