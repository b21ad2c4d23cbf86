"""Export a trained network as one ONNX file of plain operators, and compare the file with the network."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sharekit.errors import SharekitError, UsageError
from sharekit.generator.onnx_contract import PRODUCER
from sharekit.segmenter.contract import INPUT_NAME, OUTPUT_NAME, SegmenterContract, attach

if TYPE_CHECKING:
    import torch

OPSET = 17
TOLERANCE = 1e-4
"""Largest allowed difference of any foreground probability."""
BATCH_AXIS = "batch"
NOT_PLAIN = frozenset({"Shape", "If", "Loop", "Scan", "NonZero", "Expand", "ConstantOfShape"})
"""Operators that compute sizes at run time; here every size except the batch's is known in advance."""
_SIZED_RESIZE_INPUTS = 4  # image, region of interest, factors, sizes


def export_onnx(network: torch.nn.Module, contract: SegmenterContract) -> bytes:
    """Export the network in evaluation mode with folded batch norms; equal weights give equal bytes.

    Values have numbers as names, so the file holds no name of a module or folder.

    Raises:
        UsageError: the architecture needs more than plain operators.
    """
    model = _folded(_traced(network, contract))
    _plain(model)
    attach(model, contract)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _traced(network: torch.nn.Module, contract: SegmenterContract) -> bytes:
    """The graph that torch's tracer records for one image.

    Raises:
        UsageError: the network has a part that the tracer cannot express in ONNX.
    """
    import torch

    frozen: Any = copy.deepcopy(network).cpu().eval()
    frozen.to(memory_format=torch.contiguous_format)
    example = torch.zeros(1, contract.image_channels, *contract.size)
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _any_pooling():
        # The tracer warns of sizes that become constants, which is intended here.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                frozen,
                (example,),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
            )
        except Exception as error:  # several kinds of errors, with pages of graph in their text
            raise _not_exportable(f"{type(error).__name__} of torch's exporter") from error
    return buffer.getvalue()


@contextlib.contextmanager
def _any_pooling() -> Iterator[None]:
    """Inside the block, let torch export adaptive average pooling between any two sizes.

    By itself, torch exports it only where the output's sides divide the input's. Pooling to a fixed size is a
    product with two constant matrices: one averages rows, the other averages columns.
    """
    import torch
    from torch.onnx import symbolic_helper

    name = "aten::adaptive_avg_pool2d"

    @symbolic_helper.parse_args("v", "is")
    def pool(graph: Any, image: Any, size: list[int]) -> Any:
        rows, columns = size
        if (rows, columns) == (1, 1):
            # The tracer may not know the image's sizes; here they do not matter.
            return graph.op("GlobalAveragePool", image)
        height, width = image.type().sizes()[-2:]
        down = graph.op("Constant", value_t=torch.from_numpy(averaging(height, rows)))
        across = graph.op("Constant", value_t=torch.from_numpy(averaging(width, columns).T.copy()))
        return graph.op("MatMul", graph.op("MatMul", down, image), across)

    torch.onnx.register_custom_op_symbolic(name, pool, OPSET)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(name, OPSET)


def averaging(length: int, parts: int) -> NDArray[np.float32]:
    """A matrix `(parts, length)` that averages `length` values in `parts` windows.

    Row i averages from floor(i length / parts) to before ceil((i + 1) length / parts), as torch's
    `AdaptiveAvgPool2d` does.
    """
    matrix = np.zeros((parts, length), np.float32)
    for part in range(parts):
        start, end = part * length // parts, -(-(part + 1) * length // parts)
        matrix[part, start:end] = 1 / (end - start)
    return matrix


def operators(data: bytes) -> dict[str, int]:
    """Number of operators of each type in an ONNX file, sorted by name."""
    return dict(sorted(Counter(node.op_type for node in onnx.load_from_string(data).graph.node).items()))


def measure_parity(
    data: bytes,
    network: torch.nn.Module,
    contract: SegmenterContract,
    images: NDArray[np.uint8],
    *,
    threads: int = 1,
) -> float:
    """Run the file in ONNX Runtime and the network in torch on the same images, in batches of several sizes.

    Args:
        images: `(N, h, w, C)` uint8, at the contract's size.

    Returns:
        The largest difference of any foreground probability.

    Raises:
        SharekitError: the difference is above `TOLERANCE`, or not a number.
    """
    import torch

    from sharekit.program.onnx_runtime import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    frozen = copy.deepcopy(network).cpu().eval()
    inputs = contract.normalise(images)
    worst = 0.0
    for batch in (inputs, inputs[:1], np.concatenate([inputs[:1], inputs[-1:], inputs[:1]])):
        with torch.inference_mode():
            expected = contract.probabilities(frozen(torch.from_numpy(batch)).numpy())
        try:
            (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: batch})
        except Exception as error:
            raise _unfaithful(f"{type(error).__name__} on a batch of {len(batch)}") from error
        worst = max(worst, float(np.abs(contract.probabilities(found) - expected).max()))
    if not worst <= TOLERANCE:
        raise _unfaithful(f"a difference of {worst:.3g}")
    return worst


def _unfaithful(found: str) -> SharekitError:
    return SharekitError(
        "ONNX export",
        expected=f"probabilities within {TOLERANCE:g} of the trained network's",
        found=found,
        next_step="choose another --architecture or --encoder, and report this one",
    )


def _folded(data: bytes) -> onnx.ModelProto:
    """The graph with constants and norms folded by ONNX Runtime's basic, machine-independent rewriting."""
    from sharekit.program.onnx_runtime import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def _plain(model: onnx.ModelProto) -> None:
    """Number the values, make the batch the only free axis, and require the default operators."""
    graph = model.graph
    _scale_resizes(model)
    _keep_batches(model)
    found = sorted({node.op_type for node in graph.node if node.op_type in NOT_PLAIN or node.domain})
    if found:
        raise _not_exportable(f"the operators {', '.join(found)} in its ONNX graph")
    _number_values(graph)
    del graph.value_info[:]
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
        value.doc_string = ""
    graph.name, graph.doc_string, model.doc_string = "segmenter", "", ""
    model.producer_name, model.producer_version = PRODUCER, ""


def _not_exportable(found: str) -> UsageError:
    return UsageError(
        "--architecture, --encoder",
        expected="a network that ONNX can express with sizes that follow from its input's",
        found=found,
        next_step="choose another architecture or encoder, such as unetplusplus with se_resnext50_32x4d",
    )


def _keep_batches(model: onnx.ModelProto) -> None:
    """Change every Reshape to the example's batch of one into a Reshape to any batch.

    The batch is in the first axis, alone or joined with others. In ONNX, a length of -1 means "the rest", and
    0 means "the length of the input's axis".
    """
    shapes = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in shapes:
            continue
        shape = onnx.numpy_helper.to_array(shapes[node.input[1]]).copy()
        if -1 not in shape:
            shape[0] = -1
        elif shape[0] == 1:
            shape[0] = 0
        name = f"shape_{number}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, name))
        node.input[1] = name
    _drop_unused(model.graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)


def _scale_resizes(model: onnx.ModelProto) -> None:
    """Change every Resize to a traced size, which fixes the batch, into a Resize by the same factors."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    sizes = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Resize" and len(node.input) == _SIZED_RESIZE_INPUTS:
            target = onnx.numpy_helper.to_array(sizes[node.input[3]])
            factors = (target / np.array(shapes[node.input[0]])).astype(np.float32)
            name = f"factors_{number}"
            model.graph.initializer.append(onnx.numpy_helper.from_array(factors, name))
            node.input[:] = [node.input[0], "", name]
    _drop_unused(model.graph)


def _number_values(graph: onnx.GraphProto) -> None:
    names = {INPUT_NAME: INPUT_NAME, OUTPUT_NAME: OUTPUT_NAME, "": ""}
    for number, tensor in enumerate(graph.initializer):
        names[tensor.name] = f"weight_{number}"
        tensor.name, tensor.doc_string = names[tensor.name], ""
    number = 0
    for node in graph.node:
        for name in node.output:
            if name not in names:
                names[name] = f"value_{number}"
                number += 1
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name, node.doc_string = "", ""
