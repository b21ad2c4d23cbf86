"""Commands that compute nothing on networks start without torch, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.source import ROOT, imports_of

LIGHT = (
    "erase",
    "history",
    "ingest",
    "policy",
    "publish",
    "recipient",
    "reject",
    "releases",
    "review",
    "status",
    "submitter",
    "where",
    "withdraw",
)
BEHIND_AN_OPTION = {"hospital_node.release.provenance"}  # `history --bundle`


def _modules(path: Path) -> set[str]:
    """Modules that a command imports, in its functions too."""
    named = (found.module.rpartition(".")[0] for found in imports_of(path) if not found.typing_only)
    return {name for name in named if name}


def test_commands_without_networks_load_no_torch() -> None:
    needed = sorted(
        {each for name in LIGHT for each in _modules(ROOT / f"hospital_node/commands/{name}.py")}
        - BEHIND_AN_OPTION
    )
    script = f"import importlib, sys\nfor name in {needed}: importlib.import_module(name)\n"
    script += "print('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert seen.stdout == "False\n"
