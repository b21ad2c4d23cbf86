"""Build a network of segmentation-models-pytorch, with its encoder's weights and the input they expect."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumer.torch_support import EXTRA, define_missing_operators
from consumer.training.training_settings import IMAGENET, NO_WEIGHTS, TrainingSettings
from sharekit.bundle.features import IMAGENET_MEAN, IMAGENET_STD
from sharekit.errors import DependencyError, InputError, UsageError, missing_package
from sharekit.storage import files
from sharekit.storage.weights import read_safetensors

if TYPE_CHECKING:
    import torch

IMAGE_CHANNELS = 3
MAX_WEIGHTS_BYTES = 2**31
_TIMM_PREFIXES = ("timm-", "tu-")
_UNIVERSAL_PREFIX = "model."
"""Prefix that segmentation-models-pytorch gives the names of timm's tensors in `tu-` encoders."""


@dataclass(frozen=True)
class EncoderWeights:
    """The weights that an encoder starts from."""

    source: str
    """`none` (random), `imagenet` (the download of segmentation-models-pytorch), or a file's name."""
    sha256: str | None = None
    """SHA-256 of the file, hexadecimal; None if there is no file."""
    tensors: Mapping[str, NDArray[np.float32]] | None = None
    """The file's tensors by name; None if there is no file."""

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "sha256": self.sha256}


def read_weights(value: str) -> EncoderWeights:
    """Read the weights that `--encoder-weights` names.

    Raises:
        InputError, VerificationError: the file is missing or is not a safetensors file.
    """
    if value in (NO_WEIGHTS, IMAGENET):
        return EncoderWeights(value)
    path = Path(value)
    data = files.read_bytes(path, max_bytes=MAX_WEIGHTS_BYTES)
    return EncoderWeights(path.name, hashlib.sha256(data).hexdigest(), read_safetensors(data, path))


def build_network(settings: TrainingSettings, weights: EncoderWeights) -> torch.nn.Module:
    """Build an untrained network from `(N, 3, h, w)` normalised images to `(N, 1, h, w)` logits.

    Weights that are not pretrained are drawn from torch's global generator.

    Raises:
        UsageError: the encoder is unknown or does not fit the architecture.
        InputError: the weights belong to another encoder.
        DependencyError: the package is not installed, or the weights cannot be downloaded.
    """
    smp = _package()
    if not settings.encoder.startswith("tu-"):
        _require_known("--encoder", settings.encoder, smp.encoders.get_encoder_names())
    downloaded = IMAGENET if weights.source == IMAGENET else None
    try:
        with warnings.catch_warnings():
            # The package warns about `timm-` names, under which small encoders are published.
            warnings.simplefilter("ignore")
            network = smp.create_model(
                settings.architecture,
                encoder_name=settings.encoder,
                encoder_weights=downloaded,
                in_channels=IMAGE_CHANNELS,
                classes=1,
            )
    except Exception as error:
        raise _not_built(settings, downloaded, error) from error
    if weights.tensors is not None:
        load_encoder(network.encoder, weights.tensors, weights.source)
    return network


def try_batch(network: torch.nn.Module, settings: TrainingSettings) -> None:
    """Pass a black batch through a copy of the network, as training would.

    Raises:
        UsageError: the size or the batch is too small for this network.
    """
    import torch

    # Two images fail in the same way as any larger batch.
    shape = (min(settings.batch_size, 2), IMAGE_CHANNELS, settings.size, settings.size)
    names = f"{settings.architecture} with {settings.encoder} at {settings.size} px"
    try:
        with torch.no_grad():
            copy.deepcopy(network).train()(torch.zeros(shape))
    except Exception as error:  # several kinds of errors, from several packages
        if _ONE_VALUE in str(error):
            raise UsageError(
                "--batch-size",
                expected=f"at least 2 for {names}, which averages over the batch alone",
                found=str(settings.batch_size),
                next_step="use --batch-size 2 or more, or a larger --size",
            ) from error
        raise UsageError(
            "--size",
            expected=f"a size that {settings.architecture} with {settings.encoder} can take",
            found=f"{settings.size}: {error}"[:300],
            next_step="try a larger --size, such as 128 or 256, or another --encoder",
        ) from error


_ONE_VALUE = "Expected more than 1 value per channel"
"""Message of torch's batch norm about a batch of one whose image has shrunk to one pixel."""


def input_statistics(settings: TrainingSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB in [0, 1] that the encoder's published weights were trained with.

    timm's registry knows the values of its encoders; all other encoders have torchvision's.
    """
    _package()
    import timm

    name = settings.encoder
    for prefix in _TIMM_PREFIXES:
        name = name.removeprefix(prefix)
    published = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    if published is None:
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(map(float, published.mean)), tuple(map(float, published.std))


def load_encoder(encoder: torch.nn.Module, tensors: Mapping[str, NDArray[np.float32]], item: object) -> None:
    """Load a file's weights into an encoder, except a classifier's weights, which the encoder does not have.

    Raises:
        InputError: a tensor of the encoder is missing or has another shape; the error names `item`.
    """
    import torch

    state = encoder.state_dict()
    loaded = {}
    for name, value in state.items():
        found = tensors.get(name, tensors.get(name.removeprefix(_UNIVERSAL_PREFIX)))
        if found is None and name.endswith("num_batches_tracked"):
            loaded[name] = value
            continue
        if found is None or found.shape != tuple(value.shape):
            raise InputError(
                item,
                expected=f"the encoder's tensor {name} of shape {tuple(value.shape)}",
                found="no such tensor" if found is None else f"shape {found.shape}",
                next_step="give the weights of exactly this encoder, or --encoder-weights none",
            )
        loaded[name] = torch.from_numpy(np.array(found)).to(value.dtype)
    encoder.load_state_dict(loaded)


def _package() -> Any:
    """Import segmentation-models-pytorch, after defining the operators that torchvision may lack.

    Raises:
        DependencyError: the package is not installed.
    """
    define_missing_operators()
    try:
        import segmentation_models_pytorch
    except ImportError:
        raise missing_package("segmentation-models-pytorch", EXTRA) from None
    return segmentation_models_pytorch


def _require_known(option: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(
            option,
            expected=f"one of {', '.join(known)}",
            found=name,
            next_step="choose another name",
        )


def _not_built(
    settings: TrainingSettings, downloaded: str | None, error: Exception
) -> DependencyError | UsageError:
    found = f"{type(error).__name__}: {error}"[:300]
    if downloaded is not None and not isinstance(error, KeyError | ValueError):
        return DependencyError(
            f"--encoder-weights {downloaded}",
            expected=f"the weights of {settings.encoder} that segmentation-models-pytorch downloads",
            found=found,
            next_step="check the network, or give the weights as FILE.safetensors, or none",
        )
    return UsageError(
        f"--architecture {settings.architecture} --encoder {settings.encoder}",
        expected="an architecture and an encoder that fit each other",
        found=found,
        next_step="choose another encoder or other weights",
    )
