"""Does a JSON value hold what its schema says? Schemas are the package `schemas`, draft 2020-12."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry, Resource

from sharekit.errors import VerificationError

VERSION = "v1"
_SUFFIX = ".schema.json"
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_utc_second(value: object) -> bool:
    """RFC 3339 in UTC, whole seconds: the one form that we write."""
    return not isinstance(value, str) or datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ") is not None


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # JSON Schema's "$" is the end of the string; Python's also matches before a final newline.
    strict = re.sub(r"(?<!\\)\$$", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(strict, instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


StrictValidator = extend(Draft202012Validator, validators={"pattern": _pattern})


@functools.cache
def names() -> frozenset[str]:
    """The schemas that exist, by name."""
    entries = (resources.files("schemas") / VERSION).iterdir()
    return frozenset(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))


def load(name: str) -> dict[str, Any]:
    """The schema called `name`."""
    text = (resources.files("schemas") / VERSION / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    return json.loads(text)


def validate(name: str, value: Any, item: object) -> None:
    """Check a value against the schema called `name`.

    Raises:
        VerificationError: naming `item` and the JSON path of what does not fit.
    """
    error = best_match(_validator(name).iter_errors(value))
    if error is not None:
        raise VerificationError(
            item,
            expected=f"what the schema {VERSION}/{name} allows at {error.json_path[:200]}",
            found=ascii(error.message)[1:-1][:300],
            next_step="do not use it; ask its author for a file that fits the schema",
        )


def is_label(text: str) -> bool:
    """Whether `text` may stand where a schema says `label`: one line for a person."""
    label = {"$ref": "urn:sharekit:schema:v1:defs#/$defs/label"}
    return bool(StrictValidator(label, registry=_registry()).is_valid(text))


@functools.cache
def _validator(name: str) -> Any:
    return StrictValidator(load(name), registry=_registry(), format_checker=_FORMATS)


@functools.cache
def _registry() -> Registry:
    folder = resources.files("schemas") / VERSION
    shared = json.loads((folder / "defs.json").read_text(encoding="utf-8"))
    return Registry().with_resource(shared["$id"], Resource.from_contents(shared))
