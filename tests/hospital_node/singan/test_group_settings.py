"""What the settings of group generators change, and that they change nothing where they are left alone."""

import dataclasses

import numpy as np
import pytest
import torch

from hospital_node.candidate.build import build_onnx
from hospital_node.candidate.session import open_session
from hospital_node.candidate.session import sample as sample_onnx
from hospital_node.singan.augment_real import augment, warp
from hospital_node.singan.config import PROFILES, TrainingConfig, TrainingSettings
from hospital_node.singan.critic import critic_gradients
from hospital_node.singan.lane import LaneJob
from hospital_node.singan.networks import Discriminator, initialise, sample
from hospital_node.singan.pyramid import pictures_at, upsample
from hospital_node.singan.scale import ScaleTraining
from hospital_node.singan.trained import TrainedGenerator
from hospital_node.singan.training import Lane, Stopped, train, train_lanes
from tests.hospital_node.singan.test_training import CONFIG, LAYOUT, picture

GROUP = dataclasses.replace(
    CONFIG,
    discriminator_steps=1,
    generator_steps=1,
    pictures=2,
    z_star=False,
    critic_norm=False,
    colour_jitter=0.2,
    flips=True,
    turn=180.0,
    shift=0.15,
)
PICTURES = [picture(number) for number in range(3)]


def _train(directory, **options):
    return train(
        PICTURES,
        LAYOUT,
        GROUP,
        generator_id="cd" * 16,
        profile="group",
        checkpoint_dir=directory,
        seed=7,
        **options,
    )


def _critic(norm: bool = True) -> Discriminator:
    random = torch.Generator().manual_seed(1)
    critic = Discriminator(4, 6, norm=norm)
    initialise(critic, random)
    return critic.double().requires_grad_(False)


def _batch(count: int, seed: int) -> torch.Tensor:
    return torch.rand((count, 4, 15, 17), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def _gradients(critic: Discriminator) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None]


def _autograd_gradients(
    critic: Discriminator, real: torch.Tensor, fake: torch.Tensor, mix: torch.Tensor, weight: float
) -> list[torch.Tensor]:
    """The gradients of `critic_gradients` by autograd, for several pictures."""
    critic.requires_grad_(True)
    between = torch.lerp(fake, real, mix).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = (slope.norm(2, dim=1) - 1).square().mean()
    loss = critic(fake).mean() - critic(real).mean() + weight * penalty
    gradients = list(torch.autograd.grad(loss, list(critic.parameters())))
    critic.requires_grad_(False)
    return gradients


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_autograd_gives_the_gradients_written_by_hand(weight, norm, count):
    critic, mix = _critic(norm), torch.linspace(0.3, 0.9, count, dtype=torch.float64).view(-1, 1, 1, 1)
    real, fake = _batch(count, 1), _batch(count, 2)
    critic_gradients(critic, real, fake, mix, weight)
    found = _gradients(critic)
    for one, other in zip(found, _autograd_gradients(critic, real, fake, mix, weight), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [True, False])
def test_gradients_lie_in_memory_as_their_parameters_do(norm):
    # The fused Adam on a CPU reads both as they lie.
    critic = _critic(norm).float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    real, fake = _batch(2, 1).float(), _batch(2, 2).float()
    critic_gradients(critic, real, fake, torch.full((2, 1, 1, 1), 0.5), 0.1, torch.float32)
    for parameter in critic.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


@pytest.mark.parametrize("norm", [True, False])
def test_several_pictures_give_the_mean_of_each_alone(norm):
    critic, mix = _critic(norm), torch.tensor([0.2, 0.9], dtype=torch.float64).view(2, 1, 1, 1)
    real, fake = _batch(2, 1), _batch(2, 2)
    alone = []
    for one in (slice(0, 1), slice(1, 2)):
        critic_gradients(critic, real[one], fake[one], mix[one], 0.1)
        alone.append(_gradients(critic))
    critic_gradients(critic, real, fake, mix, 0.1)
    for found, first, second in zip(_gradients(critic), *alone, strict=True):
        torch.testing.assert_close(found, (first + second) / 2, rtol=1e-9, atol=1e-12)


def test_a_norm_hides_brightness_from_the_critic():
    dark = _batch(1, 3)
    normed, free = _critic(), _critic(norm=False)
    torch.testing.assert_close(normed(dark), normed(dark + 0.5))
    assert not torch.allclose(free(dark), free(dark + 0.5), rtol=0.01)


def test_an_update_costs_about_the_same_at_every_scale():
    sizes, config = [(12, 15), (20, 24), (33, 39), (54, 64)], dataclasses.replace(GROUP, pictures=8)
    assert [pictures_at(scale, sizes, config) for scale in range(4)] == [8, 3, 2, 2]
    assert [pictures_at(scale, sizes, CONFIG) for scale in range(4)] == [1, 1, 1, 1]


def test_no_noise_belongs_to_a_picture_of_a_group_without_z_star(tmp_path):
    _train(tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["z_star"] == state["reconstructions"] == []


def test_a_scale_without_z_star_rebuilds_a_picture_from_its_smaller_self(tmp_path):
    lane = Lane(LaneJob(PICTURES, LAYOUT, "0" * 32, tmp_path, 3), GROUP, torch.device("cpu"))
    first = ScaleTraining([lane])
    first.step()
    assert first.last_losses[1].item() == 0
    first.freeze()
    second = ScaleTraining([lane])
    for start, smaller in zip(second.previous_reconstructions, lane.reals[0], strict=True):
        torch.testing.assert_close(start, upsample(smaller, second.height, second.width))
    second.step()
    assert second.last_losses[1].item() > 0


@pytest.mark.parametrize("stop_after", [3, 8])
def test_a_stopped_group_goes_on_bit_for_bit(tmp_path, stop_after):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stop_after

    with pytest.raises(Stopped):
        _train(tmp_path / "a", should_stop=should_stop)
    resumed, whole = _train(tmp_path / "a"), _train(tmp_path / "b")
    noise = whole.spec.noise(1, [0, 1])
    np.testing.assert_array_equal(sample(resumed, noise), sample(whole, noise))


def test_groups_side_by_side_learn_what_each_learns_alone(tmp_path):
    jobs = [LaneJob(PICTURES, LAYOUT, f"{n:032x}", tmp_path / str(n), seed=n) for n in range(2)]
    together = train_lanes(jobs, GROUP, profile="group")
    for job, generator in zip(jobs, together, strict=True):
        alone = dataclasses.replace(job, checkpoint_dir=tmp_path / f"alone-{job.seed}")
        (expected,) = train_lanes([alone], GROUP, profile="group")
        assert isinstance(generator, TrainedGenerator)
        assert isinstance(expected, TrainedGenerator)
        noise = generator.spec.noise(1, [0, 1])
        np.testing.assert_allclose(sample(generator, noise), sample(expected, noise), atol=2e-2)


def test_a_group_generator_is_a_function_of_noise_alone(tmp_path):
    generator = _train(tmp_path)
    noise = generator.spec.noise(1, [0, 1])
    drawn = sample_onnx(open_session(build_onnx(generator), threads=1), noise)
    np.testing.assert_allclose(drawn, sample(generator, noise).clip(-1, 1), atol=1e-4)


def test_colours_change_and_masks_do_not():
    picture = _batch(3, 4).float()
    picture[:, 0, 0, 0] = -1
    (changed,) = augment((picture,), 3, 0.3, False, torch.Generator().manual_seed(0))
    assert not torch.allclose(changed[:, :3], picture[:, :3], atol=0.01)
    torch.testing.assert_close(changed[:, 3:], picture[:, 3:])
    # Black stays black.
    torch.testing.assert_close(changed[:, 0, 0, 0], picture[:, 0, 0, 0])


def test_flips_mirror_a_picture_at_all_its_sizes():
    picture = _batch(8, 5).float()
    mirrored = augment((picture, picture + 0), 3, 0.0, True, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirrored[0], mirrored[1])
    ways = [picture.flip(axes) for axes in ((), (2,), (3,), (2, 3))]
    chosen = {
        next(way for way, of_all in enumerate(ways) if torch.equal(one, of_all[number]))
        for number, one in enumerate(mirrored[0])
    }
    assert len(chosen) > 1


def test_a_turned_picture_and_its_smaller_self_turn_alike():
    height, width = 40, 48
    large = torch.full((6, 4, height, width), -1.0)
    large[:, :, 8:16, 28:40] = 1
    small = torch.nn.functional.avg_pool2d(large, 4)
    turned, reduced = warp((large, small), 180, 0.15, torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(turned, 4)
    assert (expected - reduced).abs().mean() < 0.1
    assert (turned - large).abs().mean() > 0.1
    # Image and mask move together.
    torch.testing.assert_close(turned[:, :1], turned[:, 3:])


def test_a_turn_is_as_large_as_its_limit_at_most_and_keeps_the_shape_of_what_it_turns():
    picture = torch.full((64, 1, 41, 61), -1.0)
    picture[:, :, 19:22, 20:41] = 1  # a bar of 21 x 3 pixels through the middle
    (turned,) = warp((picture,), 10, 0, torch.Generator().manual_seed(0))
    # Over ten degrees the ends of the bar move by 10.5 * sin(10 degrees) = 1.8 pixels.
    assert (turned[:, :, :16] < 0).all()
    assert (turned[:, :, 25:] < 0).all()
    areas = (turned > 0).sum(dim=(1, 2, 3))
    assert ((areas > 45) & (areas < 80)).all()


def test_upright_pictures_are_hardly_turned_and_never_mirrored():
    group, upright = TrainingSettings.of("group"), TrainingSettings.of("group").upright()
    assert (group.config.turn, group.config.flips) == (180, True)
    assert (upright.config.turn, upright.config.flips) == (15, False)
    assert TrainingSettings.of("private").upright() == TrainingSettings.of("private")


def test_settings_for_groups_leave_what_earlier_releases_wrote_as_it_was():
    # Ledgers and checkpoints of earlier releases hold these settings, or their digests.
    digests = {name: TrainingSettings(name, PROFILES[name]).digest for name in ("paper", "private", "quick")}
    assert digests == {"paper": "eb46bc0eea40", "private": "08b507dbe686", "quick": "d77177d4266c"}
    assert "z_star" not in TrainingConfig().to_json()
    assert TrainingConfig.from_json(GROUP.to_json()) == GROUP
