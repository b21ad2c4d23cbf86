"""What a person sees before signing: the attack on everything that would then leave together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hospital_node.audit.attack import AttackResult
from hospital_node.audit.audited import Asking, images_behind
from hospital_node.node.node import Node
from hospital_node.release.bundle_attacks import Published, attack_bundle, most_exposing
from hospital_node.release.real_statistics import StatisticsAsked
from hospital_node.release.release_policy import Policy
from hospital_node.release.units_behind import noun_of, units_behind
from sharekit.program.phrases import counted


@dataclass(frozen=True)
class Together:
    """The attack on a release as it would be. Law: the history of an approval holds its `to_json`."""

    generators: tuple[str, ...]  # identifiers: what is approved now, and what was before
    behind: str  # the images behind them, in words
    style: str  # the style statistics that would leave, in words, or why none would
    results: tuple[AttackResult, ...]

    @property
    def in_words(self) -> str:
        """What gives most away, in one sentence."""
        return most_exposing(self.results)

    def to_json(self) -> dict[str, Any]:
        return {
            "generators": list(self.generators),
            "behind": self.behind,
            "style": self.style,
            "conclusion": self.in_words,
            "attacks": [one.to_json() for one in self.results],
        }


def attack_together(
    node: Node, policy: Policy, leaving: Sequence[Asking], features_path: Path | None = None
) -> Together:
    """Attack these generators as one bundle, as the export will, and publish nothing.

    Protected statistics get a draw of their noise that stays inside, unless the same ones left before.

    Args:
        node: what takes long is kept in it, so that a repetition is quick.
        policy: the node's.
        leaving: generators that are approved now or were before.
        features_path: file of the feature network of style statistics; None looks for one.

    Raises:
        InputError, NodeStateError: an image or a candidate is missing or damaged.
    """
    images = images_behind(leaving)
    units = units_behind(node, images)
    masks, style, text = StatisticsAsked(node, policy, units, images, features_path).before_release()
    published = Published(leaving, units, style, masks)
    return Together(
        tuple(item.record.id for item in leaving),
        f"{counted(len(images), 'real image')} of {counted(len(units), noun_of(units))}",
        text,
        attack_bundle(node, published, features_path),
    )
