"""A trained generator as plain arrays: what training produces, and all that export may read.

It holds no reconstruction noise (z*), no discriminator, no optimiser state and no pixel of the real image.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hospital_node.singan.config import TrainingConfig
from sharekit.errors import NodeStateError
from sharekit.generator.spec import GeneratorSpec
from sharekit.storage import files

Array = NDArray[np.float32]
BATCH_NORM_EPSILON = 1e-5
LEAKY_SLOPE = 0.2
MAX_BYTES = 2**31
_METADATA = "sharekit"


@dataclass(frozen=True)
class BatchNorm:
    """Evaluation-time batch norm: `(x - mean) / sqrt(variance + BATCH_NORM_EPSILON) * weight + bias`."""

    weight: Array  # (channels,)
    bias: Array  # (channels,)
    mean: Array  # (channels,) running mean
    variance: Array  # (channels,) running variance


@dataclass(frozen=True)
class Block:
    """An unpadded 3x3 convolution with batch norm and LeakyReLU(`LEAKY_SLOPE`); the last has tanh instead."""

    weight: Array  # (out, in, 3, 3)
    bias: Array  # (out,)
    norm: BatchNorm | None  # None for the last block


@dataclass(frozen=True)
class TrainedScale:
    """One scale: output = previous + tanh stack(pad(amplitude * noise + previous)), see `networks`."""

    noise_amplitude: float
    blocks: tuple[Block, ...]  # five


@dataclass(frozen=True)
class TrainedGenerator:
    """A whole pyramid, coarsest scale first. Law: `load(save(x)) == x`, array by array."""

    spec: GeneratorSpec
    profile: str
    config: TrainingConfig
    scales: tuple[TrainedScale, ...]
    group_size: int = 1
    """Real images it was trained on."""
    hardware: str = "cpu"
    """Class of the device that trained it, without a machine's name."""

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically, readable by its owner only."""
        tensors: dict[str, Array] = {}
        for number, scale in enumerate(self.scales):
            for position, block in enumerate(scale.blocks):
                prefix = f"scale{number}.block{position}"
                tensors[f"{prefix}.weight"] = block.weight
                tensors[f"{prefix}.bias"] = block.bias
                if block.norm is not None:
                    for field in dataclasses.fields(BatchNorm):
                        tensors[f"{prefix}.norm.{field.name}"] = getattr(block.norm, field.name)
        description = {
            "spec": self.spec.to_json(),
            "profile": self.profile,
            "config": self.config.to_json(),
            "noise_amplitudes": [scale.noise_amplitude for scale in self.scales],
            "blocks": [len(scale.blocks) for scale in self.scales],
            "group_size": self.group_size,
            "hardware": self.hardware,
        }
        data = save_tensors(tensors, metadata={_METADATA: json.dumps(description)})
        files.write_bytes(path, data, mode=0o600)

    @staticmethod
    def load(path: Path) -> TrainedGenerator:
        """Read a file that `save` wrote.

        Raises:
            NodeStateError: the file is damaged.
            InputError: the file is missing.
        """
        data = files.read_bytes(path, max_bytes=MAX_BYTES)
        try:
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            description = json.loads(header["__metadata__"][_METADATA])
            tensors = load_tensors(data)
            return _from_parts(description, tensors)
        except Exception as error:
            raise NodeStateError(
                path,
                expected="a trained generator written by this node",
                found=f"{type(error).__name__}: {error}",
                next_step="train this image again",
            ) from error


def _from_parts(description: dict, tensors: dict[str, Array]) -> TrainedGenerator:
    scales = []
    for number, amplitude in enumerate(description["noise_amplitudes"]):
        blocks = []
        for position in range(description["blocks"][number]):
            prefix = f"scale{number}.block{position}"
            norm = None
            if f"{prefix}.norm.weight" in tensors:
                norm = BatchNorm(
                    *(tensors[f"{prefix}.norm.{field.name}"] for field in dataclasses.fields(BatchNorm))
                )
            blocks.append(Block(tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"], norm))
        scales.append(TrainedScale(float(amplitude), tuple(blocks)))
    return TrainedGenerator(
        GeneratorSpec.from_json(description["spec"]),
        description["profile"],
        TrainingConfig.from_json(description["config"]),
        tuple(scales),
        int(description["group_size"]),
        str(description["hardware"]),
    )
