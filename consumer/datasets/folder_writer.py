"""Write samples as a data-set folder that common readers take as it is.

    images/000000.png        8-bit RGB or grey
    masks/000000.png         8-bit grey, 0 and 255; with several classes masks/<class>/000000.png
    probabilities/000000.npy float32 (K, H, W), only when asked for
    metadata.jsonl           one line per sample: schema v1/dataset-record
    dataset.json             the bundle and settings of the draw: schema v1/dataset

Hugging Face's `imagefolder` turns `file_name` and `mask_file_name` in `metadata.jsonl` into the columns
`image` and `mask`. With several classes, each class has its own `<class>_mask_file_name`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.description import DatasetDescription
from consumer.datasets.resumable_folder import PartialFolder, is_finished, resumable_folder
from consumer.sampling.checked import refusal
from consumer.sampling.layout_names import common_layout
from consumer.sampling.numbering import Numbering
from consumer.sampling.refinement import Refinement
from consumer.sampling.request import Request
from consumer.sampling.sample import Sample
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.pictures.folder import DESCRIPTION, IMAGES, MASKS, METADATA
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

PROBABILITIES = "probabilities"
COUNTS = ("vetted", "within_coverage", "agreeing")
"""Fields of a description that are counted in the samples, and settle nothing about them."""


@dataclass(frozen=True)
class WrittenDataset:
    """A data set that `write_dataset` has finished, now or in an earlier run."""

    path: Path
    description: DatasetDescription
    drawn: int
    """Samples that this run drew; earlier runs drew the others."""

    def to_json(self) -> dict[str, Any]:
        return {"out": str(self.path), "drawn": self.drawn, "dataset": self.description.to_json()}


def write_dataset(
    bundle: Bundle, out: Path, count: int, request: Request, on_progress: ProgressCallback = ignore
) -> WrittenDataset:
    """Write samples 0 to `count - 1`; `out` appears only when the data set is complete.

    The samples are those of `Bundle.sample`, but drawn one generator after the other, so that each generator
    is loaded once. The same call resumes after an interruption, and draws nothing when the data set is
    finished.

    Raises:
        InputError: `out` exists and is something else, or was begun with other settings.
        UsageError: the request exceeds the bundle's limits, or the generators have different channels.
        VerificationError: a generator that draws is not what the hospital signed; nothing is written then.
    """
    entries = bundle.accept(request)
    if count < 1:
        raise refusal("samples", "a count of at least 1", str(count))
    numbering = Numbering.of(entries, request)
    numbering.require(request, count)
    listed = bundle.vetted_seed is not None
    description = _describe(bundle, entries, count, request)
    settings = {**description.to_json(), "probabilities": request.probabilities}
    if is_finished(out, settings_of(out), _comparable(settings)):
        on_progress(Progress(count, count, free=count))
        there = files.parse_json(files.read_bytes(out / DESCRIPTION, max_bytes=files.MAX_JSON_BYTES), out)
        return WrittenDataset(out, replace(description, **{name: there.get(name) for name in COUNTS}), 0)
    shares = numbering.by_generator(count)
    bundle.prove([entry for entry, share in zip(entries, shares, strict=True) if share])
    with resumable_folder(out, settings) as folder:
        found = len(folder.records)
        for position, numbers_of_generator in enumerate(shares):
            numbers = [number for number in numbers_of_generator if stem_of(number) not in folder.records]
            if not numbers:
                continue
            samples = bundle.draw(entries[position], request, [numbering(number)[1] for number in numbers])
            for number, sample in zip(numbers, samples, strict=True):
                add_sample(folder, stem_of(number), sample, request.refinement, listed=listed)
                message = f"generator {position + 1} of {len(entries)}"
                on_progress(Progress(len(folder.records), count, message, free=found))
        records = [folder.records[stem_of(number)] for number in range(count)]
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        files.write_text(folder.root / METADATA, "".join(lines))
        if listed:
            description = replace(description, vetted=sum(record["vetted"] for record in records))
        description = replace(description, **redraw_counts(records, request))
        files.write_json(folder.root / DESCRIPTION, description.to_json())
    return WrittenDataset(out, description, count - found)


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
        judge=None if request.judge is None else request.judge.described,
    )


def settings_of(out: Path) -> dict[str, Any] | None:
    """The settings of the finished data set at `out`; None when it does not exist."""
    if not (out / DESCRIPTION).is_file():
        return None
    data = files.read_bytes(out / DESCRIPTION, max_bytes=files.MAX_JSON_BYTES)
    return _comparable(
        {
            **files.parse_json(data, out / DESCRIPTION),
            "probabilities": (out / PROBABILITIES).is_dir(),
        }
    )


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the program's version and what was counted in the samples."""
    return {name: value for name, value in settings.items() if name not in ("program_version", *COUNTS)}


def redraw_counts(records: Sequence[Mapping[str, Any]], request: Request) -> dict[str, Any]:
    """How many samples, by their lines of metadata, became what they may have been drawn again for."""
    refinement, judge = request.refinement, request.judge
    found = {}
    if refinement.coverage is not None:
        found["within_coverage"] = sum(refinement.miss(record["coverage"]) == 0 for record in records)
    if judge is not None:
        found["agreeing"] = sum(judge.miss(record["agreement"]) == 0 for record in records)
    return found


def stem_of(number: int) -> str:
    """The name of a sample's files without their ending."""
    return f"{number:06d}"


def add_sample(
    folder: PartialFolder,
    stem: str,
    sample: Sample,
    refinement: Refinement,
    *,
    listed: bool,
    source: Mapping[str, Any] | None = None,
) -> None:
    """Write one sample's files, and record the sample as complete with its line of metadata.

    Args:
        folder: gets the files.
        stem: name of the files.
        sample: what is written.
        refinement: how it was drawn; if that asks for a range of coverage, the line says what it became.
        listed: the bundle lists vetted samples, so the line says whether this is one.
        source: further fields of that line, such as the hospital where there are several.
    """
    record: dict[str, Any] = {"file_name": f"{IMAGES}/{stem}.png"}
    _write_png(folder.root / record["file_name"], sample.image)
    for name, mask in sample.masks.items():
        single = len(sample.masks) == 1
        key = "mask_file_name" if single else f"{name}_mask_file_name"
        record[key] = f"{MASKS}/{stem}.png" if single else f"{MASKS}/{name}/{stem}.png"
        _write_png(folder.root / record[key], mask)
    if sample.probabilities is not None:
        record["probabilities"] = f"{PROBABILITIES}/{stem}.npy"
        path = folder.root / record["probabilities"]
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.stack(list(sample.probabilities.values())), allow_pickle=False)
    paths = tuple(record.values())
    record |= {"generator": sample.generator, "seed": sample.seed, "index": sample.index, **(source or {})}
    if refinement.coverage is not None:
        record["coverage"] = sample.coverage
    if sample.agreement is not None:
        record["agreement"] = sample.agreement
    if listed:
        record["vetted"] = sample.vetted
    folder.add(stem, record, paths)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a PNG without text or date, so that equal pixels give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    Image.fromarray(pixels).save(path, "PNG", compress_level=6)
