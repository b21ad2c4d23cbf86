"""A styled copy of a data set: new images, the same masks byte for byte; `dataset.json` says how."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.reader import DatasetFolder, Entry
from consumer.style import gatys
from consumer.style.gatys import StyleSettings
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import DESCRIPTION_FILE as STYLE_FILE
from sharekit.bundle.style_statistics import FOLDER, StyleStatistics
from sharekit.errors import InputError
from sharekit.generator.tensors import pixels_to_tensor, tensor_to_pixels
from sharekit.pictures.folder import DESCRIPTION, METADATA, SINGLE_CLASS
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files


def read_statistics(bundle: VerifiedBundle) -> StyleStatistics:
    """The style statistics of a verified bundle.

    Raises:
        InputError: the bundle has none.
        VerificationError: they are broken.
        PolicyError: they are of too few images.
    """
    if STYLE_FILE not in bundle.names:
        raise InputError(
            bundle.path,
            expected="a bundle with style statistics",
            found=f"no {STYLE_FILE} in it",
            next_step="ask the hospital for style statistics, which need enough real images",
        )
    names = [name for name in bundle.names if name.startswith(f"{FOLDER}/")]
    return StyleStatistics.from_files({name: bundle.read(name) for name in names})


@dataclass(frozen=True)
class StyledDataset:
    """What `style_dataset` wrote."""

    path: Path
    images: int
    network: str
    statistics_images: int
    mean_change: float
    """Mean absolute difference of styled and original pixels, of 255."""

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": str(self.path),
            "images": self.images,
            "network": self.network,
            "statistics_images": self.statistics_images,
            "mean_change": round(self.mean_change, 3),
        }


def style_dataset(
    folder: DatasetFolder,
    statistics: StyleStatistics,
    network: FeatureNetwork,
    out: Path,
    settings: StyleSettings | None = None,
    *,
    batch_size: int = 4,
    device: str = "cpu",
    on_progress: ProgressCallback = ignore,
) -> StyledDataset:
    """Style every image of a data set and write a data set of the same form.

    Args:
        folder: the data set to style; it must be sound.
        statistics: style targets, from a verified bundle.
        network: the network that the statistics belong to.
        out: folder to write; it appears only when it is complete.
        settings: of the method.
        batch_size: images of one size that are optimised at once.
        device: a torch device.
        on_progress: called after every step with images done, fractionally.

    Raises:
        InputError: a problem of the data set, an image too small for the network, or `out` exists.
    """
    settings = settings or StyleSettings()
    folder.require_sound()
    entries = folder.entries
    changes: list[float] = []
    with files.new_directory(out) as temporary:
        for start, batch, pixels in _batches(folder, batch_size):

            def show(event: Progress, start: int = start, count: int = len(batch)) -> None:
                done = start + count * event.done / event.total
                on_progress(Progress(done, len(entries), values=event.values))

            tensors = np.stack([pixels_to_tensor(image) for image in pixels])
            styled = tensor_to_pixels(
                gatys.transfer(tensors, statistics, network, settings, device=device, on_progress=show)
            )
            for entry, before, after in zip(batch, pixels, styled, strict=True):
                after = after.reshape(before.shape)
                changes.append(float(np.abs(after.astype(np.int16) - before).mean()))
                _write(temporary / _png(entry.image), after)
                for mask in entry.masks.values():
                    target = temporary / mask
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(folder.read_bytes(mask))
        _write_metadata(temporary, folder, statistics, settings)
    return StyledDataset(
        out, len(entries), statistics.network, statistics.image_count, float(np.mean(changes))
    )


def _batches(
    folder: DatasetFolder, batch_size: int
) -> Iterator[tuple[int, list[Entry], list[NDArray[np.uint8]]]]:
    """Consecutive images of one shape, at most `batch_size`: index of the first, entries, pixels."""
    start = 0
    batch: list[Entry] = []
    pixels: list[NDArray[np.uint8]] = []
    for number, entry in enumerate(folder.entries):
        image = folder.read_image(entry)
        if min(image.shape[:2]) < gatys.MIN_SIDE:
            raise InputError(
                folder.root / entry.image,
                expected=f"an image of at least {gatys.MIN_SIDE} x {gatys.MIN_SIDE} pixels",
                found=f"{image.shape[1]} x {image.shape[0]}",
                next_step="sample at a larger --size",
            )
        if batch and (len(batch) == batch_size or image.shape != pixels[0].shape):
            yield start, batch, pixels
            start, batch, pixels = number, [], []
        batch.append(entry)
        pixels.append(image)
    if batch:
        yield start, batch, pixels


def _record(entry: Entry) -> dict[str, Any]:
    """An entry's line of metadata; a data set without metadata gets the names that the reader knows."""
    if entry.record:
        # Raw probabilities are of no use beside masks that did not change, and are not copied.
        return {key: value for key, value in entry.record.items() if key != "probabilities"}
    return {
        "mask_file_name" if label == SINGLE_CLASS else f"{label}_mask_file_name": path
        for label, path in entry.masks.items()
    }


def _png(path: str) -> str:
    """A styled image is stored without loss, whatever the original was."""
    return str(Path(path).with_suffix(".png"))


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def _write_metadata(
    root: Path, folder: DatasetFolder, statistics: StyleStatistics, settings: StyleSettings
) -> None:
    lines = [
        json.dumps({**_record(entry), "file_name": _png(entry.image)}, sort_keys=True, ensure_ascii=False)
        for entry in folder.entries
    ]
    files.write_text(root / METADATA, "".join(f"{line}\n" for line in lines))
    how = {
        "content_weight": settings.content_weight,
        "style_weight": settings.style_weight,
        "steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "network": {"name": statistics.network, "sha256": statistics.network_sha256},
        "statistics_images": statistics.image_count,
    }
    files.write_json(root / DESCRIPTION, {**folder.description, "style": how})
