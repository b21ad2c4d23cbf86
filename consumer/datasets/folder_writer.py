"""Which files a data set has: a folder that common readers take as it is.

    images/000000.png        8-bit RGB or grey
    masks/000000.png         8-bit grey, 0 and 255; with several classes masks/<class>/000000.png
    probabilities/000000.npy float32 (K, H, W), only when asked for
    metadata.jsonl           a line a sample: schema v1/dataset-record
    dataset.json             what it was drawn from, and how: schema v1/dataset

In `metadata.jsonl`, `file_name` and `mask_file_name` are what Hugging Face's `imagefolder` calls the columns
`image` and `mask`; with several classes there is one `<class>_mask_file_name` for each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.description import DatasetDescription
from consumer.sampling.request import Request, refusal
from consumer.sampling.synthetic_bundle import Bundle, Sample, common_layout
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import InputError
from sharekit.pictures.folder import DESCRIPTION, IMAGES, MASKS, METADATA
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

PROBABILITIES = "probabilities"


def write_dataset(
    bundle: Bundle, out: Path, count: int, request: Request, on_progress: ProgressCallback = ignore
) -> DatasetDescription:
    """Write samples 0 to `count - 1`; `out` appears only when the data set is whole.

    The same samples as `Bundle.sample` gives, drawn one generator after the other: each is loaded once.

    Raises:
        InputError: `out` exists and is not an empty folder.
        UsageError: something outside the bundle's limits, or generators whose channels differ.
    """
    entries = bundle.accept(request)
    if count < 1:
        raise refusal("count", "at least one sample", str(count))
    description = _describe(bundle, entries, count, request)
    _make_way(out)
    records: dict[int, dict[str, Any]] = {}
    with files.new_directory(out) as folder:
        for position, entry in enumerate(entries):
            numbers = range(position, count, len(entries))
            samples = bundle.draw(entry, request, range(len(numbers)))
            for number, sample in zip(numbers, samples, strict=True):
                records[number] = _write_sample(folder, f"{number:06d}", sample)
                on_progress(Progress(len(records), count, f"generator {position + 1} of {len(entries)}"))
        lines = [json.dumps(records[number], ensure_ascii=False) + "\n" for number in range(count)]
        files.write_text(folder / METADATA, "".join(lines))
        files.write_json(folder / DESCRIPTION, description.to_json())
    return description


def _describe(
    bundle: Bundle, entries: Sequence[GeneratorEntry], count: int, request: Request
) -> DatasetDescription:
    verified = bundle.verified
    return DatasetDescription(
        verified.manifest_sha256,
        verified.manifest.hospital,
        verified.manifest.release,
        verified.key.pem().decode(),
        verified.fingerprint,
        request.seed,
        count,
        tuple(entry.spec.id for entry in entries),
        request.size,
        common_layout(entries),
        bundle.provider.name,
        refinement=request.refinement,
    )


def _make_way(out: Path) -> None:
    """An empty folder may stand where the data set is to be."""
    if out.is_dir() and not out.is_symlink():
        if any(out.iterdir()):
            raise InputError(
                out,
                expected="a path that does not exist yet, or an empty folder",
                found="a folder with something in it",
                next_step="remove it or choose another path",
            )
        out.rmdir()


def _write_sample(folder: Path, stem: str, sample: Sample) -> dict[str, Any]:
    """Write one sample's files and return its line of the metadata."""
    record: dict[str, Any] = {"file_name": f"{IMAGES}/{stem}.png"}
    _write_png(folder / record["file_name"], sample.image)
    for name, mask in sample.masks.items():
        single = len(sample.masks) == 1
        key = "mask_file_name" if single else f"{name}_mask_file_name"
        record[key] = f"{MASKS}/{stem}.png" if single else f"{MASKS}/{name}/{stem}.png"
        _write_png(folder / record[key], mask)
    if sample.probabilities is not None:
        record["probabilities"] = f"{PROBABILITIES}/{stem}.npy"
        path = folder / record["probabilities"]
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.stack(list(sample.probabilities.values())), allow_pickle=False)
    return record | {"generator": sample.generator, "seed": sample.seed, "index": sample.index}


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Pixels only: no text and no date, so that equal pixels give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    Image.fromarray(pixels).save(path, "PNG", compress_level=6)
