"""Fill a data set's folder over several runs; the folder gets its name only when it is complete.

    OUT.partial/unfinished.jsonl   the request, then one line for every complete item
    OUT.partial/data/              becomes OUT

An item counts as complete once its line is written. The line holds the digest of each of the item's files,
and the item counts only as long as the files match. A run may therefore be killed at any moment: the next run
keeps the complete items and removes the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sharekit.errors import InputError, SharekitError
from sharekit.storage import files
from sharekit.storage.names import printable

JOURNAL = "unfinished.jsonl"
DATA = "data"
SUFFIX = ".partial"
MAX_JOURNAL_BYTES = 2**30
MAX_SHOWN = 60  # characters of a setting in an error


@dataclass(frozen=True)
class _Item:
    """A line of the journal. Law: `from_json(to_json(x)) == x`."""

    key: str
    record: Mapping[str, Any]
    files: Mapping[str, str]
    """SHA-256 of each file, by path."""

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "record": dict(self.record), "files": dict(self.files)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> _Item:
        return _Item(str(value["key"]), dict(value["record"]), dict(value["files"]))

    def is_whole(self, folder: Path) -> bool:
        """Whether every file exists and is unchanged."""
        paths = {folder / name: digest for name, digest in self.files.items()}
        return all(path.is_file() and _digest(path) == digest for path, digest in paths.items())


class PartialFolder:
    """A folder that is being filled; made by `resumable_folder`."""

    def __init__(self, root: Path, records: dict[str, Mapping[str, Any]], journal: IO[str]) -> None:
        self.root = root
        """Where the files go."""
        self.records = records
        """The record that `add` was given for every complete item, by key."""
        self._journal = journal

    def add(self, key: str, record: Mapping[str, Any], paths: Sequence[str]) -> None:
        """Record an item as complete; its files, relative to `root`, must be written."""
        digests = {path: _digest(self.root / path) for path in paths}
        self._journal.write(_line(_Item(key, record, digests).to_json()))
        self._journal.flush()
        self.records[key] = record


@contextlib.contextmanager
def resumable_folder(out: Path, request: Mapping[str, Any]) -> Iterator[PartialFolder]:
    """Fill a folder inside the block; it becomes `out` when the block ends without error.

    After an error or a kill, the next call with the same request keeps the complete items and resumes.

    Args:
        out: path that does not exist, or an empty folder.
        request: JSON object with every setting that the files depend on.

    Raises:
        InputError: `out` cannot be written, another process is writing it, or it was begun with another
            request; the error names what differs.
    """
    partial = _require_room(out)
    (partial / DATA).mkdir(parents=True, exist_ok=True)
    with _locked(partial, out):
        # Another process may have finished in the meantime.
        _require_room(out)
        there, complete = _read(partial)
        if there is not None:
            require_same(partial, there, request, f"remove {partial} to begin anew")
        _write_journal(partial, request, complete)
        _remove_all_but(partial / DATA, {path for item in complete for path in item.files})
        with (partial / JOURNAL).open("a", encoding="utf-8") as journal:
            yield PartialFolder(partial / DATA, {item.key: item.record for item in complete}, journal)
        if out.is_dir():
            out.rmdir()
        files.put_in_place(partial / DATA, out)
        shutil.rmtree(partial)


def is_finished(out: Path, there: Mapping[str, Any] | None, request: Mapping[str, Any]) -> bool:
    """Whether `out` is already finished.

    Args:
        out: path of the data set.
        there: the request that `out` was made with; None when `out` holds no finished data set.
        request: the request of this call.

    Raises:
        InputError: `out` was finished with another request; the error names what differs.
    """
    if there is None:
        return False
    require_same(out, there, request, "remove it")
    # A kill may have come after the rename, before the partial folder was removed.
    shutil.rmtree(out.with_name(out.name + SUFFIX), ignore_errors=True)
    return True


def require_same(item: Path, there: Mapping[str, Any], now: Mapping[str, Any], way_out: str) -> None:
    """Refuse to resume a data set that was begun with other settings.

    Raises:
        InputError: settings differ; the error names each with its old and new value.
    """
    different = differences(there, now)
    if different:
        raise InputError(
            item,
            expected="a data set with the same settings",
            found="; ".join(different),
            next_step=f"use the stored settings, {way_out}, or choose another --out",
        )


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ between two JSON objects, such as `seed: 1 there, 2 now`."""
    old, new = dict(_settings(there)), dict(_settings(now))
    return [
        f"{name}: {_shown(old.get(name))} there, {_shown(new.get(name))} now"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def refuse_unfinished(root: Path) -> None:
    """Refuse to read a data set that is still being written, or whose writing was interrupted.

    Raises:
        InputError: it is unfinished; the error names the folder that is being written.
    """
    partial = root.with_name(root.name + SUFFIX)
    places = [root, root.parent] if root.exists() else [partial]
    for folder in places:
        if (folder / JOURNAL).is_file():
            raise InputError(
                root,
                expected="a finished data set",
                found=f"one that is being written, or was interrupted: {folder}",
                next_step="wait for the command that writes it, or run that command again to go on",
            )


def _require_room(out: Path) -> Path:
    """The folder next to `out` that holds the files until `out` is complete; nothing else may be there."""

    def refuse(item: Path, expected: str, found: str) -> InputError:
        return InputError(item, expected=expected, found=found, next_step="remove it or choose another path")

    if out.name in ("", ".."):
        raise refuse(out, "a folder with a name", "a place that has none; name a new folder in it")
    partial = out.with_name(out.name + SUFFIX)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise refuse(out, "a path that does not exist yet, or an empty folder", "a file or a link")
    if out.is_dir() and any(out.iterdir()):
        raise refuse(
            out, "a path that does not exist yet, or an empty folder", "a folder with something in it"
        )
    if out.is_dir() and os.path.ismount(out):
        raise refuse(out, "a path whose folder can be renamed", "a mount point; name a new folder in it")
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise refuse(partial, "the folder of an interrupted run, or nothing", "a file or a link")
    if partial.is_dir() and not all(_is_ours(path.name) for path in partial.iterdir()):
        raise refuse(partial, "the folder of an interrupted run, or nothing", "something else")
    return partial


def _is_ours(name: str) -> bool:
    """Whether `PartialFolder` or a write of its journal made this name."""
    return name in (JOURNAL, DATA) or (name.startswith(f".{JOURNAL}.") and name.endswith(".tmp"))


@contextlib.contextmanager
def _locked(partial: Path, out: Path) -> Iterator[None]:
    """Refuse a second process, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                out,
                expected="a data set that no other process is writing",
                found="a process that is writing it",
                next_step="wait for it, or choose another --out",
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def _read(partial: Path) -> tuple[Mapping[str, Any] | None, list[_Item]]:
    """The request of an interrupted run and its complete items; None if the first line is incomplete."""
    if not (partial / JOURNAL).exists():
        return None, []
    request = None
    complete: dict[str, _Item] = {}
    # A kill cut off the line after the last newline.
    for line in files.read_bytes(partial / JOURNAL, max_bytes=MAX_JOURNAL_BYTES).split(b"\n")[:-1]:
        try:
            value = files.parse_json(line, JOURNAL)
            if request is None:
                request = dict(value["request"])
                continue
            item = _Item.from_json(value)
        except (SharekitError, KeyError, TypeError, ValueError):
            break
        if item.is_whole(partial / DATA):
            complete[item.key] = item
    return request, list(complete.values())


def _write_journal(partial: Path, request: Mapping[str, Any], complete: Sequence[_Item]) -> None:
    """Write a journal with the request and the complete items only."""
    lines = [{"request": request}, *(item.to_json() for item in complete)]
    files.write_text(partial / JOURNAL, "".join(map(_line, lines)))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _remove_all_but(folder: Path, kept: set[str]) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _settings(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a JSON object, each with its path as words; a list is a leaf."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _settings(child, f"{name} {key.replace('_', ' ')}".strip())
    else:
        yield name, value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
