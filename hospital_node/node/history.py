"""The node's record of who did what, and when: append-only, each entry with a code over all before it.

The codes need the node's secret. A changed or removed entry breaks the chain. The file `history.head` holds
the last code under a seal, so that a chain cut at its end is noticed. Each release carries the last code. A
ledger and a head from an older backup do not contain it.

An entry holds no name of a file or a patient, so that an erasure leaves it whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hospital_node.ledger.database import now
from hospital_node.ledger.history_table import START, Link
from hospital_node.node.node import Node
from hospital_node.node.seals import Sealed, is_sealed, seal
from sharekit.errors import NodeStateError, SharekitError
from sharekit.storage import files

HEAD = "history.head"
_HEAD_BYTES = 4096


class Action(StrEnum):
    """What an entry is about."""

    INTAKE = "intake"
    TRAINING = "training"
    AUDIT = "audit"
    POLICY = "policy"
    APPROVAL = "approval"
    REJECTION = "rejection"
    EXPORT = "export"
    PUBLICATION = "publication"
    WITHDRAWAL = "withdrawal"
    ERASURE = "erasure"
    EVALUATION = "evaluation"


@dataclass(frozen=True)
class Entry:
    """One thing that happened. Law: `from_json(to_json(x)) == x`."""

    time: str  # UTC, ISO 8601
    action: Action
    by: str  # an approver with the key's fingerprint, or a user of the machine
    facts: Mapping[str, Any]  # numbers, identifiers, settings, reasons; no names of files or patients

    def to_json(self) -> dict[str, Any]:
        return {"time": self.time, "action": str(self.action), "by": self.by, "facts": dict(self.facts)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Entry:
        return Entry(value["time"], Action(value["action"]), value["by"], dict(value["facts"]))


def record(node: Node, action: Action, by: str | None = None, **facts: Any) -> None:
    """Append an entry to the node's history.

    Args:
        node: any process may append, also without the write lock.
        action: what happened.
        by: who did it; None for the user of this machine.
        facts: JSON values; no names of files or patients.
    """
    node.ledger.history.append(new_entry(action, by, **facts), authenticator(node))
    keep_head(node)


def new_entry(action: Action, by: str | None = None, **facts: Any) -> str:
    """An entry of now, as the ledger keeps it; arguments as in `record`."""
    return _canonical(Entry(now(), action, by or operator(), facts))


def authenticator(node: Node) -> Callable[[int, str, str], str]:
    """The function that gives each entry its code under the node's secret."""

    def authenticate(number: int, before: str, entry: str) -> str:
        return seal(node, Sealed.HISTORY, str(number).encode(), before.encode(), entry.encode())

    return authenticate


def keep_head(node: Node) -> None:
    """Write the last entry's code to the file that shows where the history ends."""
    with _locked(node.root / HEAD):
        link = node.ledger.history.last()
        if link is not None:
            head = {"number": link.number, "mac": link.mac, "seal": _head_seal(node, link)}
            files.write_json(node.root / HEAD, head, mode=0o600)


def entries(node: Node) -> Iterator[tuple[int, Entry]]:
    """Every entry with its number, oldest first.

    Raises:
        NodeStateError: an entry cannot be read.
    """
    for link in node.ledger.history.all():
        yield link.number, _read(link)


def head(node: Node) -> tuple[int, str]:
    """Number and code of the last entry; 0 and zeros before the first one."""
    link = node.ledger.history.last()
    return (0, START) if link is None else (link.number, link.mac)


def verify(node: Node, carried: Mapping[str, tuple[int, str]] | None = None) -> int:
    """Check every code, the sealed end, and what releases carry; return the number of entries.

    Args:
        node: read, not changed.
        carried: bundle to the number and the code of the last entry at its export.

    Raises:
        NodeStateError: an entry was changed, removed, or cut off at the end.
    """
    authenticate, before, number = authenticator(node), START, 0
    codes = {0: START}
    for link in node.ledger.history.all():
        number += 1
        if link.number != number:
            raise _broken(node, f"entry {number}", f"none; the next one is entry {link.number}")
        if link.mac != authenticate(number, before, link.entry):
            raise _broken(
                node, f"entry {number} as it was written", "a changed entry, or another one before it"
            )
        _read(link)
        before = codes[number] = link.mac
    _verify_end(node, codes)
    for name, (last, code) in (carried or {}).items():
        if codes.get(last) != code:
            found = f"{number} entries" if last > number else "another history up to there"
            raise _broken(node, f"the {last} entries that {name} was released with", found)
    return number


def operator() -> str:
    """The user of this machine who runs the program."""
    try:
        return f"user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"user {os.getuid()}"


def _verify_end(node: Node, codes: Mapping[int, str]) -> None:
    path = node.root / HEAD
    if not path.exists():
        if len(codes) > 1:
            raise _broken(node, f"the file {HEAD}, which shows where it ends", "no such file")
        return
    try:
        value = files.parse_json(files.read_bytes(path, max_bytes=_HEAD_BYTES), path)
        link, found = Link(int(value["number"]), "", str(value["mac"])), str(value["seal"])
    except (SharekitError, KeyError, TypeError, ValueError) as error:
        raise _broken(node, f"a readable {HEAD}", type(error).__name__) from error
    if not is_sealed(node, found, Sealed.HISTORY_END, str(link.number).encode(), link.mac.encode()):
        raise _broken(node, f"the node's own seal on {HEAD}", "another one")
    # The chain may be longer: a process was killed between the two writes.
    if codes.get(link.number) != link.mac:
        raise _broken(node, f"at least {link.number} entries, as {HEAD} says", f"{len(codes) - 1}")


def _head_seal(node: Node, link: Link) -> str:
    return seal(node, Sealed.HISTORY_END, str(link.number).encode(), link.mac.encode())


def _canonical(entry: Entry) -> str:
    return json.dumps(entry.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _read(link: Link) -> Entry:
    try:
        return Entry.from_json(files.parse_json(link.entry.encode(), f"entry {link.number}"))
    except (SharekitError, KeyError, TypeError, ValueError) as error:
        raise NodeStateError(
            f"history, entry {link.number}",
            expected="an entry of this release",
            found=type(error).__name__,
            next_step="check it with `hospital-node history --verify`",
        ) from error


def _broken(node: Node, expected: str, found: str) -> NodeStateError:
    return NodeStateError(
        node.root / "ledger.sqlite",
        expected=expected,
        found=found,
        next_step="find out who changed the node's files, and compare with the releases and a backup",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer of the end at a time, so that a later end never makes way for an earlier one."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
