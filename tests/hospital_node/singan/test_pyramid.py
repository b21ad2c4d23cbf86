import itertools

import numpy as np
import torch

from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.pyramid import build_pyramid, pyramid_sizes, resize, upsample


def test_the_published_example_has_nine_scales():
    sizes = pyramid_sizes(529, 622, PROFILES["paper"])
    assert len(sizes) == 9
    assert min(sizes[0]) == 25
    assert sizes[-1] == (213, 250)


def test_scales_grow_by_a_constant_factor():
    sizes = pyramid_sizes(1072, 1920, TrainingConfig())
    ratios = [b[1] / a[1] for a, b in itertools.pairwise(sizes)]
    assert max(ratios) / min(ratios) < 1.06
    assert 1.25 < np.mean(ratios) < 1.45


def test_an_image_smaller_than_the_limit_is_not_enlarged():
    assert pyramid_sizes(40, 60, TrainingConfig())[-1] == (40, 60)


def test_an_image_at_the_coarsest_size_has_one_scale():
    assert pyramid_sizes(25, 30, TrainingConfig()) == [(25, 30)]


def test_resizing_never_mixes_channels():
    tensor = np.full((4, 60, 50), -1, np.float32)
    tensor[3, 20:40, 10:30] = 1
    for level in build_pyramid(tensor, TrainingConfig()):
        np.testing.assert_allclose(level[:3], -1, atol=1e-6)
        assert level[3].max() > 0


def test_the_pyramid_stays_in_range_at_hard_edges():
    tensor = np.where(np.indices((1, 80, 80)).sum(0) % 16 < 8, -1, 1).astype(np.float32)
    for level in build_pyramid(tensor, TrainingConfig()):
        assert level.min() >= -1
        assert level.max() <= 1


def test_shrinking_a_linear_ramp_keeps_it_linear_inside():
    ramp = torch.linspace(-1, 1, 64).repeat(1, 1, 64, 1)
    steps = resize(ramp, 32, 32)[0, 0, 8, 6:-6].diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), atol=1e-4, rtol=0)


def test_upsampling_keeps_a_constant():
    torch.testing.assert_close(
        upsample(torch.full((1, 4, 9, 7), 0.3), 12, 11), torch.full((1, 4, 12, 11), 0.3)
    )
