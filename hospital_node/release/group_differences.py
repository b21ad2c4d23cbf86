"""Groups that differ by few patients: whoever has both generators can ask what those few changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hospital_node.audit.audited import Asking, SmallDifference
from hospital_node.ledger.states import GeneratorState, ImageState
from hospital_node.node.node import Node
from hospital_node.node.units import readable_units
from hospital_node.release.units_behind import RealUnit, keyed_units

Group = frozenset[str]
"""Keyed commitments to the units behind a generator."""


def fewest_apart(group: Group, other: Group, k: int) -> int | None:
    """How few units only one of two groups has, if fewer than `k`; None: no part is that small. Pure.

    Groups without a common unit have no difference to speak of. A group of fewer than `k` units is linkable
    to each of them by itself.
    """
    if len(group) < k or group.isdisjoint(other):
        return None
    return min((size for size in (len(group - other), len(other - group)) if 0 < size < k), default=None)


def with_differences(node: Node, asking: Sequence[Asking], k: int) -> list[Asking]:
    """The same generators, each with its smallest difference from another one, if that is below `k` units.

    A generator is compared with those that left the node before, erased ones too, and with older ones that
    may leave with it. One that left itself is compared with nothing: refusing it would take nothing back.
    """
    keys = _keys(node)
    others = _left(node, keys)
    found = []
    for item in asking:
        own = _keyed(keys, item.record.images)
        apart = [
            SmallDifference(name, size)
            for name, other in others.items()
            if not item.record.releases and (size := fewest_apart(own, other, k)) is not None
        ]
        smallest = min(apart, key=lambda one: one.units, default=None)
        found.append(replace(item, candidate=replace(item.candidate, difference=smallest)))
        if item.record.state is GeneratorState.AUDITED:
            others[item.record.id] = own
    return found


def keyed_groups(node: Node, asking: Iterable[Asking]) -> dict[str, list[str]]:
    """Generator to the commitments to its units, for the record of a release."""
    keys = _keys(node)
    return {item.record.id: sorted(_keyed(keys, item.record.images)) for item in asking}


def _left(node: Node, keys: Mapping[str, str]) -> dict[str, Group]:
    """The groups behind generators that left: as their release recorded them, or as the ledger has them."""
    known = {
        record.id: _keyed(keys, record.images)
        for record in node.ledger.generators.iterate()
        if record.releases
    }
    recorded = (release.exported.get("groups", {}) for release in node.ledger.releases.all())
    return known | {name: frozenset(group) for groups in recorded for name, group in groups.items()}


def _keys(node: Node) -> dict[str, str]:
    """Image to the keyed commitment to its unit; images that cannot be read are left out."""
    found: dict[str, str] = {}
    for unit in readable_units(node, node.ledger.iterate(ImageState.INGESTED)):
        (key,) = keyed_units(node, [RealUnit(unit[0], unit)])
        found |= dict.fromkeys(unit, key)
    return found


def _keyed(keys: Mapping[str, str], images: Iterable[str]) -> Group:
    return frozenset(keys.get(image, image) for image in images)
