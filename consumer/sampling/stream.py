"""The stream: an endless torch data set drawn from a bundle, with nothing stored.

Imported only where torch is wanted; `Bundle.torch_dataset` is the way in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from consumer.sampling.request import Request, refusal
from consumer.sampling.synthetic_bundle import Bundle, Sample, common_layout
from sharekit.errors import missing_package
from sharekit.generator.noise import MAX_SEED

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError:
    raise missing_package("torch", "torch") from None


class SyntheticDataset(IterableDataset):
    """Samples `start`, `start + 1`, … of a seed, without end.

    Each item is `{"image": float32 (C, H, W) in [0, 1], "mask": float32 (K, H, W) of 0 and 1}`: exactly the
    pixels that `consumer sample` writes for the same number, divided by 255. K is the number of mask classes.

    Worker w of W draws the numbers `start + w`, `start + w + W`, …: together, and in the order of numbers
    when the loader's `batch_size` is None, they give the same stream as one process. Give a `size` when
    generators of different sizes are to be batched, and open the bundle with `threads=1` for workers.
    """

    def __init__(self, bundle: Bundle, request: Request, start: int = 0) -> None:
        self.bundle = bundle
        self.request = request
        self.entries = bundle.accept(request)
        common_layout(self.entries)
        self.seek(start)

    def seek(self, number: int) -> None:
        """Let the next iteration begin at this sample, as a run that goes on from a checkpoint needs.

        Raises:
            UsageError: a negative or too large number.
        """
        if not 0 <= number <= MAX_SEED:
            raise refusal("start", f"0 to {MAX_SEED}", str(number))
        self.start = number

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        numbers = itertools.count(self.start + offset, step)
        return map(_tensors, self.bundle.draw_numbers(numbers, self.request, self.entries))


def _tensors(sample: Sample) -> dict[str, torch.Tensor]:
    image = sample.image.transpose(2, 0, 1)
    mask = np.stack(list(sample.masks.values()))
    return {
        name: torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / 255)
        for name, values in (("image", image), ("mask", mask))
    }
