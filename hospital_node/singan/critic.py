"""One update's gradients of the critic, with the gradient penalty's second derivative written out.

Autograd would build and walk a graph of small operations twice. Written by hand, real, fake and the point
between them share every convolution, and the second derivative is one more pass of the same operations.

With a_l the l-th convolution's output, z_l its normalised form, n_l = gamma z_l + beta and
h_l = LeakyReLU(n_l), the gradient of the scores' sum at the point between is, from the last layer down,

    d_{l-1} = W_l^T q_l,   q_l = gamma i_l (e_l - mean e_l - z_l mean(e_l z_l)),   e_l = LeakyReLU'(n_l) d_l,

where i_l = 1 / sqrt(var a_l + eps). The penalty P depends on it; its derivative r = dP/dd_0 goes back up by
the adjoint of each line. The adjoint of q_l with respect to a_l is the only term of second order:

    -gamma i_l^2 (m (p - mean p) + k (e_l - mean e_l) + z_l (mean(p e_l) - mean p mean e_l - 3 m k)),

with p the adjoint of q_l, m = mean(e_l z_l) and k = mean(p z_l). Means are over the pixels of each picture.

A critic without norms has n_l = a_l and q_l = e_l, and no term of second order: LeakyReLU's slope is constant
almost everywhere. The point between then counts through the d, q and their adjoints alone.
`tests/hospital_node/singan` compares all of it with a float64 reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hospital_node.singan.networks import DEPTH, Discriminator
from hospital_node.singan.trained import BATCH_NORM_EPSILON, LEAKY_SLOPE


@dataclass(frozen=True)
class CriticLosses:
    """What one update measured, on the device."""

    critic: Tensor  # mean D(fake) - mean D(real), (lanes,)
    penalty: Tensor  # mean over pixels of (norm over channels of the gradient - 1)^2, (lanes,)


@dataclass(frozen=True)
class _Norm:
    """What the forward pass keeps of a layer's norm, for the N pictures in the batch."""

    gamma: Tensor  # (out,)
    pre_norm: Tensor  # a_l, (N, out, h, w)
    statistics: Sequence[tuple[Tensor, Tensor]]  # of each picture: mean and i_l, (out,)

    def part(self, pictures: slice) -> _Norm:
        """The same for some of the pictures."""
        return _Norm(self.gamma, self.pre_norm[pictures], self.statistics[pictures])

    def backward(self, gradient: Tensor) -> _NormGradient:
        # One call per picture: batch norm over a batch of one is instance norm, and takes channels-last.
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                one,
                pre_norm,
                self.gamma,
                None,
                None,
                *statistics,
                True,
                BATCH_NORM_EPSILON,
                [True, True, True],
            )
            for one, pre_norm, statistics in zip(
                gradient.split(1), self.pre_norm.split(1), self.statistics, strict=True
            )
        ]
        at_input, times_z, total = zip(*parts, strict=True)
        return _NormGradient(
            torch.cat(at_input) if len(parts) > 1 else at_input[0], torch.stack(times_z), torch.stack(total)
        )


@dataclass(frozen=True)
class _NormGradient:
    """A gradient g at a norm's output, taken to its input."""

    at_input: Tensor  # at a_l, (N, out, h, w)
    times_z: Tensor  # sum over each picture's pixels of g z_l, (N, out)
    total: Tensor  # sum over each picture's pixels of g, (N, out)


@dataclass(frozen=True)
class _Layer:
    """What the forward pass keeps of a layer that is not the last, for the N pictures in the batch."""

    weight: Tensor  # convolution, (out, in / lanes, 3, 3)
    lanes: int
    norm: _Norm | None
    output: Tensor  # h_l, (N, out, h, w)

    def part(self, pictures: slice) -> _Layer:
        """The same for some of the pictures."""
        norm = None if self.norm is None else self.norm.part(pictures)
        return _Layer(self.weight, self.lanes, norm, self.output[pictures])

    def activation_backward(self, gradient: Tensor) -> Tensor:
        # LeakyReLU keeps the sign, so its output gives its slope.
        return torch.ops.aten.leaky_relu_backward(gradient, self.output, LEAKY_SLOPE, True)


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
        real, fake: N pictures each, `(N, lanes * C, H, W)` in [-1, 1], without a graph.
        mix: `(N, lanes * C or 1, 1, 1)` in [0, 1]: the point between is `mix * real + (1 - mix) * fake`.
        precision: of the pictures and convolutions, by default the parameters' own; statistics, reductions
            over pixels and the parameters' gradients are in the parameters' precision in any case.
        penalty_weight: 0 leaves the penalty out, and its work with it; it is then reported as 0.
    """
    count = len(real)
    with torch.no_grad():
        pictures = [real, fake] if penalty_weight == 0 else [real, fake, torch.lerp(fake, real, mix)]
        batch = torch.cat(pictures).to(precision, memory_format=torch.channels_last)
        layers, last, scores = _forward(discriminator, batch)
        means = scores.to(real.dtype).mean(dim=(2, 3)).split(count)
        critic = (means[1] - means[0]).mean(dim=0)
        if penalty_weight == 0:
            penalty, second = torch.zeros_like(critic), None
        else:
            between = slice(2 * count, None)
            penalty, second = _penalty(
                discriminator,
                [layer.part(between) for layer in layers],
                last,
                batch[between],
                scores[between],
                penalty_weight,
            )
        # Without norms, the point between adds nothing but `second`.
        reached = slice(None if discriminator.norms else 2 * count)
        _backward(
            discriminator,
            last,
            batch[reached],
            [layer.part(reached) for layer in layers],
            _at_scores(scores, count)[reached],
            second,
        )
    return CriticLosses(critic, penalty)


def _forward(discriminator: Discriminator, x: Tensor) -> tuple[list[_Layer], Tensor, Tensor]:
    """The layers before the last one, whose weight comes second, and the scores; in the precision of `x`."""
    layers: list[_Layer] = []
    for convolution, norm in discriminator.layers:
        weight = convolution.weight.to(x.dtype)
        bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
        x = F.conv2d(x, weight, bias, groups=convolution.groups)
        if len(layers) == DEPTH - 1:
            break
        kept = None
        if norm is not None:
            x, kept = _normalise(norm, x)
        x = F.leaky_relu_(x, LEAKY_SLOPE)
        layers.append(_Layer(weight, convolution.groups, kept, x))
    return layers, weight, x


def _normalise(norm: nn.BatchNorm2d, pre_norm: Tensor) -> tuple[Tensor, _Norm]:
    """Each picture normed by itself, and what the way back needs of it."""
    parts = [
        torch.native_batch_norm(picture, norm.weight, norm.bias, None, None, True, 0.0, BATCH_NORM_EPSILON)
        for picture in pre_norm.split(1)
    ]
    statistics = [(mean, inverse_std) for _, mean, inverse_std in parts]
    return torch.cat([part[0] for part in parts]), _Norm(norm.weight, pre_norm, statistics)


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

    at_norm: Tensor  # e_l, (N, out, h, w)
    through: _NormGradient | None

    @property
    def at_pre_norm(self) -> Tensor:
        """q_l, `(N, out, h, w)`."""
        return self.at_norm if self.through is None else self.through.at_input


def _input_gradient(
    layers: list[_Layer], picture: Tensor, last: Tensor, scores: Tensor
) -> tuple[Tensor, list[_FirstOrder]]:
    """Gradient of the scores' sum with respect to the pictures, `(N, C, H, W)`, and what it went through."""
    inputs = [picture] + [layer.output for layer in layers]
    gradient = _input_convolution(torch.ones_like(scores), inputs[-1], last, layers[0].lanes)
    passed: list[_FirstOrder] = []
    for layer, x in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        at_norm = layer.activation_backward(gradient)
        first = _FirstOrder(at_norm, None if layer.norm is None else layer.norm.backward(at_norm))
        passed.insert(0, first)
        gradient = _input_convolution(first.at_pre_norm, x, layer.weight, layer.lanes)
    return gradient, passed


@dataclass(frozen=True)
class _NormAdjoint:
    """What a norm's second derivative adds to the pass backward."""

    at_pre_norm: Tensor  # adjoint of a_l, (N, out, h, w)
    gamma: Tensor  # gradient of the norm's weight, (out,)


@dataclass(frozen=True)
class _SecondOrder:
    """What the penalty adds to the pass backward, from the first layer to the last."""

    inputs: list[Tensor]  # each convolution's weight meets them as it meets pictures
    gradients: list[Tensor]
    norms: list[_NormAdjoint | None]  # of each layer before the last


def _second_order(
    layers: list[_Layer], first_order: list[_FirstOrder], slope: Tensor, scores: Tensor
) -> _SecondOrder:
    """Take the penalty's derivative `slope` with respect to the input's gradient back up."""
    slopes, norms = [slope], []
    for layer, first in zip(layers, first_order, strict=True):
        p = F.conv2d(slopes[-1], layer.weight, groups=layer.lanes)
        adjoint = None
        if layer.norm is not None and first.through is not None:
            through = layer.norm.backward(p)
            adjoint = _norm_adjoint(layer.norm, first.at_norm, first.through, p, through)
            p = through.at_input
        norms.append(adjoint)
        slopes.append(layer.activation_backward(p))
    gradients = [*(first.at_pre_norm for first in first_order), torch.ones_like(scores)]
    return _SecondOrder(slopes, gradients, norms)


def _norm_adjoint(
    norm: _Norm, at_norm: Tensor, first: _NormGradient, p: Tensor, through: _NormGradient
) -> _NormAdjoint:
    """The adjoint of q_l with respect to a_l and gamma: `first` took e_l through the norm, `through` p."""
    pixels = p.shape[2] * p.shape[3]
    mean, inverse_std = (torch.stack(values) for values in zip(*norm.statistics, strict=True))
    mean_e, m = first.total / pixels, first.times_z / pixels
    mean_p, k = through.total / pixels, through.times_z / pixels
    spread = (p * at_norm).sum(dim=(2, 3), dtype=m.dtype) / pixels - mean_p * mean_e
    at_z = spread - 3 * m * k
    scale = -norm.gamma * inverse_std.square()
    # z_l = i_l (a_l - mean a_l), so that a_l itself can be used.
    constant = -m * mean_p - k * mean_e - at_z * inverse_std * mean
    second = torch.addcmul(_per_channel(scale * constant), _per_channel(scale * m), p)
    second.addcmul_(_per_channel(scale * k), at_norm)
    second.addcmul_(_per_channel(scale * at_z * inverse_std), norm.pre_norm)
    return _NormAdjoint(second, (inverse_std * (spread - m * k) * pixels).sum(dim=0))


def _penalty(
    discriminator: Discriminator,
    between: list[_Layer],
    last: Tensor,
    pictures: Tensor,
    scores: Tensor,
    weight: float,
) -> tuple[Tensor, _SecondOrder]:
    """The penalty of each lane at the points between, and what its derivative adds to the pass backward."""
    precise = discriminator.layers[0][0].weight.dtype
    input_gradient, first_order = _input_gradient(between, pictures, last, scores)
    # (N, lanes, C, H, W): the norm is over the channels of one lane.
    input_gradient = input_gradient.to(precise).unflatten(1, (discriminator.lanes, -1))
    norm = input_gradient.norm(2, dim=2, keepdim=True)
    distance = norm - 1
    # Where the gradient is zero the norm has no derivative; autograd takes zero there, and so do we.
    slope = distance / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    slope = (slope * input_gradient).flatten(1, 2) * (2 * weight / distance[:, 0].numel())
    slope = slope.to(pictures.dtype, memory_format=torch.channels_last)
    return distance.square().mean(dim=(0, 2, 3, 4)), _second_order(between, first_order, slope, scores)


def _per_channel(values: Tensor) -> Tensor:
    return values[:, :, None, None]


def _at_scores(scores: Tensor, count: int) -> Tensor:
    """The critic loss's gradient at the scores: D(real) is raised, D(fake) lowered, as in the mean."""
    signs = torch.tensor([-1.0, 1.0, 0.0], dtype=scores.dtype, device=scores.device)
    per_picture = signs.repeat_interleave(count)[: len(scores)] / scores[:count, 0].numel()
    return per_picture.view(-1, 1, 1, 1).expand_as(scores)


def _backward(
    discriminator: Discriminator,
    last: Tensor,
    pictures: Tensor,
    layers: list[_Layer],
    gradient: Tensor,
    second: _SecondOrder | None,
) -> None:
    """Sum both derivatives into the parameters' gradients, from the scores' `gradient` down."""
    inputs = [pictures] + [layer.output for layer in layers]
    weights = [*(layer.weight for layer in layers), last]
    lanes = discriminator.lanes
    for number in reversed(range(len(inputs))):
        convolution = discriminator.layers[number][0]
        at_weight = _weight_gradient(gradient, inputs[number], weights[number], lanes)
        if second is not None:
            at_weight += _weight_gradient(
                second.gradients[number], second.inputs[number], weights[number], lanes
            )
        convolution.weight.grad = at_weight.to(convolution.weight.dtype)
        if convolution.bias is not None:
            convolution.bias.grad = gradient.sum(dim=(0, 2, 3), dtype=convolution.bias.dtype)
        if number == 0:
            return
        layer, norm = layers[number - 1], discriminator.layers[number - 1][1]
        gradient = layer.activation_backward(
            _input_convolution(gradient, inputs[number], weights[number], lanes)
        )
        if layer.norm is None or norm is None:
            continue
        through = layer.norm.backward(gradient)
        gradient = through.at_input
        norm.weight.grad, norm.bias.grad = through.times_z.sum(dim=0), through.total.sum(dim=0)
        adjoint = None if second is None else second.norms[number - 1]
        if adjoint is not None:
            gradient[-len(adjoint.at_pre_norm) :] += adjoint.at_pre_norm
            norm.weight.grad += adjoint.gamma
