"""How much work may untrusted bytes cause a parser? Their parts are counted before they are parsed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """Upper bounds of a document's content; the document may be malformed."""

    nodes: int = 0  # values of JSON, fields of protobuf
    keys: int = 0  # of all JSON objects together
    depth: int = 0  # levels

    def __add__(self, other: Count) -> Count:
        return Count(self.nodes + other.nodes, self.keys + other.keys, max(self.depth, other.depth))


@dataclass(frozen=True)
class Budget:
    """Limits for the content of one document."""

    max_bytes: int
    max_nodes: int  # values of JSON, fields of protobuf
    max_depth: int  # levels
    max_keys: int = 0  # of all JSON objects together

    def excess(self, count: Count) -> tuple[str, str] | None:
        """The limit that `count` exceeds, as expected and found texts; None if it is within all."""
        for limit, found, unit in (
            (self.max_nodes, count.nodes, "values"),
            (self.max_keys, count.keys, "keys"),
            (self.max_depth, count.depth, "levels"),
        ):
            if found > limit:
                return f"at most {limit} {unit}", f"{found}"
        return None

    def excess_bytes(self, length: int) -> tuple[str, str] | None:
        """Like `excess`, for the length of a document in bytes."""
        return (f"at most {self.max_bytes} bytes", f"{length} bytes") if length > self.max_bytes else None


def count_json(data: bytes, budget: Budget) -> Count:
    """Count the values that a JSON parser could find in `data` before it ends or fails; linear in its length.

    If brackets or strings alone exceed the budget, only they are counted.
    """
    # A backslash outside a string is an error, so this only removes text inside strings.
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = unescaped.count(b'"') // 2
    if strings > budget.max_nodes + budget.max_keys:
        return Count(nodes=strings)
    outside = b"".join(unescaped.split(b'"')[::2])
    brackets = outside.translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * budget.max_nodes:
        return Count(nodes=len(brackets) // 2)
    opened = brackets.count(b"[") + brackets.count(b"{")
    level = deepest = 0
    for bracket in brackets:
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return Count(1 + opened + outside.count(b","), outside.count(b":"), deepest)


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
