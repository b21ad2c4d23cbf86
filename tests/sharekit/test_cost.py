"""What a generator costs follows from its file, and a file or a request that costs too much is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hospital_node.candidate.build import build_onnx
from sharekit.bundle.bundle import verify_bundle
from sharekit.bundle.manifest import Limits
from sharekit.cli import main
from sharekit.errors import UsageError, VerificationError
from sharekit.generator.cost import FILE_LIMITS, VALUE_BYTES, Computation, Cost, CostLimits, check_request
from sharekit.generator.onnx_policy import check_generator
from sharekit.signing import keys
from tests.sharekit.bundles import complete, make_parts, write_signed
from tests.tiny import HIDDEN_CHANNELS, tiny_generator

KEY = keys.generate()


def computation(sizes: tuple[tuple[int, int], ...], hidden_channels: int = HIDDEN_CHANNELS) -> Computation:
    return check_generator(build_onnx(tiny_generator(sizes=sizes, hidden_channels=hidden_channels)), "x")


def test_multiply_adds_are_those_of_the_five_convolutions() -> None:
    found = computation(((20, 30),)).cost().multiply_adds
    channels = [1, 6, 6, 6, 6, 4]  # noise, hidden ones, RGB and a mask
    sides = [(20 + margin, 30 + margin) for margin in (8, 6, 4, 2, 0)]
    expected = sum(
        9 * channels[i] * channels[i + 1] * height * width for i, (height, width) in enumerate(sides)
    )
    assert found == expected


def test_memory_holds_what_goes_into_the_widest_operator_and_what_comes_out() -> None:
    found = computation(((200, 300),), hidden_channels=32)
    widest = VALUE_BYTES * 2 * 32 * 208 * 308  # the activation after the first convolution
    noise = VALUE_BYTES * 200 * 300
    assert found.cost().memory == widest + noise + 3 * found.weight_bytes


@pytest.mark.parametrize("batch", [2, 7])
def test_a_batch_costs_its_samples(batch: int) -> None:
    one = computation(((50, 60), (100, 120)))
    assert one.cost(batch=batch).multiply_adds == batch * one.cost().multiply_adds
    assert one.cost().memory < one.cost(batch=batch).memory <= batch * one.cost().memory


def test_a_request_of_the_trained_size_costs_what_the_file_costs() -> None:
    found = computation(((50, 60), (100, 120)))
    assert found.cost((100, 120)) == found.cost()
    larger = found.cost((400, 480))
    assert 12 < larger.multiply_adds / found.cost().multiply_adds < 16  # 16 times the pixels, padding apart


def test_every_scale_adds_to_the_cost() -> None:
    costs = [computation(((50, 60),) * scales).cost().multiply_adds for scales in (1, 2, 3)]
    assert costs[0] < costs[1] < costs[2]


def test_convolutions_are_counted_at_the_size_that_they_run_at() -> None:
    """A file may run every convolution at its finest scale: the graph counts, not the number of the scale."""
    found = computation(((10, 10), (100, 100)))
    steps = list(found.steps)
    first = next(number for number, step in enumerate(steps) if step.operator == "Pad")
    # Scale 0 works on the noise of scale 1.
    steps[first] = dataclasses.replace(steps[first], inputs=("noise_1",))
    moved = dataclasses.replace(found, steps=tuple(steps))
    assert moved.cost().multiply_adds > 1.8 * found.cost().multiply_adds


@pytest.mark.parametrize(
    ("sizes", "hidden_channels", "expected"),
    [
        (((4096, 4096),), 64, "GiB of memory"),
        (((1024, 1024),) * 24, 64, "multiply-adds"),
        (((16384, 1),) * 2 + ((16384, 4096),), 6, "GiB of memory"),
    ],
    ids=["one huge scale", "many large scales", "a huge finest scale"],
)
def test_a_file_that_claims_too_much_is_refused(
    sizes: tuple[tuple[int, int], ...], hidden_channels: int, expected: str
) -> None:
    with pytest.raises(VerificationError) as caught:
        computation(sizes, hidden_channels)
    assert expected in caught.value.expected


def test_published_sizes_are_far_within_the_limits() -> None:
    pyramid = tuple((round(213 * 0.75 ** (8 - i)), round(250 * 0.75 ** (8 - i))) for i in range(9))
    cost = computation(pyramid, hidden_channels=64).cost()
    assert cost.memory < FILE_LIMITS.memory / 20
    assert cost.multiply_adds < FILE_LIMITS.multiply_adds / 20


def bomb(tmp_path: Path, limits: Limits) -> Path:
    """The case shape-bomb: a signed bundle whose generator was "trained" at 4096 x 4096."""
    generator = tiny_generator(sizes=((4096, 4096),), hidden_channels=64)
    parts = make_parts(KEY, {generator.spec: build_onnx(generator)})
    parts = dataclasses.replace(parts, manifest=dataclasses.replace(parts.manifest, limits=limits))
    return write_signed(tmp_path / "bundle", complete(parts), KEY)


def test_a_bundle_that_is_a_shape_bomb_is_refused_by_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bomb(tmp_path, Limits(max_side=4096))
    KEY.public.save(tmp_path / "key.pub")
    started = time.process_time()
    assert main(["verify", str(path), "--key", str(tmp_path / "key.pub")]) == 4
    assert time.process_time() - started < 5
    assert "8.1 GiB" in capsys.readouterr().err


def test_a_generator_beyond_its_own_manifests_limits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="within the limit of 1024 pixels, found 4096") as caught:
        verify_bundle(bomb(tmp_path, Limits()), [KEY.public])
    assert caught.value.item == "manifest.json"


def test_a_request_that_asks_too_much_is_wrong_usage() -> None:
    found = computation(((50, 60),))
    limits = CostLimits(memory=2**27, multiply_adds=10**10)
    check_request(found, None, 1, limits)
    with pytest.raises(UsageError, match=r"GiB for 1 samples of 4000x3000 pixels"):
        check_request(found, (3000, 4000), 1, limits)
    with pytest.raises(UsageError, match=r"for 100000 samples of 60x50 pixels"):
        check_request(found, None, 100_000, limits)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (Cost(10, 10), None),
        (Cost(2**31, 10), ("at most 1 GiB of memory", "2 GiB")),
        (Cost(10, 3 * 10**12), ("at most 1e+12 multiply-adds", "3e+12")),
    ],
)
def test_limits_name_what_exceeds_them(cost: Cost, expected: tuple[str, str] | None) -> None:
    assert CostLimits(2**30, 10**12).excess(cost) == expected


MEASURE = """
import json, sys
from pathlib import Path
from consumer.sampling import runtime
from sharekit.generator.onnx_policy import check_generator
def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
data = Path(sys.argv[1]).read_bytes()
computation = check_generator(data, "x")
spec = computation.spec
session = runtime.open_session(data, spec, "x", runtime.ProviderChoice("cpu", ""), threads=1)
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
runtime.run_session(session, spec.noise(0, range(2)))
print(json.dumps([computation.cost(batch=2).memory, resident("VmHWM") - before]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_estimated_memory_is_near_what_a_process_takes(tmp_path: Path) -> None:
    generator = tiny_generator(sizes=((200, 300), (400, 600)), hidden_channels=32)
    (tmp_path / "g.onnx").write_bytes(build_onnx(generator))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "g.onnx")]
    estimated, taken = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert 0.67 < estimated / taken < 1.5
