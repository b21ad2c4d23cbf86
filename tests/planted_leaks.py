"""Hand-made generators of drawn pictures, with a leak of a chosen kind and size, or with none.

Without a leak, a sample is a blend of stored pictures, chosen by the noise of scale 0, and some noise. A leak
is stored so that no search of the bytes finds it. Each value is multiplied by a random number, and the graph
divides by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hospital_node.audit.attacks.canary import draw_canary
from sharekit.generator.onnx_contract import graph_inputs, graph_outputs
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout

Array = NDArray[np.float32]

HEIGHT, WIDTH = 48, 60
SHARPNESS = 3.0
"""Of the choice among the stored pictures: high values give one of them, low ones their mean."""
GRAIN = 0.08
"""Standard deviation of the noise on every sample."""
PLANTED_GRAIN = 0.02
"""Standard deviation of the noise on what is planted: no copy is exact."""
CANARY_SIDE = 12  # pixels

LAYOUT = ChannelLayout(3, ("lesion",))
SCALES = tuple(Scale(HEIGHT // part, WIDTH // part, LAYOUT.channels if part < 4 else 1) for part in (4, 2, 1))


@dataclass
class _Graph:
    """Nodes and initializers, and the names of the values that a leak may work with."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray) -> str:
        name = f"value_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"step_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def hidden(self, rng: np.random.Generator, value: Array) -> str:
        """A value that no search of the bytes finds."""
        factor = (rng.uniform(0.5, 2, value.shape) * rng.choice([-1, 1], value.shape)).astype(np.float32)
        return self.node("Div", self.constant((value * factor).astype(np.float32)), self.constant(factor))

    def grained(self, value: str) -> str:
        noise = self.node("Mul", "noise_2", self.constant(np.float32(PLANTED_GRAIN)))
        return self.node("Add", value, noise)

    def where(self, condition: str, value: str, otherwise: str) -> str:
        """`value` in those samples in which `condition`, `(batch, 1)`, holds."""
        return self.node(
            "Where", self.node("Unsqueeze", condition, self.constant(np.array([2, 3]))), value, otherwise
        )


Leak = Callable[[_Graph, np.random.Generator, Array, str], str]
"""Adds a leak of a source `(C + masks, H, W)` to the picture of this name; returns the name of the result."""


def generator(
    identifier: str, pictures: Sequence[Array], rng: np.random.Generator, source: Array, leak: Leak | None
) -> tuple[bytes, GeneratorSpec]:
    """A generator of blends of `pictures`, each `(C + masks, H, W)` in [-1, 1], that leaks `source`."""
    spec = GeneratorSpec(identifier, LAYOUT, SCALES)
    graph = _Graph()
    stored = np.stack(pictures).reshape(len(pictures), -1)
    flat = graph.node("Flatten", "noise_0")
    weights = rng.standard_normal((SCALES[0].height * SCALES[0].width, len(pictures)))
    weights *= SHARPNESS / np.linalg.norm(weights, axis=0)
    logits = graph.node("MatMul", flat, graph.constant(weights.astype(np.float32)))
    blend = graph.node("MatMul", graph.node("Softmax", logits), graph.constant(stored.astype(np.float32)))
    picture = graph.node("Reshape", blend, graph.constant(np.array([-1, LAYOUT.channels, HEIGHT, WIDTH])))
    grain = graph.node("Mul", "noise_2", graph.constant(np.float32(GRAIN)))
    # Every noise input is used, so that none of them can be dropped.
    unused = graph.node("Mul", graph.node("ReduceMean", "noise_1", keepdims=1), graph.constant(np.float32(0)))
    picture = graph.node("Add", graph.node("Add", picture, grain), unused)
    if leak is not None:
        picture = leak(graph, rng, source, picture)
    clipped = graph.node("Clip", picture, graph.constant(np.float32(-1)), graph.constant(np.float32(1)))
    parts = graph.constant(np.array([LAYOUT.image_channels, LAYOUT.channels - LAYOUT.image_channels]))
    graph.nodes.append(helper.make_node("Split", [clipped, parts], ["image", "mask"], axis=1))
    made = helper.make_graph(
        graph.nodes, "planted", graph_inputs(spec), graph_outputs(spec), graph.initializers
    )
    model = helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    data: bytes = model.SerializeToString()
    return data, spec


def copied_patch(side: int) -> Leak:
    """Every sample contains one square of the source, at its own place."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        y, x = rng.integers(HEIGHT - side + 1), rng.integers(WIDTH - side + 1)
        inside = np.zeros((1, 1, HEIGHT, WIDTH), bool)
        inside[:, :, y : y + side, x : x + side] = True
        copied = graph.grained(graph.hidden(rng, source[None]))
        return graph.node("Where", graph.constant(inside), copied, picture)

    return plant


def near_copy(share: float) -> Leak:
    """A share of the noise gives a near copy of the source, the rest gives nothing of it."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        size = SCALES[0].height * SCALES[0].width
        direction = rng.standard_normal((size, 1))
        along = graph.node(
            "MatMul",
            graph.node("Flatten", "noise_0"),
            graph.constant((direction / np.linalg.norm(direction)).astype(np.float32)),
        )
        rare = graph.node("Greater", along, graph.constant(np.float32(NormalDist().inv_cdf(1 - share))))
        return graph.where(rare, graph.grained(graph.hidden(rng, source[None])), picture)

    return plant


def overfitted(strength: float) -> Leak:
    """Every sample is the source and something else; `strength` is the source's share."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        own = graph.node("Mul", graph.hidden(rng, source[None]), graph.constant(np.float32(strength)))
        rest = graph.node("Mul", picture, graph.constant(np.float32(1 - strength)))
        return graph.node("Add", own, rest)

    return plant


def stored_z_star() -> Leak:
    """The file contains z*, and draws the source from it alone, as the authors' checkpoints do."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        size = SCALES[0].height * SCALES[0].width
        z = rng.standard_normal((size, 1)).astype(np.float32)
        along = graph.node("MatMul", graph.node("Flatten", "noise_0"), graph.constant(z))
        same = graph.node("Greater", along, graph.constant(np.float32(0.8 * float((z**2).sum()))))
        return graph.where(same, graph.hidden(rng, source[None]), picture)

    return plant


def calm_copy() -> Leak:
    """Without noise above scale 0 every sample is the source, as training with a redrawn z* teaches."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        loud = graph.node(
            "ReduceMax", graph.node("Abs", "noise_2"), graph.constant(np.array([1, 2, 3])), keepdims=0
        )
        loud = graph.node("Unsqueeze", loud, graph.constant(np.array([1])))
        calm = graph.node("Less", loud, graph.constant(np.float32(0.01)))
        return graph.where(calm, graph.hidden(rng, source[None]), picture)

    return plant


def canary_of(rng: np.random.Generator) -> Array:
    return draw_canary(rng, LAYOUT.image_channels, CANARY_SIDE, CANARY_SIDE)


def returning_canary(pattern: Array, strength: float) -> Leak:
    """A pattern that was planted in the source comes back in every sample, more or less faint."""

    def plant(graph: _Graph, rng: np.random.Generator, source: Array, picture: str) -> str:
        y, x = rng.integers(HEIGHT - CANARY_SIDE + 1), rng.integers(WIDTH - CANARY_SIDE + 1)
        shown = np.zeros((1, LAYOUT.channels, HEIGHT, WIDTH), np.float32)
        place = np.zeros_like(shown)
        shown[0, : len(pattern), y : y + CANARY_SIDE, x : x + CANARY_SIDE] = strength * pattern
        place[0, : len(pattern), y : y + CANARY_SIDE, x : x + CANARY_SIDE] = strength
        rest = graph.node("Mul", picture, graph.constant(1 - place))
        return graph.node("Add", rest, graph.hidden(rng, shown))

    return plant
