"""A name that begins with an underscore stays in its module: neither packages nor tests reach for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.source import ROOT, name_of, tree_of

FOLDERS = ("sharekit", "hospital_node", "consumer", "schemas", "tests", "benchmarks")
OWNERS = {"self", "cls", "super()"}
"""What a class may ask for its own private parts."""
BY_NAME = {"setattr", "getattr", "delattr", "hasattr", "patch"}
"""Functions that take an attribute's name, or the dotted path of one, as a string."""
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Public in spite of the underscore: `collections.namedtuple` documents them."""

ARGPARSE = {"_SubParsersAction", "_actions", "_get_help_string", "_option_string_actions"}
"""Parts of argparse without a public counterpart: sub-commands, options, their names and their help."""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLES | ARGPARSE


def _own(tree: ast.AST) -> set[str]:
    """Functions and attributes that the module itself defines: its classes may share them."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return found


def _reached_for(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every use of a private name that belongs to another module."""
    own = _own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names if _is_private(alias.name))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if node.attr not in own and ast.unparse(node.value) not in OWNERS:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            for part in node.args:
                if isinstance(part, ast.Constant) and _is_private(str(part.value).rpartition(".")[2]):
                    yield node.lineno, ast.unparse(node)


def _sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_nobody_reaches_for_a_private_name() -> None:
    found = ((path, line, text) for path in _sources() for line, text in _reached_for(tree_of(path)))
    assert [f"{name_of(path)}:{line} {text}" for path, line, text in found] == []


def test_every_form_is_seen() -> None:
    lines = ["from a import _b", "a._b", "a.b()._c", "monkeypatch.setattr(a, '_b', 1)", "patch('a.b._c')"]
    allowed = [
        "self._a",
        "super()._b()",
        "a.__dict__",
        "from a import b as _b",
        "setattr(a, 'b_', '-')",
        "a._replace(b=1)",
        "def _own(other): other._own(self)",
        "x['_a']",
    ]
    assert [line for line, _ in _reached_for(ast.parse("\n".join(lines + allowed)))] == [1, 2, 3, 4, 5]
