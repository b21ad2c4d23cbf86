"""How a batch is drawn and cleaned: from a verified bundle to 8-bit images with masks of 0 and 255.

Sample number `i` of a seed comes from generator `i mod G`, in the manifest's order, and is that generator's
sample of index `i div G`; with one generator chosen, number and index are the same. A sample is a function
of generator, seed, index and size alone. On the CPU batch size, threads and order change no bit of it;
another kind of processor, or CUDA, may round differently in the last place.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumer.sampling import runtime
from consumer.sampling.refinement import MAX_DRAWS, UNREFINED, Refinement, index_of_draw
from consumer.sampling.request import BATCH_SIZE, Request, refusal
from sharekit.bundle.bundle import VerifiedBundle, verify_bundle
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.generator.noise import MAX_SEED
from sharekit.generator.spec import GeneratorSpec
from sharekit.generator.tensors import ChannelLayout, mask_probability, tensor_to_pixels
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.signing.keys import PublicKey

if TYPE_CHECKING:
    from consumer.sampling.stream import SyntheticDataset

MAX_OPEN_SESSIONS = 16
MAX_WAITING = 64
"""Samples drawn ahead, so that each generator draws batches while numbers are handed out in order."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One synthetic image with its masks."""

    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB or `(H, W, 1)` grey, 0 to 255."""
    masks: Mapping[str, NDArray[np.uint8]]
    """Class name to `(H, W)`, 0 and 255: foreground where the probability is above the threshold of 0.5."""
    probabilities: Mapping[str, NDArray[np.float32]] | None
    """Class name to `(H, W)` foreground probability in [0, 1], when asked for."""
    generator: str  # identifier
    seed: int
    index: int  # of the sample under generator and seed

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The mask of the first class."""
        return next(iter(self.masks.values()))


def assign(number: int, generators: int) -> tuple[int, int]:
    """Position of the generator that draws sample `number`, and the index of the sample within it."""
    index, position = divmod(number, generators)
    return position, index


class Bundle:
    """A verified bundle that samples can be drawn from. Sessions are opened when they are first needed."""

    def __init__(
        self, verified: VerifiedBundle, key: Path, provider: runtime.ProviderChoice, threads: int | None
    ) -> None:
        self.verified = verified
        self.provider = provider
        self.threads = threads
        self._key = key
        # By process: a forked worker must neither run nor free its parent's sessions.
        self._sessions: dict[int, OrderedDict[str, onnxruntime.InferenceSession]] = {}

    @staticmethod
    def open(path: Path, key: Path, provider: str, threads: int | None) -> Bundle:
        """See `consumer.open_bundle`."""
        if threads is not None and threads < 1:
            raise refusal("threads", "at least one thread", str(threads))
        verified = verify_bundle(path, [PublicKey.load(key)])
        return Bundle(verified, key, runtime.choose_provider(provider), threads)

    def __reduce__(self) -> tuple[object, ...]:
        # Another process trusts the files no more than this one did: it verifies them again.
        return Bundle.open, (self.verified.path, self._key, self.provider.name, self.threads)

    @property
    def generators(self) -> tuple[GeneratorEntry, ...]:
        """The manifest's generators, in its order."""
        return self.verified.manifest.generators

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        generator: str | None = None,
        size: tuple[int, int] | None = None,
        batch_size: int = BATCH_SIZE,
        start: int = 0,
        probabilities: bool = False,
        refinement: Refinement = UNREFINED,
    ) -> Iterator[Sample]:
        """Samples number `start` to `start + n - 1` of `seed`, in that order; `Request` says the rest.

        Raises:
            UsageError: at once, for an argument outside the bundle's limits.
        """
        request = Request(seed, generator, size, batch_size, probabilities, refinement)
        entries = self.accept(request)
        if n < 0:
            raise refusal("n", "a count from 0", str(n))
        if not 0 <= start <= MAX_SEED - n:
            raise refusal("start", f"0 to {MAX_SEED - n}", str(start))
        return self.draw_numbers(range(start, start + n), request, entries)

    def accept(self, request: Request) -> tuple[GeneratorEntry, ...]:
        """The generators that the request draws from.

        Raises:
            UsageError: an unknown generator, or something outside the bundle's limits.
        """
        request.check(self.verified.manifest.limits)
        if request.generator is None:
            return self.generators
        chosen = tuple(entry for entry in self.generators if entry.spec.id == request.generator)
        if not chosen:
            known = ", ".join(entry.spec.id for entry in self.generators[:20])
            raise refusal("generator", f"one of {known}", request.generator)
        return chosen

    def draw_numbers(
        self, numbers: Iterable[int], request: Request, entries: Sequence[GeneratorEntry]
    ) -> Iterator[Sample]:
        """Samples of these numbers, spread over `entries`, in the order of `numbers`."""
        remaining = iter(numbers)
        window = max(request.batch_size, min(request.batch_size * len(entries), MAX_WAITING))
        while ahead := list(islice(remaining, window)):
            shares: dict[int, dict[int, int]] = {}  # position of the generator: {place in `ahead`: index}
            for place, number in enumerate(ahead):
                position, index = assign(number, len(entries))
                shares.setdefault(position, {})[place] = index
            waiting: dict[int, Sample] = {}
            for position, share in shares.items():
                drawn = self.draw(entries[position], request, list(share.values()))
                waiting.update(zip(share, drawn, strict=True))
            yield from (waiting[place] for place in range(len(ahead)))

    def draw(self, entry: GeneratorEntry, request: Request, indices: Sequence[int]) -> Iterator[Sample]:
        """Samples `indices` of one generator, in that order."""
        for begin in range(0, len(indices), request.batch_size):
            batch = indices[begin : begin + request.batch_size]
            samples = self._draw_batch(entry, request, batch)
            for draw in range(1, MAX_DRAWS):
                small = [
                    place
                    for place, sample in enumerate(samples)
                    if request.refinement.wants_another(np.stack(list(sample.masks.values())))
                ]
                if not small:
                    break
                again = [index_of_draw(batch[place], draw) for place in small]
                for place, sample in zip(small, self._draw_batch(entry, request, again), strict=True):
                    samples[place] = replace(sample, index=batch[place])
            yield from samples

    def _draw_batch(self, entry: GeneratorEntry, request: Request, indices: Sequence[int]) -> list[Sample]:
        spec = entry.spec if request.size is None else entry.spec.resized(*request.size)
        noise = spec.noise(request.seed, indices)
        if request.refinement.temperature != 1:
            noise = [np.float32(request.refinement.temperature) * z for z in noise]
        image, mask = runtime.run_session(self._session(entry), noise)
        return list(_samples(image, mask, spec, request, indices))

    def torch_dataset(
        self,
        seed: int = 0,
        *,
        start: int = 0,
        generator: str | None = None,
        size: tuple[int, int] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> SyntheticDataset:
        """An endless, seekable torch `IterableDataset`; see `consumer.sampling.stream`.

        Raises:
            DependencyError: torch is not installed.
            UsageError: an argument outside the bundle's limits, or generators whose channels differ.
        """
        from consumer.sampling.stream import SyntheticDataset

        return SyntheticDataset(self, Request(seed, generator, size, batch_size), start)

    def _session(self, entry: GeneratorEntry) -> onnxruntime.InferenceSession:
        sessions = self._sessions.setdefault(os.getpid(), OrderedDict())
        identifier = entry.spec.id
        if identifier not in sessions:
            data = self.verified.read(entry.file)
            sessions[identifier] = runtime.open_session(
                data, entry.spec, entry.file, self.provider, threads=self.threads
            )
            if len(sessions) > MAX_OPEN_SESSIONS:
                sessions.popitem(last=False)
        sessions.move_to_end(identifier)
        return sessions[identifier]


def common_layout(entries: Sequence[GeneratorEntry]) -> ChannelLayout:
    """The channels that all of `entries` have, which a data set needs.

    Raises:
        UsageError: they differ.
    """
    layouts = {entry.spec.layout for entry in entries}
    if len(layouts) > 1:
        kinds = sorted(
            f"{layout.image_channels} channels with {', '.join(layout.mask_classes)}" for layout in layouts
        )
        raise refusal("generator", "one whose channels and classes the others share", "; ".join(kinds))
    return layouts.pop()


def _samples(
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    spec: GeneratorSpec,
    request: Request,
    indices: Sequence[int],
) -> Iterator[Sample]:
    """A batch in [-1, 1], `(N, c, H, W)` and `(N, k, H, W)`, as samples."""
    classes = spec.layout.mask_classes
    pixels = tensor_to_pixels(image)
    probability = mask_probability(mask)
    for place, index in enumerate(indices):
        yield Sample(
            pixels[place],
            dict(zip(classes, request.refinement.masks(probability[place]), strict=True)),
            dict(zip(classes, probability[place], strict=True)) if request.probabilities else None,
            spec.id,
            request.seed,
            index,
        )
