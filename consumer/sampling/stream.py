"""A torch data set that draws samples from a bundle while it is read and stores nothing.

This module needs torch. Callers use `Bundle.torch_dataset`, which imports it on demand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from consumer.sampling import checked
from consumer.sampling.checked import refusal
from consumer.sampling.layout_names import common_layout
from consumer.sampling.numbering import Numbering
from consumer.sampling.request import Request
from consumer.sampling.sample import Sample
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import missing_package
from sharekit.generator.noise import MAX_SEED

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError:
    raise missing_package("torch", "torch") from None


class Source(Protocol):
    """Draws the samples; a `Bundle` is one."""

    def accept(self, request: Request) -> tuple[GeneratorEntry, ...]: ...

    def draw_numbers(
        self, numbers: Iterable[int], request: Request, entries: Sequence[GeneratorEntry]
    ) -> Iterator[Sample]: ...


class SyntheticDataset(IterableDataset):
    """Samples `start`, `start + 1`, … of a seed: `length` samples, or an endless stream.

    Each item is `{"image": float32 (C, H, W) in [0, 1], "mask": float32 (K, H, W) of 0 and 1}`: exactly the
    pixels that `consumer sample` writes for the same number, divided by 255. K is the number of mask classes.

    Worker w of W draws the numbers `start + w`, `start + w + W`, …. Together the workers give the same
    samples as one process, in the order of numbers when the loader's `batch_size` is None. Open the bundle
    with `threads=1` for several workers. Every pass gives the same samples. For other samples, call `seek`
    before the pass, for example `seek(epoch * length)`.
    """

    def __init__(
        self,
        source: Source,
        request: Request,
        start: int = 0,
        length: int | None = None,
        transform: Callable[[dict[str, torch.Tensor]], Any] | None = None,
    ) -> None:
        self.source = source
        self.request = request
        self.entries = source.accept(request)
        common_layout(self.entries)
        if length is not None and checked.whole("length", length) < 1:
            raise refusal("length", "at least one sample", str(length))
        if transform is not None and not callable(transform):
            raise refusal("transform", "a function of an item", checked.shown(transform))
        self._numbering = Numbering.of(self.entries, request)
        if request.vetted_only and length is None:
            length = max(1, self._numbering.vetted - checked.whole("start", start))
        self.length = length
        self.transform = transform
        self.seek(start)

    def seek(self, number: int) -> None:
        """Start the next iteration at this sample, for example to resume from a checkpoint.

        Raises:
            UsageError: the number is negative or too large, or too few samples are vetted.
        """
        last = MAX_SEED - (self.length or 0)
        if not 0 <= checked.whole("start", number) <= last:
            raise refusal("start", f"0 to {last}", str(number))
        self._numbering.require(self.request, number + (self.length or 0))
        self.start = number

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        numbers: Iterable[int] = itertools.count(self.start + offset, step)
        if self.length is not None:
            numbers = range(self.start + offset, self.start + self.length, step)
        items = map(_tensors, self.source.draw_numbers(numbers, self.request, self.entries))
        return items if self.transform is None else map(self.transform, items)

    def __len__(self) -> int:
        if self.length is None:
            # Python raises TypeError for anything without a length, and torch's DataLoader relies on that
            # type.
            raise TypeError("a stream without end has no length; torch_dataset(length=...) gives it one")
        return self.length


def _tensors(sample: Sample) -> dict[str, torch.Tensor]:
    image = sample.image.transpose(2, 0, 1)
    mask = np.stack(list(sample.masks.values()))
    return {
        name: torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / 255)
        for name, values in (("image", image), ("mask", mask))
    }
