"""Masks that lie on edges agree with them, displaced ones do not; on drawn pictures, and on real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.filters import sobel

from consumer.datasets.reader import read_folder
from consumer.validation.edges import FOLLOWS, edge_agreement
from sharekit.pictures import mask_statistics


def scene(seed: int, shape: tuple[int, int] = (90, 120)) -> tuple[np.ndarray, np.ndarray]:
    """Noisy picture of two bright discs, and the mask of one: the other one's edges are the control's."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = random.normal(80, 8, (*shape, 3))
    discs = []
    for _ in range(2):
        centre = random.uniform(0.25, 0.75, 2) * shape
        discs.append((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= random.uniform(8, 16) ** 2)
        pixels[discs[-1]] += 70
    return np.clip(pixels, 0, 255).astype(np.uint8), discs[0] & ~discs[1]


def test_exact_masks_lie_on_edges() -> None:
    values = [edge_agreement(pixels, [mask]) for pixels, mask in map(scene, range(10))]
    assert min(value or 0.0 for value in values) > 2 * FOLLOWS


def test_displaced_masks_are_about_chance() -> None:
    random = np.random.default_rng(0)
    values = []
    for seed in range(20):
        pixels, mask = scene(seed)
        for shift in random.integers(0, pixels.shape[:2], (20, 2)).tolist():
            values.append(edge_agreement(pixels, [np.roll(mask, shift, (0, 1))]))
    assert 0.85 < np.mean([value for value in values if value is not None]) < FOLLOWS


def test_the_mean_over_all_shifts_is_the_mean_of_the_image() -> None:
    """What makes the control exact: no shift has to be drawn."""
    random = np.random.default_rng(0)
    gradient = sobel(random.random((9, 11)))
    outline = random.random((9, 11)) < 0.2
    shifted = [
        gradient[np.roll(outline, (rows, columns), (0, 1))].mean()
        for rows in range(9)
        for columns in range(11)
    ]
    assert np.mean(shifted) == pytest.approx(gradient.mean())


def test_masks_of_several_classes_count_together() -> None:
    pixels, mask = scene(1)
    exact = edge_agreement(pixels, [mask])
    assert edge_agreement(pixels, [mask, mask]) == exact
    assert edge_agreement(pixels, [mask, np.zeros_like(mask)]) == exact


def test_large_pictures_are_measured_at_one_scale() -> None:
    pixels, mask = scene(2, (240, 250))
    twice = edge_agreement(
        np.kron(pixels, np.ones((4, 4, 1), np.uint8)), [np.kron(mask, np.ones((4, 4), bool))]
    )
    assert twice == pytest.approx(edge_agreement(pixels, [mask]), rel=0.1)


@pytest.mark.parametrize("fill", [False, True])
def test_without_an_outline_nothing_is_measured(fill: bool) -> None:
    assert edge_agreement(scene(0)[0], [np.full((90, 120), fill)]) is None


@pytest.mark.parametrize("level", [0, 9, 50, 77, 100, 200, 255])
def test_a_flat_picture_has_no_edges(level: int) -> None:
    assert edge_agreement(np.full((90, 120, 3), level, np.uint8), [scene(0)[1]]) is None


def test_the_faintest_edge_is_an_edge() -> None:
    pixels = np.full((256, 256), 100, np.uint8)
    pixels[100, 100] += 1
    mask = np.zeros((256, 256), bool)
    mask[95:101, 95:101] = True
    assert (edge_agreement(pixels, [mask]) or 0.0) > FOLLOWS


def test_grey_pictures_are_measured_too() -> None:
    pixels, mask = scene(3)
    grey = edge_agreement(np.asarray(Image.fromarray(pixels).convert("L")), [mask])
    assert grey == pytest.approx(edge_agreement(pixels, [mask]))


@pytest.mark.real_data
def test_experts_masks_follow_edges_and_those_of_other_images_do_not(kvasir_seg: Path) -> None:
    folder = read_folder(kvasir_seg)
    entries = folder.entries[:40]
    images = [folder.read_image(entry) for entry in entries]
    masks = [
        mask_statistics.foreground(folder.read_mask(next(iter(entry.masks.values())))) for entry in entries
    ]
    experts = [edge_agreement(image, [mask]) for image, mask in zip(images, masks, strict=True)]
    others = [
        edge_agreement(image, [_resized(mask, image.shape[:2])])
        for image, mask in zip(images, masks[1:] + masks[:1], strict=True)
    ]
    assert np.mean([value for value in experts if value]) > 1.8
    assert np.mean([value for value in others if value]) < 1.3


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))
