"""Turns the stored values of a DICOM image into the pixels that a viewer would show; pure.

Grey images: the modality transformation (rescale or LUT), then the first window or VOI LUT, then the
photometric interpretation (PS3.3 C.7.6.3.1.2, C.11.1, C.11.2). Colours: to RGB, as stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

GREY = ("MONOCHROME1", "MONOCHROME2")


def shown(dataset: Any, values: NDArray) -> Pixels:
    """`(F, H, W, C)` uint8, C is 3 (RGB) or 1 (grey).

    Args:
        dataset: the pydicom data set.
        values: `(F, H, W)` or `(F, H, W, 3)`, as stored; YBR already as RGB.

    Raises:
        ValueError: the photometric interpretation is none of those that this module knows.
    """
    kind = str(dataset.PhotometricInterpretation)
    if kind in GREY:
        grey = _grey(dataset, values)
        return (255 - grey if kind == "MONOCHROME1" else grey)[..., None]
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colours = apply_color_lut(values, dataset)
        return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
    if values.ndim != 4 or values.shape[3] != 3:
        raise ValueError(f"{kind} with {values.shape[3:] or (1,)} samples a pixel")
    bits = int(dataset.BitsStored)
    return values.astype(np.uint8) if bits <= 8 else (values >> (bits - 8)).astype(np.uint8)


def _grey(dataset: Any, values: NDArray) -> Pixels:
    from pydicom.pixels import apply_modality_lut, apply_voi

    modality = np.asarray(apply_modality_lut(values, dataset), np.float64)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _scaled(np.asarray(apply_voi(modality.astype(np.int64), dataset), np.float64), 0, 2**bits - 1)
    window = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if None not in window:
        return _windowed(modality, *window, str(dataset.get("VOILUTFunction", "LINEAR")))  # type: ignore[arg-type]
    plain = int(dataset.BitsStored) == 8 and not dataset.PixelRepresentation
    if plain and "RescaleSlope" not in dataset and "ModalityLUTSequence" not in dataset:
        return modality.astype(np.uint8)
    # Nothing says what to show: all of the file's values, so that its frames stay comparable.
    return _scaled(modality, float(modality.min()), float(modality.max()))


def _first(dataset: Any, name: str) -> float | None:
    value = dataset.get(name)
    if value is None or value == "":
        return None
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> Pixels:
    """The VOI functions of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return _scaled(1 / (1 + np.exp(-4 * (values - centre) / width)), 0, 1)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return _scaled(values, centre - width / 2, centre + width / 2)


def _scaled(values: NDArray[np.float64], low: float, high: float) -> Pixels:
    """Values from `low` to `high` as 0 to 255; a window without width is a threshold."""
    share = (values - low) / (high - low) if high > low else (values > low).astype(np.float64)
    return (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
