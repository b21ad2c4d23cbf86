"""Sessions come from checked bytes, and run where they say they run."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from consumer.sampling import runtime
from consumer.sampling.runtime import choose_provider, open_session, run_session
from hospital_node.candidate.build import build_onnx
from sharekit.errors import DependencyError, UsageError, VerificationError
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def cuda() -> bool:
    return choose_provider("auto").name == runtime.CUDA


def test_cpu_is_cpu() -> None:
    assert choose_provider("cpu").name == "cpu"


def test_auto_says_what_it_chose_and_why(cuda: bool) -> None:
    choice = choose_provider("auto")
    assert choice.name == ("cuda" if cuda else "cpu")
    assert len(choice.reason) > 10


def test_cuda_that_does_not_run_is_an_error_and_no_fallback(cuda: bool) -> None:
    if cuda:
        pytest.skip("a CUDA device runs here")
    with pytest.raises(DependencyError) as caught:
        choose_provider("cuda")
    assert caught.value.exit_code == 6
    assert "--device cpu" in caught.value.next_step


def test_a_session_that_silently_left_cuda_is_an_error(cuda: bool) -> None:
    if cuda:
        pytest.skip("a CUDA device runs here")
    generator = tiny_generator(0)
    pretended = runtime.ProviderChoice(runtime.CUDA, "as an earlier probe said")
    onnxruntime.set_default_logger_severity(4)
    try:
        with pytest.raises(DependencyError, match="CPUExecutionProvider"):
            open_session(build_onnx(generator), generator.spec, "x", pretended)
    finally:
        onnxruntime.set_default_logger_severity(2)


def test_an_unknown_provider_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="auto or cuda or cpu"):
        choose_provider("tpu")


@pytest.mark.gpu
def test_cuda_draws_what_the_cpu_draws(cuda: bool) -> None:
    if not cuda:
        pytest.skip("no CUDA device that ONNX Runtime can use")
    generator = tiny_generator(0)
    data, noise = build_onnx(generator), generator.spec.noise(0, range(4))
    on_cpu, on_cuda = (
        np.concatenate(
            run_session(open_session(data, generator.spec, "x", choose_provider(name)), noise), axis=1
        )
        for name in ("cpu", "cuda")
    )
    assert np.abs(on_cpu - on_cuda).max() < 1e-3


def test_bytes_that_break_the_policy_are_never_loaded() -> None:
    generator = tiny_generator(0)
    with pytest.raises(VerificationError) as caught:
        open_session(
            build_onnx(generator) + b"\0", generator.spec, "generators/x.onnx", choose_provider("cpu")
        )
    assert caught.value.item == "generators/x.onnx"


def test_a_generator_of_another_spec_is_never_loaded() -> None:
    data, other = build_onnx(tiny_generator(0)), tiny_generator(1).spec
    with pytest.raises(VerificationError, match="the spec in the manifest"):
        open_session(data, other, "x", choose_provider("cpu"))


def test_the_package_imports_without_onnx_runtime_and_torch_being_loaded() -> None:
    code = "import sys, consumer; print(sorted({'torch', 'ray', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
