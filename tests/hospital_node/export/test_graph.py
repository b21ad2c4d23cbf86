"""The exported file is the trained network, at any size and batch, and its bytes follow from it alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from hospital_node.candidate.build import build_onnx, fold
from hospital_node.candidate.session import open_session, sample
from hospital_node.singan.trained import BATCH_NORM_EPSILON, Block, TrainedGenerator
from sharekit.generator.spec import PADDING
from tests.tiny import tiny_generator


def reference(generator: TrainedGenerator, noise: list[np.ndarray]) -> np.ndarray:
    """SinGAN's pyramid in float64, written out step by step: `(N, C, H, W)`, clipped to [-1, 1]."""
    channels = generator.spec.layout.channels
    picture = torch.zeros(noise[0].shape[0], channels, *noise[0].shape[2:], dtype=torch.float64)
    for scale, z in zip(generator.scales, noise, strict=True):
        picture = F.interpolate(picture, z.shape[2:], mode="bicubic", align_corners=False)
        repeated = torch.from_numpy(z).double().expand(-1, channels, -1, -1)
        x = scale.noise_amplitude * F.pad(repeated, [PADDING] * 4) + F.pad(picture, [PADDING] * 4)
        for block in scale.blocks:
            x = F.conv2d(x, torch.from_numpy(block.weight).double(), torch.from_numpy(block.bias).double())
            if block.norm is None:
                x = torch.tanh(x)
                continue
            mean, variance, weight, bias = (
                torch.from_numpy(values).double()
                for values in (block.norm.mean, block.norm.variance, block.norm.weight, block.norm.bias)
            )
            x = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=BATCH_NORM_EPSILON)
            x = F.leaky_relu(x, 0.2)
        picture = picture + x
    return picture.clamp(-1, 1).numpy()


@pytest.mark.parametrize("size", [(20, 24), (33, 50), (13, 9), (64, 21)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_file_draws_any_size_and_batch_like_the_network(size: tuple[int, int], batch: int) -> None:
    generator = tiny_generator(1)
    noise = generator.spec.resized(*size).noise(5, range(batch))
    found = sample(open_session(build_onnx(generator)), noise)
    assert found.shape == (batch, 4, *size)
    assert found.dtype == np.float32
    assert np.abs(found - reference(generator, noise)).max() < 1e-4
    assert found.std() > 0.1


@pytest.mark.parametrize(
    ("image_channels", "classes", "sizes"),
    [(1, ("cell",), [(9, 9)]), (3, ("a", "b", "c"), [(9, 11), (12, 15)]), (1, ("a", "b"), [(8, 7)] * 2)],
)
def test_channels_and_scales_of_every_kind_agree_with_the_network(
    image_channels: int, classes: tuple[str, ...], sizes: list[tuple[int, int]]
) -> None:
    generator = tiny_generator(2, sizes=sizes, image_channels=image_channels, mask_classes=classes)
    noise = generator.spec.noise(0, [0, 1])
    session = open_session(build_onnx(generator))
    assert np.abs(sample(session, noise) - reference(generator, noise)).max() < 1e-4
    image, mask = session.get_outputs()
    assert (image.name, image.shape[1]) == ("image", image_channels)
    assert (mask.name, mask.shape[1]) == ("mask", len(classes))


def test_outputs_are_clipped() -> None:
    generator = tiny_generator(3)
    loud = dataclasses.replace(
        generator,
        scales=tuple(dataclasses.replace(scale, noise_amplitude=30.0) for scale in generator.scales),
    )
    found = sample(open_session(build_onnx(loud)), loud.spec.noise(0, [0]))
    assert (found.min(), found.max()) == (-1, 1)


def test_equal_generators_give_equal_bytes() -> None:
    assert build_onnx(tiny_generator(4)) == build_onnx(tiny_generator(4))


def test_the_bytes_change_with_one_weight() -> None:
    generator = tiny_generator(4)
    before = build_onnx(generator)
    generator.scales[-1].blocks[2].weight[0, 0, 0, 0] += 0.5
    assert build_onnx(generator) != before


def test_the_file_survives_the_way_through_the_node_s_own_format(tmp_path) -> None:
    generator = tiny_generator(5)
    generator.save(tmp_path / "generator.safetensors")
    assert build_onnx(TrainedGenerator.load(tmp_path / "generator.safetensors")) == build_onnx(generator)


def test_the_file_says_nothing_of_who_made_it_where() -> None:
    model = onnx.load_model_from_string(build_onnx(tiny_generator(6)))
    assert {field.name for field, _ in model.ListFields()} == {
        "ir_version",
        "producer_name",
        "graph",
        "opset_import",
        "metadata_props",
    }
    assert model.producer_name == "sharekit"
    assert all(not node.name and not node.doc_string for node in model.graph.node)


def test_folding_a_batch_norm_is_batch_norm_after_convolution() -> None:
    block = tiny_generator(7).scales[1].blocks[1]
    x = np.random.default_rng(0).standard_normal(block.weight.shape[1:])
    norm = block.norm
    convolved = np.tensordot(block.weight.astype(np.float64), x, 3) + block.bias
    expected = (convolved - norm.mean) / np.sqrt(norm.variance + BATCH_NORM_EPSILON) * norm.weight + norm.bias
    weight, bias = fold(block)
    np.testing.assert_allclose(np.tensordot(weight, x, 3) + bias, expected, rtol=1e-6)


def test_a_block_without_norm_is_unchanged_by_folding() -> None:
    block = tiny_generator(8).scales[0].blocks[-1]
    assert isinstance(block, Block)
    weight, bias = fold(block)
    np.testing.assert_array_equal(weight, block.weight)
    np.testing.assert_array_equal(bias, block.bias)
