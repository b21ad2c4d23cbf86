"""Schemas are read strictly: what Python's regular expressions and jsonschema let through is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from sharekit.errors import VerificationError
from sharekit.storage import schema

MINIMAL = json.loads(
    (Path(__file__).resolve().parents[2] / "schemas/v1/vectors/manifest/valid/minimal.json").read_text()
)


def test_error_names_the_item_and_the_json_path() -> None:
    value = copy.deepcopy(MINIMAL)
    value["files"][0]["length"] = -1
    with pytest.raises(VerificationError) as caught:
        schema.validate("manifest", value, "manifest.json")
    assert caught.value.item == "manifest.json"
    assert caught.value.expected.endswith("$.files[0].length")


def test_pattern_does_not_end_before_a_final_newline() -> None:
    value = copy.deepcopy(MINIMAL)
    value["hospital"] += "\n"
    with pytest.raises(VerificationError):
        schema.validate("manifest", value, "manifest.json")


def test_date_that_does_not_exist_is_refused() -> None:
    value = copy.deepcopy(MINIMAL)
    value["created"] = "2026-02-30T00:00:00Z"
    with pytest.raises(VerificationError):
        schema.validate("manifest", value, "manifest.json")


def test_long_and_hostile_values_do_not_reach_the_terminal() -> None:
    value = copy.deepcopy(MINIMAL)
    value["hospital"] = "\x1b[2J" + "x" * 100_000
    with pytest.raises(VerificationError) as caught:
        schema.validate("manifest", value, "manifest.json")
    assert len(caught.value.found) <= 300
    assert caught.value.found.isprintable()


@pytest.mark.parametrize(
    "name", ["St. Example", "Städtisches Klinikum", "日本病院", "مستشفى", "a b", "O'Neil & [Sons]"]
)
def test_what_people_call_themselves_is_a_label(name: str) -> None:
    assert schema.is_label(name)


@pytest.mark.parametrize(
    "hidden",
    [
        "\x00",
        "\x1b",
        "\n",
        "\x85",
        "\u00ad",  # soft hyphen
        "\u061c",  # Arabic letter mark
        "\u180e",
        "\u200b",
        "\u200e",
        "\u202e",  # right-to-left override
        "\u2028",
        "\u2066",
        "\u206a",
        "\u3164",  # Hangul filler, which looks like nothing
        "\ufeff",
        "\ufff9",
        "\U000e0001",  # tags
        "\U000e0041",
        "\U000e0100",  # variation selectors beyond the sixteen
    ],
)
def test_what_cannot_be_seen_is_in_no_label(hidden: str) -> None:
    assert not schema.is_label(f"St.{hidden}Example")


@pytest.mark.parametrize("spaces", ["", " ", "   ", "\u00a0", "\u3000 ", "\u2003\u202f"])
def test_spaces_alone_are_no_label(spaces: str) -> None:
    assert not schema.is_label(spaces)
