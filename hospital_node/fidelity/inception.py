"""The Inception v3 that FID is defined on, as deep as a weights file goes, in torch.

The network is TensorFlow's `inception-2015-12-05` (Szegedy et al., CVPR 2016; Heusel et al., NeurIPS 2017),
with its batch norm folded into weights and biases. A file reaches to the first max-pool (64 channels) or to
`mixed_7` (768), not to the last pool (2048): every figure names its dimension, since figures of different
dimensions cannot be compared.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharekit.errors import InputError, VerificationError
from sharekit.storage import files
from sharekit.storage.weights import read_safetensors

ENVIRONMENT_VARIABLE = "SHAREKIT_INCEPTION"
SIDE = 299  # pixels: the input that the network was trained on
STEM_DIMENSION = 64
"""Channels after the first max-pool: SIFID's features."""

HOW_TO_GET = (
    "name a weights file of TensorFlow's Inception 2015-12-05, batch norm folded, safetensors, up to mixed_7"
    f" (768-d) or to the first max-pool (64-d), with --features or {ENVIRONMENT_VARIABLE}"
)

_DIMENSIONS: Mapping[str, int] = {
    "b475e8edd757817312436eaca009b1ebc9af3df76562b3ec68f768b2fc453070": 64,
    "e77cb4a85aa116591e06c6dbac6b8a6d502e99e3a83cf7dce2f552d077ffa4c9": 768,
}
"""SHA-256 of a weights file to the channels of its last layer."""
_MAX_BYTES = 256 * 2**20
_STRIDE_2 = {"conv", "mixed_3_conv", "mixed_3_tower_conv_2"}
_UNPADDED = _STRIDE_2 | {"conv_1", "conv_4"}


def find() -> Path | None:
    """The weights file that the environment variable names, or None."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else None


def load(path: Path, dimension: int | None = None) -> Inception:
    """Read a weights file whose digest is pinned here.

    Args:
        path: safetensors file, see `HOW_TO_GET`.
        dimension: length of the features, 64 or 768; by default the deepest that the file has.

    Raises:
        InputError: the file is missing or too long, or does not reach to `dimension`.
        VerificationError: its digest is not pinned here.
    """
    data = files.read_bytes(path, max_bytes=_MAX_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 not in _DIMENSIONS:
        raise VerificationError(
            path,
            expected="an Inception file with a pinned SHA-256",
            found=f"SHA-256 {sha256}",
            next_step=HOW_TO_GET,
        )
    deepest = _DIMENSIONS[sha256]
    wanted = deepest if dimension is None else dimension
    if wanted not in (STEM_DIMENSION, deepest):
        raise InputError(
            path,
            expected=f"a file with {wanted}-d features",
            found=f"at most {deepest}-d ones",
            next_step=HOW_TO_GET,
        )
    tensors = {name: torch.from_numpy(values) for name, values in read_safetensors(data, path).items()}
    return Inception(tensors, wanted, sha256)


class Inception(nn.Module):
    """Frozen features of pictures.

    A picture is `(N, 3, H, W)` RGB or `(N, 1, H, W)` grey, uint8 or float32 in [-1, 1], of any size.
    """

    def __init__(self, tensors: Mapping[str, Tensor], dimension: int, sha256: str = "") -> None:
        """Args:
        tensors: `NAME.weight` `(out, in, h, w)` and `NAME.bias` `(out,)`, float32, under TensorFlow's names.
        dimension: 64 or 768.
        sha256: digest of the file the weights came from.
        """
        super().__init__()
        self.dimension = dimension
        self.sha256 = sha256
        self.convolutions = nn.ModuleDict(
            {
                name: _convolution(name, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
                for name in (key.removesuffix(".weight") for key in tensors if key.endswith(".weight"))
            }
        )
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """`(N, dimension)`: mean over all positions, for a picture resized to 299 x 299.

        Bilinear as in the reference implementations, but antialiased where it reduces (Parmar et al., CVPR
        2022); the same where it enlarges.
        """
        values = _in_range(pictures)
        values = F.interpolate(values, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        values = self.stem(values)
        if self.dimension != STEM_DIMENSION:
            values = self._to_mixed_7(values)
        return values.mean(dim=(2, 3))

    def stem(self, pictures: Tensor) -> Tensor:
        """`(N, 64, h, w)` after the first max-pool, at the picture's own size (about a quarter of it)."""
        values = _in_range(pictures)
        for name in ("conv", "conv_1", "conv_2"):
            values = self._apply_convolution(name, values)
        return F.max_pool2d(values, 3, 2)

    def _to_mixed_7(self, values: Tensor) -> Tensor:
        """`(N, 64, 73, 73)` of a picture of 299 x 299 to `(N, 768, 17, 17)`."""
        values = self._apply_convolution("conv_4", self._apply_convolution("conv_3", values))
        values = F.max_pool2d(values, 3, 2)
        for name in ("mixed", "mixed_1", "mixed_2"):
            values = self._block(name, values, ("tower", 2), ("tower_1", 3))
        values = self._reduction("mixed_3", values)
        for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
            values = self._block(name, values, ("tower", 3), ("tower_1", 5))
        return values

    def _block(self, name: str, values: Tensor, *towers: tuple[str, int]) -> Tensor:
        """A 1x1 convolution, towers of convolutions, and an average pool; their channels in that order."""
        # Averages leave out the padding, as in TensorFlow.
        pooled = F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat(
            [
                self._tower(f"{name}_conv", values, 1),
                *(self._tower(f"{name}_{tower}_conv", values, length) for tower, length in towers),
                self._tower(f"{name}_tower_2_conv", pooled, 1),
            ],
            dim=1,
        )

    def _reduction(self, name: str, values: Tensor) -> Tensor:
        return torch.cat(
            [
                self._tower(f"{name}_conv", values, 1),
                self._tower(f"{name}_tower_conv", values, 3),
                F.max_pool2d(values, 3, 2),
            ],
            dim=1,
        )

    def _tower(self, first: str, values: Tensor, length: int) -> Tensor:
        for number in range(length):
            values = self._apply_convolution(f"{first}_{number}" if number else first, values)
        return values

    def _apply_convolution(self, name: str, values: Tensor) -> Tensor:
        return F.relu(self.convolutions[name](values))


def _in_range(pictures: Tensor) -> Tensor:
    """Any picture as float32 `(N, 3, H, W)` in [-1, 1]."""
    values = pictures.float() / 127.5 - 1 if pictures.dtype == torch.uint8 else pictures
    return values.expand(-1, 3, -1, -1)


def _convolution(name: str, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    outputs, inputs, height, width = weight.shape
    layer = nn.Conv2d(
        inputs,
        outputs,
        (height, width),
        stride=2 if name in _STRIDE_2 else 1,
        padding=0 if name in _UNPADDED else (height // 2, width // 2),
    )
    layer.weight.data, layer.bias.data = weight, bias  # type: ignore[union-attr]
    return layer
