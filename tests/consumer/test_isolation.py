"""Generators run in a process with limits: the same samples, and nothing but numbers comes back."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import consumer
from consumer.sampling import isolation, sessions, synthetic_bundle
from consumer.sampling.bounds import Bounds
from consumer.sampling.drawing import Draw
from consumer.sampling.runtime import CUDA, ProviderChoice
from consumer.sampling.synthetic_bundle import Bundle
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, UsageError, VerificationError
from sharekit.generator.cost import CostLimits
from sharekit.program.sandbox import Sandbox
from tests.consumer.conftest import BundleMaker
from tests.consumer.test_sampling import same
from tests.tiny import tiny_generator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")


@pytest.fixture
def isolated(signed: tuple[Path, Path]) -> Iterator[Bundle]:
    with consumer.open_bundle(*signed, device="cpu", threads=1, isolate=True) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def local(signed: tuple[Path, Path]) -> Bundle:
    return consumer.open_bundle(*signed, device="cpu", threads=1, isolate=False)


def processes() -> set[psutil.Process]:
    """Those that draw; other tests' bundles have theirs, too."""
    return {
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "consumer.sampling.isolated_process" in child.cmdline()
    }


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_isolation_changes_no_bit(isolated: Bundle, local: Bundle, batch_size: int) -> None:
    drawn = isolated.sample(11, 7, batch_size=batch_size, probabilities=True)
    assert all(map(same, drawn, local.sample(11, 7, probabilities=True)))


def test_it_is_the_default_on_the_cpu(signed: tuple[Path, Path]) -> None:
    assert consumer.open_bundle(*signed, device="cpu").isolate


def test_the_process_has_limits_and_no_file(isolated: Bundle, tmp_path: Path) -> None:
    before = processes()
    next(isolated.sample(1))
    (process,) = processes() - before
    limits = {
        line[:25].strip(): line[25:].split()[0]
        for line in Path(f"/proc/{process.pid}/limits").read_text().splitlines()[1:]
    }
    assert (limits["Max open files"], limits["Max file size"]) == ("0", "0")
    assert 2**30 < int(limits["Max address space"]) < 2**34
    assert int(limits["Max cpu time"]) > 0
    assert not process.cwd().startswith(str(Path.cwd()))
    assert {Path(file.path) for file in process.open_files()} == set()


def test_the_process_ends_with_the_bundle_and_with_close(signed: tuple[Path, Path]) -> None:
    before = processes()
    bundle = consumer.open_bundle(*signed, device="cpu", threads=1, isolate=True)
    next(bundle.sample(1))
    (first,) = processes() - before
    bundle.close()
    assert not first.is_running()
    next(bundle.sample(1))
    (second,) = processes() - before
    del bundle
    gc.collect()
    assert not second.is_running()


def huge(generator: TrainedGenerator) -> TrainedGenerator:
    """The same with weights so large that infinities meet in the last scale."""
    *scales, last = generator.scales
    blocks = tuple(
        dataclasses.replace(block, weight=np.sign(block.weight) * np.float32(1e30)) for block in last.blocks
    )
    return dataclasses.replace(generator, scales=(*scales, dataclasses.replace(last, blocks=blocks)))


@pytest.mark.parametrize("isolate", [True, False])
def test_nan_is_an_error_that_names_generator_and_sample(make_bundle: BundleMaker, isolate: bool) -> None:
    sound, broken = tiny_generator(0, sizes=((8, 8),)), huge(tiny_generator(1, sizes=((8, 8),)))
    with consumer.open_bundle(*make_bundle(sound, broken), device="cpu", isolate=isolate) as bundle:
        drawn = bundle.sample(2, 9)
        assert next(drawn).generator == sound.spec.id
        with pytest.raises(VerificationError) as caught:
            next(drawn)
    assert caught.value.item == f"generators/{broken.spec.id}.onnx"
    assert caught.value.found == "NaN or an infinity in sample 0 of seed 9"


def test_a_generator_that_takes_too_long_is_an_error_and_the_next_one_is_drawn(
    isolated: Bundle, local: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Bounds, "seconds", lambda *_: 0.0)
        with pytest.raises(VerificationError) as caught:
            next(isolated.sample(1, 7))
    assert caught.value.item == isolated.generators[0].file
    assert "not done within 0 seconds" in caught.value.found
    assert same(next(isolated.sample(1, 7)), next(local.sample(1, 7)))


def test_a_generator_that_needs_too_much_memory_is_an_error(
    signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "SESSION_BYTES", 0)
    monkeypatch.setattr(synthetic_bundle, "BATCH_LIMITS", CostLimits(memory=0))
    monkeypatch.setattr(isolation, "SPARE_MIB", 16)
    with (
        consumer.open_bundle(*signed, device="cpu", threads=1, isolate=True) as bundle,
        pytest.raises(VerificationError, match="16 MiB of address space"),
    ):
        next(bundle.sample(1, 7, size=(800, 800)))


def test_after_an_interruption_the_samples_are_the_right_ones(
    isolated: Bundle, local: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(isolated.sample(1, 1))
    receive = Sandbox.receive

    def interrupt(sandbox: Sandbox, length: int) -> bytes:
        receive(sandbox, min(length, 1))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(isolated.sample(1, 7))
    assert all(map(same, isolated.sample(4, 8), local.sample(4, 8)))


def test_a_process_is_replaced_before_its_time_is_over(
    isolated: Bundle, local: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(isolated.sample(1))
    monkeypatch.setattr(isolation, "WORK_SECONDS", 0.0)
    drawn = isolated.sample(4, 7, generator=isolated.generators[0].spec.id, batch_size=1)
    assert all(map(same, drawn, local.sample(4, 7, generator=isolated.generators[0].spec.id)))
    assert isolated.sessions_opened == 5


def test_a_process_that_does_not_start_is_no_fault_of_a_generator(
    isolated: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "PROGRAM", ("-c", "raise SystemExit"))
    with pytest.raises(DependencyError, match="--no-isolate"):
        next(isolated.sample(1))


def test_where_memory_cannot_be_limited_isolation_is_off_or_refused(
    signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not consumer.open_bundle(*signed, device="cpu").isolate
    with pytest.raises(UsageError, match="isolate"):
        consumer.open_bundle(*signed, device="cpu", isolate=True)


def test_a_gpu_is_not_isolated() -> None:
    chosen = ProviderChoice(CUDA, "a convolution ran on it")
    assert not synthetic_bundle.isolates(None, chosen)
    with pytest.raises(UsageError, match="cuda"):
        synthetic_bundle.isolates(True, chosen)


def test_a_draw_comes_back_from_its_json() -> None:
    draw = Draw(tiny_generator(0).spec, 5, (1, 2**62), 0.25)
    assert Draw.from_json(draw.to_json()) == draw


def test_loaded_generators_fit_into_their_memory(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = consumer.open_bundle(
        *make_bundle(*(tiny_generator(seed, sizes=((8, 8),)) for seed in range(5))), device="cpu", threads=1
    )
    length = bundle.verified.container.lengths[bundle.generators[0].file]
    monkeypatch.setattr(sessions, "SESSION_BYTES", 3 * sessions.session_bytes(length))
    for _ in range(2):
        list(bundle.sample(5, batch_size=1))
    assert bundle.sessions_opened == 10
    monkeypatch.setattr(sessions, "SESSION_BYTES", 5 * sessions.session_bytes(length))
    list(bundle.sample(10, batch_size=1))
    assert bundle.sessions_opened == 12
    bundle.close()
