"""CIE L*a*b*: published values, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from sharekit.pictures.lab import from_lab, to_lab


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_known_colours(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    pixel = np.array(rgb, np.float64).reshape(3, 1, 1) / 127.5 - 1
    assert to_lab(pixel).ravel() == pytest.approx(lab, abs=0.02)


def test_the_way_back_gives_the_same_picture() -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 5, 7)).astype(np.float32)
    assert from_lab(to_lab(images)) == pytest.approx(images, abs=1e-5)


def test_colours_beyond_srgb_are_clipped() -> None:
    found = from_lab(np.array([120.0, 200.0, -200.0]).reshape(3, 1, 1))
    assert np.abs(found).max() <= 1
