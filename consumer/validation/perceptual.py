"""Measure with LPIPS how different images look, by a network fitted to people's judgements.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018. We use
version 0.1 on AlexNet, as computed by the package `lpips`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.reader import DatasetFolder
from consumer.sampling.runtime import available_cores
from consumer.validation import lpips_weights
from consumer.validation.diversity import mean_of_pairs
from consumer.validation.lpips_options import LpipsOptions
from consumer.validation.lpips_weights import Weights
from consumer.validation.measure_files import ImageFacts, Measurements
from consumer.validation.validation_report import Missing
from sharekit.errors import DependencyError, missing_package
from sharekit.intervals import Interval
from sharekit.program.progress import Progress, ProgressCallback, ignore

SIDE = 128
"""Pixels. Every image is stretched to a square of this side, so that any two can be compared."""
WHOLE_FACTOR = 2
"""Images to compare in the whole data set, as a multiple of those of one generator."""
_BATCH_SIZE = 16  # pairs

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Perceived:
    """Mean LPIPS of two images, for each group and for the whole data set."""

    groups: Mapping[str, Interval | None] = field(default_factory=dict)
    whole: Interval | None = None
    missing: Missing | None = None
    """Why LPIPS was not computed; None when it was, or was not wanted."""


class Lpips:
    """The LPIPS distance of two images, computed on `threads` threads.

    Raises:
        DependencyError: torch, torchvision or lpips is not installed.
    """

    def __init__(self, weights: Weights, *, threads: int) -> None:
        self._threads = threads
        self._model = _build(weights)

    def matrix(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """Distances of all pairs of uint8 images `(H, W)` or `(H, W, 3)`: symmetric `(n, n)`, at least 0."""
        import torch

        tensors = torch.stack([torch.from_numpy(_prepared(pixels)) for pixels in images])
        rows, columns = np.triu_indices(len(images), 1)
        distances = np.zeros((len(images), len(images)))
        with _threads(self._threads), torch.inference_mode():
            for start in range(0, len(rows), _BATCH_SIZE):
                first, second = rows[start : start + _BATCH_SIZE], columns[start : start + _BATCH_SIZE]
                values = self._model(tensors[first], tensors[second]).reshape(-1).numpy()
                distances[first, second] = distances[second, first] = values
        return distances


def perceive(
    folder: DatasetFolder,
    measured: Measurements,
    options: LpipsOptions,
    on_progress: ProgressCallback = ignore,
) -> Perceived:
    """Compare images of every group, and of the whole data set, with each other.

    Raises:
        VerificationError: the weights do not have the pinned digest.
        DependencyError: weights were named, but a package that runs them is missing.
    """
    if options.images < 2 or len(measured.images) < 2:
        return Perceived()
    path = lpips_weights.find(options.weights)
    if path is None:
        return Perceived(missing=Missing.of("LPIPS", lpips_weights.absent()))
    weights = lpips_weights.load(path)
    try:
        lpips = Lpips(weights, threads=options.threads or available_cores())
    except DependencyError as error:
        if options.weights is not None:
            raise
        return Perceived(missing=Missing.of("LPIPS", error))
    rng = np.random.default_rng(options.seed)

    def of(images: Sequence[ImageFacts], count: int) -> Interval | None:
        chosen = np.sort(rng.permutation(len(images))[:count])
        return mean_of_pairs(lpips.matrix([folder.read_image(images[index].entry) for index in chosen]))

    names = tuple(measured.mask_maps)
    whole = of(measured.images, WHOLE_FACTOR * options.images)
    if len(names) == 1:
        return Perceived({names[0]: whole}, whole)
    groups: dict[str, Interval | None] = {}
    for number, name in enumerate(names, start=1):
        groups[name] = of(measured.group(name), options.images)
        on_progress(Progress(number, len(names)))
    return Perceived(groups, whole)


def _prepared(pixels: Pixels) -> NDArray[np.float32]:
    """float32 `(3, SIDE, SIDE)`, range [-1, 1]."""
    image = Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(127.5) - 1


def _build(weights: Weights) -> Any:
    for package in ("lpips", "torch", "torchvision"):
        if find_spec(package) is None:
            raise missing_package(package, "validate")
    import torch

    from consumer.torch_support import define_missing_operators

    define_missing_operators()
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # torchvision warns about how lpips requests a network without weights.
        warnings.simplefilter("ignore", UserWarning)
        model = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    # The module holds every linear layer twice, by attribute and in a list.
    state |= {name.replace("lin", "lins.", 1): state[name] for name in weights if name.startswith("lin")}
    state |= {f"scaling_layer.{name}": buffer for name, buffer in model.scaling_layer.named_buffers()}
    model.load_state_dict(state, strict=True)
    return model.eval()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
