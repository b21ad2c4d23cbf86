"""What the node's commands load before they work: seconds at every start, for packages that are not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hospital_node.node.node import Node


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("hospital_node.release.policy_words", "torch"),
        ("hospital_node.release.policy_change", "torch"),
        ("hospital_node.intake.ingest", "torch"),
        ("hospital_node.statistics.privacy", "sklearn"),
        ("hospital_node.release.export", "sklearn"),
    ],
)
def test_what_a_command_does_not_use_is_not_loaded(module: str, unused: str) -> None:
    program = f"import sys, {module}; sys.exit({unused!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_command_does_not_load_what_the_options_of_others_need() -> None:
    program = (
        "import sys, hospital_node.cli\n"
        "hospital_node.cli.main(['where', 'nobody', '--node', 'nowhere'])\n"
        "sys.exit('hospital_node.intake' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_history_is_shown_without_loading_torch(tmp_path: Path) -> None:
    Node.create(tmp_path / "node", "St. Example")
    program = (
        "import sys, hospital_node.cli\n"
        f"code = hospital_node.cli.main(['history', '--verify', '--node', {str(tmp_path / 'node')!r}])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
