"""Which images of a node have the same channels: a consumer gets a data set for each layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hospital_node.ledger.ledger import ImageRecord
from sharekit.generator.tensors import ChannelLayout


def layouts(records: Iterable[ImageRecord]) -> Mapping[ChannelLayout, int]:
    """How many images have each layout, the commonest first; pure."""
    return dict(Counter(record.layout for record in records if record.mask_classes).most_common())


def layout_warning(found: Mapping[ChannelLayout, int]) -> str | None:
    """A warning that images have several layouts; None for less than two layouts.

    Args:
        found: layouts with their counts, as `layouts` gives them.
    """
    if len(found) < 2:
        return None
    listed = "; ".join(f"{count} of {words(layout)}" for layout, count in found.items())
    text = f"images of {len(found)} layouts: {listed}. A consumer gets a data set for each layout"
    classes = dict.fromkeys(name for layout in found for name in layout.mask_classes)
    total = sum(found.values())
    for name in classes:
        count = sum(count for layout, count in found.items() if name in layout.mask_classes)
        if count < total:
            text += f"; {total - count} of {total} images have no mask of {name}"
    return text


def words(layout: ChannelLayout) -> str:
    """A layout in words: `RGB with polyp and tool`."""
    colours = "RGB" if layout.image_channels == 3 else "grey"
    return f"{colours} with {' and '.join(layout.mask_classes)}"
