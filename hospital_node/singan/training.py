"""Training one generator, scale by scale, on the pyramids it learns from."""

from __future__ import annotations

import hashlib
import math
import re
import time
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
from hospital_node.singan.critic import critic_gradients
from hospital_node.singan.losses import reconstruction_loss, rmse
from hospital_node.singan.networks import (
    Discriminator,
    Generator,
    channels_at,
    expand_noise,
    from_arrays,
    initialise,
    run_chain,
    to_arrays,
)
from hospital_node.singan.pyramid import build_pyramid, upsample
from hospital_node.singan.trained import TrainedGenerator, TrainedScale
from sharekit.errors import InputError, SharekitError
from sharekit.generator import GeneratorSpec, Scale
from sharekit.tensors import ChannelLayout

CHECKPOINT_SECONDS = 60.0
"""Within a scale; at the end of every scale a checkpoint is written in any case."""
PREFETCH = 8
"""Outputs of the frozen lower scales drawn in one batch; they do not depend on what is being trained."""


@dataclass(frozen=True)
class ScaleProgress:
    """How far training has come, and what it just measured."""

    scale: int  # 0 the coarsest
    scales: int
    iteration: int  # done at this scale
    iterations: int
    critic_loss: float
    reconstruction_loss: float


class Stopped(SharekitError):  # noqa: N818 - not a fault: the caller asked for it
    """Training stopped because the caller asked; a checkpoint holds everything done so far."""

    exit_code = 130


class DivergedError(SharekitError):
    """A network's weights are not finite any more."""


def train(
    tensors: Sequence[NDArray[np.float32]],
    layout: ChannelLayout,
    config: TrainingConfig,
    *,
    generator_id: str,
    profile: str,
    checkpoint_dir: Path,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    on_progress: Callable[[ScaleProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedGenerator:
    """Train a generator, going on from the checkpoint in `checkpoint_dir` where there is one.

    Args:
        tensors: one or more real `(C, H, W)` float32 tensors in [-1, 1] of one size, channels as in `layout`;
            iterations take them in turn.
        seed: of weights, noise and z*; secret, since it reproduces z*.
        device: a torch device.
        threads: CPU threads for torch; set for the whole process.

    Returns:
        The trained generator: weights alone. z* lives in the checkpoint, for the caller to destroy.

    Raises:
        Stopped: `should_stop` returned true; the work is in the checkpoint.
        DivergedError: the weights became infinite or NaN.
        InputError: the tensors do not fit the layout or each other.
        NodeStateError: the checkpoint is damaged or of another training.
    """
    _check_tensors(tensors, layout)
    torch.set_num_threads(threads)
    training = Training(tensors, layout, config, generator_id, checkpoint_dir, seed, torch.device(device))
    while len(training.scales) < training.scale_count:
        training.train_scale(on_progress, should_stop)
    return TrainedGenerator(
        training.spec,
        profile,
        config,
        tuple(training.scales),
        group_size=len(tensors),
        hardware=_device_class(training.device),
    )


def _device_class(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return re.sub(r"[^\w .()/-]", "", torch.cuda.get_device_name(device))[:64]


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


class Training:
    """The state between scales: what is trained, what is frozen, and the reconstructions so far."""

    def __init__(
        self,
        tensors: Sequence[NDArray[np.float32]],
        layout: ChannelLayout,
        config: TrainingConfig,
        generator_id: str,
        checkpoint_dir: Path,
        seed: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.channels = layout.channels
        pyramids = [build_pyramid(tensor, config) for tensor in tensors]
        self.reals: list[list[Tensor]] = [
            [torch.from_numpy(pyramid[scale])[None].to(device) for pyramid in pyramids]
            for scale in range(len(pyramids[0]))
        ]
        self.scale_count = len(self.reals)
        self.spec = GeneratorSpec(
            generator_id,
            layout,
            tuple(
                Scale(real[0].shape[2], real[0].shape[3], 1 if number == 0 else layout.channels)
                for number, real in enumerate(self.reals)
            ),
        )
        self.fingerprint = {"generator": self.spec.to_json(), "config": config.to_json(), "k": len(tensors)}
        self.scales: list[TrainedScale] = []
        self.discriminator_state: dict[str, Tensor] | None = None
        self.z_star = [self._noise("z*", image, self._noise_shape(0)) for image in range(len(tensors))]
        self.reconstructions: list[Tensor] = []
        self.running: dict[str, Any] | None = None
        self._restore()

    def _restore(self) -> None:
        state = checkpoint.load(self.checkpoint_dir, self.fingerprint)
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
            self.scales.append(to_arrays(network, amplitude))

    def _save(self, running: dict[str, Any] | None) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "z_star": [z.cpu() for z in self.z_star],
            "reconstructions": [picture.cpu() for picture in self.reconstructions],
            "discriminator": self.discriminator_state,
            "running": running,
            "amplitudes": [scale.noise_amplitude for scale in self.scales],
            "generators": [from_arrays(scale).state_dict() for scale in self.scales],
        }
        checkpoint.save(self.checkpoint_dir, state)

    def _random(self, *purpose: object) -> torch.Generator:
        """Random numbers for one purpose: nothing to save, and the same after a resume."""
        name = "/".join(str(part) for part in (self.seed, *purpose))
        digest = hashlib.sha256(name.encode()).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def _noise(self, purpose: str, number: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._random(purpose, number), device=self.device)

    def _noise_shape(self, scale: int, batch: int = 1) -> tuple[int, ...]:
        return (batch, *self.spec.scales[scale].noise_shape)

    def train_scale(
        self, on_progress: Callable[[ScaleProgress], None], should_stop: Callable[[], bool]
    ) -> None:
        """Train the next scale to its end and freeze it."""
        number = len(self.scales)
        scale = ScaleTraining(self, number)
        if self.running is not None:
            scale.load_state(self.running)
            self.running = None
        last_checkpoint = time.monotonic()
        while scale.iteration < self.config.iterations:
            stopping = should_stop()
            if stopping or time.monotonic() - last_checkpoint > CHECKPOINT_SECONDS:
                self._save(scale.state())
                last_checkpoint = time.monotonic()
            if stopping:
                raise Stopped(
                    f"scale {number} of {self.scale_count}",
                    expected="training to its end",
                    found="a request to stop",
                    next_step="run the same command again to go on from the checkpoint",
                )
            scale.step()
            if scale.iteration % 10 == 0 or scale.iteration == self.config.iterations:
                on_progress(scale.progress())
        self._freeze(scale)
        self._save(None)

    def _freeze(self, scale: ScaleTraining) -> None:
        if not all(bool(p.isfinite().all()) for p in scale.generator.state_dict().values()):
            raise DivergedError(
                f"scale {scale.number}",
                expected="finite weights",
                found="infinite or NaN weights",
                next_step="lower the learning rate or look at the image",
            )
        self.z_star = scale.z_star
        generator = scale.generator.eval().requires_grad_(False)
        with torch.no_grad():
            self.reconstructions = [
                generator(expand_noise(z, self.channels) if scale.number == 0 else torch.zeros_like(p), p)
                for z, p in zip(self.z_star, scale.previous_reconstructions, strict=True)
            ]
        self.discriminator_state = {k: v.cpu() for k, v in scale.discriminator.state_dict().items()}
        self.scales.append(to_arrays(generator, scale.noise_amplitude))


class ScaleTraining:
    """Two networks learning one scale."""

    def __init__(self, training: Training, number: int) -> None:
        self.training = training
        self.config = training.config
        self.number = number
        self.reals = training.reals[number]
        self.height, self.width = self.reals[0].shape[2:]
        self.z_star = list(training.z_star)
        self.iteration = 0
        self.precision: torch.dtype = getattr(torch, self.config.precision)
        self.last_losses: tuple[Tensor | float, Tensor | float] = (math.nan, math.nan)
        if number == 0:
            self.previous_reconstructions = [torch.zeros_like(real) for real in self.reals]
            self.noise_amplitude = 1.0
        else:
            self.previous_reconstructions = [
                upsample(picture, self.height, self.width) for picture in training.reconstructions
            ]
            errors = [rmse(r, p) for r, p in zip(self.reals, self.previous_reconstructions, strict=True)]
            self.noise_amplitude = self.config.noise_amplitude * sum(errors) / len(errors)
        self.lower = [from_arrays(scale).to(training.device) for scale in training.scales]
        self.lower_amplitudes = [scale.noise_amplitude for scale in training.scales]
        self._prefetched: tuple[int, Tensor] | None = None
        self._build_networks()

    def _build_networks(self) -> None:
        training = self.training
        channels = channels_at(self.number, self.config)
        random = torch.Generator().manual_seed(training._random("weights", self.number).initial_seed())
        self.generator = Generator(training.channels, channels)
        self.discriminator = Discriminator(training.channels, channels)
        inherits = self.number > 0 and channels == channels_at(self.number - 1, self.config)
        if inherits and training.discriminator_state is not None:
            self.generator.load_state_dict(self.lower[-1].state_dict())
            self.discriminator.load_state_dict(training.discriminator_state)
        else:
            initialise(self.generator, random)
            initialise(self.discriminator, random)
        # Channels-last reaches twice the rate of NCHW in oneDNN once a batch has more than one picture.
        for network in (self.generator, self.discriminator):
            network.to(training.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.generator.requires_grad_(True)
        # Its gradients are written by hand, and the generator's go through it to the picture alone.
        self.discriminator.requires_grad_(False)
        self.generator_optimiser = self._adam(self.generator)
        self.discriminator_optimiser = self._adam(self.discriminator)

    def _reduced_precision(self) -> torch.autocast:
        reduced = self.precision != torch.float32
        return torch.autocast(self.training.device.type, self.precision, enabled=reduced)

    def _adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(network.parameters(), lr=self.config.learning_rate, betas=betas, fused=True)

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to go on bit for bit."""
        return {
            "iteration": self.iteration,
            "z_star": [z.cpu() for z in self.z_star],
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.iteration = state["iteration"]
        self.z_star = [z.to(self.training.device) for z in state["z_star"]]
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])

    def progress(self) -> ScaleProgress:
        return ScaleProgress(
            self.number,
            self.training.scale_count,
            self.iteration,
            self.config.iterations,
            *(float(loss) for loss in self.last_losses),
        )

    def _previous(self, draw: int) -> Tensor:
        """Output of the frozen lower scales from fresh noise, upsampled: the `draw`-th of this scale."""
        if self.number == 0:
            return torch.zeros_like(self.reals[0])
        block, place = divmod(draw, PREFETCH)
        if self._prefetched is None or self._prefetched[0] != block:
            noise = [
                self.training._noise(f"lower/{self.number}/{lower}", block, shape)
                for lower in range(self.number)
                for shape in [self.training._noise_shape(lower, PREFETCH)]
            ]
            picture = run_chain(self.lower, self.lower_amplitudes, noise)
            self._prefetched = block, upsample(picture, self.height, self.width)
        return self._prefetched[1][place : place + 1]

    def _fresh_noise(self, draw: int) -> Tensor:
        shape = self.training._noise_shape(self.number)
        noise = self.training._noise(f"noise/{self.number}", draw, shape)
        return self.noise_amplitude * expand_noise(noise, self.training.channels)

    def step(self) -> None:
        """One iteration: the critic's updates, then the generator's."""
        config = self.config
        image = self.iteration % len(self.reals)
        if self.iteration == math.floor(config.decay_at * config.iterations):
            for optimiser in (self.generator_optimiser, self.discriminator_optimiser):
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * config.decay_factor
        if self.number == 0 and config.redraw_z_star:
            shape = self.training._noise_shape(0)
            self.z_star[image] = self.training._noise("redrawn z*", self.iteration, shape)

        first_draw = self.iteration * config.discriminator_steps
        for draw in range(first_draw, first_draw + config.discriminator_steps):
            noise, previous = self._fresh_noise(draw), self._previous(draw)
            critic = self._update_discriminator(self.reals[image], noise, previous, draw)
        for _ in range(config.generator_steps):
            reconstruction = self._update_generator(image, noise, previous)
        self.last_losses = (critic, reconstruction)
        self.iteration += 1

    def _update_discriminator(self, real: Tensor, noise: Tensor, previous: Tensor, draw: int) -> Tensor:
        with torch.no_grad(), self._reduced_precision():
            fake = self.generator(noise, previous)
        random = self.training._random(f"mix/{self.number}", draw)
        mix = torch.rand((1, 1, 1, 1), generator=random, device=real.device)
        weight = self.config.gradient_penalty
        losses = critic_gradients(self.discriminator, real, fake, mix, weight, self.precision)
        self.discriminator_optimiser.step()
        return losses.critic

    def _update_generator(self, image: int, noise: Tensor, previous: Tensor) -> Tensor:
        self.generator_optimiser.zero_grad(set_to_none=True)
        rebuilt_from = self.previous_reconstructions[image]
        if self.number == 0:
            z = expand_noise(self.z_star[image], self.training.channels)
        else:
            z = torch.zeros_like(rebuilt_from)
        with self._reduced_precision():
            adversarial = -self.discriminator(self.generator(noise, previous)).float().mean()
            rebuilt = self.generator(z, rebuilt_from)
        reconstruction = reconstruction_loss(rebuilt, self.reals[image])
        (adversarial + self.config.reconstruction_weight * reconstruction).backward()
        self.generator_optimiser.step()
        return reconstruction.detach()
