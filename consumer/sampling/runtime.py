"""From verified bytes to an ONNX Runtime session, on the device that was really found."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumer.sampling.drawing import Output
from sharekit.errors import DependencyError, UsageError
from sharekit.generator.spec import GeneratorSpec
from sharekit.program.processors import free_processors

if TYPE_CHECKING:
    from sharekit.program.onnx_runtime import onnxruntime

AUTO, CUDA, CPU = "auto", "cuda", "cpu"
DEVICES = (AUTO, CUDA, CPU)

_CPU_PROVIDER = "CPUExecutionProvider"
_CUDA_PROVIDER = "CUDAExecutionProvider"
_CUDA_OPTIONS: Mapping[str, str] = {
    # One algorithm whatever the batch size, in full float32: closest to the CPU, and to itself.
    "cudnn_conv_algo_search": "DEFAULT",
    "use_tf32": "0",
}
_SILENT, _WARNINGS = 4, 2  # ONNX Runtime's log severities


@dataclass(frozen=True)
class ProviderChoice:
    """Where sessions run, and why there."""

    name: str  # cuda or cpu
    reason: str


def choose_provider(requested: str = AUTO) -> ProviderChoice:
    """Try the device that was asked for; ONNX Runtime itself falls back to the CPU without an error.

    Raises:
        DependencyError: `cuda` was asked for and does not run.
        UsageError: no such device.
    """
    if requested not in DEVICES:
        raise UsageError(
            "--device",
            expected=" or ".join(DEVICES),
            found=f"{requested!r:.80}",
            next_step="choose one of them",
        )
    if requested == CPU:
        return ProviderChoice(CPU, "as asked")
    obstacle = _cuda_obstacle()
    if obstacle is None:
        return ProviderChoice(CUDA, "a convolution ran on it")
    if requested == CUDA:
        raise _no_cuda(obstacle)
    return ProviderChoice(CPU, f"CUDA does not run here: {obstacle}")


def open_session(
    data: bytes,
    spec: GeneratorSpec,
    item: object,
    choice: ProviderChoice,
    *,
    threads: int | None = None,
    checked: bool = False,
) -> onnxruntime.InferenceSession:
    """Check the ONNX policy, then load these very bytes.

    Args:
        data: the generator's file, as verified.
        spec: what the manifest says about it.
        item: what an error calls it.
        choice: from `choose_provider`.
        threads: on the CPU; as many as this machine has free when None.
        checked: the policy has allowed these bytes in this process already, as it has for every generator of
            a `VerifiedBundle`.

    Raises:
        VerificationError: the policy refuses the file.
        DependencyError: CUDA was chosen and this session does not use it.
    """
    if not checked:
        from sharekit.generator.onnx_policy import check_generator

        check_generator(data, item, spec)
    session = load_session(data, choice.name, threads or available_cores())
    if choice.name == CUDA and not _uses_cuda(session):
        raise _no_cuda(f"the session of {item} runs on {', '.join(session.get_providers())}")
    return session


def run_session(session: onnxruntime.InferenceSession, noise: list[NDArray[np.float32]]) -> Output:
    """Noise as `GeneratorSpec.noise` gives it to image `(N, c, H, W)` and mask `(N, k, H, W)` in [-1, 1]."""
    # The policy has made sure that the inputs are the noise of each scale and the outputs image and mask.
    feed = {node.name: values for node, values in zip(session.get_inputs(), noise, strict=True)}
    image, mask = session.run(None, feed)
    return image, mask


def available_cores() -> int:
    """Cores that this process may use and that nobody else keeps busy."""
    return free_processors()


def load_session(data: bytes, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """A session of bytes that the policy has allowed, on `cuda` or `cpu`."""
    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    # An arena keeps the largest batch's memory for as long as the session lives, and is no faster here.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Waiting threads give their core to the other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list = [_CPU_PROVIDER]
    if provider == CUDA:
        providers.insert(0, (_CUDA_PROVIDER, dict(_CUDA_OPTIONS)))
    return onnxruntime.InferenceSession(data, options, providers=providers)


def onnxruntime_module() -> Any:
    """ONNX Runtime, which takes a while to load."""
    from sharekit.program.onnx_runtime import onnxruntime

    return onnxruntime


def _uses_cuda(session: onnxruntime.InferenceSession) -> bool:
    return _CUDA_PROVIDER in session.get_providers()


def _cuda_obstacle() -> str | None:
    """Why CUDA does not run, found by running a convolution on it; None when it does."""
    onnxruntime = onnxruntime_module()
    if _CUDA_PROVIDER not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider (install onnxruntime-gpu)"
    try:
        with _quiet():
            # Finds CUDA and cuDNN where pip's nvidia-* packages have put them.
            onnxruntime.preload_dlls()
            session = load_session(_probe_model(), CUDA, 1)
            if not _uses_cuda(session):
                return (
                    "ONNX Runtime could not load its CUDA provider (no NVIDIA driver, CUDA or cuDNN library)"
                )
            session.run(None, {"x": np.zeros((1, 1, 3, 3), dtype=np.float32)})
    except Exception as error:  # ONNX Runtime's errors share no base class
        return f"{type(error).__name__}: {str(error).strip():.200}"
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime prints what it fails to load; the reason is reported by us instead."""
    onnxruntime = onnxruntime_module()
    onnxruntime.set_default_logger_severity(_SILENT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)


def _probe_model() -> bytes:
    from onnx import TensorProto, helper

    from sharekit.generator.onnx_contract import IR_VERSION, OPSET

    shape = [1, 1, 3, 3]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, shape, [1.0] * 9)],
    )
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    data: bytes = model.SerializeToString()
    return data


def _no_cuda(found: str) -> DependencyError:
    return DependencyError(
        "--device cuda",
        expected="a CUDA device that ONNX Runtime really uses",
        found=found,
        next_step="install onnxruntime-gpu with the CUDA and cuDNN it needs, or use --device cpu",
    )
