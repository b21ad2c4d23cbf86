"""The two networks of one scale, and the way through a whole pyramid of generators."""

from __future__ import annotations

from collections.abc import Sequence

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
from sharekit.generator import PADDING

DEPTH = 5
"""Convolutions in each network; each takes one pixel off every side, `PADDING` in all."""


def channels_at(scale: int, config: TrainingConfig) -> int:
    """Channels of both networks at `scale`: `base_channels`, doubled every `channel_doubling` scales."""
    doubled: int = config.base_channels * 2 ** (scale // config.channel_doubling)
    return min(doubled, config.max_channels)


class ConvStack(nn.Module):
    """Five unpadded 3x3 convolutions, the first four with a norm and LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, channels: int, norm: type[nn.Module]) -> None:
        super().__init__()
        widths = [inputs] + [channels] * (DEPTH - 1) + [outputs]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel_size=3) for i in range(DEPTH)
        )
        self.norms = nn.ModuleList(
            norm(channels, eps=BATCH_NORM_EPSILON, affine=True) for _ in range(DEPTH - 1)
        )

    @property
    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
        """Each convolution with its norm (of whichever kind), the last without."""
        return list(zip(self.convolutions, [*self.norms, None], strict=True))  # type: ignore[arg-type]

    def stack(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, outputs, H-10, W-10)`."""
        for convolution, norm in self.layers:
            x = convolution(x)
            if norm is not None:
                x = F.leaky_relu(norm(x), LEAKY_SLOPE)
        return x


def pad(x: Tensor) -> Tensor:
    """Zeros around the picture, so that the stack gives back its size."""
    return F.pad(x, [PADDING] * 4)


class Generator(ConvStack):
    """Adds detail to the upsampled output of the scale below.

    Batch norm in training uses the statistics of the single picture in the batch, and the running ones for
    sampling, as SinGAN does.
    """

    def __init__(self, image_channels: int, channels: int) -> None:
        super().__init__(image_channels, image_channels, channels, nn.BatchNorm2d)
        self.image_channels = image_channels

    def forward(self, noise: Tensor, previous: Tensor) -> Tensor:
        """`noise` (scaled by its amplitude) and `previous`, both `(N, C, H, W)`, to `(N, C, H, W)`."""
        return previous + torch.tanh(self.stack(pad(noise + previous)))


class Discriminator(ConvStack):
    """A patch critic: `(N, C, H, W)` to a map `(N, 1, H-10, W-10)`.

    Batch norm over a batch of one is instance norm; written as that, real and fake go through together. It
    never runs in evaluation mode, so no running statistics are kept.
    """

    def __init__(self, image_channels: int, channels: int) -> None:
        super().__init__(image_channels, 1, channels, nn.InstanceNorm2d)

    def forward(self, x: Tensor) -> Tensor:
        return self.stack(x)


@torch.no_grad()
def initialise(network: ConvStack, generator: torch.Generator) -> None:
    """SinGAN's start: convolutions from N(0, 0.02), norm weights from N(1, 0.02), biases zero."""
    for convolution, norm in network.layers:
        convolution.weight.normal_(0.0, 0.02, generator=generator)
        if convolution.bias is not None:
            convolution.bias.zero_()
        if norm is not None:
            norm.weight.normal_(1.0, 0.02, generator=generator)
            norm.bias.zero_()


def expand_noise(noise: Tensor, channels: int) -> Tensor:
    """Scale 0 has one noise map, repeated over the channels; elsewhere noise has them all already."""
    return noise.expand(-1, channels, -1, -1)


def to_arrays(network: Generator, noise_amplitude: float) -> TrainedScale:
    """A trained scale as plain arrays."""

    def array(tensor: Tensor | None) -> NDArray[np.float32]:
        if tensor is None:
            raise TypeError("a generator tracks the running statistics of its batch norms")
        return tensor.detach().cpu().float().contiguous().numpy().copy()

    blocks = []
    for convolution, norm in network.layers:
        arrays = None
        if norm is not None:
            arrays = BatchNorm(
                array(norm.weight), array(norm.bias), array(norm.running_mean), array(norm.running_var)
            )
        blocks.append(Block(array(convolution.weight), array(convolution.bias), arrays))
    return TrainedScale(noise_amplitude, tuple(blocks))


@torch.no_grad()
def from_arrays(scale: TrainedScale) -> Generator:
    """The network of a trained scale, in evaluation mode."""
    first, last = scale.blocks[0], scale.blocks[-1]
    network = Generator(last.weight.shape[0], first.weight.shape[0])

    def fill(tensor: Tensor | None, values: NDArray[np.float32]) -> None:
        if tensor is not None:
            tensor.copy_(torch.from_numpy(values))

    for (convolution, norm), block in zip(network.layers, scale.blocks, strict=True):
        fill(convolution.weight, block.weight)
        fill(convolution.bias, block.bias)
        if norm is not None and block.norm is not None:
            fill(norm.weight, block.norm.weight)
            fill(norm.bias, block.norm.bias)
            fill(norm.running_mean, block.norm.mean)
            fill(norm.running_var, block.norm.variance)
    return network.requires_grad_(False).eval()


@torch.no_grad()
def run_chain(networks: Sequence[Generator], amplitudes: Sequence[float], noise: Sequence[Tensor]) -> Tensor:
    """From scale 0 up: `noise[i]` is `(N, c_i, h_i, w_i)`; the result has the size of the last one.

    Not clipped to [-1, 1]: the next scale learnt from the unclipped picture.
    """
    picture: Tensor | None = None
    for network, amplitude, z in zip(networks, amplitudes, noise, strict=True):
        z = expand_noise(z, network.image_channels)
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
