"""The style statistics that a node would release, for the attacks on styled samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hospital_node.audit.attack import StyleTarget
from hospital_node.audit.real_images import Unit
from hospital_node.ledger.states import GeneratorRecord
from hospital_node.node.node import Node
from hospital_node.statistics.gram_matrices import load_torch_once, style_statistics
from sharekit.bundle import features
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.phrases import counted

AVERAGED = 16
"""Patients or pictures that the audit averages, or k of them if that is more; a release averages all."""
MAX_SIDE = 128
"""Pixels, long side, at which their features are computed; a release takes more."""


def style_target(
    node: Node, records: Sequence[GeneratorRecord], units: Sequence[Unit], k: int, seed: int
) -> StyleTarget | str:
    """Style statistics of the units behind these generators, or why the node would release none.

    Args:
        node: holds the images.
        records: the generators that may leave together.
        units: of the node.
        k: fewest units that may be averaged.
        seed: decides which units are averaged.
    """
    images = {image for record in records for image in record.images}
    behind = sorted(min(unit & images) for unit in units if unit & images)
    if len(behind) < k:
        who = counted(len(behind), "patient or distinct picture", "patients or distinct pictures")
        return f"the node would release no style statistics of {who}, fewer than k = {k}"
    path = features.find()
    if path is None:
        return f"no weights: no file of a feature network on this machine ({features.ENVIRONMENT_VARIABLE})"
    chosen = np.random.default_rng(seed).permutation(len(behind))[: max(k, AVERAGED)]
    pictures = (pixels_to_tensor(node.load_pair(behind[number]).image) for number in chosen)
    return StyleTarget(style_statistics(pictures, load_torch_once(path), k=k, max_side=MAX_SIDE), path)
