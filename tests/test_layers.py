"""Which folder of a package may import which, no circles, and no file name with two meanings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.source import ROOT, dotted_name, every_module, imports_of, modules, name_of

LAYERS: Mapping[str, tuple[str, ...]] = {
    "sharekit": (
        "silence",
        "__init__ errors",
        "intervals storage",
        "signing generator program",
        "pictures",
        "bundle segmenter page",
        "trust",
        "repository",
        "steps",
        "demo experiment",
        "commands",
        "cli",
    ),
    "hospital_node": (
        "__init__ ledger singan",
        "node candidate isolation statistics",
        "overlays",
        "leaks dicom",
        "intake pool audit",
        "release evaluation fidelity doctor",
        "report",
        "commands",
        "cli",
    ),
    "consumer": (
        "torch_support",
        "sampling",
        "datasets",
        "trust",
        "style",
        "validation training submission repositories",
        "__init__",
        "commands",
        "cli",
    ),
}
"""Folders and modules of a package, lowest first. Each imports lower layers and itself, not its neighbours.

`__init__` is the package's own: what `import consumer` gives stands above all that it offers.
"""

TOOLS = {"steps", "demo", "experiment", "commands", "cli"}
"""Of sharekit, what runs the two sides from outside; no side imports it."""

SAME_MEANING = {
    "keys": "sharekit: the command that makes and shows the keys of signing/keys",
    "canary": "hospital_node: the command that plants what audit/attacks/canary looks for",
    "approve": "hospital_node: the command of release/approve",
    "reject": "hospital_node: the command of release/reject",
    "history": "hospital_node: the command of node/history",
    "export": "hospital_node: the command of release/export",
    "publish": "hospital_node: the command of release/publish",
    "releases": "hospital_node: the command that shows ledger/releases",
    "trust": "consumer: verify with trusted keys; sharekit: the command that says which keys these are",
    "evaluate": "hospital_node: the command of evaluation/evaluate",
    "ingest": "hospital_node: the command of intake/ingest",
    "sample": "consumer: the command that draws what sampling/sample describes",
    "train": "hospital_node and consumer: the command `train` of either program",
    "review": "hospital_node: the command of intake/review",
    "report": "hospital_node and consumer: the command `report` of either program",
}
"""File names that occur twice and mean the same."""

KNOWN = {dotted_name(path): path for path in every_module()}


def _layer(package: str, module: str) -> str:
    """The folder or module directly below the package."""
    return module.split(".")[1] if "." in module else "__init__"


def _target(imported: str) -> str | None:
    """The module of the project that an import loads: `a.b` for a function `c` in `a.b.c`."""
    while imported not in KNOWN:
        imported, dot, _ = imported.rpartition(".")
        if not dot:
            return None
    return imported


def _edges() -> dict[str, set[str]]:
    """Module to the modules that it imports, inside functions too; imports for types alone do not count."""
    edges: dict[str, set[str]] = {}
    for module, path in KNOWN.items():
        found = (_target(one.module) for one in imports_of(path) if not one.typing_only)
        edges[module] = {target for target in found if target not in (None, module)}
    return edges


def _circles(edges: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """Sets of modules that reach each other (Tarjan, SIAM Journal on Computing 1:146-160, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in edges.get(module, ()):
            if target not in number:
                visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == number[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                found.add(frozenset(stack[start:]))
            del stack[start:]

    for module in edges:
        if module not in number:
            visit(module)
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_folders_import_lower_layers_alone(package: str) -> None:
    height = {name: number for number, names in enumerate(LAYERS[package]) for name in names.split()}
    wrong = []
    for path in modules(package):
        own = _layer(package, dotted_name(path))
        assert own in height, f"{own} of {package} has no layer: give it one here and in docs/architecture.md"
        for found in imports_of(path):
            target = _target(found.module)
            if target is None or target.partition(".")[0] != package:
                continue
            other = _layer(package, target)
            if other != own and height[other] >= height[own]:
                wrong.append(f"{name_of(path)}:{found.line} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("package", ["hospital_node", "consumer"])
def test_no_side_imports_what_runs_both(package: str) -> None:
    wrong = [
        f"{name_of(path)}:{found.line} imports {found.module}"
        for path in modules(package)
        for found in imports_of(path)
        if found.package == "sharekit" and _layer("sharekit", _target(found.module) or "sharekit") in TOOLS
    ]
    assert wrong == []


@pytest.mark.parametrize("package", LAYERS)
def test_commands_do_not_import_each_other(package: str) -> None:
    wrong = [
        f"{name_of(path)}:{found.line} imports {found.module}"
        for path in modules(f"{package}/commands")
        for found in imports_of(path)
        if found.module.startswith(f"{package}.commands.")
    ]
    assert wrong == []


def test_no_circle_of_imports() -> None:
    assert _circles(_edges()) == set()


def test_circles_are_found_whatever_their_length() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": ["d", "f"], "f": []}
    assert _circles(edges) == {frozenset("abc"), frozenset("de")}


def test_no_file_name_has_two_meanings() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in every_module():
        if path.stem not in ("__init__", "cli"):
            places[path.stem].append(name_of(path))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {name: paths for name, paths in twice.items() if name not in SAME_MEANING} == {}
    assert set(SAME_MEANING) == set(twice), "a name that occurs once needs no reason here"
    for paths in twice.values():
        assert sum("/commands/" not in path for path in paths) <= 1, f"more than commands: {paths}"


def _named_in_the_architecture() -> dict[str, set[Path]]:
    """Package to the files and folders that docs/architecture.md names: `a/b.py`, or `a/`: `b`, `c`."""
    found: dict[str, set[Path]] = {}
    package = ""
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## .*`(\w+)`", line):
            package = heading[1]
        folder: Path | None = None
        for name in re.findall(r"`([a-z_/]+(?:\.py)?)`", line.rpartition(" | ")[2] if package else ""):
            if name.endswith(".py"):
                found.setdefault(package, set()).add(Path(package, name))
            elif name.endswith("/"):
                # A folder inside the row's first one is named by itself: `audit/`: … `attacks/`.
                inside = folder is not None and (ROOT / folder / name).is_dir()
                place = folder / name if inside and folder else Path(package, name)
                folder = folder if inside else place
                found.setdefault(package, set()).add(place)
            elif folder is not None:
                found[package].add(folder / f"{name}.py")
    return found


def test_the_architecture_names_what_exists() -> None:
    named = _named_in_the_architecture()
    assert set(named) == set(LAYERS)
    assert sorted(path for paths in named.values() for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("package", LAYERS)
def test_the_architecture_leaves_no_folder_out(package: str) -> None:
    named = {path.parts[1] for path in _named_in_the_architecture()[package] if len(path.parts) > 1}
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders - named == {"commands"}
