"""The two networks of one scale, and the chain of generators through a whole pyramid.

A network may hold several lanes: the networks of different generators side by side, as the groups of grouped
convolutions. Tensors then have the lanes' channels one after the other, `(N, lanes * C, H, W)`, and nothing
of one lane reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.pyramid import upsample
from hospital_node.singan.trained import (
    BATCH_NORM_EPSILON,
    LEAKY_SLOPE,
    BatchNorm,
    Block,
    TrainedGenerator,
    TrainedScale,
)
from sharekit.generator.spec import PADDING

DEPTH = 5
"""Convolutions in each network; each takes one pixel off every side, `PADDING` in all."""
MOMENTUM = 0.1
"""A batch's share in batch norm's running statistics."""


def channels_at(scale: int, config: TrainingConfig) -> int:
    """Channels of both networks at `scale`: `base_channels`, doubled every `channel_doubling` scales."""
    doubled: int = config.base_channels * 2 ** (scale // config.channel_doubling)
    return min(doubled, config.max_channels)


class ConvStack(nn.Module):
    """Five unpadded 3x3 convolutions, the first four with a norm and LeakyReLU."""

    def __init__(
        self, inputs: int, outputs: int, channels: int, norm: type[nn.Module] | None, lanes: int = 1
    ) -> None:
        super().__init__()
        self.lanes = lanes
        widths = [lanes * width for width in (inputs, *[channels] * (DEPTH - 1), outputs)]
        # A norm removes a bias before it: the bias's gradient is rounding, which Adam would turn into steps.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                widths[i], widths[i + 1], kernel_size=3, groups=lanes, bias=norm is None or i == DEPTH - 1
            )
            for i in range(DEPTH)
        )
        self.norms = nn.ModuleList(
            norm(lanes * channels, eps=BATCH_NORM_EPSILON, affine=True) for _ in range(DEPTH - 1) if norm
        )

    @property
    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
        """Each convolution with its norm (of whichever kind), the last without."""
        norms = [*self.norms, *[None] * (DEPTH - len(self.norms))]
        return list(zip(self.convolutions, norms, strict=True))  # type: ignore[arg-type]

    def stack(self, x: Tensor) -> Tensor:
        """`(N, lanes * inputs, H, W)` to `(N, lanes * outputs, H-10, W-10)`."""
        for position, (convolution, norm) in enumerate(self.layers):
            x = convolution(x)
            if norm is not None:
                x = norm(x)
            if position < DEPTH - 1:
                x = F.leaky_relu(x, LEAKY_SLOPE)
        return x


def pad(x: Tensor) -> Tensor:
    """Zeros around the picture, so that the stack gives back its size."""
    return F.pad(x, [PADDING] * 4)


class Generator(ConvStack):
    """Adds detail to the upsampled output of the scale below.

    Batch norm in training uses the statistics of the batch, which is one picture in SinGAN, and the running
    ones for sampling.
    """

    def __init__(self, image_channels: int, channels: int, lanes: int = 1) -> None:
        super().__init__(image_channels, image_channels, channels, nn.BatchNorm2d, lanes)
        self.image_channels = image_channels

    def forward(self, noise: Tensor, previous: Tensor, uses: int = 1) -> Tensor:
        """`noise` (scaled by its amplitude) and `previous` to a picture, all `(N, lanes * C, H, W)`.

        In training, the batch counts `uses` times in the running statistics.
        """
        for _, norm in self.layers:
            if norm is not None:
                norm.momentum = 1 - (1 - MOMENTUM) ** uses
        return previous + torch.tanh(self.stack(pad(noise + previous)))


class Discriminator(ConvStack):
    """A patch critic: `(N, lanes * C, H, W)` to maps `(N, lanes, H-10, W-10)`.

    Batch norm over a batch of one is instance norm. Written that way, real and fake go through together. The
    critic never runs in evaluation mode, so it keeps no running statistics. Without norms it also sees how
    bright and how coloured a picture is.
    """

    def __init__(self, image_channels: int, channels: int, lanes: int = 1, *, norm: bool = True) -> None:
        super().__init__(image_channels, 1, channels, nn.InstanceNorm2d if norm else None, lanes)

    def forward(self, x: Tensor) -> Tensor:
        return self.stack(x)


@torch.no_grad()
def initialise(network: ConvStack, *generators: torch.Generator) -> None:
    """SinGAN's start: convolutions from N(0, 0.02), norm weights from N(1, 0.02), biases zero.

    Without norms, convolutions keep the size of what passes them (He et al., ICCV 2015). Each lane draws from
    its own random generator, on the CPU.
    """
    for convolution, norm in network.layers:
        kept = math.sqrt(2 / (1 + LEAKY_SLOPE**2) / convolution.weight[0].numel())
        spread = 0.02 if network.norms else kept
        for part, generator in zip(convolution.weight.chunk(network.lanes), generators, strict=True):
            part.normal_(0.0, spread, generator=generator)
        if convolution.bias is not None:
            convolution.bias.zero_()
        if norm is not None:
            for part, generator in zip(norm.weight.chunk(network.lanes), generators, strict=True):
                part.normal_(1.0, 0.02, generator=generator)
            norm.bias.zero_()


def expand_noise(noise: Tensor, lanes: int, channels: int) -> Tensor:
    """Scale 0 has one noise map per lane, repeated over its channels; elsewhere noise has all channels."""
    return noise.repeat_interleave(channels, dim=1) if noise.shape[1] == lanes else noise


def to_arrays(network: Generator, noise_amplitudes: Sequence[float]) -> list[TrainedScale]:
    """A trained scale of each lane as plain arrays."""

    def array(tensor: Tensor, lane: int) -> NDArray[np.float32]:
        return tensor.detach().chunk(network.lanes)[lane].cpu().float().contiguous().numpy().copy()

    def blocks(lane: int) -> Iterator[Block]:
        for convolution, norm in network.layers:
            arrays = None
            if norm is not None:
                parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
                arrays = BatchNorm(*(array(part, lane) for part in parts if part is not None))
            weight = array(convolution.weight, lane)
            bias = np.zeros(len(weight), np.float32)
            if convolution.bias is not None:
                bias = array(convolution.bias, lane)
            yield Block(weight, bias, arrays)

    return [TrainedScale(amplitude, tuple(blocks(lane))) for lane, amplitude in enumerate(noise_amplitudes)]


@torch.no_grad()
def from_arrays(*scales: TrainedScale) -> Generator:
    """The network of one scale of each lane, in evaluation mode."""
    first, last = scales[0].blocks[0], scales[0].blocks[-1]
    network = Generator(last.weight.shape[0], first.weight.shape[0], len(scales))

    def fill(tensor: Tensor | None, values: Iterable[NDArray[np.float32]]) -> None:
        if tensor is not None:
            tensor.copy_(torch.from_numpy(np.concatenate(list(values))))

    for position, (convolution, norm) in enumerate(network.layers):
        blocks = [scale.blocks[position] for scale in scales]
        fill(convolution.weight, (block.weight for block in blocks))
        fill(convolution.bias, (block.bias for block in blocks))
        norms = [(block.norm, block.bias) for block in blocks if block.norm is not None]
        if norm is not None:
            fill(norm.weight, (one.weight for one, _ in norms))
            fill(norm.bias, (one.bias for one, _ in norms))
            # The convolution has no bias here, so the running mean takes it in.
            fill(norm.running_mean, (one.mean - bias for one, bias in norms))
            fill(norm.running_var, (one.variance for one, _ in norms))
    return network.requires_grad_(False).eval()


def per_lane(values: Sequence[float], channels: int, device: torch.device) -> Tensor:
    """`(1, lanes * channels, 1, 1)` float32: each lane's value on all of its channels."""
    return torch.tensor(values, device=device).repeat_interleave(channels).view(1, -1, 1, 1)


@torch.no_grad()
def run_chain(
    networks: Sequence[Generator], amplitudes: Sequence[Tensor | float], noise: Sequence[Tensor]
) -> Tensor:
    """From scale 0 up: `noise[i]` is `(N, lanes * c_i, h_i, w_i)`; the result has the size of the last one.

    Amplitudes are one number, or `per_lane`. Not clipped to [-1, 1]: the next scale learnt from the unclipped
    picture.
    """
    picture: Tensor | None = None
    for network, amplitude, z in zip(networks, amplitudes, noise, strict=True):
        z = expand_noise(z, network.lanes, network.image_channels)
        height, width = z.shape[2:]
        previous = torch.zeros_like(z) if picture is None else upsample(picture, height, width)
        picture = network(amplitude * z, previous)
    if picture is None:
        raise ValueError("a chain needs at least one generator")
    return picture


def sample(
    generator: TrainedGenerator, noise: Sequence[NDArray[np.float32]], device: str = "cpu"
) -> NDArray[np.float32]:
    """Run the trained pyramid in torch on noise as `GeneratorSpec.noise` draws it: `(N, C, H, W)`."""
    networks = [from_arrays(scale).to(device) for scale in generator.scales]
    amplitudes = [scale.noise_amplitude for scale in generator.scales]
    tensors = [torch.from_numpy(z).to(device) for z in noise]
    return run_chain(networks, amplitudes, tensors).cpu().numpy()
