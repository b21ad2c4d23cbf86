"""A contact sheet of a bundle: one synthetic image with its mask from each of a few generators."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from hospital_node.candidate.draw import draw
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.generator.tensors import mask_probability, tensor_to_pixels

GENERATORS = 8
COLUMNS = 4
CELL = 120  # pixels; images are fitted into a square
SEED = 0


def contact_sheet(bundle: VerifiedBundle) -> bytes:
    """A PNG of image and mask pairs, drawn from the bundle's own bytes: it shows what anybody could draw."""
    entries = bundle.manifest.generators[:GENERATORS]
    rows = -(-len(entries) // COLUMNS)
    columns = min(COLUMNS, len(entries))
    sheet = Image.new("RGB", (columns * 2 * CELL, rows * CELL), "white")
    for number, entry in enumerate(entries):
        channels = entry.spec.layout.image_channels
        drawn = draw(bundle.read(entry.file), entry.spec, SEED, [0])
        pixels = tensor_to_pixels(drawn[:, :channels])[0]
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).convert("RGB")
        marked = (mask_probability(drawn[:, channels:])[0].max(axis=0) > 0.5).astype(np.uint8) * 255
        row, column = divmod(number, COLUMNS)
        for side, part in enumerate((image, Image.fromarray(marked).convert("RGB"))):
            part.thumbnail((CELL - 4, CELL - 4))
            sheet.paste(part, ((2 * column + side) * CELL + 2, row * CELL + 2))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()
