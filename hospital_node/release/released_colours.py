"""Protected colours of a release, where the policy asks for them in place of Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.node.node import Node
from hospital_node.release.release_policy import Policy
from hospital_node.release.units_behind import RealUnit, noun_of
from hospital_node.statistics.epsilon_budget import spent
from hospital_node.statistics.protected_colours import protected_colours, publish_colours, published_colours
from sharekit.bundle.colour_statistics import MIN_UNITS, ColourStatistics, picture_colours
from sharekit.errors import PolicyError
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.phrases import counted


@dataclass(frozen=True)
class ColoursAsked:
    """What protected colours are asked of."""

    node: Node
    policy: Policy
    units: Sequence[RealUnit]
    commitment: str  # keyed commitment to the images behind the release

    def publish(self) -> tuple[ColourStatistics | None, str]:
        """The colours that leave, and a sentence about them; without budget or units, none and why.

        Publish the histogram of the masks first: every release needs it.
        """
        few = self._too_few
        if few:
            return None, few
        try:
            found = publish_colours(
                self._pictures,
                commitment=self.commitment,
                ledger=self.node.ledger,
                epsilon=self.policy.style_epsilon,
                max_total_epsilon=self.policy.max_total_epsilon,
            )
        except PolicyError as error:
            return None, f"none, because of {error.found}: the policy allows {error.expected}"
        return found, found.in_words

    def before_release(self, mask_epsilon: float) -> tuple[ColourStatistics | None, str]:
        """What `publish` would give, perhaps with another draw of the noise; spends nothing, stays inside.

        Args:
            mask_epsilon: what the histogram of the masks will spend before them.
        """
        few = self._too_few
        if few:
            return None, few
        known = published_colours(self.node.ledger, self.commitment, self.policy.style_epsilon)
        if known is not None:
            return known, known.in_words
        before = spent(self.node.ledger) + mask_epsilon
        if before + self.policy.style_epsilon > self.policy.max_total_epsilon:
            total = f"a total epsilon of {self.policy.max_total_epsilon:g}"
            wanted = f"{self.policy.style_epsilon:g} more is wanted"
            return None, f"none, because {before:g} of {total} will be spent, and {wanted}"
        found = protected_colours(np.stack(self._pictures), self.policy.style_epsilon)
        return found, found.in_words

    @property
    def _too_few(self) -> str:
        least = max(MIN_UNITS, self.policy.limits.k)
        if len(self.units) >= least:
            return ""
        who = counted(len(self.units), noun_of(self.units))
        return f"none, because protected colours take {least} {noun_of(self.units)}s, and there are {who}"

    @property
    def _pictures(self) -> list[NDArray[np.float64]]:
        return [colours_of(self.node, unit.first) for unit in self.units]


def colours_of(node: Node, image: str) -> NDArray[np.float64]:
    """`picture_colours` of one image of the node."""
    return picture_colours(pixels_to_tensor(node.load_pair(image).image))
