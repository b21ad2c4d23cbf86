"""docs/states.md shows the ledger's own tables."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from hospital_node.ledger.states import GENERATOR_TRANSITIONS, IMAGE_TRANSITIONS

DOCS = Path(__file__).resolve().parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("draw_states", DOCS / "draw_states.py")
assert _spec is not None
assert _spec.loader is not None
draw_states = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(draw_states)


def test_the_page_is_what_the_script_draws() -> None:
    written = (DOCS / "states.md").read_text(encoding="utf-8")
    assert written == draw_states.page(), "run `python docs/draw_states.py`"


def test_every_change_is_one_arrow() -> None:
    written = (DOCS / "states.md").read_text(encoding="utf-8")
    arrows = re.findall(r"^    (\S+) --> (\S+)$", written, re.MULTILINE)
    tables = (IMAGE_TRANSITIONS, GENERATOR_TRANSITIONS)
    assert len(arrows) == sum(len(afters) for table in tables for afters in table.values())
    assert ("trained", "audited") in arrows
    assert ("[*]", "held_out") in arrows
