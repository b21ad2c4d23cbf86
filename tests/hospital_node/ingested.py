"""A node's image as intake leaves it, small and of one shade."""

from __future__ import annotations

import numpy as np

from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair

HEIGHT, WIDTH = 28, 32


def ingested_image(node: Node, number: int, shade: int | None = None) -> str:
    """One more image of the node, all its pixels `shade`, by default `number`; its identifier."""
    image_id = f"{number:032x}"
    pixels = np.full((HEIGHT, WIDTH, 3), number if shade is None else shade, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[8:16, 8:20] = 255
    node.store_pair(image_id, Pair(pixels, {"polyp": mask}))
    node.ledger.add(
        ImageRecord(
            image_id,
            f"{number}.png",
            (f"{number}.png",),
            ImageState.INGESTED,
            height=HEIGHT,
            width=WIDTH,
            image_channels=3,
            mask_classes=("polyp",),
            content_key=str(number),
        )
    )
    return image_id
