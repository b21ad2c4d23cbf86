"""Train one scale: two networks, for one lane or for many side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hospital_node.singan.augment_real import augment, warp
from hospital_node.singan.critic import critic_gradients
from hospital_node.singan.lane import Lane, ScaleProgress
from hospital_node.singan.networks import (
    Discriminator,
    Generator,
    channels_at,
    expand_noise,
    from_arrays,
    initialise,
    per_lane,
    run_chain,
    to_arrays,
)
from hospital_node.singan.pyramid import pictures_at, upsample
from sharekit.errors import SharekitError
from sharekit.program.adam import adam

PREFETCH = 8
"""Number of outputs of the frozen lower scales drawn in one batch; training does not change them."""


class DivergedError(SharekitError):
    """A network's weights are no longer finite."""


class ScaleTraining:
    """The networks of the lanes' next scale; every lane is at the same one, with the same sizes.

    The losses of the lanes are summed: no parameter belongs to two of them, so each learns as if alone.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        first = lanes[0]
        self.config, self.device, self.channels = first.config, first.device, first.channels
        self.number = len(first.scales)
        self.pictures = len(first.job.tensors)
        self.reals = self._side_by_side(lambda lane: lane.reals[self.number])
        self.height, self.width = self.reals[0].shape[2:]
        sizes = [(scale.height, scale.width) for scale in first.spec.scales]
        self.batch = pictures_at(self.number, sizes, self.config)
        self.z_star = self._side_by_side(lambda lane: lane.z_star)
        self.iteration = 0
        self.precision: torch.dtype = getattr(torch, self.config.precision)
        self.last_losses: tuple[Tensor, Tensor] = (torch.full((len(lanes),), math.nan),) * 2
        if self.number == 0:
            self.previous_reconstructions = [torch.zeros_like(real) for real in self.reals]
            self.amplitudes = [1.0] * len(lanes)
        else:
            below = self.number - 1
            reconstructions = self._side_by_side(
                lambda lane: lane.reconstructions if self.config.z_star else lane.reals[below]
            )
            self.previous_reconstructions = [
                upsample(picture, self.height, self.width) for picture in reconstructions
            ]
            self.amplitudes = self._noise_amplitudes()
        self._amplitude = per_lane(self.amplitudes, self.channels, self.device)
        self._prefetched: tuple[int, Tensor] | None = None
        self._build_networks()
        if first.running is not None:
            self._load_states([lane.running for lane in lanes if lane.running is not None])

    def _side_by_side(self, pictures: Callable[[Lane], Sequence[Tensor]]) -> list[Tensor]:
        """Join the k pictures `(N, C, h, w)` of every lane into k of `(N, lanes * C, h, w)`."""
        return [
            torch.cat(parts, dim=1) for parts in zip(*(pictures(lane) for lane in self.lanes), strict=True)
        ]

    def _noise_amplitudes(self) -> list[float]:
        errors = [
            self._mean_squared_error(real, rebuilt).sqrt()
            for real, rebuilt in zip(self.reals, self.previous_reconstructions, strict=True)
        ]
        return (self.config.noise_amplitude * torch.stack(errors).mean(dim=0)).tolist()

    def _mean_squared_error(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean squared error of every lane over its pixels and channels, `(lanes,)`."""
        errors = F.mse_loss(a, b, reduction="none")
        return errors.unflatten(1, (len(self.lanes), -1)).mean(dim=(0, 2, 3, 4))

    def _build_networks(self) -> None:
        count, channels = len(self.lanes), channels_at(self.number, self.config)
        trained = [[lane.scales[scale] for lane in self.lanes] for scale in range(self.number)]
        self.lower = [from_arrays(*scales).to(self.device) for scales in trained]
        self.lower_amplitudes = [
            per_lane([scale.noise_amplitude for scale in scales], self.channels, self.device)
            for scales in trained
        ]
        self.generator = Generator(self.channels, channels, count)
        self.discriminator = Discriminator(self.channels, channels, count, norm=self.config.critic_norm)
        states = [lane.discriminator_state for lane in self.lanes if lane.discriminator_state is not None]
        if states and channels == channels_at(self.number - 1, self.config):
            self.generator.load_state_dict(self.lower[-1].state_dict())
            self.discriminator.load_state_dict(_join(states))
        else:
            randoms = [lane.random("weights", self.number, device=torch.device("cpu")) for lane in self.lanes]
            initialise(self.generator, *randoms)
            initialise(self.discriminator, *randoms)
        # Channels-last reaches twice the rate of NCHW in oneDNN once a batch has more than one picture.
        for network in (self.generator, self.discriminator):
            network.to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.generator.requires_grad_(True)
        # Its gradients are set by their own functions; the generator's go through it to the picture alone.
        self.discriminator.requires_grad_(False)
        self.generator_optimiser = self._adam(self.generator)
        self.discriminator_optimiser = self._adam(self.discriminator)

    def _adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        betas = (self.config.beta1, self.config.beta2)
        rate = self.config.learning_rate
        optimiser: torch.optim.Adam = adam(torch, network.parameters(), lr=rate, betas=betas, fused=True)
        return optimiser

    def states(self) -> list[dict[str, Any]]:
        """Everything that each lane needs to go on, alone or with any other lanes."""
        count = len(self.lanes)
        parts = {
            "generator": _split(self.generator.state_dict(), count),
            "discriminator": _split(self.discriminator.state_dict(), count),
            "generator_optimiser": _split(self.generator_optimiser.state_dict(), count),
            "discriminator_optimiser": _split(self.discriminator_optimiser.state_dict(), count),
        }
        return [
            {
                "iteration": self.iteration,
                "z_star": [z.chunk(count, dim=1)[lane].cpu() for z in self.z_star],
                **{name: states[lane] for name, states in parts.items()},
            }
            for lane in range(count)
        ]

    def _load_states(self, states: Sequence[dict[str, Any]]) -> None:
        self.iteration = states[0]["iteration"]
        self.z_star = [
            torch.cat(parts, dim=1).to(self.device)
            for parts in zip(*(state["z_star"] for state in states), strict=True)
        ]
        for name in ("generator", "discriminator", "generator_optimiser", "discriminator_optimiser"):
            getattr(self, name).load_state_dict(_join([state[name] for state in states]))

    def report(self) -> None:
        """Report progress to every lane's caller."""
        critic, reconstruction = (losses.tolist() for losses in self.last_losses)
        for number, lane in enumerate(self.lanes):
            lane.job.on_progress(
                ScaleProgress(
                    self.number,
                    lane.scale_count,
                    self.iteration,
                    self.config.iterations,
                    critic[number],
                    reconstruction[number],
                )
            )

    def _noise(self, purpose: str, number: int, scale: int, batch: int = 1) -> Tensor:
        return torch.cat(
            [lane.noise(purpose, number, lane.noise_shape(scale, batch)) for lane in self.lanes], dim=1
        )

    def _previous(self, draw: int) -> Tensor:
        """Outputs of the frozen lower scales from fresh noise, upsampled: this scale's `draw`-th batch."""
        batch = self.batch
        if self.number == 0:
            return torch.zeros_like(self.reals[0]).expand(batch, -1, -1, -1)
        block, place = divmod(draw, PREFETCH)
        if self._prefetched is None or self._prefetched[0] != block:
            noise = [
                self._noise(f"lower/{self.number}/{lower}", block, lower, PREFETCH * batch)
                for lower in range(self.number)
            ]
            picture = run_chain(self.lower, self.lower_amplitudes, noise)
            self._prefetched = block, upsample(picture, self.height, self.width)
        return self._prefetched[1][place * batch : (place + 1) * batch]

    def _fresh_noise(self, draw: int) -> Tensor:
        noise = self._noise(f"noise/{self.number}", draw, self.number, self.batch)
        return self._amplitude * expand_noise(noise, len(self.lanes), self.channels)

    def _real(self, images: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Real pictures, and what the generator is to rebuild them from, both changed alike at random."""
        pictures = tuple(
            torch.cat([those[image] for image in images])
            for those in (self.reals, self.previous_reconstructions)
        )
        parts = zip(self.lanes, *(one.chunk(len(self.lanes), dim=1) for one in pictures), strict=True)
        changed = [self._changed(lane, tuple(those)) for lane, *those in parts]
        real, smaller = (torch.cat(those, dim=1) for those in zip(*changed, strict=True))
        return real, smaller

    def _changed(self, lane: Lane, pictures: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Real pictures `(N, C, H, W)` of one lane, changed at random as the settings say."""
        config = self.config

        def random(purpose: str) -> torch.Generator:
            return lane.random(f"{purpose}/{self.number}", self.iteration, device=torch.device("cpu"))

        if config.colour_jitter or config.flips:
            channels = lane.job.layout.image_channels
            pictures = augment(pictures, channels, config.colour_jitter, config.flips, random("augment"))
        if config.turn or config.shift:
            pictures = warp(pictures, config.turn, config.shift, random("warp"))
        return pictures

    def step(self) -> None:
        """One iteration: the critic's updates, then the generator's."""
        config = self.config
        first = self.iteration * self.batch
        images = [number % self.pictures for number in range(first, first + self.batch)]
        if self.iteration == math.floor(config.decay_at * config.iterations):
            for optimiser in (self.generator_optimiser, self.discriminator_optimiser):
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * config.decay_factor
        if self.number == 0 and config.redraw_z_star:
            for image in images:
                self.z_star[image] = self._noise("redrawn z*", self.iteration, 0)

        first_draw = self.iteration * config.discriminator_steps
        real, smaller = self._real(images)
        for draw in range(first_draw, first_draw + config.discriminator_steps):
            noise, previous = self._fresh_noise(draw), self._previous(draw)
            # The generator's first update needs the critic's last fake with its graph.
            last = draw == first_draw + config.discriminator_steps - 1
            with torch.set_grad_enabled(last):
                fake = self._draw(noise, previous, uses=2 if last else 1)
            critic = self._update_discriminator(real, fake.detach(), draw)
        for update in range(config.generator_steps):
            if update > 0:
                fake = self._draw(noise, previous)
            reconstruction = self._update_generator(fake, images, real, smaller)
        self.last_losses = (critic, reconstruction)
        self.iteration += 1

    def _draw(self, noise: Tensor, previous: Tensor, uses: int = 1) -> Tensor:
        with self._reduced_precision():
            fake: Tensor = self.generator(noise, previous, uses)
        return fake

    def _update_discriminator(self, real: Tensor, fake: Tensor, draw: int) -> Tensor:
        shape = (self.batch, 1, 1, 1)
        mixes = [
            torch.rand(shape, generator=lane.random(f"mix/{self.number}", draw), device=self.device)
            for lane in self.lanes
        ]
        mix = torch.cat(mixes, dim=1).repeat_interleave(self.channels, dim=1)
        interval = self.config.penalty_interval
        weight = 0.0 if draw % interval else interval * self.config.gradient_penalty
        losses = critic_gradients(self.discriminator, real, fake, mix, weight, self.precision)
        self.discriminator_optimiser.step()
        return losses.critic

    def _update_generator(self, fake: Tensor, images: Sequence[int], real: Tensor, smaller: Tensor) -> Tensor:
        self.generator_optimiser.zero_grad(set_to_none=True)
        with self._reduced_precision():
            scores = self.discriminator(fake)
        loss = -scores.float().mean(dim=(0, 2, 3)).sum()
        reconstruction = torch.zeros(len(self.lanes), device=self.device)
        if self._rebuilds:
            with self._reduced_precision():
                rebuilt = self.generator(torch.cat([self._z_star(image) for image in images]), smaller)
            reconstruction = self._mean_squared_error(rebuilt, real)
            loss = loss + self.config.reconstruction_weight * reconstruction.sum()
        loss.backward()
        self.generator_optimiser.step()
        return reconstruction.detach()

    @property
    def _rebuilds(self) -> bool:
        """Whether this scale learns to rebuild real pictures; without z*, scale 0 has no start for them."""
        return self.config.z_star or (self.number > 0 and self.config.reconstruction_weight > 0)

    def _z_star(self, image: int) -> Tensor:
        """The reconstruction's noise: z* at scale 0, none above."""
        if self.number > 0:
            return torch.zeros_like(self.previous_reconstructions[image])
        return expand_noise(self.z_star[image], len(self.lanes), self.channels)

    def _reduced_precision(self) -> torch.autocast:
        reduced = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=reduced)

    def freeze(self) -> dict[Lane, DivergedError]:
        """Give every lane its trained scale and reconstruction, or an error if it diverged."""
        count = len(self.lanes)
        finite = torch.stack(
            [
                torch.stack([part.isfinite().all() for part in parameter.chunk(count)])
                for parameter in self.generator.parameters()
            ]
        ).all(dim=0)
        generator = self.generator.eval().requires_grad_(False)
        with torch.no_grad():
            rebuilt = [
                generator(self._z_star(image), picture).chunk(count, dim=1)
                for image, picture in enumerate(self.previous_reconstructions)
                if self.config.z_star
            ]
        critics = _split(self.discriminator.state_dict(), count)
        trained = to_arrays(generator, self.amplitudes)
        diverged = {}
        for number, lane in enumerate(self.lanes):
            if not finite[number]:
                diverged[lane] = _diverged(self.number)
                continue
            lane.z_star = [z.chunk(count, dim=1)[number] for z in self.z_star]
            lane.reconstructions = [parts[number] for parts in rebuilt]
            lane.discriminator_state = critics[number]
            lane.scales.append(trained[number])
        return diverged


def _diverged(scale: int) -> DivergedError:
    return DivergedError(
        f"scale {scale}",
        expected="finite weights",
        found="infinite or NaN weights",
        next_step="lower the learning rate or look at the image",
    )


def _split(state: Any, count: int) -> list[Any]:
    """Split a state into the lanes' parts: tensors along their first dimension, all else copied to each."""
    if isinstance(state, dict):
        parts = {key: _split(value, count) for key, value in state.items()}
        return [{key: values[lane] for key, values in parts.items()} for lane in range(count)]
    if isinstance(state, Tensor) and state.ndim:
        return [part.cpu().clone() for part in state.chunk(count)]
    return [state] * count


def _join(states: Sequence[Any]) -> Any:
    """The inverse of `_split`."""
    if isinstance(states[0], dict):
        return {key: _join([state[key] for state in states]) for key in states[0]}
    if isinstance(states[0], Tensor) and states[0].ndim:
        return torch.cat(list(states))
    return states[0]
