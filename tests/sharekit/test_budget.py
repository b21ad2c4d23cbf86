"""JSON is counted before it is parsed: what exceeds its budget costs next to nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.errors import VerificationError
from sharekit.storage import files
from sharekit.storage.budget import Budget, Count, count_json
from tests.sharekit.test_files import json_values

ROOMY = Budget(2**30, max_nodes=10**9, max_depth=100, max_keys=10**9)


def refused(data: bytes, budget: Budget = files.JSON_BUDGET) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        files.parse_json(data, "the file", budget)
    return caught.value


def one_key_repeated(count: int) -> bytes:
    return b"{" + b",".join(b'"%x":0' % number for number in range(count)) + b',"z":0,"z":0}'


def test_json_is_refused_by_its_count_before_it_is_parsed() -> None:
    budget = Budget(100, max_nodes=5, max_depth=3, max_keys=2)
    assert files.parse_json(b'{"a": [1], "b": 2}', "x", budget) == {"a": [1], "b": 2}
    assert refused(b'{"a": [1, 2, 3], "b": 2}', budget).expected == "at most 5 values"
    assert refused(b'{"a": 0, "b": 0, "c": 0}', budget).expected == "at most 2 keys"
    assert refused(b"[[[[]]]]", budget).expected == "at most 3 levels"
    assert refused(b" " * 101, budget).expected == "at most 100 bytes"
    # Not JSON at all, and counted all the same.
    assert refused(b"[" * 4, budget).expected == "at most 3 levels"
    assert refused(b"," * 50, budget).expected == "at most 5 values"


@given(json_values)
def test_no_value_holds_more_than_was_counted(value: Any) -> None:
    def held(part: Any) -> Count:
        inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        total = sum(map(held, inside), Count())
        container = isinstance(part, dict | list)
        keys_here = len(part) if isinstance(part, dict) else 0
        return Count(total.nodes + 1, total.keys + keys_here, total.depth + container)

    counted, found = count_json(json.dumps(value).encode(), ROOMY), held(value)
    assert counted.nodes >= found.nodes
    assert (counted.keys, counted.depth) == (found.keys, found.depth)


@given(st.text(alphabet='"\\[]{},:0 a', max_size=30))
def test_text_that_is_no_json_is_refused_or_parsed_and_never_a_fault(text: str) -> None:
    try:
        files.parse_json(text.encode(), "x")
    except VerificationError:
        return
    json.loads(text)


def test_brackets_and_keys_inside_strings_do_not_count() -> None:
    value = {'[{"a": 1}]\\': '\\"[[[[,,,,::::'}
    assert count_json(json.dumps(value).encode(), ROOMY) == Count(nodes=2, keys=1, depth=1)


@pytest.mark.parametrize("count", [80_000, 500_000])
def test_a_repeated_key_among_many_is_named_at_once(count: int) -> None:
    """The case json-duplicate-key-quadratic: 62 seconds for 80,000 keys."""
    data = one_key_repeated(count)
    started = time.process_time()
    assert "'z' twice" in refused(data).found
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" + b"0," * 2_000_000 + b"0]", id="values"),
        pytest.param(b"[]" * 2_000_000, id="brackets"),
        pytest.param(b"]" * 16_000_000, id="closing brackets"),
        pytest.param(b'"' * 16_000_000, id="quotes"),
        pytest.param(b'{"a":' * 2_000_000, id="objects"),
        pytest.param(b"{" + b'"a":0,' * 1_000_000 + b'"a":0}', id="keys"),
    ],
)
def test_json_beyond_its_budget_costs_next_to_nothing(data: bytes) -> None:
    started = time.process_time()
    assert refused(data).expected.startswith("at most")
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "data",
    [
        b'"\xed\xa0\x80"',
        b'"\\ud800\\ud800"',
        b'{"\\udfff": 0}',
        b'[{"a": {"b": 1, "b": 1}}]',
        b"[1e400]",
        b"[-1e400]",
        b"[nan]",
        b"\x00",
        b'"\x01"',
        b'"\n"',
        b"01",
        b"1.",
        b"[1,]",
        b"{'a': 1}",
        b"// comment\n1",
        "\ufeff[]".encode("utf-16"),
    ],
)
def test_json_that_other_parsers_forgive_is_refused(data: bytes) -> None:
    refused(data)


def test_key_of_megabytes_is_not_printed_whole() -> None:
    key = b'"' + b"k" * 2**20 + b'":0'
    assert len(refused(b"{" + key + b"," + key + b"}").found) < 300


def test_git_lfs_pointer_is_named() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 485760\n"
    assert "Git LFS pointer" in refused(pointer).found
    assert "git lfs pull" in refused(pointer).next_step
