"""How many lanes fit a worker's device: first by the estimate, then by measured use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil


class LaneMemory:
    """The memory that one worker may use of its device."""

    def __init__(self, device: str, share: float) -> None:
        """`share` of the GPU, or of the machine's memory; more than all of it counts as all of it."""
        self.device = device
        self.share = min(share, 1.0)
        self.ratio = 1.0
        """Memory that the last group took, as a multiple of its estimate."""

    def claim(self, lanes: int, estimate: int) -> int:
        """How many of `lanes` fit, at an estimate of `estimate` bytes each.

        At least one: training shows whether it fits.
        """
        return max(1, min(lanes, int(self._free() / (estimate * self.ratio))))

    def _free(self) -> float:
        if self.device == "cpu":
            return psutil.virtual_memory().available * self.share
        import torch

        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return min(free, total * self.share)

    @contextlib.contextmanager
    def measured(self, lanes: int, estimate: int) -> Iterator[None]:
        """Correct the estimate by the peak memory of `lanes` while they train.

        On a GPU only: the estimate was measured on the CPU, see docs/adr/0012-doctor-and-status.md.
        """
        if self.device == "cpu":
            yield
            return
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_reserved()
        yield
        # Reserved, not allocated: what the allocator cannot reuse and the convolutions' workspaces count.
        self.ratio = (torch.cuda.max_memory_reserved() - before) / (lanes * estimate)


def cpu_share(cpus: int) -> float:
    """Share of this machine's memory that a worker of `cpus` threads may use."""
    return cpus / (os.cpu_count() or cpus)
