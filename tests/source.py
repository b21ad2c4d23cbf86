"""The project's source as syntax trees: its modules and what each imports. Nothing is imported here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sharekit", "hospital_node", "consumer", "schemas")


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


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def every_module() -> list[Path]:
    return [path for package in PACKAGES for path in modules(package)]


def name_of(path: Path) -> str:
    """Path below the project's folder."""
    return path.relative_to(ROOT).as_posix()


def dotted_name(path: Path) -> str:
    """`a.b` of `a/b.py` and of `a/b/__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[Import]:
    return imports_in(tree_of(path))


def imports_in(node: ast.AST, *, inside: bool = False, typing_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside, typing_only)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, inside, typing_only)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imports_in(child, inside=inside, typing_only=True)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(child, inside=inside or function, typing_only=typing_only)
