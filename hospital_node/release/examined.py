"""Look at samples in batches and decide which are good: masks, look and nearness to sources. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hospital_node.audit.attack import Array
from hospital_node.release.nearness import Nearness, View, at_chance, joined
from hospital_node.release.sample_checks import Flags, Look, broken, look, masks_of


@dataclass(frozen=True)
class Examined:
    """What was found in N samples; flags and figures have one value for each, `(N,)`."""

    sound: Flags
    """Masks are neither empty nor full nor in fragments."""
    look: Look
    far: Flags
    """No source is nearer than never-seen real images are to one."""
    views: Mapping[str, View]

    @staticmethod
    def of(samples: Array, channels: int, nearness: Nearness) -> Examined:
        """Look at samples `(N, C, H, W)` in [-1, 1], whose first `channels` are the image."""
        images, masks = samples[:, :channels], masks_of(samples, channels)
        views = nearness.views(images)
        return Examined(~broken(masks), look(images, masks), ~nearness.too_near(views), views)

    @staticmethod
    def joined(parts: Sequence[Examined]) -> Examined:
        """What was found in several batches, as one."""
        return Examined(
            np.concatenate([part.sound for part in parts]),
            Look.joined([part.look for part in parts]),
            np.concatenate([part.far for part in parts]),
            joined([part.views for part in parts]),
        )

    def good(self, among: Flags) -> Flags:
        """The sound and usual ones of some samples; as a whole, they are no nearer to sources than chance."""
        usual = self.sound & ~self.look.poor(self.sound)
        return at_chance(self.views, usual & self.far & among)
