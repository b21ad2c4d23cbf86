"""Warnings about what a person should check after an ingest, although it was taken; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hospital_node.intake.intake_report import IntakeWarning, WarningKind
from hospital_node.intake.source_files import FRAME
from hospital_node.ledger.ledger import ImageRecord
from hospital_node.node.image_layouts import layout_warning, layouts
from sharekit.program.phrases import command_line


def about_names(hint: str) -> Iterator[IntakeWarning]:
    """`hint`: what names that do not pair have in common; may be empty."""
    if hint:
        yield IntakeWarning(WarningKind.NAMES, hint)


def about_linked_folders(paths: Sequence[str]) -> Iterator[IntakeWarning]:
    for path in paths:
        message = f"{path} is a linked folder and was not looked into; copy the data: cp -rL DATA COPY"
        yield IntakeWarning(WarningKind.LINKED_FOLDER, message, (path,))


def about_ignored_pixels(shares: Mapping[str, float]) -> Iterator[IntakeWarning]:
    """`shares`: image to the share of its pixels that a map says to ignore."""
    if shares:
        mean = sum(shares.values()) / len(shares)
        message = f"pixels to ignore, {mean:.1%} on average, are stored as background"
        yield IntakeWarning(WarningKind.IGNORED, message, tuple(shares))


def about_colours(paths: Sequence[str]) -> Iterator[IntakeWarning]:
    """`paths`: pictures that were stored as CMYK."""
    if paths:
        message = "CMYK pictures were converted to RGB without a colour profile: look at their colours"
        yield IntakeWarning(WarningKind.CONVERTED, message, tuple(paths))


def about_overlays(painted: Sequence[str], on_mask: Mapping[str, Sequence[str]]) -> Iterator[IntakeWarning]:
    """Report what was painted over.

    Args:
        painted: pictures with painted regions.
        on_mask: picture to the classes whose masks have painted pixels.
    """
    if painted:
        message = (
            f"text or graphics painted over in {_count(len(painted), 'picture')}; look at them, before and "
            "after: hospital-node review"
        )
        yield IntakeWarning(WarningKind.OVERLAYS, message, tuple(painted))
    if on_mask:
        classes = ", ".join(sorted({name for names in on_mask.values() for name in names}))
        message = (
            f"text lies on a finding ({classes}) in {_count(len(on_mask), 'picture')}: the picture was "
            "painted over there, the mask stays as it was drawn"
        )
        yield IntakeWarning(WarningKind.OVERLAYS_ON_MASK, message, tuple(on_mask))


def about_kept_overlays(paths: Sequence[str]) -> Iterator[IntakeWarning]:
    """`paths`: pictures taken with `--keep-overlays`."""
    if paths:
        message = (
            "nobody looked for names, dates and numbers in these pictures: generators may reproduce them"
        )
        yield IntakeWarning(WarningKind.KEPT_OVERLAYS, message, tuple(paths))


def about_other_masks(
    node: Path, again: Sequence[tuple[ImageRecord, ImageRecord]]
) -> Iterator[IntakeWarning]:
    """`again`: pictures that the node had already, each with the image that was taken now."""
    for earlier, new in again:
        message = (
            f"{new.source_image} shows the picture of {earlier.source_image}, which the node has with other "
            "masks; both stay. If a mask was corrected, erase the earlier one: "
            f"{_erase(node, [earlier])}"
        )
        yield IntakeWarning(WarningKind.OTHER_MASK, message, (*earlier.source_masks, *new.source_masks))


def about_the_folder(
    node: Path,
    records: Sequence[ImageRecord],
    present: Collection[str],
    keys: Mapping[str, str],
    again: Sequence[tuple[ImageRecord, ImageRecord]],
) -> Iterator[IntakeWarning]:
    """Images that came from a folder and are no longer in it, or whose files now hold other pictures.

    Args:
        node: the node's folder, for the command that erases.
        records: the images that came from it.
        present: its files now.
        keys: image to content key of its pairs now; a frame has its own name, and its file has one too.
        again: as in `about_other_masks`, which reports these.
    """
    current = set(keys.values())
    told = {earlier.id for earlier, _ in again}
    gone = [record for record in records if record.content_key not in current and record.id not in told]
    left = [record for record in gone if _left(record.source_image, present, keys)]
    if left:
        message = (
            f"{_count(len(left), 'picture')} left this folder since the last ingest; the node keeps them. To"
            f" erase them: {_erase(node, left)}"
        )
        yield IntakeWarning(WarningKind.LEFT_FOLDER, message, tuple(one.source_image for one in left))
    changed = [record for record in gone if record.source_image in keys]
    if changed:
        message = (
            f"{_count(len(changed), 'file')} changed since the last ingest; the node keeps the earlier ones."
            f" To erase these: {_erase(node, changed)}"
        )
        yield IntakeWarning(WarningKind.OTHER_PICTURE, message, tuple(one.source_image for one in changed))


def _left(image: str, present: Collection[str], keys: Mapping[str, str]) -> bool:
    """Whether an image's file is gone, or a readable file no longer gives this frame."""
    file = image.partition(FRAME)[0]
    return image not in keys and (file not in present or file in keys)


def about_copies(groups: Sequence[Sequence[ImageRecord]]) -> Iterator[IntakeWarning]:
    """`groups`: images by the picture that they show."""
    copies = tuple(record.source_image for group in groups if len(group) > 1 for record in group)
    if copies:
        total = sum(map(len, groups))
        message = (
            f"{total} images show {_count(len(groups), 'distinct picture')}: copies of one picture, mirrored "
            "or changed a little, count once wherever a number of pictures is asked for"
        )
        yield IntakeWarning(WarningKind.COPIES, message, copies)


def about_layouts(records: Sequence[ImageRecord]) -> Iterator[IntakeWarning]:
    text = layout_warning(layouts(records))
    if text is not None:
        yield IntakeWarning(WarningKind.LAYOUTS, text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _erase(node: Path, images: Sequence[ImageRecord]) -> str:
    """The command that erases these images."""
    return command_line("hospital-node", "erase", "--node", node, *(image.id for image in images))
