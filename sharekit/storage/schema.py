"""Does a JSON value hold what its schema says? Schemas are the package `schemas`, draft 2020-12."""

from __future__ import annotations

import functools
import itertools
import json
import math
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
MAX_ERRORS = 16  # that the one to report is chosen from


@_FORMATS.checks("date-time", raises=ValueError)
def _is_utc_second(value: object) -> bool:
    """RFC 3339 in UTC, whole seconds: the one form that we write."""
    return not isinstance(value, str) or datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ") is not None


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # JSON Schema's "$" is the end of the string; Python's also matches before a final newline.
    strict = re.sub(r"(?<!\\)\$$", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(strict, instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(_validator: Any, unique: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # jsonschema compares each with each where the types are mixed; equal texts are found by one pass.
    if unique and isinstance(instance, list) and len(set(map(_text, instance))) < len(instance):
        yield ValidationError("the same item twice")


def _text(value: Any) -> str:
    """JSON that is equal for equal values; 1 and 1.0 are one number."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    return value


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at_most(kind: type[str] | type[list] | type[dict], unit: str) -> Any:
    """The check of a bound on a value's length; jsonschema would print the whole value."""

    def check(_validator: Any, most: int, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, kind) and len(instance) > most:
            yield ValidationError(f"{len(instance)} {unit}, more than {most}")

    return check


def _within_bounds(keyword: str, check: Any) -> Any:
    """The keyword's check, left out where the value is longer than its schema allows: that refuses it."""

    def bounded(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        bound = _BOUNDS[keyword]
        if not isinstance(instance, list | dict | str) or len(instance) <= schema.get(bound, math.inf):
            yield from check(validator, rule, instance, schema) or ()

    return bounded


_BOUNDS = {
    "pattern": "maxLength",
    "format": "maxLength",
    "items": "maxItems",
    "prefixItems": "maxItems",
    "uniqueItems": "maxItems",
    "properties": "maxProperties",
    "propertyNames": "maxProperties",
    "additionalProperties": "maxProperties",
}
"""Keywords that look into a value, with the keyword that bounds its length."""

_LENGTHS = {
    "maxItems": _at_most(list, "items"),
    "maxLength": _at_most(str, "characters"),
    "maxProperties": _at_most(dict, "keys"),
}
_CHECKS = {**Draft202012Validator.VALIDATORS, "pattern": _pattern, "uniqueItems": _unique_items}
StrictValidator = extend(
    Draft202012Validator,
    validators=_LENGTHS | {keyword: _within_bounds(keyword, _CHECKS[keyword]) for keyword in _BOUNDS},
    # JSON Schema takes 3.0 for an integer; Python does not.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


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
    error = best_match(itertools.islice(_validator(name).iter_errors(value), MAX_ERRORS))
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


def fits(name: str, definition: str, value: Any) -> bool:
    """Whether a value is what the schema called `name` says under `$defs` of this definition."""
    return bool(_definition(name, definition).is_valid(value))


@functools.cache
def _definition(name: str, definition: str) -> Any:
    return StrictValidator(load(name)["$defs"][definition], registry=_registry())


@functools.cache
def _validator(name: str) -> Any:
    return StrictValidator(load(name), registry=_registry(), format_checker=_FORMATS)


@functools.cache
def _registry() -> Registry:
    folder = resources.files("schemas") / VERSION
    shared = json.loads((folder / "defs.json").read_text(encoding="utf-8"))
    return Registry().with_resource(shared["$id"], Resource.from_contents(shared))
