"""Every schema against its vectors: `schemas/v1/vectors/NAME/{valid,invalid}/*.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sharekit.errors import VerificationError
from sharekit.storage import files, schema

VECTORS = Path(__file__).resolve().parents[2] / "schemas" / schema.VERSION / "vectors"
NAMES = sorted(schema.names())


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(path.parts[-3], path, id=f"{path.parts[-3]}-{path.stem}")
        for path in sorted(VECTORS.glob(f"*/{kind}/*.json"))
    ]


@pytest.mark.parametrize(("name", "path"), vectors("valid"))
def test_valid_vector_fits(name: str, path: Path) -> None:
    schema.validate(name, files.parse_json(path.read_bytes(), path), path)


@pytest.mark.parametrize(("name", "path"), vectors("invalid"))
def test_invalid_vector_is_refused_with_its_json_path(name: str, path: Path) -> None:
    value = files.parse_json(path.read_bytes(), path)
    with pytest.raises(VerificationError) as caught:
        schema.validate(name, value, path)
    assert caught.value.item == str(path)
    assert re.search(rf"{name} allows at \$", caught.value.expected)


@pytest.mark.parametrize("name", NAMES)
def test_schema_has_vectors_of_both_kinds(name: str) -> None:
    assert len(list((VECTORS / name / "valid").glob("*.json"))) >= 1
    assert len(list((VECTORS / name / "invalid").glob("*.json"))) >= 3


def test_no_vectors_without_a_schema() -> None:
    assert {path.name for path in VECTORS.iterdir()} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_draft_2020_12(name: str) -> None:
    loaded = schema.load(name)
    assert loaded["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert loaded["$id"] == f"urn:sharekit:schema:{schema.VERSION}:{name}"
    Draft202012Validator.check_schema(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_schema_bounds_every_object_array_and_string(name: str) -> None:
    loose = [path for path, part in _parts(schema.load(name), "$") if _is_loose(part)]
    assert loose == []


def _parts(part: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sub-schema: a JSON object with a `type`."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield path, part
        for key, child in part.items():
            yield from _parts(child, f"{path}.{key}")
    elif isinstance(part, list):
        for number, child in enumerate(part):
            yield from _parts(child, f"{path}[{number}]")


def _is_loose(part: dict[str, Any]) -> bool:
    bounds = {
        "object": "additionalProperties",
        "array": "maxItems",
        "string": "maxLength",
    }
    needed = bounds.get(part["type"])
    return needed is not None and needed not in part and not {"const", "enum"} & part.keys()
