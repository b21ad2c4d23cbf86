"""The contract of a segmentation model in one ONNX file: its input, its output and its threshold.

The graph has one input `image`, float32 `(batch, C, h, w)`, and one output `mask`, float32
`(batch, K, h, w)`, with one channel per class; only the batch is dynamic. The contract defines all steps
between stored pixels and those tensors. It travels as JSON in the file's `metadata_props`, so that training
and evaluation prepare images in the same way.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from sharekit.errors import InputError, VerificationError
from sharekit.generator.tensors import MASK_THRESHOLD, PROBABILITY_THRESHOLD, binarise
from sharekit.storage import files
from sharekit.storage.names import printable

METADATA_KEY = "sharekit.segmenter.contract"
"""Key of the contract in the ONNX file's `metadata_props`."""
INPUT_NAME = "image"
OUTPUT_NAME = "mask"

MAX_SIDE = 4096  # pixels
MAX_CLASSES = 64
MAX_CLASS_LENGTH = 64  # characters

OutputKind = Literal["logits", "probabilities"]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class SegmenterContract:
    """The meaning of a segmenter's input and output. Law: `from_json(to_json(x)) == x`.

    Raises:
        InputError: on construction, if a field is invalid; the error names it.
    """

    image_channels: int
    """3 (RGB) or 1 (grey)."""
    size: tuple[int, int]
    """Height and width of the tensors, in pixels."""
    mean: tuple[float, ...]
    """Mean per channel of pixels scaled to [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation per channel of pixels scaled to [0, 1]."""
    output: OutputKind
    classes: tuple[str, ...]
    """Names of the output's channels, in order."""
    threshold: float = PROBABILITY_THRESHOLD
    """A probability above this is foreground."""

    def __post_init__(self) -> None:
        channels = self.image_channels
        _require(channels in (1, 3), "image_channels", "1 or 3", channels)
        sides = len(self.size) == 2 and all(1 <= side <= MAX_SIDE for side in self.size)
        _require(sides, "size", f"height and width, 1 to {MAX_SIDE}", self.size)
        mean = len(self.mean) == channels and all(map(math.isfinite, self.mean))
        _require(mean, "mean", f"{channels} finite numbers", self.mean)
        std = len(self.std) == channels and all(math.isfinite(value) and value > 0 for value in self.std)
        _require(std, "std", f"{channels} positive numbers", self.std)
        _require(self.output in ("logits", "probabilities"), "output", "logits or probabilities", self.output)
        named = all(0 < len(name) <= MAX_CLASS_LENGTH and name.isprintable() for name in self.classes)
        distinct = 1 <= len(set(self.classes)) == len(self.classes) <= MAX_CLASSES
        _require(named and distinct, "classes", f"1 to {MAX_CLASSES} different names", self.classes)
        _require(0 < self.threshold < 1, "threshold", "a number between 0 and 1", self.threshold)

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        return {name: list(entry) if isinstance(entry, tuple) else entry for name, entry in value.items()}

    @staticmethod
    def from_json(value: Any) -> SegmenterContract:
        """Read a contract strictly: exactly its fields, each of the right type.

        Raises:
            InputError: naming the field.
        """
        _require(isinstance(value, Mapping), "contract", "a JSON object", value)
        missing = sorted(set(_FIELDS) - set(value))
        unknown = sorted(set(value) - set(_FIELDS))
        _require(not missing and not unknown, "fields", ", ".join(_FIELDS), missing + unknown)
        channels = value["image_channels"]
        _require(type(channels) is int, "image_channels", "an integer", channels)
        _require(isinstance(value["output"], str), "output", "a string", value["output"])
        _require(_is_number(value["threshold"]), "threshold", "a number", value["threshold"])
        for name, kind, check in _LISTS:
            entries = value[name]
            listed = isinstance(entries, list) and all(check(entry) for entry in entries)
            _require(listed, name, f"a list of {kind}", entries)
        return SegmenterContract(
            image_channels=channels,
            size=tuple(value["size"]),
            mean=tuple(map(float, value["mean"])),
            std=tuple(map(float, value["std"])),
            output=value["output"],
            classes=tuple(value["classes"]),
            threshold=float(value["threshold"]),
        )

    def resize(self, pixels: Pixels) -> Pixels:
        """Resize `(H, W)` or `(H, W, C)` uint8 to `(h, w, C)` uint8 with Pillow's bilinear filter.

        Grey becomes RGB by repetition; RGB becomes grey by ITU-R 601 luma (Pillow's `L`).

        Raises:
            InputError: not an 8-bit grey or RGB image.
        """
        grey_or_rgb = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3))
        if not grey_or_rgb or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise InputError(
                "image",
                expected="8-bit grey or RGB pixels, (H, W) or (H, W, C)",
                found=f"{pixels.dtype} {pixels.shape}",
                next_step="convert the image",
            )
        image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
        image = image.convert("L" if self.image_channels == 1 else "RGB")
        height, width = self.size
        resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        return resized.reshape(height, width, self.image_channels)

    def normalise(self, pixels: Pixels) -> NDArray[np.float32]:
        """Convert `(..., h, w, C)` uint8 to `(..., C, h, w)` float32 as (pixel / 255 - mean) / std."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(scaled, -1, -3), np.float32)

    def prepare(self, pixels: Pixels) -> NDArray[np.float32]:
        """Convert a stored image, `(H, W)` or `(H, W, C)` uint8, to one model input, `(C, h, w)` float32.

        Raises:
            InputError: not an 8-bit grey or RGB image.
        """
        return self.normalise(self.resize(pixels))

    def prepare_mask(self, mask: Pixels) -> NDArray[np.bool_]:
        """Convert a stored mask `(H, W)` uint8 to truth `(h, w)` bool: threshold, then nearest pixel."""
        height, width = self.size
        image = Image.fromarray(binarise(mask)).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(np.asarray(image) > MASK_THRESHOLD, np.bool_)

    def probabilities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Convert the model's output `(N, K, h, w)` to probabilities in [0, 1].

        Raises:
            InputError: the shape differs, or a value is not finite.
        """
        expected = (len(self.classes), *self.size)
        if raw.ndim != 4 or raw.shape[1:] != expected or not np.isfinite(raw).all():
            raise InputError(
                OUTPUT_NAME,
                expected=f"finite values of shape (N, {', '.join(map(str, expected))})",
                found=f"shape {raw.shape}" if raw.shape[1:] != expected else "NaN or an infinity",
                next_step="fix the model or its contract",
            )
        if self.output == "logits":
            # tanh never overflows: sigmoid(x) = (1 + tanh(x / 2)) / 2.
            raw = np.asarray((1 + np.tanh(raw.astype(np.float32) / 2)) / 2, np.float32)
        return np.clip(raw, 0, 1).astype(np.float32)


_FIELDS = tuple(field.name for field in dataclasses.fields(SegmenterContract))


def _is_number(value: object) -> bool:
    # JSON's integers are unbounded; one beyond the largest float cannot be converted.
    return type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)


_LISTS = (
    ("size", "integers", lambda entry: type(entry) is int),
    ("mean", "numbers", _is_number),
    ("std", "numbers", _is_number),
    ("classes", "strings", lambda entry: isinstance(entry, str)),
)


def _require(holds: bool, field: str, expected: str, found: object) -> None:
    if not holds:
        raise InputError(
            f"segmenter contract: {field}",
            expected=expected,
            found=printable(str(found)),
            next_step="fix the contract in the segmenter's file",
        )


def attach(model: onnx.ModelProto, contract: SegmenterContract) -> None:
    """Put the contract into a model's `metadata_props`, and remove everything else there."""
    del model.metadata_props[:]
    value = json.dumps(contract.to_json(), sort_keys=True, ensure_ascii=False)
    model.metadata_props.add(key=METADATA_KEY, value=value)


def contract_of(model: onnx.ModelProto, item: object) -> SegmenterContract:
    """Read the contract from a model.

    Raises:
        InputError: the contract is missing, repeated or invalid; the error names `item` or the field.
    """
    found = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(found) != 1:
        raise InputError(
            item,
            expected=f"one contract in metadata_props under {METADATA_KEY!r}",
            found=f"{len(found)} of them",
            next_step="train the segmenter with `consumer train`, or add the contract to its file",
        )
    try:
        value = files.parse_json(found[0].encode(), item)
    except VerificationError as error:
        raise InputError(
            item, expected=error.expected, found=error.found, next_step="fix the contract in the file"
        ) from None
    return SegmenterContract.from_json(value)
