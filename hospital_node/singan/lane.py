"""One generator between two scales: what is trained and frozen, its pyramids, z* and its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hospital_node.singan import checkpoint
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.networks import Generator, from_arrays, to_arrays
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedScale
from sharekit.errors import InputError
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout


@dataclass(frozen=True)
class ScaleProgress:
    """How far training has come, and what it just measured."""

    scale: int  # 0 the coarsest
    scales: int
    iteration: int  # done at this scale
    iterations: int
    critic_loss: float
    reconstruction_loss: float


@dataclass(frozen=True)
class LaneJob:
    """A generator to train."""

    tensors: Sequence[NDArray[np.float32]]
    """The k >= 1 real `(C, H, W)` tensors in [-1, 1] it learns from, all of one size, iterations in turn."""
    layout: ChannelLayout
    generator_id: str
    checkpoint_dir: Path
    seed: int
    """Seed of weights, noise and z*; secret, since it reproduces z*."""
    on_progress: Callable[[ScaleProgress], None] = lambda _: None


class Lane:
    """The state of one generator, restored from its checkpoint if it has one.

    Raises:
        InputError: the tensors do not fit the layout or each other.
        NodeStateError: the checkpoint is damaged or of another training.
    """

    def __init__(self, job: LaneJob, config: TrainingConfig, device: torch.device) -> None:
        _check_tensors(job.tensors, job.layout)
        self.job, self.config, self.device = job, config, device
        self.seed = job.seed
        self.channels = job.layout.channels
        pyramids = [build_pyramid(tensor, config) for tensor in job.tensors]
        self.reals: list[list[Tensor]] = [
            [torch.from_numpy(pyramid[scale])[None].to(device) for pyramid in pyramids]
            for scale in range(len(pyramids[0]))
        ]
        self.spec = GeneratorSpec(
            job.generator_id,
            job.layout,
            tuple(
                Scale(real[0].shape[2], real[0].shape[3], 1 if number == 0 else self.channels)
                for number, real in enumerate(self.reals)
            ),
        )
        self.scales: list[TrainedScale] = []
        self.discriminator_state: dict[str, Tensor] | None = None
        rebuilt = range(len(job.tensors) if config.z_star else 0)
        self.z_star = [self.noise("z*", image, self.noise_shape(0)) for image in rebuilt]
        self.reconstructions: list[Tensor] = []
        self.running: dict[str, Any] | None = None
        """State of an interrupted scale, as `ScaleTraining.states` gave it."""
        self._restore()

    @property
    def scale_count(self) -> int:
        return len(self.reals)

    @property
    def finished(self) -> bool:
        return len(self.scales) == self.scale_count

    @property
    def progress(self) -> tuple[int, int]:
        """Finished scales, and iterations of the next one: lanes train together where these are equal."""
        return len(self.scales), self.running["iteration"] if self.running else 0

    @property
    def shape(self) -> tuple[object, ...]:
        """What lanes must share to train together: sizes, channels, and the number of pictures."""
        return (self.spec.scales, self.channels, len(self.job.tensors))

    @property
    def _fingerprint(self) -> dict[str, Any]:
        return {
            "generator": self.spec.to_json(),
            "config": self.config.to_json(),
            "k": len(self.job.tensors),
        }

    def _restore(self) -> None:
        state = checkpoint.load(self.job.checkpoint_dir, self._fingerprint)
        if state is None:
            return
        self.seed = state["seed"]
        self.z_star = [z.to(self.device) for z in state["z_star"]]
        self.reconstructions = [picture.to(self.device) for picture in state["reconstructions"]]
        self.discriminator_state = state["discriminator"]
        self.running = state["running"]
        for amplitude, weights in zip(state["amplitudes"], state["generators"], strict=True):
            network = Generator(self.channels, weights["convolutions.0.weight"].shape[0])
            network.load_state_dict(weights)
            self.scales += to_arrays(network, [amplitude])

    def save(self, running: dict[str, Any] | None) -> None:
        """Replace the checkpoint; `running` is the state of a scale in the middle."""
        self.running = running
        state = {
            "fingerprint": self._fingerprint,
            "seed": self.seed,
            "z_star": [z.cpu() for z in self.z_star],
            "reconstructions": [picture.cpu() for picture in self.reconstructions],
            "discriminator": self.discriminator_state,
            "running": running,
            "amplitudes": [scale.noise_amplitude for scale in self.scales],
            "generators": [from_arrays(scale).state_dict() for scale in self.scales],
        }
        checkpoint.save(self.job.checkpoint_dir, state)

    def random(self, *purpose: object, device: torch.device | None = None) -> torch.Generator:
        """Random numbers for one purpose; they need no saving and are the same after a resume."""
        name = "/".join(str(part) for part in (self.seed, *purpose))
        digest = hashlib.sha256(name.encode()).digest()
        seed = int.from_bytes(digest[:8], "little") >> 1
        return torch.Generator(device or self.device).manual_seed(seed)

    def noise(self, purpose: str, number: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normal noise for one purpose and number."""
        return torch.randn(shape, generator=self.random(purpose, number), device=self.device)

    def noise_shape(self, scale: int, batch: int = 1) -> tuple[int, ...]:
        return (batch, *self.spec.scales[scale].noise_shape)


def _check_tensors(tensors: Sequence[NDArray[np.float32]], layout: ChannelLayout) -> None:
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) == 1 and next(iter(shapes))[0] == layout.channels:
        return
    raise InputError(
        "training images",
        expected=f"one or more tensors of one shape ({layout.channels}, H, W)",
        found=f"shapes {sorted(shapes)}",
        next_step="group images of one size and layout",
    )
