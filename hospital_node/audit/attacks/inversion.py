"""Inversion: is there plausible noise that makes the generator draw a source, but no other image?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from hospital_node.audit.attack import (
    MAX_TARGETS,
    MIN_CONTROLS,
    Array,
    AttackContext,
    AttackResult,
    Measure,
    Quantity,
    Question,
)
from hospital_node.audit.attacks.distance import resize, rmse
from hospital_node.audit.attacks.nearest import exposed_by
from hospital_node.singan.pyramid import upsample
from hospital_node.singan.trained import LEAKY_SLOPE
from sharekit.generator.onnx_contract import CONVOLUTIONS, SPEC_KEY
from sharekit.generator.spec import PADDING, GeneratorSpec
from sharekit.program.adam import adam

NAME = "inversion"
DISTANCE = Quantity(
    NAME,
    "inverted_distance",
    "distance of the best drawing of a source that noise can give (RMSE)",
    lower_is_worse=True,
)
SIDE = 40
"""Pixels, long side: scales up to this size are inverted."""
STEPS = 20
RATE = 0.1  # learning rate of Adam
TARGETS = "smallest and largest over the sources"


@dataclass(frozen=True)
class Inversion:
    """The attacker optimises the noise, on the shell of Gaussian noise, until a real image appears."""

    name: str = NAME
    question: Question = Question.EXTRACTION

    def run(self, context: AttackContext) -> AttackResult:
        network = ExportedNetwork.read(context.candidate)
        if network is None:
            return AttackResult.not_made(self.name, "the file is not a generator of this release's contract")
        images = context.compared
        rng = np.random.default_rng(context.seed)
        tried = np.sort(rng.permutation(len(images.sources))[:MAX_TARGETS])
        sources, controls = images.sources[tried], images.controls[:MAX_TARGETS]
        targets = np.concatenate([sources, controls])
        reached = invert(network, targets, context.seed)
        k = len(sources)
        exposed = exposed_by(replace(images, sources=sources, controls=controls), reached)
        best = float(reached[:k].min())
        measure = Measure(
            "full",
            DISTANCE.name,
            best,
            best,
            float(reached[:k].max()),
            TARGETS,
            baseline=float(np.median(reached[k:])) if len(controls) >= MIN_CONTROLS else None,
            control=float(rmse(sources, controls).min()) if len(controls) >= MIN_CONTROLS else None,
            stranger=_by_a_stranger(context, sources),
            effect=exposed.effect,
        )
        return AttackResult(
            self.name,
            f"RMSE of sources and of other real images to what {STEPS} steps of Adam on the noise reach, with"
            " the norm of the noise kept; baseline: the median of the other images",
            STEPS,
            len(controls),
            (measure,),
            exposed.at_chance,
        )


def _by_a_stranger(context: AttackContext, sources: Array) -> float | None:
    network = None if context.other_candidate is None else ExportedNetwork.read(context.other_candidate)
    if network is None or network.spec.layout.image_channels != sources.shape[1]:
        return None
    return float(invert(network, sources, context.seed).min())


@dataclass(frozen=True)
class ExportedNetwork:
    """A candidate's own weights in torch, so that its noise has a gradient."""

    spec: GeneratorSpec
    scales: tuple[tuple[float, tuple[tuple[Tensor, Tensor], ...]], ...]
    """Noise amplitude, and weight and bias of each convolution, coarsest scale first."""

    @staticmethod
    def read(candidate: bytes) -> ExportedNetwork | None:
        """Read a candidate; None: it is not what `candidate.build` makes."""
        try:
            model = onnx.load_model_from_string(candidate)
            stated = {item.key: item.value for item in model.metadata_props}
            spec = GeneratorSpec.from_json(json.loads(stated[SPEC_KEY]))
            arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}

            def tensor(name: str) -> Tensor:
                return torch.from_numpy(np.array(arrays[name], np.float32))

            scales = tuple(
                (
                    float(arrays[f"scale_{number}.amplitude"]),
                    tuple(
                        (
                            tensor(f"scale_{number}.block_{position}.weight"),
                            tensor(f"scale_{number}.block_{position}.bias"),
                        )
                        for position in range(CONVOLUTIONS)
                    ),
                )
                for number in range(len(spec.scales))
            )
        except Exception:
            return None
        return ExportedNetwork(spec, scales)

    @property
    def inverted_scales(self) -> int:
        """Number of scales that are small enough to be inverted, at least one."""
        return max(1, sum(max(one.height, one.width) <= SIDE for one in self.spec.scales))

    def picture(self, noise: list[Tensor]) -> Tensor:
        """From scale 0 up to the last of `noise`, all channels: `(n, C + masks, h, w)`."""
        previous: Tensor | None = None
        for z, (amplitude, convolutions) in zip(noise, self.scales, strict=False):
            below = 0.0 if previous is None else upsample(previous, *z.shape[-2:])
            x = functional.pad(amplitude * z + below, (PADDING,) * 4)
            for position, (weight, bias) in enumerate(convolutions):
                x = functional.conv2d(x, weight, bias)
                last = position == CONVOLUTIONS - 1
                x = torch.tanh(x) if last else functional.leaky_relu(x, LEAKY_SLOPE)
            previous = x if previous is None else below + x
        if previous is None:
            raise ValueError("a picture needs the noise of at least one scale")
        return previous


def invert(network: ExportedNetwork, targets: Array, seed: int) -> NDArray[np.float64]:
    """RMSE `(n,)` that optimised noise reaches for each target `(n, C, H, W)`, at the inverted scale.

    Each scale's noise keeps the norm that Gaussian noise of its size has, so that it stays plausible.
    """
    scales = network.spec.scales[: network.inverted_scales]
    wanted = torch.from_numpy(resize(targets, scales[-1].height, scales[-1].width))
    random = torch.Generator().manual_seed(seed % 2**63)
    noise = []
    for scale in scales:
        start = torch.randn((1, *scale.noise_shape), generator=random)
        noise.append(start.repeat(len(targets), 1, 1, 1).requires_grad_())
    optimizer = adam(torch, noise, lr=RATE)
    best = torch.full((len(targets),), torch.inf)
    for _ in range(STEPS):
        drawn = network.picture(noise)[:, : targets.shape[1]].clamp(-1, 1)
        squares = ((drawn - wanted) ** 2).flatten(1).mean(dim=1)
        best = torch.minimum(best, squares.detach())
        optimizer.zero_grad()
        squares.sum().backward()
        optimizer.step()
        with torch.no_grad():
            for one in noise:
                norms = one.flatten(1).norm(dim=1).clamp_min(1e-9)
                one.mul_((one[0].numel() ** 0.5 / norms)[:, None, None, None])
    return best.sqrt().double().numpy()
