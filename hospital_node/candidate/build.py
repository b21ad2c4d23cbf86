"""A trained generator as one ONNX graph, rebuilt from the parts that `onnx_contract` allows.

Nothing is traced: the graph holds the weights and the arithmetic of the method, and no trace of the training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hospital_node.singan.trained import BATCH_NORM_EPSILON, Block, TrainedGenerator, TrainedScale
from sharekit.generator import onnx_contract as contract


def build_onnx(generator: TrainedGenerator) -> bytes:
    """The whole pyramid in one file; equal generators give equal bytes.

    Inputs `noise_0 … noise_{N-1}` and outputs `image`, `mask` as in `onnx_contract`. Each scale is
    `previous + tanh(stack(pad(amplitude * noise + previous)))` with `previous` the scale below, upsampled to
    the size of this scale's own noise; at scale 0 there is no previous picture.
    """
    spec = generator.spec
    graph = _Graph()
    graph.constant("pads", contract.PADS)
    picture = None
    for number, scale in enumerate(generator.scales):
        picture = _add_scale(graph, number, scale, picture)
    graph.constant("lower", contract.LOWER)
    graph.constant("upper", contract.UPPER)
    graph.constant("split", contract.split_sizes(spec))
    clipped = graph.node("Clip", [picture or "", "lower", "upper"], "clipped")
    graph.node("Split", [clipped, "split"], contract.IMAGE, contract.MASK)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            contract.GRAPH_NAME,
            contract.graph_inputs(spec),
            contract.graph_outputs(spec),
            graph.initializers,
        ),
        producer_name=contract.PRODUCER,
        ir_version=contract.IR_VERSION,
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
    )
    helper.set_model_props(model, dict(contract.metadata(spec)))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    """Nodes and initializers in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def constant(self, name: str, value: NDArray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: list[str], *outputs: str) -> str:
        attributes = contract.OPERATORS[operator].attributes
        self.nodes.append(helper.make_node(operator, inputs, list(outputs), **attributes))
        return outputs[0]


def _add_scale(graph: _Graph, number: int, scale: TrainedScale, below: str | None) -> str:
    """Add one scale and return the name of its picture, `(batch, channels, height_i, width_i)`."""
    prefix = f"scale_{number}"
    noise = contract.noise_name(number)
    amplitude = graph.constant(f"{prefix}.amplitude", np.array(scale.noise_amplitude, dtype=np.float32))
    x = graph.node("Mul", [amplitude, noise], f"{prefix}.noise")
    previous = None
    if below is not None:
        size = graph.node("Shape", [noise], f"{prefix}.size")
        previous = graph.node("Resize", [below, "", "", size], f"{prefix}.previous")
        x = graph.node("Add", [x, previous], f"{prefix}.mixed")
    x = graph.node("Pad", [x, "pads"], f"{prefix}.padded")
    for position, block in enumerate(scale.blocks):
        weight, bias = fold(block)
        if below is None and position == 0:
            # The one noise map repeated over the channels, through a convolution, is the map through the sum.
            weight = weight.sum(axis=1, keepdims=True)
        x = _add_block(graph, f"{prefix}.block_{position}", block, weight, bias, x)
    return x if previous is None else graph.node("Add", [previous, x], f"{prefix}.picture")


def _add_block(
    graph: _Graph, prefix: str, block: Block, weight: NDArray[np.float64], bias: NDArray[np.float64], x: str
) -> str:
    names = [
        graph.constant(f"{prefix}.weight", weight.astype(np.float32)),
        graph.constant(f"{prefix}.bias", bias.astype(np.float32)),
    ]
    x = graph.node("Conv", [x, *names], f"{prefix}.convolved")
    return graph.node("Tanh" if block.norm is None else "LeakyRelu", [x], f"{prefix}.out")


def fold(block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A block's weight `(out, in, 3, 3)` and bias `(out,)` with its batch norm folded in, in float64.

    With s = gamma / sqrt(variance + epsilon): weight * s, and (bias - mean) * s + beta.
    """
    weight, bias = block.weight.astype(np.float64), block.bias.astype(np.float64)
    norm = block.norm
    if norm is None:
        return weight, bias
    scale = norm.weight.astype(np.float64) / np.sqrt(norm.variance.astype(np.float64) + BATCH_NORM_EPSILON)
    return weight * scale[:, None, None, None], (bias - norm.mean) * scale + norm.bias
