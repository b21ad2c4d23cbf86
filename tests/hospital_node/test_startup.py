"""What the node's commands load before they work: seconds at every start, for packages that are not used."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
