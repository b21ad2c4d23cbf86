"""Files: written whole or not at all, read once with a cap, and JSON in one strict form."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.errors import InputError, VerificationError
from sharekit.storage import files
from sharekit.storage.budget import Budget

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_dumped_json_is_parsed_to_the_same_value(value: Any) -> None:
    assert files.parse_json(files.dump_json(value), "x") == value


def test_equal_values_make_equal_bytes() -> None:
    assert files.dump_json({"b": 1, "a": 2}) == files.dump_json({"a": 2, "b": 1})


def test_surrogate_pair_in_an_escape_is_one_character() -> None:
    assert files.parse_json(b'"\\ud83d\\ude00"', "x") == "\U0001f600"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="truncated"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b'{"a": 1, "a": 1}', id="duplicate key"),
        pytest.param(b'[{"x": {"a": 1, "a": 1}}]', id="duplicate key deep inside"),
        pytest.param(b'{"a": 1, "\\u0061": 1}', id="duplicate key in another spelling"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b"1e999", id="number that overflows"),
        pytest.param(b"9" * 5000, id="integer of 5000 digits"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param("\ufeff{}".encode(), id="byte order mark"),
        pytest.param(b"[" * 40 + b"]" * 40, id="nested deeply"),
        pytest.param(b"[" * 200_000, id="nested very deeply"),
        pytest.param(b" " * (files.MAX_JSON_BYTES + 1), id="too long"),
    ],
)
def test_json_that_is_not_strict_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        files.parse_json(data, "the file")
    assert caught.value.item == "the file"
    assert len(caught.value.found) <= 300


def test_written_bytes_are_read_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a", b"data", mode=0o600)
    assert files.read_bytes(tmp_path / "a", max_bytes=4) == b"data"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_longer_file_than_allowed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with pytest.raises(InputError, match="at most 3 bytes"):
        files.read_bytes(tmp_path / "a", max_bytes=3)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing", "."):
        with pytest.raises(InputError):
            files.read_bytes(tmp_path / name, max_bytes=10)


def test_a_place_where_a_file_can_be_written_is_one_in_a_folder_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"older")
    files.check_writable(tmp_path / "new")
    files.check_writable(tmp_path / "file")
    for name in (".", "missing/new", "file/new"):
        with pytest.raises(InputError):
            files.check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_gets_its_name_only_when_it_is_finished(tmp_path: Path) -> None:
    with files.new_directory(tmp_path / "new") as folder:
        files.write_json(folder / "a.json", {"a": 1})
        assert not (tmp_path / "new").exists()
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"a": 1}
    with pytest.raises(InputError), files.new_directory(tmp_path / "new"):
        pass


def test_unfinished_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), files.new_directory(tmp_path / "new") as folder:
        files.write_json(folder / "a.json", object())
    assert list(tmp_path.iterdir()) == []


def lines(data: bytes, budget: Budget = files.JSON_BUDGET) -> list[tuple[int, Any]]:
    return list(files.parse_json_lines(data, "m.jsonl", budget, Budget(50, 10, 3, 10)))


def test_lines_are_numbered_and_empty_ones_passed_over() -> None:
    assert lines(b'{"a": 1}\n\n[2]\n') == [(1, {"a": 1}), (3, [2])]


def test_a_line_beyond_its_budget_is_an_error_of_its_own() -> None:
    found = dict(lines(b"[" + b"0," * 20 + b"0]\n1\n[[[[0]]]]\n{"))
    assert [type(found[number]) for number in (1, 3, 4)] == [VerificationError] * 3
    assert (found[2], found[1].item) == (1, "m.jsonl:1")


@pytest.mark.parametrize(
    "data", [b"\n" * 100, b"[0, 0]\n" * 40, b'{"a": 0}\n' * 60], ids=["", "values", "keys"]
)
def test_all_lines_together_have_one_budget(data: bytes) -> None:
    with pytest.raises(VerificationError, match=r"m\.jsonl: expected at most"):
        lines(data, Budget(1000, max_nodes=90, max_depth=3, max_keys=50))
