"""Schemas are read strictly: what Python's regular expressions and jsonschema let through is refused."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from sharekit.errors import VerificationError
from sharekit.signing import dsse
from sharekit.signing.keys import generate
from sharekit.storage import schema
from tests.tiny_segmenter import contract

UNIQUE = schema.StrictValidator({"uniqueItems": True})

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


def test_the_quick_answer_is_the_validators_for_every_vector() -> None:
    seen = 0
    for path in (Path(__file__).resolve().parents[2] / "schemas/v1/vectors").rglob("*.json"):
        name = path.parent.parent.name
        if name in schema.names():
            value = json.loads(path.read_text())
            assert schema.quickly_fits(name, value) == schema.validator(name).is_valid(value), path
            seen += 1
    assert seen > 100


def test_every_schema_has_a_quick_answer() -> None:
    assert {name for name in schema.names() if schema.quickly_fits(name, "no document")} == set()


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
    ("value", "unique"),
    [
        ([1, "1", True, None, 1.5], True),
        ([1, 1.0], False),
        ([0, False], True),
        ([1, True], True),
        (["a", "a"], False),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], False),
        ([[1], [True]], True),
        ([10**400, 10**400], False),
        ([1e300, int(1e300)], False),
        ([], True),
    ],
)
def test_items_are_unique_as_json_values(value: list[Any], unique: bool) -> None:
    assert UNIQUE.is_valid(value) is unique


def test_classes_of_mixed_types_are_refused_by_their_number() -> None:
    """The case schema-unique-quadratic: 65 seconds before a submission was refused."""
    classes = [value for number in range(11_500) for value in (number, str(number))]
    statement = {
        "_type": dsse.STATEMENT_TYPE,
        "subject": [{"name": "model.onnx", "digest": {"sha256": "0" * 64}}],
        "predicateType": "urn:sharekit:submission:v1",
        "predicate": {
            "schema_version": 1,
            "contract": contract().to_json() | {"classes": classes},
            "public_key": generate().public.pem().decode(),
            "purpose": "x",
        },
    }
    started = time.process_time()
    with pytest.raises(VerificationError) as caught:
        schema.validate("submission", statement, "submission.json")
    assert time.process_time() - started < 1
    assert caught.value.expected.endswith("contract.classes")
    assert caught.value.found == "23000 items, more than 16"


def test_value_beyond_its_bound_is_not_looked_into() -> None:
    value = MINIMAL | {"files": [{"path": 5}] * 20_000}
    with pytest.raises(VerificationError) as caught:
        schema.validate("manifest", value, "manifest.json")
    assert (caught.value.expected[-7:], caught.value.found) == ("$.files", "20000 items, more than 10000")


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
