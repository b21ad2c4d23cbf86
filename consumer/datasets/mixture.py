"""Draw one data set from several hospitals' bundles, in given proportions.

Sample number i comes from the bundle that is furthest behind its share. Within its bundle it is the next
sample in the usual order, so a mixture holds the very samples that each bundle would give alone.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.datasets.description import SCHEMA_VERSION
from consumer.datasets.folder_writer import COUNTS, add_sample, redraw_counts, settings_of, stem_of
from consumer.datasets.resumable_folder import is_finished, resumable_folder
from consumer.sampling.checked import refusal
from consumer.sampling.layout_names import by_layout
from consumer.sampling.numbering import Numbering
from consumer.sampling.request import Request
from consumer.sampling.synthetic_bundle import Bundle
from sharekit import __version__
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.generator.noise import NOISE_SCHEME
from sharekit.pictures.folder import DESCRIPTION, METADATA
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files


@dataclass(frozen=True)
class Part:
    """A bundle's part of a mixture."""

    bundle: Bundle
    weight: float


@dataclass(frozen=True)
class Place:
    """Where a sample of a mixture comes from."""

    part: int
    entry: GeneratorEntry
    index: int


@dataclass(frozen=True)
class MixedDataset:
    """A data set of one layout, drawn from several bundles."""

    path: Path
    description: Mapping[str, Any]
    """`dataset.json`: schema v1/mixture."""
    drawn: int

    @property
    def counts(self) -> dict[str, int]:
        """Samples by hospital and release."""
        sources = self.description["sources"]
        return {f"{one['hospital']}, release {one['release']}": one["count"] for one in sources}

    def to_json(self) -> dict[str, Any]:
        return {"out": str(self.path), "drawn": self.drawn, "dataset": dict(self.description)}


@dataclass(frozen=True)
class SampledMixture:
    """All data sets of a mixture: one, or one for each layout."""

    out: Path
    data_sets: tuple[MixedDataset, ...]
    verdicts: Mapping[str, str]
    """Hospital and release to the bundle's verdict."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "verdicts": dict(self.verdicts),
            "data_sets": [one.to_json() for one in self.data_sets],
            "seconds": round(self.seconds, 3),
        }


def sample_mixture(
    parts: Sequence[Part], out: Path, count: int, request: Request, on_progress: ProgressCallback = ignore
) -> SampledMixture:
    """Write `count` samples of several bundles to `out`, or to a folder of `out` for each layout.

    The same call resumes after an interruption.

    Raises:
        UsageError: the request exceeds a bundle's limits, or a weight is not positive.
        InputError: `out` is something else, or was begun with other settings.
        VerificationError: a generator that draws is not what its hospital signed; nothing is written then.
    """
    started = time.monotonic()
    places = plan(parts, count, request)
    groups = by_layout(list(dict.fromkeys(place.entry for place in places)))
    layouts = {entry: name for name, entries in groups.items() for entry in entries}
    by_name: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        by_name[layouts[place.entry]].append(place)
    for at, part in enumerate(parts):
        part.bundle.prove(dict.fromkeys(place.entry for place in places if place.part == at))
    written: list[MixedDataset] = []
    done = 0
    for name, chosen in by_name.items():
        folder = out if len(by_name) == 1 else out / name

        def show(event: Progress, done: int = done) -> None:
            on_progress(Progress(done + event.done, count, event.message, free=event.free))

        written.append(_write(parts, folder, chosen, request, show))
        done += len(chosen)
    verdicts = {_name(part): part.bundle.verified.verdict for part in parts}
    return SampledMixture(out, tuple(written), verdicts, time.monotonic() - started)


def plan(parts: Sequence[Part], count: int, request: Request) -> list[Place]:
    """Which generator draws each of the samples 0 to `count - 1`.

    Raises:
        UsageError: as `sample_mixture`.
    """
    if count < 1:
        raise refusal("samples", "a count of at least 1", str(count))
    for part in parts:
        if not 0 < part.weight < float("inf"):
            raise refusal("weights", "a positive number for each bundle", str(part.weight))
    releases = [part.bundle.verified.manifest_sha256 for part in parts]
    if len(set(releases)) < len(releases):
        raise refusal("bundles", "different releases", "one twice: it would give the same samples twice")
    total = sum(part.weight for part in parts)
    entries = [part.bundle.accept(request) for part in parts]
    numberings = [Numbering.of(found, request) for found in entries]
    taken = [0] * len(parts)
    places = []
    for number in range(count):
        behind = [(number + 1) * part.weight / total - done for part, done in zip(parts, taken, strict=True)]
        at = behind.index(max(behind))
        position, index = numberings[at](taken[at])
        places.append(Place(at, entries[at][position], index))
        taken[at] += 1
    for numbering, done in zip(numberings, taken, strict=True):
        numbering.require(request, done)
    return places


def _write(
    parts: Sequence[Part], out: Path, places: Sequence[Place], request: Request, on_progress: ProgressCallback
) -> MixedDataset:
    count = len(places)
    description = _describe(parts, places, request)
    settings = {**description, "probabilities": request.probabilities}
    if is_finished(out, settings_of(out), {k: v for k, v in settings.items() if k != "program_version"}):
        on_progress(Progress(count, count, free=count))
        there = files.parse_json(files.read_bytes(out / DESCRIPTION, max_bytes=files.MAX_JSON_BYTES), out)
        counts = {name: there[name] for name in COUNTS if name in there}
        return MixedDataset(out, {**description, **counts}, 0)
    by_generator: dict[tuple[int, GeneratorEntry], list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        by_generator[place.part, place.entry].append(number)
    with resumable_folder(out, settings) as folder:
        found = len(folder.records)
        for (part, entry), every in by_generator.items():
            claims = parts[part].bundle.verified.manifest
            source = {"hospital": claims.hospital, "release": claims.release}
            listed = parts[part].bundle.vetted_seed is not None
            numbers = [number for number in every if stem_of(number) not in folder.records]
            samples = parts[part].bundle.draw(entry, request, [places[number].index for number in numbers])
            for number, sample in zip(numbers, samples, strict=True):
                add_sample(folder, stem_of(number), sample, request.refinement, listed=listed, source=source)
                on_progress(Progress(len(folder.records), count, claims.hospital, free=found))
        records = [folder.records[stem_of(number)] for number in range(count)]
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        files.write_text(folder.root / METADATA, "".join(lines))
        description |= redraw_counts(records, request)
        files.write_json(folder.root / DESCRIPTION, description)
    return MixedDataset(out, description, count - found)


def _name(part: Part) -> str:
    claims = part.bundle.verified.manifest
    return f"{claims.hospital}, release {claims.release}"


def _describe(parts: Sequence[Part], places: Sequence[Place], request: Request) -> dict[str, Any]:
    sources = []
    for at, part in enumerate(parts):
        verified = part.bundle.verified
        sources.append(
            {
                "manifest_sha256": verified.manifest_sha256,
                "hospital": verified.manifest.hospital,
                "release": verified.manifest.release,
                "public_key": verified.key.pem().decode(),
                "fingerprint": verified.fingerprint,
                "weight": part.weight,
                "count": sum(place.part == at for place in places),
            }
        )
    size = request.size
    return {
        "schema_version": SCHEMA_VERSION,
        "sources": sources,
        "seed": request.seed,
        "count": len(places),
        "size": None if size is None else {"height": size.height, "width": size.width},
        "layout": places[0].entry.spec.layout.to_json(),
        "provider": parts[0].bundle.provider.name,
        "noise_scheme": NOISE_SCHEME,
        "program_version": __version__,
        "refinement": request.refinement.to_json(),
        **({} if request.judge is None else {"judge": request.judge.described.to_json()}),
    }
