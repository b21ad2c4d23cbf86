"""Draw data sets from a bundle, one per channel layout: a data set holds images of one layout."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consumer.datasets.folder_writer import WrittenDataset, write_dataset
from consumer.datasets.resumable_folder import SUFFIX
from consumer.sampling.checked import refusal
from consumer.sampling.layout_names import by_layout
from consumer.sampling.numbering import Numbering
from consumer.sampling.request import Request
from consumer.sampling.runtime import ProviderChoice
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import InputError
from sharekit.program.progress import Progress, ProgressCallback, ignore


@dataclass(frozen=True)
class SampledBundle:
    """The data sets that `sample_bundle` wrote, and the bundle's verdict."""

    out: Path
    data_sets: tuple[WrittenDataset, ...]
    """One data set at `out`, or one per layout in folders of `out`."""
    verdict: str
    warnings: tuple[str, ...]
    provider: ProviderChoice
    isolated: bool
    seconds: float

    @property
    def drawn(self) -> int:
        """Samples that this run drew."""
        return sum(data_set.drawn for data_set in self.data_sets)

    @property
    def samples_per_second(self) -> float:
        return self.drawn / self.seconds

    def to_json(self) -> dict[str, Any]:
        only = {"dataset": self.data_sets[0].description.to_json()} if len(self.data_sets) == 1 else {}
        return {
            "out": str(self.out),
            "verdict": self.verdict,
            "warnings": list(self.warnings),
            **only,
            "data_sets": [data_set.to_json() for data_set in self.data_sets],
            "provider": {"name": self.provider.name, "reason": self.provider.reason},
            "isolated": self.isolated,
            "drawn": self.drawn,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.samples_per_second, 2),
        }


def sample_bundle(
    bundle: Bundle, out: Path, count: int, request: Request, on_progress: ProgressCallback = ignore
) -> SampledBundle:
    """Write samples 0 to `count - 1` of a bundle.

    A bundle of one layout becomes a data set at `out`. With several layouts, each becomes a data set in a
    folder of `out` that has the layout's name; together they hold exactly these samples. The same call
    resumes after an interruption.

    Raises:
        InputError: `out` is something else, or was begun with other settings.
        UsageError: the request exceeds the bundle's limits.
        VerificationError: a generator that draws is not what the hospital signed; nothing is written then.
    """
    started = time.monotonic()
    if count < 1:
        raise refusal("samples", "a count of at least 1", str(count))
    entries = bundle.accept(request)
    numbering = Numbering.of(entries, request)
    numbering.require(request, count)
    groups = by_layout(entries)
    data_sets: list[WrittenDataset] = []
    if len(groups) == 1:
        data_sets.append(write_dataset(bundle, out, count, request, on_progress))
    else:
        _require_folder_of(out, groups)
        drawing = [entry for entry, share in zip(entries, numbering.shares(count), strict=True) if share]
        bundle.prove(drawing)
        for name, share in _shares(entries, groups, numbering.shares(count)).items():
            done = sum(written.description.count for written in data_sets)
            free = done - sum(written.drawn for written in data_sets)

            def show(event: Progress, name: str = name, done: int = done, free: int = free) -> None:
                message = f"{name}, {event.message}"
                on_progress(Progress(done + event.done, count, message, free=free + event.free))

            data_sets.append(write_dataset(bundle, out / name, share, replace(request, layout=name), show))
    return SampledBundle(
        out,
        tuple(data_sets),
        bundle.verified.verdict,
        bundle.warnings,
        bundle.provider,
        bundle.isolate,
        time.monotonic() - started,
    )


def _shares(
    entries: Sequence[GeneratorEntry], groups: Mapping[str, Sequence[GeneratorEntry]], counts: Sequence[int]
) -> dict[str, int]:
    """How many samples each layout has, from those of each generator; only layouts that have any."""
    numbers = dict(zip(entries, counts, strict=True))
    shares = {name: sum(numbers[entry] for entry in group) for name, group in groups.items()}
    return {name: share for name, share in shares.items() if share}


def _require_folder_of(out: Path, names: Mapping[str, object]) -> None:
    """Refuse a folder that holds anything but the data sets of these names."""
    ours = {*names, *(f"{name}{SUFFIX}" for name in names)}
    found = "a file" if out.exists() and not out.is_dir() else ""
    if out.is_dir():
        found = ", ".join(sorted(path.name for path in out.iterdir() if path.name not in ours)[:3])
    if found:
        raise InputError(
            out,
            expected=f"a new folder, or one with the data sets {', '.join(names)} of this bundle",
            found=found,
            next_step="choose another --out, or one layout with --layout",
        )
