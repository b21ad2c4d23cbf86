"""The engine's mathematics against the plain float64 reference."""

import pytest
import torch

from hospital_node.singan.critic import critic_gradients
from hospital_node.singan.networks import ConvStack, Discriminator, Generator, initialise
from hospital_node.singan.pyramid import resize, upsample
from tests.hospital_node.singan import reference

SIZES = [(15, 17), (16, 23), (24, 21)]


def _random_network(network: ConvStack, seed: int) -> ConvStack:
    """Away from the start, where biases are zero and everything is small."""
    random = torch.Generator().manual_seed(seed)
    initialise(network, random)
    with torch.no_grad():
        for convolution, norm in network.layers:
            convolution.weight.mul_(5)
            if convolution.bias is not None:
                convolution.bias.normal_(generator=random)
            if norm is not None:
                norm.bias.normal_(generator=random)
    return network.double()


def _as_reference(network: ConvStack) -> reference.Network:
    convolutions = [convolution for convolution, _ in network.layers]
    norms = [norm for _, norm in network.layers if norm is not None]

    def copies(parameters):
        return [parameter.detach().clone().requires_grad_(True) for parameter in parameters]

    return reference.Network(
        copies(c.weight for c in convolutions),
        copies(_bias(c) for c in convolutions),
        copies(n.weight for n in norms),
        copies(n.bias for n in norms),
    )


def _bias(convolution: torch.nn.Conv2d) -> torch.Tensor:
    """The reference has biases everywhere; before a norm, where the engine has none, theirs are zero."""
    if convolution.bias is not None:
        return convolution.bias
    return torch.zeros(convolution.out_channels, dtype=convolution.weight.dtype)


def _gradients(network: ConvStack) -> list[torch.Tensor]:
    convolutions = [convolution for convolution, _ in network.layers]
    norms = [norm for _, norm in network.layers if norm is not None]
    weights = [c.weight.grad for c in convolutions]
    # That the reference finds no gradient before a norm either is part of what is compared.
    biases = [_bias(c) if c.bias is None else c.bias.grad for c in convolutions]
    return [*weights, *biases, *(n.weight.grad for n in norms), *(n.bias.grad for n in norms)]


def _pictures(count: int, size: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return list(torch.randn((count, 4, *size), generator=random, dtype=torch.float64))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("penalty_weight", [0.0, 0.1, 10.0])
def test_critic_gradients_agree_with_the_reference(size, penalty_weight, norm):
    critic = _random_network(Discriminator(4, 6, norm=norm), 1)
    real, fake = _pictures(2, size)
    expected_loss, expected = reference.critic_objective(
        real, fake, 0.3, _as_reference(critic), penalty_weight
    )
    losses = critic_gradients(
        critic, real[None], fake[None], torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64), penalty_weight
    )
    torch.testing.assert_close((losses.critic + penalty_weight * losses.penalty)[0], expected_loss.detach())
    for found, wanted in zip(_gradients(critic), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_critic_gradients_of_every_lane_agree_with_the_reference(size, norm):
    lanes = 3
    critics = [_random_network(Discriminator(4, 6, norm=norm), seed) for seed in range(lanes)]
    together = Discriminator(4, 6, lanes, norm=norm).double()
    with torch.no_grad():
        for parameter, parts in zip(
            together.parameters(), zip(*(c.parameters() for c in critics), strict=True), strict=True
        ):
            parameter.copy_(torch.cat(parts))
    reals, fakes = _pictures(lanes, size, seed=1), _pictures(lanes, size, seed=2)
    mixes = [0.2, 0.5, 0.9]
    mix = torch.tensor(mixes, dtype=torch.float64).repeat_interleave(4).view(1, -1, 1, 1)
    losses = critic_gradients(together, torch.cat(reals)[None], torch.cat(fakes)[None], mix, 0.1)
    gradients = _gradients(together)
    for lane in range(lanes):
        expected_loss, expected = reference.critic_objective(
            reals[lane], fakes[lane], mixes[lane], _as_reference(critics[lane]), 0.1
        )
        torch.testing.assert_close(losses.critic[lane] + 0.1 * losses.penalty[lane], expected_loss.detach())
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found.chunk(lanes)[lane], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_generator_gradients_agree_with_the_reference(size):
    generator, critic = _random_network(Generator(4, 6), 2), _random_network(Discriminator(4, 6), 3)
    noise, previous, z_star, rebuilt_from, real = _pictures(5, size)
    _, expected = reference.generator_objective(
        noise, previous, z_star, rebuilt_from, real, _as_reference(generator), _as_reference(critic), 10.0
    )
    adversarial = -critic(generator(noise[None], previous[None])).mean()
    rebuilt = generator(z_star[None], rebuilt_from[None])
    (adversarial + 10.0 * ((rebuilt - real) ** 2).mean()).backward()
    for found, wanted in zip(_gradients(generator), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(12, 30), (31, 17)])
def test_pyramid_resizing_agrees_with_the_reference(size):
    picture = _pictures(1, (40, 44))[0].clamp(-1, 1)
    expected = reference.resize_picture(picture, *size, -0.5, antialias=True).clamp(-1, 1)
    torch.testing.assert_close(resize(picture[None], *size)[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(20, 24), (19, 31)])
def test_upsampling_agrees_with_the_reference(size):
    picture = _pictures(1, (15, 18))[0]
    expected = reference.resize_picture(picture, *size, -0.75, antialias=False)
    torch.testing.assert_close(upsample(picture[None], *size)[0], expected, rtol=0, atol=1e-9)
