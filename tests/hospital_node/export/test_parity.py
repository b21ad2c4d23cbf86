"""Parity is measured on the finished bytes and refuses what is not the trained network."""

from __future__ import annotations

import onnxruntime
import pytest

from hospital_node.candidate.build import build_onnx
from hospital_node.candidate.measure_parity import measure_parity
from hospital_node.candidate.parity import Parity
from sharekit.errors import PolicyError
from tests.tiny import tiny_generator


def test_a_rebuilt_file_is_within_tolerance_at_three_sizes_and_batches() -> None:
    generator = tiny_generator(1)
    parity = measure_parity(generator, build_onnx(generator))
    assert 0 < parity.max_abs_difference < 1e-4
    assert [(case.height, case.width, case.batch) for case in parity.cases] == [
        (20, 24, 1),
        (20, 24, 3),
        (15, 31, 2),
    ]
    assert parity.samples == 6
    assert (parity.opset, parity.onnxruntime) == (18, onnxruntime.__version__)


def test_a_file_of_other_weights_is_refused() -> None:
    generator, changed = tiny_generator(1), tiny_generator(1)
    changed.scales[0].blocks[0].weight[0, 0, 1, 1] += 0.05
    with pytest.raises(PolicyError) as caught:
        measure_parity(generator, build_onnx(changed))
    assert generator.spec.id in caught.value.item
    assert "a difference of" in caught.value.found


def test_a_network_that_gives_no_number_is_refused() -> None:
    generator = tiny_generator(1)
    data = build_onnx(generator)
    generator.scales[1].blocks[0].weight[:] = float("nan")
    with pytest.raises(PolicyError, match="nan"):
        measure_parity(generator, data)


def test_the_stated_difference_is_the_largest_of_all_cases() -> None:
    generator = tiny_generator(2)
    parity = measure_parity(generator, build_onnx(generator), 3, [(20, 24, 1), (40, 30, 2)])
    largest = max(case.max_abs_difference for case in parity.cases)
    assert parity.stated.max_abs_difference == parity.max_abs_difference == largest
    assert parity.stated.opset == parity.opset


def test_parity_from_json_of_to_json_is_the_same() -> None:
    generator = tiny_generator(3, sizes=((8, 9),))
    parity = measure_parity(generator, build_onnx(generator), 1, [(8, 9, 1)])
    assert Parity.from_json(parity.to_json()) == parity
