"""Whether a JSON value fits a schema, as one predicate that is made of the schema once.

jsonschema says why a value does not fit, but takes a second for a manifest of a thousand generators. These
predicates say yes or no in a twentieth of that. `schema.validate` asks jsonschema whenever the answer is no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], bool]
_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}


class UnknownKeywordError(Exception):
    """The schema uses a keyword that has no predicate."""


@dataclass(frozen=True)
class Meaning:
    """What the keywords mean that JSON Schema leaves to the program."""

    resolve: Callable[[str], Any]
    """Gives the schema behind a `$ref`."""
    text: Callable[[Any], str]
    """Gives equal texts for equal values."""
    expression: Callable[[str], str]
    """Gives the regular expression behind a `pattern`."""
    formats: Mapping[str, Check]


def compiled(schema: Mapping[str, Any], meaning: Meaning) -> Check:
    """The predicate of a schema of draft 2020-12, which says what the validator in `schema` says.

    Raises:
        UnknownKeywordError: the schema uses a keyword that our schemas did not use so far.
    """
    return _Compiler(meaning).check_of(schema)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _anything(_: Any) -> bool:
    return True


_TYPES: Mapping[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": _is_integer,
}
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}
_LENGTHS: Mapping[str, type[str] | type[list] | type[dict]] = {
    "minLength": str,
    "maxLength": str,
    "minItems": list,
    "maxItems": list,
    "minProperties": dict,
    "maxProperties": dict,
}
_OF_OBJECTS = {
    *("properties", "patternProperties", "additionalProperties", "propertyNames"),
    *("required", "dependentRequired"),
}
_OF_LISTS = {"items", "prefixItems"}
_BRANCHES = {"if", "then", "else"}
_WHOLE = {"type", "minimum", "maximum"}


class _Compiler:
    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning
        self._references: dict[str, Check] = {}

    def check_of(self, schema: Any) -> Check:
        if isinstance(schema, bool):
            return lambda _: schema
        if schema.keys() - _ANNOTATIONS == _WHOLE and schema["type"] == "integer":
            return _whole_number(schema["minimum"], schema["maximum"])
        checks = [self._keyword(name, rule) for name, rule in schema.items() if name in _SINGLE]
        if _OF_OBJECTS & schema.keys():
            checks.append(self._object(schema))
        if _OF_LISTS & schema.keys():
            checks.append(self._list(schema))
        if "if" in schema:
            checks.append(self._branch(schema))
        unknown = schema.keys() - _SINGLE - _OF_OBJECTS - _OF_LISTS - _BRANCHES - _ANNOTATIONS
        if unknown:
            raise UnknownKeywordError(", ".join(unknown))
        if len(checks) == 1:
            return checks[0]
        every = tuple(checks)

        def check(value: Any) -> bool:
            for one in every:  # noqa: SIM110  a loop is twice as fast as `all` here
                if not one(value):
                    return False
            return True

        return check

    def _keyword(self, name: str, rule: Any) -> Check:
        """The predicate of a keyword that needs no other."""
        if name == "type":
            return _type(rule)
        if name in _COMPARED:
            holds = _COMPARED[name]
            return lambda value: not _is_number(value) or holds(value, rule)
        if name in _LENGTHS:
            kind, least = _LENGTHS[name], name.startswith("min")
            return lambda value: (
                not isinstance(value, kind) or (len(value) >= rule if least else len(value) <= rule)
            )
        if name == "pattern":
            search = re.compile(self._meaning.expression(rule), re.ASCII).search
            return lambda value: not isinstance(value, str) or search(value) is not None
        if name == "format":
            return self._meaning.formats[rule]
        text = self._meaning.text
        if name == "uniqueItems":
            return lambda value: (
                not rule or not isinstance(value, list) or len(set(map(text, value))) == len(value)
            )
        if name in ("const", "enum"):
            allowed = {text(one) for one in ([rule] if name == "const" else rule)}
            return lambda value: text(value) in allowed
        if name == "$ref":
            return self._reference(rule)
        if name == "not":
            refused = self.check_of(rule)
            return lambda value: not refused(value)
        parts = [self.check_of(part) for part in rule]
        if name == "oneOf":
            return lambda value: sum(part(value) for part in parts) == 1
        return lambda value: all(part(value) for part in parts)  # allOf

    def _reference(self, name: str) -> Check:
        if name not in self._references:
            # A definition may refer to itself.
            self._references[name] = lambda value: self._references[name](value)
            self._references[name] = self.check_of(self._meaning.resolve(name))
        return self._references[name]

    def _object(self, schema: Mapping[str, Any]) -> Check:
        properties = {name: self.check_of(part) for name, part in schema.get("properties", {}).items()}
        patterns = {
            re.compile(pattern): self.check_of(part)
            for pattern, part in schema.get("patternProperties", {}).items()
        }
        required = tuple(schema.get("required", ()))
        others = self.check_of(schema.get("additionalProperties", True))
        named = self.check_of(schema.get("propertyNames", True))
        names_matter = "propertyNames" in schema
        needs = schema.get("dependentRequired", {})

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            for name in required:
                if name not in value:
                    return False
            for name, part in value.items():
                other = others
                for pattern, matching in patterns.items():
                    if pattern.search(name):
                        other = _anything
                        if not matching(part):
                            return False
                if not properties.get(name, other)(part) or (names_matter and not named(name)):
                    return False
            return not needs or all(
                other in value for name, all_of in needs.items() if name in value for other in all_of
            )

        return check

    def _list(self, schema: Mapping[str, Any]) -> Check:
        first = [self.check_of(part) for part in schema.get("prefixItems", ())]
        rest = self.check_of(schema.get("items", True))

        def check(value: Any) -> bool:
            if not isinstance(value, list):
                return True
            return all(part(one) for part, one in zip(first, value, strict=False)) and all(
                map(rest, value[len(first) :] if first else value)
            )

        return check

    def _branch(self, schema: Mapping[str, Any]) -> Check:
        asked = self.check_of(schema["if"])
        then, otherwise = (self.check_of(schema.get(name, True)) for name in ("then", "else"))
        return lambda value: then(value) if asked(value) else otherwise(value)


_SINGLE = {"type", "pattern", "format", "uniqueItems", "const", "enum", "$ref", "not", "oneOf", "allOf"}
_SINGLE |= _COMPARED.keys() | _LENGTHS.keys()


def _whole_number(least: int, most: int) -> Check:
    """Most values of a manifest are whole numbers within bounds, so this is one step instead of three."""
    return lambda value: _is_integer(value) and least <= value <= most


def _type(rule: str | list[str]) -> Check:
    if isinstance(rule, str):
        return _TYPES[rule]
    kinds = tuple(_TYPES[name] for name in rule)
    return lambda value: any(kind(value) for kind in kinds)
