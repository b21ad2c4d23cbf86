"""Who may import whom, and what the source never does; read from the syntax tree, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sharekit", "hospital_node", "consumer", "schemas")
HEAVY = {"torch", "scipy", "matplotlib", "torchvision", "segmentation_models_pytorch", "skimage", "lpips"}

NEVER = {
    "sharekit": {"hospital_node", "consumer", "ray", "safetensors", "opendp", "psutil"} | HEAVY,
    "hospital_node": {"consumer"},
    "consumer": {"hospital_node", "ray", "safetensors", "opendp", "psutil"},
    "schemas": {"sharekit", "hospital_node", "consumer", "numpy", "ray", "onnx", "onnxruntime"} | HEAVY,
}
"""Not even inside a function."""

ALLOWED = {
    "sharekit/page/plots.py": {"matplotlib"},
    "sharekit/steps/cluster.py": {"ray"},
}
"""Inside functions alone: see docs/adr/0020-experiments.md."""

ENTRIES = {"consumer.__init__", "consumer.cli"}

DESERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RESTRICTED_UNPICKLER = "sharekit/bundle/features.py"
"""Reads one file with a pinned sha256 through an unpickler that allows NumPy arrays and nothing else."""


@dataclass(frozen=True)
class Import:
    module: str  # dotted; what `from a import b` takes is a.b
    line: int
    inside_function: bool
    typing_only: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def at_import(self) -> bool:
        return not (self.inside_function or self.typing_only)


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _every_module() -> list[Path]:
    return [path for package in PACKAGES for path in _modules(package)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(node: ast.AST, *, inside: bool = False, typing_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside, typing_only)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, inside, typing_only)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _imports(child, inside=inside, typing_only=True)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside=inside or function, typing_only=typing_only)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    wrong = [
        f"{_name(path)}:{found.line} imports {found.package}"
        for path in _modules(package)
        for found in _imports(_tree(path))
        if found.package in NEVER[package]
        and not (found.inside_function and found.package in ALLOWED.get(_name(path), ()))
    ]
    assert wrong == []


def test_nothing_heavy_is_imported_with_the_consumer() -> None:
    """A module that cannot do without (a torch data set is a subclass) is imported by functions alone."""
    at_import = {path: [i for i in _imports(_tree(path)) if i.at_import] for path in _modules("consumer")}
    heavy = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path, imports in at_import.items()
        if any(found.package in HEAVY for found in imports)
    }
    wrong = [
        f"{_name(path)}:{found.line} imports {module}"
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
    assert list(_imports(ast.parse("\n".join(lines)))) == [
        Import("a.b", 1, inside_function=False, typing_only=False),
        Import("c.d", 2, inside_function=False, typing_only=False),
        Import("g", 5, inside_function=True, typing_only=False),
        Import("h", 7, inside_function=False, typing_only=True),
    ]


def test_nothing_that_runs_code_on_load_is_read() -> None:
    wrong = [
        f"{_name(path)}:{found.line} imports {found.package}"
        for path in _every_module()
        for found in _imports(_tree(path))
        if found.package in DESERIALISERS and _name(path) != RESTRICTED_UNPICKLER
    ]
    assert wrong == []


def test_torch_and_numpy_load_data_only() -> None:
    wrong = []
    for path in _every_module():
        for name, call in _calls(path):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "torch.load" and options.get("weights_only") != "True":
                wrong.append(f"{_name(path)}:{call.lineno} torch.load without weights_only=True")
            if options.get("allow_pickle", "False") != "False":
                wrong.append(f"{_name(path)}:{call.lineno} allow_pickle")
    assert wrong == []


def test_no_text_is_run_as_code_or_by_a_shell() -> None:
    wrong = []
    for path in _every_module():
        for name, call in _calls(path):
            shell = any(
                keyword.arg == "shell" and ast.unparse(keyword.value) != "False" for keyword in call.keywords
            )
            if shell or name in {"eval", "exec", "os.system", "os.popen"}:
                wrong.append(f"{_name(path)}:{call.lineno} {ast.unparse(call)}")
    assert wrong == []


def test_progress_and_results_do_not_go_through_print() -> None:
    """`output` and `progress` own stdout and stderr; another print would break `--format json`."""
    allowed = {"sharekit/program/output.py", "sharekit/program/progress.py"}
    wrong = [
        f"{_name(path)}:{call.lineno}"
        for path in _every_module()
        for name, call in _calls(path)
        if name == "print" and _name(path) not in allowed
    ]
    assert wrong == []
