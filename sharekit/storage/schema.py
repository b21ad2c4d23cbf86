"""Does a JSON value fit its schema? The package `schemas` holds the schemas, draft 2020-12."""

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
from sharekit.storage.quick_schema import Check, Meaning, compiled

VERSION = "v1"
_SUFFIX = ".schema.json"
_SHARED = f"urn:sharekit:schema:{VERSION}:defs#/$defs/"
_FORMATS = FormatChecker(formats=())
MAX_ERRORS = 16  # errors from which the reported one is chosen


@_FORMATS.checks("date-time", raises=ValueError)
def _is_utc_second(value: object) -> bool:
    """Accept only RFC 3339 in UTC with whole seconds, the form that we write."""
    return not isinstance(value, str) or datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ") is not None


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not re.search(_strict(pattern), instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@functools.cache
def _strict(pattern: str) -> str:
    """JSON Schema's "$" is the end of the string; Python's also matches before a final newline."""
    return re.sub(r"(?<!\\)\$$", r"\\Z", pattern)


def _unique_items(_validator: Any, unique: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # jsonschema compares all pairs if types are mixed; comparing texts takes one pass.
    if unique and isinstance(instance, list) and len(set(map(_text, instance))) < len(instance):
        yield ValidationError("the same item twice")


def _text(value: Any) -> str:
    """JSON text that is equal for equal values; 1 and 1.0 are equal."""
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
    """Make a check for a maximum length; jsonschema's own would print the whole value."""

    def check(_validator: Any, most: int, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, kind) and len(instance) > most:
            yield ValidationError(f"{len(instance)} {unit}, more than {most}")

    return check


def _within_bounds(keyword: str, check: Any) -> Any:
    """Skip a keyword's check for values longer than their schema allows, which the bound refuses anyway."""

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
"""Keyword that inspects a value to the keyword that limits the value's length."""

_LENGTHS = {
    "maxItems": _at_most(list, "items"),
    "maxLength": _at_most(str, "characters"),
    "maxProperties": _at_most(dict, "keys"),
}
_CHECKS = {**Draft202012Validator.VALIDATORS, "pattern": _pattern, "uniqueItems": _unique_items}
StrictValidator = extend(
    Draft202012Validator,
    validators=_LENGTHS | {keyword: _within_bounds(keyword, _CHECKS[keyword]) for keyword in _BOUNDS},
    # JSON Schema accepts 3.0 as an integer; Python does not.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@functools.cache
def names() -> frozenset[str]:
    """The names of all schemas."""
    entries = (resources.files("schemas") / VERSION).iterdir()
    return frozenset(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))


def load(name: str) -> dict[str, Any]:
    """Read the schema called `name`."""
    text = (resources.files("schemas") / VERSION / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    return json.loads(text)


def validate(name: str, value: Any, item: object) -> None:
    """Check a value against the schema called `name`.

    Raises:
        VerificationError: naming `item` and the JSON path of the value that does not fit.
    """
    if quickly_fits(name, value):
        return
    error = best_match(itertools.islice(validator(name).iter_errors(value), MAX_ERRORS))
    if error is not None:
        raise VerificationError(
            item,
            expected=f"what the schema {VERSION}/{name} allows at {error.json_path[:200]}",
            found=ascii(error.message)[1:-1][:300],
            next_step="do not use it; ask its author for a file that fits the schema",
        )


def quickly_fits(name: str, value: Any) -> bool:
    """Whether a value fits the schema called `name`, without a word why not."""
    return _predicate(name)(value)


def is_label(text: str) -> bool:
    """Whether `text` is a `label` of the schemas: one line for a person."""
    return fits_shared("label", text)


def fits_shared(definition: str, value: Any) -> bool:
    """Whether a value fits one of the definitions that all schemas share, such as `sentence`."""
    reference = {"$ref": f"urn:sharekit:schema:v1:defs#/$defs/{definition}"}
    return bool(StrictValidator(reference, registry=_registry()).is_valid(value))


def fits(name: str, definition: str, value: Any) -> bool:
    """Whether a value fits the `definition` under `$defs` of the schema called `name`."""
    return bool(_definition(name, definition).is_valid(value))


@functools.cache
def _definition(name: str, definition: str) -> Any:
    return StrictValidator(load(name)["$defs"][definition], registry=_registry())


@functools.cache
def validator(name: str) -> Any:
    """The validator of the schema called `name`, which says why a value does not fit."""
    return StrictValidator(_inlined(load(name)), registry=_registry(), format_checker=_FORMATS)


@functools.cache
def _predicate(name: str) -> Check:
    whole = _inlined(load(name))

    def resolve(reference: str) -> Any:
        definition = reference.rpartition("/")[2]
        return _shared()["$defs"][definition] if reference.startswith(_SHARED) else whole["$defs"][definition]

    formats = {"date-time": lambda value: _FORMATS.conforms(value, "date-time")}
    return compiled(whole, Meaning(resolve, _text, _strict, formats))


def _inlined(part: Any) -> Any:
    """A schema with the shared definitions in place of references, whose look-up takes most of the time."""
    if isinstance(part, list):
        return [_inlined(item) for item in part]
    if not isinstance(part, dict):
        return part
    others = {key: _inlined(value) for key, value in part.items() if key != "$ref"}
    reference = str(part.get("$ref", ""))
    # Next to a constraint of its own, a reference stays one.
    if reference.startswith(_SHARED) and others.keys() <= {"description", "title"}:
        return {**_inlined(_shared()["$defs"][reference.removeprefix(_SHARED)]), **others}
    return part if reference else others


@functools.cache
def _registry() -> Registry:
    shared = _shared()
    return Registry().with_resource(shared["$id"], Resource.from_contents(shared))


@functools.cache
def _shared() -> Any:
    """The definitions that several schemas share."""
    path = resources.files("schemas") / VERSION / "defs.json"
    # Definitions refer to each other within their file; elsewhere they need its name.
    return json.loads(path.read_text(encoding="utf-8").replace('"#/$defs/', f'"{_SHARED}'))
