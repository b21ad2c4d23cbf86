"""Write a styled copy of a data set: new images, and the same masks byte for byte."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.reader import DatasetFolder, Entry
from consumer.datasets.resumable_folder import PartialFolder, is_finished, resumable_folder
from consumer.sampling.checked import refusal
from consumer.style import gatys
from consumer.style.colours import ColourMove
from consumer.style.gatys import StyleSettings
from sharekit.bundle.bundle import STATISTICS_NAME as STATISTICS_FILE
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.bundle.colour_statistics import ColourStatistics
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import DESCRIPTION_FILE as STYLE_FILE
from sharekit.bundle.style_statistics import FOLDER, StyleStatistics
from sharekit.errors import InputError
from sharekit.generator.tensors import pixels_to_tensor, tensor_to_pixels
from sharekit.pictures.folder import DESCRIPTION, METADATA, SINGLE_CLASS
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

COLOURS = "colours"
"""Name of the method, in place of a network's, where the bundle holds protected colours."""


def read_statistics(bundle: VerifiedBundle) -> StyleStatistics | ColourStatistics:
    """The style statistics of a verified bundle: Gram matrices, or protected colours in their place.

    Raises:
        InputError: the bundle has none.
        VerificationError: the statistics are broken.
        PolicyError: the statistics cover too few images.
    """
    if STYLE_FILE not in bundle.names:
        colours = _colours(bundle)
        if colours is not None:
            return colours
        raise InputError(
            bundle.path,
            expected="a bundle with style statistics",
            found=f"no {STYLE_FILE} and no protected colours in it",
            next_step="ask the hospital for style statistics, which need enough real images",
        )
    names = [name for name in bundle.names if name.startswith(f"{FOLDER}/")]
    return StyleStatistics.from_files({name: bundle.read(name) for name in names})


def _colours(bundle: VerifiedBundle) -> ColourStatistics | None:
    if STATISTICS_FILE not in bundle.names:
        return None
    value = files.parse_json(bundle.read(STATISTICS_FILE), STATISTICS_FILE)
    return ColourStatistics.from_json(value["colours"]) if "colours" in value else None


@dataclass(frozen=True)
class StyledDataset:
    """A data set that `style_dataset` has finished, now or in an earlier run."""

    path: Path
    images: int
    network: str
    statistics_images: int
    mean_change: float
    """Mean absolute difference of styled and original pixels, on a scale of 0 to 255."""
    styled: int
    """Images that this run styled; earlier runs styled the others."""

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": str(self.path),
            "images": self.images,
            "network": self.network,
            "statistics_images": self.statistics_images,
            "mean_change": round(self.mean_change, 3),
            "styled": self.styled,
        }


def style_dataset(
    folder: DatasetFolder,
    statistics: StyleStatistics | ColourStatistics,
    network: FeatureNetwork | None,
    out: Path,
    settings: StyleSettings | None = None,
    *,
    batch_size: int = 4,
    device: str = "cpu",
    on_progress: ProgressCallback = ignore,
) -> StyledDataset:
    """Style every image of a data set and write a data set of the same form.

    The same call resumes after an interruption, and styles nothing when the data set is finished.

    Args:
        folder: the data set to style; it must be sound.
        statistics: style targets, from a verified bundle.
        network: the network that Gram matrices were computed with; None for protected colours.
        out: folder to write; it appears only when it is complete.
        settings: settings of Gatys' method; a transfer of colours has none.
        batch_size: images of one size to optimise at once.
        device: a torch device.
        on_progress: called after every step with the number of images done, including fractions.

    Raises:
        InputError: the data set has a problem, an image is too small for the network, or `out` exists and is
            something else or was begun with other settings.
        UsageError: `batch_size` is below 1.
    """
    settings = settings or StyleSettings()
    if batch_size < 1:
        raise refusal("--batch-size", "at least one image", str(batch_size))
    folder.require_sound()
    method = _method(folder, statistics, network, settings, device)
    style = {**method.recorded, "source_sha256": _check_images(folder, method.least_side)}
    description = {**folder.description, "style": style}
    description.pop("vetted", None)
    total = len(folder.entries)

    def result(changes: Iterable[float], styled: int) -> StyledDataset:
        mean = float(np.mean(list(changes)))
        return StyledDataset(out, total, method.name, method.images, mean, styled)

    if is_finished(out, _description_of(out), description):
        on_progress(Progress(total, total, free=total))
        return result(_changes(folder, out), 0)
    with resumable_folder(out, description) as partial:
        found = len(partial.records)
        entries = [entry for entry in folder.entries if entry.image not in partial.records]
        for batch, pixels in _batches(folder, entries, batch_size):
            done = len(partial.records)

            def show(event: Progress, done: int = done, count: int = len(batch)) -> None:
                on_progress(
                    Progress(done + count * event.done / event.total, total, values=event.values, free=found)
                )

            tensors = np.stack([pixels_to_tensor(image) for image in pixels])
            styled = tensor_to_pixels(method.transfer(tensors, show))
            for entry, before, after in zip(batch, pixels, styled, strict=True):
                _add_image(partial, folder, entry, before, after.reshape(before.shape))
        lines = [
            json.dumps({**_record(entry), "file_name": _png(entry.image)}, sort_keys=True, ensure_ascii=False)
            for entry in folder.entries
        ]
        files.write_text(partial.root / METADATA, "".join(f"{line}\n" for line in lines))
        files.write_json(partial.root / DESCRIPTION, description)
    return result((record["change"] for record in partial.records.values()), total - found)


class _Method(NamedTuple):
    """One way of styling, prepared for one data set."""

    name: str  # of the network, or `colours`
    images: int  # real ones in the statistics
    least_side: int  # pixels
    recorded: Mapping[str, Any]  # as `dataset.json` records it
    transfer: Callable[[NDArray[np.float32], ProgressCallback], NDArray[np.float32]]


def _method(
    folder: DatasetFolder,
    statistics: StyleStatistics | ColourStatistics,
    network: FeatureNetwork | None,
    settings: StyleSettings,
    device: str,
) -> _Method:
    if isinstance(statistics, ColourStatistics):
        # Lazy: a data set that is broken, or finished, is not measured.
        move = functools.cache(lambda: ColourMove.towards(statistics, _tensors(folder)))
        data = {STATISTICS_FILE: files.dump_json(statistics.to_json())}
        recorded = {
            "method": COLOURS,
            "statistics_images": statistics.units,
            "statistics_sha256": _digest_of_all(data.items()),
        }

        def moved(images: NDArray[np.float32], on_progress: ProgressCallback) -> NDArray[np.float32]:
            found = move().apply(images)
            on_progress(Progress(1, 1))
            return found

        return _Method(COLOURS, statistics.units, 1, recorded, moved)
    if network is None:
        raise ValueError("Gram matrices need the network that they were computed with")

    def transfer(images: NDArray[np.float32], on_progress: ProgressCallback) -> NDArray[np.float32]:
        return gatys.transfer(images, statistics, network, settings, device=device, on_progress=on_progress)

    recorded = _style(statistics, settings)
    return _Method(statistics.network, statistics.image_count, gatys.MIN_SIDE, recorded, transfer)


def _tensors(folder: DatasetFolder) -> Iterator[NDArray[np.float32]]:
    return (pixels_to_tensor(folder.read_image(entry)) for entry in folder.entries)


def _style(statistics: StyleStatistics, settings: StyleSettings) -> dict[str, Any]:
    """How Gatys' method styles the images, as `dataset.json` records it."""
    return {
        "content_weight": settings.content_weight,
        "style_weight": settings.style_weight,
        "steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "network": {"name": statistics.network, "sha256": statistics.network_sha256},
        "statistics_images": statistics.image_count,
        "statistics_sha256": _digest_of_all(statistics.to_files().items()),
    }


def _check_images(folder: DatasetFolder, least_side: int) -> str:
    """Check that the method can take every image, before the slow styling; return the digest of all files.

    Raises:
        InputError: an image is broken or too small for the network, or the data set has no images.
    """
    if not folder.entries:
        raise InputError(
            folder.root,
            expected="a data set with images",
            found="none",
            next_step="draw one with `consumer sample`",
        )
    for entry in folder.entries:
        height, width = folder.read_image(entry).shape[:2]
        if min(height, width) < least_side:
            raise InputError(
                folder.root / entry.image,
                expected=f"an image of at least {least_side} x {least_side} pixels",
                found=f"{width} x {height}",
                next_step="sample at a larger --size",
            )
    paths = (path for entry in folder.entries for path in (entry.image, *entry.masks.values()))
    return _digest_of_all((path, folder.read_bytes(path)) for path in paths)


def _batches(
    folder: DatasetFolder, entries: Sequence[Entry], batch_size: int
) -> Iterator[tuple[list[Entry], list[NDArray[np.uint8]]]]:
    """Consecutive images of one shape, at most `batch_size`, with their pixels."""
    batch: list[Entry] = []
    pixels: list[NDArray[np.uint8]] = []
    for entry in entries:
        image = folder.read_image(entry)
        if batch and (len(batch) == batch_size or image.shape != pixels[0].shape):
            yield batch, pixels
            batch, pixels = [], []
        batch.append(entry)
        pixels.append(image)
    if batch:
        yield batch, pixels


def _add_image(
    partial: PartialFolder,
    folder: DatasetFolder,
    entry: Entry,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
) -> None:
    """Write a styled image with its masks, and record it as complete with the amount of change."""
    image = partial.root / _png(entry.image)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(after).save(image, "PNG")
    for mask in entry.masks.values():
        target = partial.root / mask
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(folder.read_bytes(mask))
    partial.add(entry.image, {"change": _change(before, after)}, [_png(entry.image), *entry.masks.values()])


def _change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean absolute difference of pixels, on a scale of 0 to 255."""
    return float(np.abs(after.astype(np.int16) - before).mean())


def _changes(folder: DatasetFolder, out: Path) -> Iterator[float]:
    """How much each image of a finished data set has changed."""
    styled = replace(folder, root=out)
    for entry in folder.entries:
        after = styled.read_image(replace(entry, image=_png(entry.image)))
        yield _change(folder.read_image(entry), after)


def _description_of(out: Path) -> dict[str, Any] | None:
    """The `dataset.json` of the finished data set at `out`; None when it does not exist."""
    path = out / DESCRIPTION
    if not path.is_file():
        return None
    description: dict[str, Any] = files.parse_json(
        files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path
    )
    return description


def _record(entry: Entry) -> dict[str, Any]:
    """An entry's line of metadata; a data set without metadata gets the names that the reader knows."""
    if entry.record:
        # Raw probabilities add nothing to masks that did not change, and nobody has looked at a styled image.
        return {key: value for key, value in entry.record.items() if key not in ("probabilities", "vetted")}
    return {
        "mask_file_name" if label == SINGLE_CLASS else f"{label}_mask_file_name": path
        for label, path in entry.masks.items()
    }


def _png(path: str) -> str:
    """The path of a styled image, which is always stored without loss."""
    return str(Path(path).with_suffix(".png"))


def _digest_of_all(contents: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of a list of names with the SHA-256 of each content, hexadecimal."""
    lines = [f"{name}:{hashlib.sha256(data).hexdigest()}\n" for name, data in contents]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
