"""Name the channel layouts of a bundle's generators, so that users can draw a mixed bundle by layout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from consumer.sampling.checked import refusal
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import UsageError
from sharekit.generator.tensors import ChannelLayout

MAX_NAME_LENGTH = 80  # characters, because a layout's name is also a folder's name


def layout_name(layout: ChannelLayout) -> str:
    """A layout's name, which can name a folder: `rgb-polyp`, or `rgb-polyp+tool` with two classes."""
    kind = "rgb" if layout.image_channels == 3 else "grey"
    name = f"{kind}-{'+'.join(layout.mask_classes)}"
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 9]}-{_digest(name)}"


def by_layout(entries: Sequence[GeneratorEntry]) -> dict[str, tuple[GeneratorEntry, ...]]:
    """The generators of each layout by the layout's name, in the order of `entries`.

    Names that differ only in upper and lower case get a digest at the end, because some file systems treat
    them as one name.
    """
    groups: dict[ChannelLayout, list[GeneratorEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.spec.layout, []).append(entry)
    names = {layout: layout_name(layout) for layout in groups}
    folded = [name.casefold() for name in names.values()]
    return {
        name if folded.count(name.casefold()) == 1 else f"{name}-{_digest(name)}": tuple(groups[layout])
        for layout, name in names.items()
    }


def common_layout(entries: Sequence[GeneratorEntry]) -> ChannelLayout:
    """The one channel layout of all `entries`, as a data set requires.

    Raises:
        UsageError: the layouts differ; the error names those to choose from.
    """
    layouts = {entry.spec.layout for entry in entries}
    if len(layouts) > 1:
        kinds = sorted(
            f"{layout.image_channels} channels with {', '.join(layout.mask_classes)}" for layout in layouts
        )
        raise UsageError(
            "layout",
            expected="generators of one layout, the same channels and mask classes",
            found="; ".join(kinds),
            next_step=f"choose one layout: {' or '.join(by_layout(entries))}",
        )
    return layouts.pop()


def of_layout(entries: Sequence[GeneratorEntry], name: str) -> tuple[GeneratorEntry, ...]:
    """The generators of one layout.

    Raises:
        UsageError: no generator in `entries` has this layout.
    """
    groups = by_layout(entries)
    if name not in groups:
        raise refusal("layout", f"one of {', '.join(groups)}", name)
    return groups[name]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
