import numpy as np
import torch

from hospital_node.singan.config import PROFILES
from hospital_node.singan.networks import (
    Discriminator,
    Generator,
    channels_at,
    from_arrays,
    initialise,
    sample,
    to_arrays,
)
from hospital_node.singan.trained import TrainedGenerator
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout


def _generator(seed: int, channels: int = 8) -> Generator:
    network = Generator(4, channels)
    initialise(network, torch.Generator().manual_seed(seed))
    # A pass in training mode gives running statistics that are not the identity.
    network(torch.randn(1, 4, 20, 24), torch.zeros(1, 4, 20, 24))
    return network


def test_channels_double_every_four_scales_up_to_the_limit():
    assert [channels_at(scale, PROFILES["paper"]) for scale in range(13)] == [32] * 4 + [64] * 4 + [128] * 5


def test_the_generator_keeps_the_size_and_the_discriminator_takes_ten_pixels():
    x = torch.randn(2, 4, 20, 24)
    assert _generator(0)(x, x).shape == (2, 4, 20, 24)
    assert Discriminator(4, 8)(x).shape == (2, 1, 10, 14)


def test_the_discriminator_judges_each_picture_by_itself():
    network = Discriminator(4, 8)
    initialise(network, torch.Generator().manual_seed(1))
    a, b = torch.randn(2, 1, 4, 20, 24).unbind()
    together = network(torch.cat([a, b]))
    torch.testing.assert_close(together, torch.cat([network(a), network(b)]))


def test_instance_norm_is_batch_norm_over_a_batch_of_one():
    x = torch.randn(1, 8, 9, 7)
    torch.testing.assert_close(torch.nn.BatchNorm2d(8)(x), torch.nn.InstanceNorm2d(8, affine=True)(x))


def test_arrays_hold_the_whole_evaluation_network():
    network = _generator(2).eval()
    x, previous = torch.randn(2, 1, 4, 15, 17).unbind()
    rebuilt = from_arrays(*to_arrays(network, [1.0]))
    torch.testing.assert_close(rebuilt(x, previous), network(x, previous), rtol=0, atol=0)


def _trained() -> TrainedGenerator:
    spec = GeneratorSpec("ab" * 16, ChannelLayout(3, ("lesion",)), (Scale(14, 16, 1), Scale(18, 21, 4)))
    scales = (*to_arrays(_generator(3), [1.0]), *to_arrays(_generator(4), [0.07]))
    return TrainedGenerator(spec, "quick", PROFILES["quick"], scales)


def test_a_saved_generator_is_the_same_when_loaded(tmp_path):
    trained = _trained()
    trained.save(tmp_path / "g.safetensors")
    loaded = TrainedGenerator.load(tmp_path / "g.safetensors")
    assert (loaded.spec, loaded.config, loaded.profile) == (trained.spec, trained.config, trained.profile)
    noise = trained.spec.noise(0, [0, 1])
    np.testing.assert_array_equal(sample(loaded, noise), sample(trained, noise))
    assert (tmp_path / "g.safetensors").stat().st_mode & 0o077 == 0


def test_samples_have_the_size_of_the_noise():
    trained = _trained()
    assert sample(trained, trained.spec.noise(0, [0])).shape == (1, 4, 18, 21)
    assert sample(trained, trained.spec.resized(30, 50).noise(0, [0, 1])).shape == (2, 4, 30, 50)


def test_lanes_are_networks_side_by_side():
    networks = [_generator(seed).eval() for seed in (5, 6, 7)]
    together = from_arrays(*(scale for network in networks for scale in to_arrays(network, [1.0])))
    x, previous = torch.randn(2, 2, 3 * 4, 15, 17).unbind()
    parts = [
        network(a, b) for network, a, b in zip(networks, x.chunk(3, 1), previous.chunk(3, 1), strict=True)
    ]
    torch.testing.assert_close(together(x, previous), torch.cat(parts, dim=1))


def test_lanes_come_apart_as_they_were_put_together():
    scales = [scale for seed in (8, 9) for scale in to_arrays(_generator(seed), [0.5])]
    for before, after in zip(scales, to_arrays(from_arrays(*scales), [0.5, 0.5]), strict=True):
        for a, b in zip(before.blocks, after.blocks, strict=True):
            np.testing.assert_array_equal(a.weight, b.weight)
            np.testing.assert_array_equal(a.bias, b.bias)


def test_a_batch_that_is_used_twice_counts_twice_in_the_running_statistics():
    noise, previous = torch.randn((2, 2, 4, 15, 17), generator=torch.Generator().manual_seed(0))
    once, twice = (Generator(4, 6).train() for _ in range(2))
    twice.load_state_dict(once.state_dict())
    once(noise, previous)
    once(noise, previous)
    twice(noise, previous, uses=2)
    for one, other in zip(once.norms, twice.norms, strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean)
        torch.testing.assert_close(one.running_var, other.running_var)
