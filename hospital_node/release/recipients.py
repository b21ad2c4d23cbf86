"""Recipients under controlled access: who may get a release, under which agreement, since when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hospital_node.node.node import Node
from sharekit.errors import InputError, UsageError
from sharekit.storage import files, schema

FILE = "recipients.json"


@dataclass(frozen=True)
class Recipient:
    """Somebody with an agreement. Law: `from_json(to_json(x)) == x`."""

    name: str
    agreement: str  # such as the number of a contract
    date: str  # of the agreement, ISO 8601
    encryption_key: str | None = None
    """Its public key of the age format, `age1…`, if releases may be encrypted for it."""

    def to_json(self) -> dict[str, str]:
        key = {} if self.encryption_key is None else {"encryption_key": self.encryption_key}
        return {"name": self.name, "agreement": self.agreement, "date": self.date, **key}

    @staticmethod
    def from_json(value: Any) -> Recipient:
        key = value.get("encryption_key")
        name, agreement, date = (str(value[field]) for field in ("name", "agreement", "date"))
        return Recipient(name, agreement, date, None if key is None else str(key))


def recipients(node: Node) -> list[Recipient]:
    """The register, by name."""
    path = node.root / FILE
    if not path.is_file():
        return []
    value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
    return [Recipient.from_json(one) for one in value]


def add_recipient(node: Node, recipient: Recipient) -> list[Recipient]:
    """Add a recipient, or change the agreement of one.

    Raises:
        UsageError: a field is no line of text.
    """
    for option, text in (("--name", recipient.name), ("--agreement", recipient.agreement)):
        if not schema.is_label(text):
            raise UsageError(
                option, expected="one line of text", found=f"{text!r:.60}", next_step="correct it"
            )
    with node.write_lock():
        others = [one for one in recipients(node) if one.name != recipient.name]
        register = sorted([*others, recipient], key=lambda one: one.name)
        files.write_json(node.root / FILE, [one.to_json() for one in register], mode=0o600)
    return register


def named(node: Node, names: Iterable[str]) -> list[Recipient]:
    """The registered recipients of these names.

    Raises:
        InputError: one is not registered.
    """
    known = {one.name: one for one in recipients(node)}
    for name in names:
        if name not in known:
            raise InputError(
                name,
                expected=f"a registered recipient: {', '.join(known) or 'none is registered'}",
                found="no such name",
                next_step="hospital-node recipient add --node NODE --name NAME --agreement TEXT --date DATE",
            )
    return [known[name] for name in names]
