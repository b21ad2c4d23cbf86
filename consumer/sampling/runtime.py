"""Open ONNX Runtime sessions from verified bytes, on a device that was tried first."""

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
    # One algorithm for every batch size, in full float32: results repeat, and stay close to the CPU's.
    "cudnn_conv_algo_search": "DEFAULT",
    "use_tf32": "0",
}
_SILENT, _WARNINGS = 4, 2  # ONNX Runtime's log severities


@dataclass(frozen=True)
class ProviderChoice:
    """The device that sessions run on, and the reason for the choice."""

    name: str  # cuda or cpu
    reason: str


def choose_provider(requested: str = AUTO) -> ProviderChoice:
    """Try the requested device, because ONNX Runtime falls back to the CPU without an error.

    Raises:
        DependencyError: `cuda` is requested and does not run.
        UsageError: the device is unknown.
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
    """Check bytes against the ONNX policy, then load the same bytes.

    Args:
        data: content of the generator's file, as verified.
        spec: the generator's spec in the manifest.
        item: name of the generator in errors.
        choice: from `choose_provider`.
        threads: threads on the CPU; None takes as many as this machine has free.
        checked: whether this process has already checked these bytes against the policy, as it has for every
            generator of a `VerifiedBundle`.

    Raises:
        VerificationError: the policy refuses the file.
        DependencyError: CUDA was chosen, but this session does not use it.
    """
    if not checked:
        from sharekit.generator.onnx_policy import check_generator

        check_generator(data, item, spec)
    session = load_session(data, choice.name, threads or available_cores())
    if choice.name == CUDA and not _uses_cuda(session):
        raise _no_cuda(f"the session of {item} runs on {', '.join(session.get_providers())}")
    return session


def run_session(session: onnxruntime.InferenceSession, noise: list[NDArray[np.float32]]) -> Output:
    """Run noise from `GeneratorSpec.noise` to image `(N, c, H, W)` and mask `(N, k, H, W)` in [-1, 1]."""
    # The policy ensures that the inputs are the noise of each scale, and the outputs image and mask.
    feed = {node.name: values for node, values in zip(session.get_inputs(), noise, strict=True)}
    image, mask = session.run(None, feed)
    return image, mask


def available_cores() -> int:
    """Number of cores that this process may use and that other processes leave free."""
    return free_processors()


def load_session(data: bytes, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """Open a session on `cuda` or `cpu` from bytes that the policy has allowed."""
    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    # An arena would keep the largest batch's memory while the session lives, and is no faster here.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Waiting threads leave their core to other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list = [_CPU_PROVIDER]
    if provider == CUDA:
        providers.insert(0, (_CUDA_PROVIDER, dict(_CUDA_OPTIONS)))
    return onnxruntime.InferenceSession(data, options, providers=providers)


def onnxruntime_module() -> Any:
    """Import ONNX Runtime, which takes a while to load."""
    from sharekit.program.onnx_runtime import onnxruntime

    return onnxruntime


def _uses_cuda(session: onnxruntime.InferenceSession) -> bool:
    return _CUDA_PROVIDER in session.get_providers()


def _cuda_obstacle() -> str | None:
    """Run a convolution on CUDA; return why it fails, or None when it works."""
    onnxruntime = onnxruntime_module()
    if _CUDA_PROVIDER not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider (install onnxruntime-gpu)"
    try:
        with _quiet():
            # Finds CUDA and cuDNN where pip's nvidia-* packages install them.
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
    """Silence ONNX Runtime, which prints what it fails to load; our error gives the reason instead."""
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
