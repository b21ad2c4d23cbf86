"""Protobuf messages are counted on the wire, so that millions of empty ones are refused unparsed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from hospital_node.candidate.build import build_onnx
from sharekit.errors import VerificationError
from sharekit.generator import onnx_policy
from sharekit.generator.onnx_policy import check_generator
from sharekit.segmenter import segmenter_policy
from sharekit.segmenter.segmenter_policy import check_segmenter
from sharekit.storage import onnx_bytes
from sharekit.storage.budget import Budget, Count
from sharekit.storage.protobuf_fields import WireError, count_fields
from tests.tiny import tiny_generator
from tests.tiny_segmenter import contract

ROOMY = Budget(2**30, max_nodes=10**9, max_depth=1000)


class Unparsed:
    """Stands where the parser is, and must not be reached."""

    DESCRIPTOR = ModelProto.DESCRIPTOR

    def ParseFromString(self, data: bytes) -> None:  # noqa: N802
        raise AssertionError(f"{len(data)} bytes were parsed")


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field, its length in five bytes."""
    length = len(content)
    size = bytes((length >> 7 * place) & 127 | (128 if place < 4 else 0) for place in range(5))
    return bytes([number << 3 | 2]) + size + content


def empty_nodes(count: int) -> bytes:
    """A model whose graph has nodes without a content."""
    return field(7, b"\x0a\x00" * count)


def count(data: bytes, budget: Budget = ROOMY) -> Count:
    return count_fields(data, ModelProto.DESCRIPTOR, budget)


@pytest.mark.parametrize(
    ("data", "nodes"),
    [
        pytest.param(empty_nodes(1000), 1001, id="empty nodes"),
        pytest.param(field(7, field(1, field(5, field(8, b"\1" * 1000)))), 1004, id="packed integers"),
        pytest.param(field(7, field(1, field(5, field(7, b"\1" * 1000)))), 254, id="packed floats"),
        pytest.param(field(7, field(5, field(10, b"\1" * 1000))), 128, id="packed doubles"),
        pytest.param(field(7, field(1, field(1, b"") * 1000)), 1002, id="input names"),
        pytest.param(b"\xfa\x3f\0" * 1000, 1000, id="unknown fields"),
        pytest.param(b"\x08\1" * 1000, 1000, id="a field that counts once"),
        pytest.param(field(7, field(5, field(9, b"\0" * 1000))), 3, id="raw bytes"),
    ],
)
def test_every_field_and_packed_number_counts(data: bytes, nodes: int) -> None:
    assert count(data).nodes == nodes
    assert count(data, dataclasses.replace(ROOMY, max_nodes=nodes - 1)).nodes >= nodes


def test_nested_messages_count_as_levels() -> None:
    data = b""
    for _ in range(40):
        data = field(1, field(5, field(6, data)))  # a graph in an attribute of a node
    assert count(field(7, data)).depth == 2 + 3 * 40
    assert count(field(7, data), dataclasses.replace(ROOMY, max_depth=16)).depth == 17


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0b\x0c", id="group"),
        pytest.param(b"\x3a\x05\x00", id="longer than its message"),
        pytest.param(b"\x08" + b"\xff" * 20, id="number without an end"),
        pytest.param(b"\x0d\x00", id="truncated float"),
        pytest.param(b"\x3a", id="no length"),
        pytest.param(field(7, field(2, b"\xff\xfe")), id="name that is not UTF-8"),
        pytest.param(field(7, field(1, field(4, b"\xc3"))), id="operator that is not UTF-8"),
        pytest.param(field(7, field(1, b"\x12\x7f")), id="field that leaves its message"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        count(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_counted_or_refused(data: bytes) -> None:
    try:
        found = count(data)
    except WireError:
        return
    assert found.nodes <= len(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(empty_nodes(15_000_000), id="empty messages"),
        pytest.param(field(7, field(5, field(1, b"\1" * 30_000_000))), id="packed dimensions"),
        pytest.param(field(7, field(1, b"\x0a\0" * 15_000_000)), id="empty names"),
        pytest.param(b"\xfa\x3f\0" * 10_000_000, id="unknown fields"),
    ],
)
@pytest.mark.parametrize(
    "check",
    [lambda data: check_generator(data, "x"), lambda data: check_segmenter(data, "x", contract())],
    ids=["generator", "segmenter"],
)
def test_millions_of_fields_are_refused_before_they_are_parsed(
    data: bytes, check: Callable[[bytes], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case onnx-empty-messages: 13.9 seconds and 3 GB before it was refused.

    `test_linear_work.py` has the time that counting takes.
    """
    monkeypatch.setattr(onnx_bytes, "ModelProto", Unparsed)
    with pytest.raises(VerificationError, match=r"at most \d+ values"):
        check(data)


def test_a_file_within_its_budget_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    monkeypatch.setattr(onnx_bytes, "ModelProto", Unparsed)
    with pytest.raises(AssertionError, match="parsed"):
        check_generator(build_onnx(tiny_generator()), "x")


def test_budgets_leave_room_for_the_largest_file_that_the_policies_allow() -> None:
    largest = build_onnx(tiny_generator(sizes=((5, 5),) * onnx_policy.MAX_SCALES))
    assert 2 * count(largest).nodes < onnx_policy.BUDGET.max_nodes
    parts = 30 * segmenter_policy.MAX_PARTS + 10 * segmenter_policy.MAX_PARTS  # fields of nodes, of weights
    assert parts < segmenter_policy.BUDGET.max_nodes
