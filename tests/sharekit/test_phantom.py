"""The demo's pictures: the same every time, each with a lesion that its mask shows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sharekit.demo.phantom import SMALLEST, draw_frame, write_data_set


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_data_set(tmp_path / name, 2, seed=seed, height=80, width=96)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").glob("*/*"))
    assert [str(path) for path in files] == [
        "images/case-0001.jpg",
        "images/case-0002.jpg",
        "masks/case-0001.png",
        "masks/case-0002.png",
    ]
    for path in files:
        a, b, c = ((tmp_path / name / path).read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_more_pictures_do_not_change_the_first(tmp_path):
    write_data_set(tmp_path / "one", 1, height=80, width=96)
    write_data_set(tmp_path / "two", 2, height=80, width=96)
    name = "images/case-0001.jpg"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_sizes_vary_and_masks_have_their_image_s(tmp_path):
    write_data_set(tmp_path, 4, height=80, width=120)
    sizes = [Image.open(path).size for path in sorted((tmp_path / "images").iterdir())]
    assert sizes == [Image.open(path).size for path in sorted((tmp_path / "masks").iterdir())]
    assert len(set(sizes)) == 4


@pytest.mark.parametrize("seed", range(8))
def test_every_frame_has_a_lesion_a_black_border_and_a_caption(seed):
    frame = draw_frame(np.random.default_rng(seed), 288, 352)
    assert frame.image.shape == (288, 352, 3)
    assert set(np.unique(frame.mask)) == {0, 255}
    assert 0.02 < np.mean(frame.mask > 0) < 0.4
    corners = frame.image[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 8
    # The caption's letters are grey; tissue under them never is.
    caption = frame.image[50:120, 2:75].astype(int)
    white = (caption.min(axis=2) > 150) & (np.ptp(caption, axis=2) < 12)
    assert white.sum() > 100


def test_a_lesion_looks_different_from_the_wall_around_it():
    differences = []
    for seed in range(8):
        frame = draw_frame(np.random.default_rng(seed), 144, 176)
        inside = frame.mask > 0
        tissue = (frame.image.max(axis=2) > 60) & ~inside
        differences.append(np.abs(frame.image[inside].mean(axis=0) - frame.image[tissue].mean(axis=0)).max())
    assert np.median(differences) > 8


def test_the_smallest_frame_can_be_drawn():
    assert draw_frame(np.random.default_rng(0), SMALLEST, SMALLEST).mask.any()
