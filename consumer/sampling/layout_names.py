"""Channel layouts of a bundle's generators, under names: a mixed bundle is drawn layout by layout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from consumer.sampling.checked import refusal
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import UsageError
from sharekit.generator.tensors import ChannelLayout

MAX_NAME_LENGTH = 80  # characters: a layout's name is a folder's name, too


def layout_name(layout: ChannelLayout) -> str:
    """`rgb-polyp`, `grey-nuclei`, or `rgb-polyp+tool` with several classes: usable as a folder's name."""
    kind = "rgb" if layout.image_channels == 3 else "grey"
    name = f"{kind}-{'+'.join(layout.mask_classes)}"
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 9]}-{_digest(name)}"


def by_layout(entries: Sequence[GeneratorEntry]) -> dict[str, tuple[GeneratorEntry, ...]]:
    """The generators of each layout by its name, in the order of `entries`.

    Names that a file system may take for one (they differ in upper and lower case) get a digest at the end.
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
    """The channels that all of `entries` have: a data set holds images of one layout.

    Raises:
        UsageError: they differ; it names the layouts to choose from.
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
        UsageError: `entries` have no such layout.
    """
    groups = by_layout(entries)
    if name not in groups:
        raise refusal("layout", f"one of {', '.join(groups)}", name)
    return groups[name]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
