"""Samples deeper than 8 bits: their actual range, and advice for converting them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharekit.errors import InputError


@dataclass(frozen=True)
class DeepSamples:
    """The stored samples of a file whose channels are not 8-bit unsigned."""

    values: NDArray
    """`(H, W)` or `(H, W, C)`, as the file holds them."""
    bits: int  # of a sample
    kind: str = "unsigned"
    """unsigned, signed, floating-point, complex or undefined."""

    @property
    def name(self) -> str:
        kind = "" if self.kind == "unsigned" else f"{self.kind} "
        return f"{self.bits}-bit {kind}samples"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value; NaN and infinities are left out."""
        finite = self.values[np.isfinite(self.values)]
        return (finite.min().item(), finite.max().item()) if finite.size else (0.0, 0.0)

    def refused_as_picture(self, item: object) -> InputError:
        """The refusal, with a conversion that keeps the whole range of this file."""
        if self.kind not in ("unsigned", "signed", "floating-point"):
            return InputError(
                item,
                expected="8 bits a channel",
                found=self.name,
                next_step="convert it to 8-bit unsigned, for example: magick IN -depth 8 OUT.png",
            )
        low, high = self.range
        values = f"all of the value {low:g}" if low == high else f"from {low:g} to {high:g}"
        found = f"{self.name}, {values}"
        used = int(high).bit_length()
        if self.kind == "unsigned" and low < high and used < self.bits:
            found += f" (uses {used} bits)"
        if low == high:
            next_step = "find out where the picture's values were lost, and export it again"
        else:
            next_step = (
                "choose the window of values that a reader would use and convert it; this one keeps all of "
                f"this file's: magick IN {self._levels()} -depth 8 OUT.png"
            )
        return InputError(item, expected="8 bits a channel", found=found, next_step=next_step)

    def _levels(self) -> str:
        """The ImageMagick option that maps the range of values to black and white."""
        if self.kind != "unsigned":
            return "-auto-level"
        full = 2**self.bits - 1
        low, high = (f"{100 * value / full:.6g}%" for value in self.range)
        return f"-level {low},{high}"


def read_deep(image: Image.Image, data: bytes, bits: int, kind: str = "unsigned") -> DeepSamples:
    """The samples of an image that Pillow has loaded from `data`, with the low bytes that it dropped.

    Pillow opens 16-bit colour as 8-bit "RGB" and silently drops the low byte.
    """
    values = np.asarray(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return DeepSamples(values, bits, kind)
    if image.mode in ("RGBA", "LA"):
        values = values[:, :, :-1]
    low = _low_bytes(data, image)
    if low is None:
        # Only the high byte is known: each value is accurate to 1 in 256.
        return DeepSamples(values.astype(np.uint16) * 257, bits, kind)
    return DeepSamples(values.astype(np.uint16) * 256 + low[:, :, : values.shape[2]], bits, kind)


def _low_bytes(data: bytes, loaded: Image.Image) -> NDArray | None:
    """The bytes that Pillow dropped, read with the other byte order; None if that is impossible."""
    with Image.open(io.BytesIO(data), formats=[str(loaded.format)]) as image:
        image.seek(loaded.tell())
        try:
            image.tile = [tile._replace(args=_other_order(tile.args)) for tile in image.tile]
            image.load()
        except (ValueError, TypeError):
            return None
        return np.asarray(image)


def _other_order(arguments: Any) -> Any:
    if isinstance(arguments, tuple):
        return (_other_order(arguments[0]), *arguments[1:])
    return f"{arguments[:-1]}L" if arguments.endswith(";16B") else f"{arguments[:-1]}B"
