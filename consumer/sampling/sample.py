"""Define a sample: which generator draws it, and how the output becomes pixels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumer.sampling.refinement import marked_share
from consumer.sampling.request import Request
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import VerificationError
from sharekit.generator.tensors import mask_probability, tensor_to_pixels

if TYPE_CHECKING:
    from consumer.sampling.judge import Judge


@dataclass(frozen=True, eq=False)
class Sample:
    """One synthetic image with its masks."""

    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB or `(H, W, 1)` grey, 0 to 255."""
    masks: Mapping[str, NDArray[np.uint8]]
    """Masks `(H, W)` by class name: 255 where the probability is above the mask threshold, otherwise 0."""
    probabilities: Mapping[str, NDArray[np.float32]] | None
    """Foreground probabilities `(H, W)` in [0, 1] by class name; None unless requested."""
    generator: str  # identifier
    seed: int
    index: int  # position under generator and seed
    vetted: bool = False
    """Whether the hospital has looked at exactly this sample and listed it as good."""
    agreement: float | None = None
    """IoU, 0 to 1, of the masks and those of the request's judge; None if there is no judge."""

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The mask of the first class."""
        return next(iter(self.masks.values()))

    @property
    def coverage(self) -> float:
        """Share of the image, 0 to 1, that at least one of the masks marks."""
        return marked_share(np.stack(list(self.masks.values())))

    def __repr__(self) -> str:
        height, width, channels = self.image.shape
        return (
            f"<Sample {self.index} of seed {self.seed} from generator {self.generator}: "
            f"{width}x{height} {'RGB' if channels == 3 else 'grey'}, masks of {', '.join(self.masks)}"
            f"{', vetted' if self.vetted else ''}>"
        )


def assign(number: int, generators: int) -> tuple[int, int]:
    """Position of the generator that draws sample `number`, and the index of the sample within it."""
    index, position = divmod(number, generators)
    return position, index


def samples_of(
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    entry: GeneratorEntry,
    request: Request,
    indices: Sequence[int],
    good: Collection[int] = (),
) -> Iterator[Sample]:
    """Turn a generator's output in [-1, 1], `(N, c, H, W)` and `(N, k, H, W)`, into the samples `indices`.

    Args:
        image: output of the generator.
        mask: likewise.
        entry: the generator.
        request: what was asked for.
        indices: index of each sample.
        good: indices of vetted samples.

    Raises:
        VerificationError: a value is NaN or infinite, which no pixel can represent.
    """
    _require_finite(image, mask, entry, request, indices)
    classes = entry.spec.layout.mask_classes
    pixels = tensor_to_pixels(image)
    probability = mask_probability(mask)
    for place, index in enumerate(indices):
        yield Sample(
            pixels[place],
            dict(zip(classes, request.refinement.masks(probability[place]), strict=True)),
            dict(zip(classes, probability[place], strict=True)) if request.probabilities else None,
            entry.spec.id,
            request.seed,
            index,
            index in good,
        )


def judged(sample: Sample, judge: Judge) -> Sample:
    """The sample with the judge's agreement."""
    return replace(sample, agreement=judge.agreement(sample.image, sample.masks))


def _require_finite(
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    entry: GeneratorEntry,
    request: Request,
    indices: Sequence[int],
) -> None:
    for place, index in enumerate(indices):
        if not (np.isfinite(image[place]).all() and np.isfinite(mask[place]).all()):
            raise VerificationError(
                entry.file,
                expected="finite numbers from the generator",
                found=f"NaN or an infinity in sample {index} of seed {request.seed}",
                next_step="do not use this generator; tell the hospital that signed it",
            )
