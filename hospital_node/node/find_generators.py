"""Find a generator by what tables show of it: its identifier, or the first digits."""

from __future__ import annotations

from hospital_node.node.node import Node
from sharekit.errors import InputError


def generator_named(node: Node, name: str) -> str:
    """The identifier of the one generator whose identifier begins with `name`, in any state.

    Raises:
        InputError: no generator, or more than one, fits.
    """
    found = [one.id for one in node.ledger.generators.records() if name and one.id.startswith(name)]
    if len(found) != 1:
        raise InputError(
            name,
            expected="the identifier of one generator of this node, or its first digits",
            found=f"{len(found)} generators" if found else "no such generator",
            next_step="see `hospital-node status --all --format json` for the identifiers",
        )
    return found[0]
