"""What does drawing samples cost? Estimates memory and arithmetic from a generator's file, without a session.

The shapes of all values follow from the graph and from the sizes of the noise maps, so both numbers are known
without running anything. Estimated and measured peaks of a process in MiB (ONNX Runtime 1.31, CPU): a
generator of the private profile for 250x213 pixels, 9 scales of up to 128 channels, batch 8: 478 and 499; the
same at 500x426, batch 4: 915 and 942; at 1000x852, batch 2: 1789 and 1840; one scale of 32 channels at
1024x1024: 264 and 269. The estimates are 2 to 5 % too low; on CUDA, libraries add their own workspaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import GraphProto

from sharekit.errors import UsageError
from sharekit.generator.onnx_contract import KERNEL, noise_name
from sharekit.generator.spec import PADDING, GeneratorSpec

VALUE_BYTES = 4  # float32
NOISE_BYTES = 40  # for one noise value while it is drawn, see `noise.standard_normal`
PIXEL_BYTES = 20  # for one output value while it is converted to 8-bit pixels
WEIGHT_COPIES = 3  # the file, the session's weights, and a copy packed for the processor

Shape = tuple[int, int, int]
"""Channels, height and width of one sample's value."""


@dataclass(frozen=True)
class Cost:
    """The cost of one batch of samples, including noise and pixels."""

    memory: int  # bytes at the peak, without the program itself
    multiply_adds: int  # in all convolutions


@dataclass(frozen=True)
class CostLimits:
    """The highest allowed cost of a batch. The defaults are for one sample at the trained size."""

    memory: int = 4 * 2**30  # bytes
    multiply_adds: int = 2 * 10**12  # about 100 seconds of one processor core

    def excess(self, cost: Cost) -> tuple[str, str] | None:
        """The limit that `cost` exceeds, as expected and found texts; None if it exceeds neither."""
        if cost.memory > self.memory:
            return f"at most {self.memory / 2**30:.3g} GiB of memory", f"{cost.memory / 2**30:.3g} GiB"
        if cost.multiply_adds > self.multiply_adds:
            return f"at most {self.multiply_adds:.3g} multiply-adds", f"{cost.multiply_adds:.3g}"
        return None


FILE_LIMITS = CostLimits()
"""For one sample at the trained size; `sharekit verify` refuses a generator that costs more."""


@dataclass(frozen=True)
class Step:
    """One operator of a graph, with the names of its inputs and outputs."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    channels: tuple[int, ...] = ()
    """Channels of each output, for operators that set them: convolutions and the final split."""


@dataclass(frozen=True)
class Computation:
    """A generator's operators in order, without weights: everything that its cost depends on."""

    spec: GeneratorSpec
    steps: tuple[Step, ...]
    weight_bytes: int

    @staticmethod
    def of(graph: GraphProto, spec: GeneratorSpec) -> Computation:
        """Read a graph that the ONNX policy accepts."""
        weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        layout = spec.layout
        steps = []
        for node in graph.node:
            channels: tuple[int, ...] = ()
            if node.op_type == "Conv":
                channels = (weights[node.input[1]][0],)
            elif node.op_type == "Split":
                channels = (layout.image_channels, len(layout.mask_classes))
            values = tuple(name for name in node.input if name and name not in weights)
            steps.append(Step(node.op_type, values, tuple(node.output), channels))
        return Computation(spec, tuple(steps), sum(len(tensor.raw_data) for tensor in graph.initializer))

    def cost(self, size: tuple[int, int] | None = None, batch: int = 1) -> Cost:
        """The cost of drawing a batch.

        Args:
            size: `(height, width)` in pixels; None takes the trained size.
            batch: number of samples in the batch.
        """
        spec = self.spec if size is None else self.spec.resized(*size)
        shapes: dict[str, Shape] = {
            noise_name(number): scale.noise_shape for number, scale in enumerate(spec.scales)
        }
        held = frozenset(shapes)  # the caller keeps the noise
        noise = batch * VALUE_BYTES * sum(map(_values, shapes.values()))
        drawing = NOISE_BYTES * max(map(_values, shapes.values())) + noise
        last_use = {name: number for number, step in enumerate(self.steps) for name in step.inputs}
        alive = peak = work = 0  # values of one sample, without the noise
        for number, step in enumerate(self.steps):
            made = _shapes_made(step, shapes)
            shapes.update(made)
            alive += sum(map(_values, made.values()))
            peak = max(peak, alive)
            if step.operator == "Conv":
                work += _multiply_adds(shapes[step.inputs[0]], shapes[step.outputs[0]])
            for name in set(step.inputs):
                if last_use[name] == number and name not in held:
                    alive -= _values(shapes[name])
        outputs = sum(_values(shapes[name]) for name in self.steps[-1].outputs)
        running = noise + batch * VALUE_BYTES * peak
        storing = noise + batch * PIXEL_BYTES * outputs
        memory = WEIGHT_COPIES * self.weight_bytes + max(drawing, running, storing)
        return Cost(memory, batch * work)


def check_request(
    computation: Computation, size: tuple[int, int] | None, batch: int, limits: CostLimits
) -> None:
    """Refuse a request that costs more than `limits`.

    Args:
        computation: of the generator, from `onnx_policy.check_generator`.
        size: `(height, width)` in pixels; None takes the trained size.
        batch: number of samples in the batch.
        limits: limits for one batch on this machine.

    Raises:
        UsageError: naming the generator.
    """
    excess = limits.excess(computation.cost(size, batch))
    if excess is not None:
        height, width = size or (computation.spec.height, computation.spec.width)
        raise UsageError(
            f"generator {computation.spec.id}",
            expected=f"a request of {excess[0]}",
            found=f"{excess[1]} for {batch} samples of {width}x{height} pixels",
            next_step="ask for a smaller size or a smaller batch",
        )


def _shapes_made(step: Step, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes of a step's outputs. The output of `Shape` is so small that it counts as nothing."""
    if step.operator == "Shape":
        return {step.outputs[0]: (0, *shapes[step.inputs[0]][1:])}
    given = [shapes[name] for name in step.inputs]
    channels, height, width = (max(sides) for sides in zip(*given, strict=True))
    if step.operator == "Pad":
        height, width = height + 2 * PADDING, width + 2 * PADDING
    elif step.operator == "Conv":
        height, width = max(0, height - KERNEL + 1), max(0, width - KERNEL + 1)
    elif step.operator == "Resize":
        channels, (_, height, width) = given[0][0], given[1]
    counts = step.channels or (channels,) * len(step.outputs)
    return {name: (count, height, width) for name, count in zip(step.outputs, counts, strict=True)}


def _values(shape: Shape) -> int:
    channels, height, width = shape
    return channels * height * width


def _multiply_adds(before: Shape, after: Shape) -> int:
    return before[0] * KERNEL**2 * _values(after)
