"""Draw samples from a verified bundle: 8-bit images with masks of 0 and 255, in numbered order.

Sample number `i` of a seed is the sample with index `i div G` of generator `i mod G`, in the manifest's
order. When one generator is chosen, number and index are the same. For the one seed whose samples the
hospital vetted, the vetted ones come first (`numbering`). A sample depends only on generator, seed, index and
size. On the CPU, batch size, threads, order and isolation do not change a bit of it. Another kind of
processor, or CUDA, may round differently in the last place.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.sampling import checked, runtime
from consumer.sampling.bounds import BATCH_LIMITS, Bounds, patience
from consumer.sampling.checked import refusal
from consumer.sampling.drawing import Draw
from consumer.sampling.isolation import IsolatedRunner, can_isolate
from consumer.sampling.layout_names import by_layout, of_layout
from consumer.sampling.numbering import Numbering, applicable_list
from consumer.sampling.order import in_order
from consumer.sampling.refinement import UNREFINED, Refinement, index_of_draw
from consumer.sampling.request import Request, Size
from consumer.sampling.sample import Sample, judged, samples_of
from consumer.sampling.sessions import LocalRunner, Runner, Sessions
from sharekit.bundle.bundle import Depth, VerifiedBundle
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.generator.noise import MAX_SEED
from sharekit.program.phrases import counted
from sharekit.repository.known import bundle_at, open_verified
from sharekit.trust.key_choice import public_keys

if TYPE_CHECKING:
    from consumer.sampling.judge import Judge
    from consumer.sampling.stream import SyntheticDataset

WINDOW_BYTES = 256 * 2**20
"""Memory of the samples drawn ahead, which lets each generator draw whole batches."""
TRAINED = "trained"
"""Value of `size` in `torch_dataset` that keeps each generator's trained size."""


class Bundle:
    """A verified bundle to draw samples from; `consumer.open_bundle` opens one.

    A bundle loads its generators on first use. `close`, or the end of a `with` block, frees them. Using the
    bundle after that loads them again.
    """

    def __init__(
        self,
        verified: VerifiedBundle,
        key: str | Path,
        provider: runtime.ProviderChoice,
        threads: int | None = None,
        isolate: bool = False,
    ) -> None:
        self.verified = verified
        self.provider = provider
        self.threads = threads
        self.isolate = isolate
        self._key = key
        self._bounds = Bounds(verified.computations)
        # One entry per process: a forked worker must neither use nor free its parent's sessions.
        self._sessions: dict[int, Sessions] = {}
        weakref.finalize(self, _close, self._sessions)

    @staticmethod
    def open(
        path: Path,
        key: str | Path | None,
        device: str,
        threads: int | None = None,
        isolate: bool | None = None,
    ) -> Bundle:
        """See `consumer.open_bundle`."""
        if threads is not None and checked.whole("threads", threads) < 1:
            raise refusal("threads", "at least one thread", str(threads))
        # A pulled bundle's hospital is its name in the trust store too.
        key = path.name if key is None else key
        verified = open_verified(bundle_at(path), public_keys(key), depth=Depth.ON_USE)
        provider = runtime.choose_provider(device)
        return Bundle(verified, key, provider, threads, isolates(isolate, provider))

    def __reduce__(self) -> tuple[object, ...]:
        # Another process verifies the files again, because they may have changed.
        return Bundle.open, (self.verified.path, self._key, self.provider.name, self.threads, self.isolate)

    def __repr__(self) -> str:
        manifest = self.verified.manifest
        generators = counted(len(self.generators), "generator")
        layouts = " and ".join(self.layouts)
        return f"<Bundle of {manifest.hospital}, release {manifest.release}: {generators}, {layouts}>"

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def generators(self) -> tuple[GeneratorEntry, ...]:
        """The manifest's generators, in its order."""
        return self.verified.manifest.generators

    @property
    def layouts(self) -> tuple[str, ...]:
        """Names of the channel layouts, such as `rgb-polyp`: one, unless the bundle is mixed."""
        return tuple(by_layout(self.generators))

    @property
    def vetted_seed(self) -> int | None:
        """The seed whose samples the hospital vetted; None for a bundle without a list."""
        return next((entry.vetted.seed for entry in self.generators if entry.vetted is not None), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about an authentic bundle, for example that it has expired."""
        return tuple(warning.message for warning in self.verified.warnings)

    @property
    def sessions_opened(self) -> int:
        """Number of times that this process has loaded a generator."""
        sessions = self._sessions.get(os.getpid())
        return 0 if sessions is None else sessions.opened

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        generator: str | None = None,
        layout: str | None = None,
        size: Size | tuple[int, int] | None = None,
        batch_size: int | None = None,
        start: int = 0,
        probabilities: bool = False,
        refinement: Refinement = UNREFINED,
        vetted_only: bool = False,
        judge: Judge | None = None,
    ) -> Iterator[Sample]:
        """Draw samples number `start` to `start + n - 1` of `seed`, in that order.

        Args:
            n: number of samples.
            seed: 0 to 2**63 - 1; the same seed gives the same samples.
            generator: identifier of the only generator to draw from; None takes all in turn.
            layout: one of `layouts`; draws only from the generators of this layout.
            size: `Size(width, height)` in pixels; None takes each generator's trained size.
            batch_size: samples that go through a generator at once; changes only the speed. None is 8, or the
                bundle's limit where that is smaller.
            start: number of the first sample.
            probabilities: keep the mask probabilities as well.
            refinement: departures from the published sampling.
            vetted_only: draw only samples that the hospital vetted, see `vetted_seed`.
            judge: a segmenter; samples whose masks it disagrees with are drawn again.

        Raises:
            UsageError: an argument has a wrong type or exceeds the bundle's limits, or fewer samples are
                vetted; raised at once.
            VerificationError: a generator's file is not what the hospital signed, the generator does not run,
                or it gives NaN or an infinity; raised before the generator's first sample. `prove` checks
                the files at once.
        """
        wanted = None if size is None else Size.of(size)
        request = Request(
            seed, generator, wanted, batch_size, probabilities, refinement, layout, vetted_only, judge
        )
        entries = self.accept(request)
        n, start = checked.whole("n", n), checked.whole("start", start)
        if n < 0:
            raise refusal("n", "a count from 0", str(n))
        if not 0 <= start <= MAX_SEED - n:
            raise refusal("start", f"0 to {MAX_SEED - n}", str(start))
        Numbering.of(entries, request).require(request, start + n)
        return self.draw_numbers(range(start, start + n), request, entries)

    def torch_dataset(
        self,
        seed: int = 0,
        *,
        start: int = 0,
        length: int | None = None,
        generator: str | None = None,
        layout: str | None = None,
        size: Size | tuple[int, int] | str | None = None,
        batch_size: int | None = None,
        refinement: Refinement = UNREFINED,
        vetted_only: bool = False,
        judge: Judge | None = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> SyntheticDataset:
        """A seekable torch `IterableDataset` of `{"image", "mask"}`; see `consumer.sampling.stream`.

        Args:
            seed: as in `sample`; so are `generator`, `layout`, `batch_size`, `refinement`,
                `vetted_only` and `judge`.
            start: number of the first sample.
            length: samples of an epoch; None gives an endless stream, or all vetted samples from `start` on.
            size: `Size(width, height)` of every item. None takes the size that most generators were trained
                at, so that items can be batched; "trained" keeps each generator's trained size.
            transform: called with every item; its result replaces the item.

        Raises:
            DependencyError: torch is not installed.
            UsageError: an argument has a wrong type or exceeds the bundle's limits, the bundle is mixed and
                no layout is chosen, or fewer samples are vetted.
        """
        from consumer.sampling.stream import SyntheticDataset

        request = Request(seed, generator, None, batch_size, False, refinement, layout, vetted_only, judge)
        if size != TRAINED:
            wanted = common_size(self.accept(request)) if size is None else Size.of(size)
            request = replace(request, size=wanted)
        return SyntheticDataset(self, request, start, length, transform)

    def accept(self, request: Request) -> tuple[GeneratorEntry, ...]:
        """The generators that the request draws from, in the manifest's order.

        Raises:
            UsageError: the generator or layout is unknown, or the request exceeds a limit of bundle or
                memory.
        """
        request.check(self.verified.manifest.limits)
        entries = self.generators
        if request.layout is not None:
            entries = of_layout(entries, request.layout)
        if request.generator is not None:
            entries = tuple(entry for entry in entries if entry.spec.id == request.generator)
            if not entries:
                known = ", ".join(entry.spec.id for entry in self.generators[:20])
                raise refusal("generator", f"one of {known}", request.generator)
        for entry in entries:
            self._bounds.check(entry, request.size)
            if request.judge is not None:
                request.judge.require_class(entry)
        return entries

    def prove(self, entries: Iterable[GeneratorEntry]) -> None:
        """Verify the files of some of `generators` now, not when each draws its first sample.

        Raises:
            VerificationError: a file is not what the hospital signed; the error names it.
        """
        self.verified.prove(entry.file for entry in entries)

    def draw_numbers(
        self, numbers: Iterable[int], request: Request, entries: Sequence[GeneratorEntry]
    ) -> Iterator[Sample]:
        """Draw the samples with these numbers, spread over `entries`, in the order of `numbers`."""
        size = max(_sample_bytes(entry, request) for entry in entries)
        batch_size = request.batch_within(self.verified.manifest.limits)
        window = max(batch_size, min(batch_size * len(entries), WINDOW_BYTES // size))

        def draw(position: int, indices: Sequence[int]) -> list[Sample]:
            return list(self.draw(entries[position], request, indices))

        return in_order(numbers, Numbering.of(entries, request), batch_size, window, draw)

    def draw(self, entry: GeneratorEntry, request: Request, indices: Sequence[int]) -> Iterator[Sample]:
        """Draw the samples `indices` of one generator, in that order."""
        wanted = request.batch_within(self.verified.manifest.limits)
        batch_size = self._bounds.batch_size(entry, request.size, wanted)
        for begin in range(0, len(indices), batch_size):
            batch = indices[begin : begin + batch_size]
            samples = self._draw_batch(entry, request, batch)
            misses = [request.miss(sample) for sample in samples]
            for number in range(1, request.draws):
                missed = [place for place, miss in enumerate(misses) if miss > 0]
                if not missed:
                    break
                again = self._draw_batch(entry, request, [batch[place] for place in missed], number)
                for place, sample in zip(missed, again, strict=True):
                    miss = request.miss(sample)
                    if request.prefers(miss, misses[place]):
                        samples[place], misses[place] = sample, miss
            yield from samples

    def close(self) -> None:
        """Free the generators that this process has loaded."""
        _close(self._sessions)

    def _draw_batch(
        self, entry: GeneratorEntry, request: Request, indices: Sequence[int], number: int = 0
    ) -> list[Sample]:
        """Draw a batch of samples `indices`, with the noise of draw number `number`."""
        spec, size = entry.spec, request.size
        if size is not None:
            spec = spec.resized(size.height, size.width)
        noise_indices = tuple(index_of_draw(index, number) for index in indices)
        draw = Draw(spec, request.seed, noise_indices, request.refinement.temperature)
        seconds = self._bounds.seconds(entry, size, len(indices))
        image, mask = self._own_sessions().draw(entry, draw, seconds)
        # The hospital looked at first draws alone.
        vetted = applicable_list(entry, request) if number == 0 else None
        good = () if vetted is None else vetted.indices
        samples = list(samples_of(image, mask, entry, request, indices, good))
        return samples if request.judge is None else [judged(sample, request.judge) for sample in samples]

    def _own_sessions(self) -> Sessions:
        process = os.getpid()
        if process not in self._sessions:
            threads = self.threads or runtime.available_cores()
            runner: Runner = LocalRunner(self.provider, threads)
            if self.isolate:
                runner = IsolatedRunner(threads, BATCH_LIMITS.memory, patience(BATCH_LIMITS.multiply_adds))
            self._sessions[process] = Sessions(self.verified, runner, threads)
        return self._sessions[process]


def common_size(entries: Sequence[GeneratorEntry]) -> Size:
    """The size that most generators were trained at; among equals, the first in the manifest."""
    sizes = Counter(Size(entry.spec.width, entry.spec.height) for entry in entries)
    return sizes.most_common(1)[0][0]


def isolates(wanted: bool | None, provider: runtime.ProviderChoice) -> bool:
    """Whether generators run in a process with limits; None decides by what the system can do.

    Raises:
        UsageError: isolation is wanted, but not possible here.
    """
    possible = can_isolate() and provider.name == runtime.CPU
    if wanted is None:
        return possible
    if checked.truth("isolate", wanted) and not possible:
        expected = "Linux and the CPU, where memory can be limited"
        raise refusal("isolate", expected, f"{sys.platform}, {provider.name}")
    return wanted


def _sample_bytes(entry: GeneratorEntry, request: Request) -> int:
    """Memory of a sample in bytes."""
    width, height = request.size or (entry.spec.width, entry.spec.height)
    layout = entry.spec.layout
    classes = len(layout.mask_classes)
    return width * height * (layout.image_channels + classes * (5 if request.probabilities else 1))


def _close(sessions: dict[int, Sessions]) -> None:
    own = sessions.pop(os.getpid(), None)
    if own is not None:
        own.close()
