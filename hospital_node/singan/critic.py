"""One update's gradients of the critic, with the gradient penalty's second derivative written out.

Autograd would build and walk a graph of small operations twice. Written by hand, real, fake and the point
between them share every convolution, and the second derivative is one more pass of the same operations.

With a_l the l-th convolution's output, z_l its normalised form, n_l = gamma z_l + beta and
h_l = LeakyReLU(n_l), the gradient of the scores' sum at the point between is, from the last layer down,

    d_{l-1} = W_l^T q_l,   q_l = gamma i_l (e_l - mean e_l - z_l mean(e_l z_l)),   e_l = LeakyReLU'(n_l) d_l,

where i_l = 1 / sqrt(var a_l + eps). The penalty P depends on it; its derivative r = dP/dd_0 goes back up by
the adjoint of each line. The adjoint of q_l with respect to a_l is the only term of second order:

    -gamma i_l^2 (m (p - mean p) + k (e_l - mean e_l) + z_l (mean(p e_l) - mean p mean e_l - 3 m k)),

with p the adjoint of q_l, m = mean(e_l z_l) and k = mean(p z_l). `tests/hospital_node/singan` compares all of
it with a float64 reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hospital_node.singan.networks import Discriminator
from hospital_node.singan.trained import BATCH_NORM_EPSILON, LEAKY_SLOPE


@dataclass(frozen=True)
class CriticLosses:
    """What one update measured, on the device."""

    critic: Tensor  # mean D(fake) - mean D(real), (lanes,)
    penalty: Tensor  # mean over pixels of (norm over channels of the gradient - 1)^2, (lanes,)


@dataclass(frozen=True)
class _Layer:
    """What the forward pass keeps of one normalised layer, for the N pictures in the batch."""

    weight: Tensor  # convolution, (out, in / lanes, 3, 3)
    lanes: int
    gamma: Tensor  # norm, (out,)
    pre_norm: Tensor  # a_l, (N, out, h, w)
    statistics: list[tuple[Tensor, Tensor]]  # of each picture: mean and i_l, (out,)
    output: Tensor  # h_l, (N, out, h, w)

    def picture(self, number: int) -> _Layer:
        """The same for one picture."""
        one = slice(number, number + 1)
        return _Layer(
            self.weight, self.lanes, self.gamma, self.pre_norm[one], self.statistics[one], self.output[one]
        )

    def activation_backward(self, gradient: Tensor) -> Tensor:
        # LeakyReLU keeps the sign, so its output gives its slope.
        return torch.ops.aten.leaky_relu_backward(gradient, self.output, LEAKY_SLOPE, True)

    def norm_backward(self, gradient: Tensor) -> _NormGradient:
        # One call per picture: batch norm over a batch of one is instance norm, and takes channels-last.
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                gradient[one],
                self.pre_norm[one],
                self.gamma,
                None,
                None,
                *self.statistics[number],
                True,
                BATCH_NORM_EPSILON,
                [True, True, True],
            )
            for number in range(len(self.statistics))
            for one in [slice(number, number + 1)]
        ]
        at_input, times_z, total = zip(*parts, strict=True)
        return _NormGradient(torch.cat(at_input) if len(parts) > 1 else at_input[0], times_z, total)


@dataclass(frozen=True)
class _NormGradient:
    """A gradient g at a norm's output, taken to its input."""

    at_input: Tensor  # at a_l, (N, out, h, w)
    times_z: Sequence[Tensor]  # of each picture: sum over pixels of g z_l, (out,)
    total: Sequence[Tensor]  # of each picture: sum over pixels of g, (out,)


def critic_gradients(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    penalty_weight: float,
    precision: torch.dtype | None = None,
) -> CriticLosses:
    """Set the gradients of `mean D(fake) - mean D(real) + penalty_weight * P` on the parameters.

    P is SinGAN's form of the WGAN-GP penalty (Gulrajani et al., NeurIPS 2017): the gradient's norm is taken
    over the channels of each pixel, its squared distance from one averaged over the pixels.

    Args:
        real, fake: `(1, lanes * C, H, W)` in [-1, 1], without a graph.
        mix: `(1, lanes * C or 1, 1, 1)` in [0, 1]: the point between is `mix * real + (1 - mix) * fake`.
        precision: of the pictures and convolutions, by default the parameters' own; statistics, reductions
            over pixels and the parameters' gradients are in the parameters' precision in any case.
        penalty_weight: 0 leaves the penalty out, and its work with it; it is then reported as 0.
    """
    with torch.no_grad():
        pictures = [real, fake] if penalty_weight == 0 else [real, fake, torch.lerp(fake, real, mix)]
        batch = torch.cat(pictures).to(precision, memory_format=torch.channels_last)
        layers, last, scores = _forward(discriminator, batch)
        means = scores.to(real.dtype).mean(dim=(2, 3))
        critic = means[1] - means[0]
        if penalty_weight == 0:
            penalty, second = torch.zeros_like(critic), None
        else:
            penalty, second = _penalty(discriminator, layers, last, batch[2:], scores[2:], penalty_weight)
        _backward(discriminator, last, batch, layers, scores, second)
    return CriticLosses(critic, penalty)


def _forward(discriminator: Discriminator, x: Tensor) -> tuple[list[_Layer], Tensor, Tensor]:
    """The normalised layers, the last convolution's weight and the scores, in the pictures' precision."""
    layers = []
    for convolution, norm in discriminator.layers:
        weight = convolution.weight.to(x.dtype)
        bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
        x = F.conv2d(x, weight, bias, groups=convolution.groups)
        if norm is None:
            break
        parts = [
            torch.native_batch_norm(
                picture, norm.weight, norm.bias, None, None, True, 0.0, BATCH_NORM_EPSILON
            )
            for picture in x.split(1)
        ]
        output = F.leaky_relu_(torch.cat([part[0] for part in parts]), LEAKY_SLOPE)
        statistics = [(mean, inverse_std) for _, mean, inverse_std in parts]
        layers.append(_Layer(weight, convolution.groups, norm.weight, x, statistics, output))
        x = output
    return layers, weight, x


def _input_convolution(gradient: Tensor, x: Tensor, weight: Tensor, lanes: int) -> Tensor:
    """The gradient at the input `x` of a convolution."""
    return _convolution_backward(gradient, x, weight, lanes, [True, False, False])[0]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, lanes: int) -> Tensor:
    """The gradient at the weight of a convolution of `x`, summed over the batch."""
    return _convolution_backward(gradient, x, weight, lanes, [False, True, False])[1]


def _convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, lanes: int, wanted: list[bool]
) -> list[Tensor]:
    result: list[Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [0], [1, 1], [0, 0], [1, 1], False, [0, 0], lanes, wanted
    )
    return result


@dataclass(frozen=True)
class _FirstOrder:
    """One layer of the pass that gives the input's gradient."""

    at_norm: Tensor  # e_l, (1, out, h, w)
    at_pre_norm: Tensor  # q_l, (1, out, h, w)
    times_z: Tensor  # sum over pixels of e_l z_l, (out,)
    total: Tensor  # sum over pixels of e_l, (out,)


def _input_gradient(
    layers: list[_Layer], picture: Tensor, last: Tensor, scores: Tensor
) -> tuple[Tensor, list[_FirstOrder]]:
    """Gradient of the scores' sum with respect to the picture, `(1, C, H, W)`, and what it went through."""
    inputs = [picture] + [layer.output for layer in layers]
    gradient = _input_convolution(torch.ones_like(scores), inputs[-1], last, layers[0].lanes)
    passed: list[_FirstOrder] = []
    for layer, x in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        at_norm = layer.activation_backward(gradient)
        through = layer.norm_backward(at_norm)
        passed.insert(0, _FirstOrder(at_norm, through.at_input, through.times_z[0], through.total[0]))
        gradient = _input_convolution(through.at_input, x, layer.weight, layer.lanes)
    return gradient, passed


@dataclass(frozen=True)
class _Adjoint:
    """One normalised layer of the pass that takes the penalty's derivative back up."""

    at_gradient: Tensor  # adjoint of d_{l-1}, (1, in, h + 2, w + 2)
    at_pre_norm: Tensor  # adjoint of a_l through the norm's second derivative, (1, out, h, w)
    gamma: Tensor  # gradient of the norm's weight, (out,)


def _adjoint(
    layers: list[_Layer], first_order: list[_FirstOrder], slope: Tensor
) -> tuple[list[_Adjoint], Tensor]:
    """The adjoints of the normalised layers, and of the last layer's input."""
    adjoints = []
    for layer, first in zip(layers, first_order, strict=True):
        p = F.conv2d(slope, layer.weight, groups=layer.lanes)
        through = layer.norm_backward(p)
        pixels = p.shape[2] * p.shape[3]
        mean, inverse_std = layer.statistics[0]
        mean_e, m = first.total / pixels, first.times_z / pixels
        mean_p, k = through.total[0] / pixels, through.times_z[0] / pixels
        spread = (p * first.at_norm).sum(dim=(0, 2, 3), dtype=m.dtype) / pixels - mean_p * mean_e
        at_z = spread - 3 * m * k
        scale = -layer.gamma * inverse_std.square()
        # z_l = i_l (a_l - mean a_l), so that a_l itself can be used.
        constant = -m * mean_p - k * mean_e - at_z * inverse_std * mean
        second = torch.addcmul(_per_channel(scale * constant), _per_channel(scale * m), p)
        second.addcmul_(_per_channel(scale * k), first.at_norm)
        second.addcmul_(_per_channel(scale * at_z * inverse_std), layer.pre_norm)
        adjoints.append(_Adjoint(slope, second, inverse_std * (spread - m * k) * pixels))
        slope = layer.activation_backward(through.at_input)
    return adjoints, slope


@dataclass(frozen=True)
class _SecondOrder:
    """What the penalty adds to the pass backward, from the first layer to the last."""

    inputs: list[Tensor]  # each convolution's weight meets them as it meets a picture more
    gradients: list[Tensor]
    adjoints: list[_Adjoint]  # of the normalised layers


def _penalty(
    discriminator: Discriminator,
    layers: list[_Layer],
    last: Tensor,
    picture: Tensor,
    scores: Tensor,
    weight: float,
) -> tuple[Tensor, _SecondOrder]:
    """The penalty of each lane at the point between, `layers`' third picture, and its second derivative."""
    between = [layer.picture(2) for layer in layers]
    precise = layers[0].gamma.dtype
    input_gradient, first_order = _input_gradient(between, picture, last, scores)
    # (1, lanes, C, H, W): the norm is over the channels of one lane.
    input_gradient = input_gradient.to(precise).unflatten(1, (discriminator.lanes, -1))
    norm = input_gradient.norm(2, dim=2, keepdim=True)
    distance = norm - 1
    # Where the gradient is zero the norm has no derivative; autograd takes zero there, and so do we.
    slope = distance / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    slope = (slope * input_gradient).flatten(1, 2) * (2 * weight / distance[0, 0].numel())
    adjoints, last_adjoint = _adjoint(
        between, first_order, slope.to(picture.dtype, memory_format=torch.channels_last)
    )
    return distance.square().mean(dim=(0, 2, 3, 4)), _SecondOrder(
        [*(adjoint.at_gradient for adjoint in adjoints), last_adjoint],
        [*(first.at_pre_norm for first in first_order), torch.ones_like(scores)],
        adjoints,
    )


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _backward(
    discriminator: Discriminator,
    last: Tensor,
    pictures: Tensor,
    layers: list[_Layer],
    scores: Tensor,
    second: _SecondOrder | None,
) -> None:
    """Sum both derivatives into the parameters' gradients, from the last layer down."""
    # D(real) is raised, D(fake) lowered; the point between counts through the penalty alone.
    per_picture = torch.tensor([-1.0, 1.0, 0.0], dtype=scores.dtype, device=scores.device)[: len(scores)]
    gradient = (per_picture.view(-1, 1, 1, 1) / scores[0, 0].numel()).expand_as(scores)
    inputs = [pictures] + [layer.output for layer in layers]
    weights = [*(layer.weight for layer in layers), last]
    for number in reversed(range(len(inputs))):
        convolution = discriminator.layers[number][0]
        into, gradients = inputs[number], gradient
        if second is not None:
            into = torch.cat([into, second.inputs[number]])
            gradients = torch.cat([gradients, second.gradients[number]])
        at_weight = _weight_gradient(gradients, into, weights[number], discriminator.lanes)
        convolution.weight.grad = at_weight.to(convolution.weight.dtype)
        if convolution.bias is not None:
            convolution.bias.grad = gradient.sum(dim=(0, 2, 3), dtype=convolution.bias.dtype)
        if number == 0:
            return
        layer, norm = layers[number - 1], discriminator.layers[number - 1][1]
        at_norm = layer.activation_backward(
            _input_convolution(gradient, inputs[number], weights[number], discriminator.lanes)
        )
        through = layer.norm_backward(at_norm)
        gradient, at_gamma = through.at_input, [*through.times_z]
        if second is not None:
            gradient[2:] += second.adjoints[number - 1].at_pre_norm
            at_gamma.append(second.adjoints[number - 1].gamma)
        if norm is not None:
            norm.weight.grad = torch.stack(at_gamma).sum(dim=0)
            norm.bias.grad = torch.stack(list(through.total)).sum(dim=0)
