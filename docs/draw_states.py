"""Draw the ledger's two transition tables into docs/states.md; a test keeps the file true.

python docs/draw_states.py
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from hospital_node.ledger.states import GENERATOR_TRANSITIONS, IMAGE_TRANSITIONS

PAGE = Path(__file__).parent / "states.md"
State = TypeVar("State", bound=StrEnum)


def diagram(transitions: Mapping[State | None, frozenset[State | None]]) -> str:
    """A Mermaid state diagram of a table; None is where a record comes from and where it goes."""
    names = [f'    state "{state}" as {_name(state)}' for state in transitions if state and "-" in state]
    arrows = [
        f"    {_name(before)} --> {_name(after)}"
        for before, afters in transitions.items()
        for after in sorted(afters, key=str)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *names, *arrows, "```"])


def _name(state: StrEnum | None) -> str:
    # Mermaid takes no hyphen in a state's identifier.
    return "[*]" if state is None else str(state).replace("-", "_")


def page() -> str:
    """The text of docs/states.md."""
    return f"""# States

Every image and every generator of a node is in exactly one state, with a reason. The ledger writes no other
changes than these, and logs each of them for good. This page is drawn by `docs/draw_states.py` from
`hospital_node/ledger/states.py`.

## An image

It is refused, ingested or held out, for good. A refusal goes when its file comes in corrected: the new record
supersedes it.

{diagram(IMAGE_TRANSITIONS)}

## A generator

It is planned for one or several ingested images. A plan that has not begun makes way for another one. An
interrupted training, or one whose worker died, is planned again and goes on from its checkpoint. A trained
generator is never trained over. `withdrawn` is final: the images are free for another generator.

`hospital-node erase` stands outside both tables: from any state, an image goes with every generator that
learnt from it, and the history keeps only which releases held them.

{diagram(GENERATOR_TRANSITIONS)}

A generator that an earlier release made comes into the ledger in the state that its image had.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
