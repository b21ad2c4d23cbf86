"""Folders and zips: only plain files, and only the one zip that we would have written ourselves."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.errors import InputError, VerificationError
from sharekit.storage import container, stored_zip
from sharekit.storage.container import Folder, Zip, new_container, open_container

CONTENTS = {"CARD.md": b"card", "generators/a.onnx": bytes(range(50)), "empty.txt": b""}


def write(out: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    with new_container(out) as writer:
        for name, data in contents.items():
            writer.add(name, data)
        writer.close()
    return out


@pytest.mark.parametrize(("name", "kind"), [("bundle", Folder), ("bundle.zip", Zip)])
def test_what_is_written_is_what_is_read(tmp_path: Path, name: str, kind: type) -> None:
    box = open_container(write(tmp_path / name))
    assert isinstance(box, kind)
    assert {file: box.read(file) for file in box.lengths} == CONTENTS
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True), st.binary(max_size=40), max_size=5
    )
)
def test_every_zip_that_we_write_is_read_by_us_and_by_others(contents: dict[str, bytes]) -> None:
    file = io.BytesIO()
    writer = stored_zip.Writer(file)
    for name, data in contents.items():
        writer.add(name, data)
    writer.close()
    entries = stored_zip.read_entries(Path("x.zip"), file)
    assert [entry.length for entry in entries.values()] == [len(data) for data in contents.values()]
    with zipfile.ZipFile(file) as other:
        assert {name: other.read(name) for name in other.namelist()} == contents


def test_equal_contents_make_equal_zips(tmp_path: Path) -> None:
    assert write(tmp_path / "a.zip").read_bytes() == write(tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_existing_path_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(InputError):
        write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_failure_while_writing_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(TypeError):
        write(tmp_path / name, {"first": b"x", "second": None})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_missing_bundle_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_container(tmp_path / "nothing")


def _symbolic_link(folder: Path) -> None:
    (folder / "CARD.md").rename(folder.parent / "elsewhere")
    (folder / "CARD.md").symlink_to(folder.parent / "elsewhere")


def _symbolic_link_to_a_folder(folder: Path) -> None:
    (folder / "generators").rename(folder.parent / "elsewhere")
    (folder / "generators").symlink_to(folder.parent / "elsewhere")


def _hard_link(folder: Path) -> None:
    os.link(folder / "CARD.md", folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "CARD.md").unlink()
    os.mkfifo(folder / "CARD.md")


def _empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def _hidden_file(folder: Path) -> None:
    (folder / ".git").write_bytes(b"")


def _huge_file(folder: Path) -> None:
    os.truncate(folder / "CARD.md", 2**40)  # sparse: it takes no room


def _huge_json(folder: Path) -> None:
    (folder / "x.json").touch()
    os.truncate(folder / "x.json", 2**27)


def _name_collision_in_case(folder: Path) -> None:
    (folder / "card.MD").write_bytes(b"card")


def _name_collision_in_unicode(folder: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("attack", "item"),
    [
        (_symbolic_link, "CARD.md"),
        (_symbolic_link_to_a_folder, "generators"),
        (_hard_link, "CARD.md"),
        (_pipe, "CARD.md"),
        (_empty_folder, "empty/"),
        (_hidden_file, ".git"),
        (_huge_file, "CARD.md"),
        (_huge_json, "x.json"),
        (_name_collision_in_case, None),
        (_name_collision_in_unicode, None),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_folder_is_refused(tmp_path: Path, attack: Callable[[Path], None], item: str | None) -> None:
    folder = write(tmp_path / "bundle")
    attack(folder)
    with pytest.raises(VerificationError) as caught:
        open_container(folder)
    assert item is None or caught.value.item == item


def test_many_files_are_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MAX_FILES", 2)
    with pytest.raises(VerificationError, match="at most 2 files"):
        open_container(write(tmp_path / "bundle"))


def test_large_total_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_TOTAL_BYTES", 53)
    with pytest.raises(VerificationError, match="in all"):
        open_container(write(tmp_path / "bundle"))


def test_zip_too_long_for_its_form_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_zip, "MAX_ZIP_BYTES", 60)
    with pytest.raises(InputError, match="as a zip"):
        write(tmp_path / "bundle.zip")
    assert list(tmp_path.iterdir()) == []


def test_file_that_changes_after_listing_is_refused(tmp_path: Path) -> None:
    box = open_container(write(tmp_path / "bundle"))
    for data in (b"shorter"[:2], b"much longer than before"):
        (tmp_path / "bundle" / "CARD.md").write_bytes(data)
        with pytest.raises(VerificationError, match=r"CARD\.md"):
            box.read("CARD.md")


def test_no_byte_of_a_zip_outside_its_files_can_change(tmp_path: Path) -> None:
    original = write(tmp_path / "a.zip").read_bytes()
    inside = {
        position
        for entry in Zip.open(tmp_path / "a.zip").entries.values()
        for position in range(entry.data_offset, entry.data_offset + entry.length)
    }
    accepted = []
    for position in set(range(len(original))) - inside:
        for bit in range(8):
            changed = bytearray(original)
            changed[position] ^= 1 << bit
            try:
                stored_zip.read_entries(tmp_path, io.BytesIO(changed))
            except VerificationError:
                continue
            accepted.append((position, bit))
    assert accepted == []


def test_no_byte_of_a_zipped_file_can_change(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[Zip.open(path).entries["CARD.md"].data_offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match="checksum"):
        Zip.open(path).read("CARD.md")


@pytest.mark.parametrize("length", [0, 1, 21, 22, 100, -1])
def test_truncated_zip_is_refused(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(VerificationError):
        open_container(path)


@pytest.mark.parametrize("where", ["before", "after"])
def test_extra_bytes_around_a_zip_are_refused(tmp_path: Path, where: str) -> None:
    path = write(tmp_path / "a.zip")
    data = path.read_bytes()
    path.write_bytes(b"#!/bin/sh\n" + data if where == "before" else data + b"x")
    with pytest.raises(VerificationError):
        open_container(path)


def test_bytes_between_the_files_and_the_directory_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip")
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    moved = struct.pack("<L", start + 6)  # the end record's offset of the directory, 6 bytes before its end
    path.write_bytes(data[:start] + b"hidden" + data[start:-6] + moved + data[-2:])
    with pytest.raises(VerificationError, match="between them"):
        open_container(path)


def zipped(path: Path, contents: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = 0) -> Path:
    """A zip as other programs write it."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in contents:
            file.writestr(name, data)
    return path


def ours(path: Path, names: list[str]) -> Path:
    """A zip in our form, with any names."""
    with path.open("wb") as file:
        writer = stored_zip.Writer(file)
        for name in names:
            writer.add(name, b"x")
        writer.close()
    return path


def test_compressed_zip_entry_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("CARD.md", b"x" * 1000)], zipfile.ZIP_DEFLATED)
    with pytest.raises(VerificationError, match=r"CARD\.md.*compression"):
        open_container(path)


def test_encrypted_zip_entry_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    offset = data.index(b"PK\x01\x02")
    data[offset + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match="encrypted"):
        open_container(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_zip_entry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"CARD\.md.*twice"):
        open_container(ours(tmp_path / "a.zip", ["CARD.md", "CARD.md"]))


@pytest.mark.parametrize("name", ["../CARD.md", "/CARD.md", "a\\b", "folder/"])
def test_path_traversal_in_a_zip_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(VerificationError):
        open_container(ours(tmp_path / "a.zip", [name]))


def test_name_collision_in_a_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="collision"):
        open_container(ours(tmp_path / "a.zip", ["CARD.md", "card.md"]))


def test_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("CARD.md", (1980, 1, 1, 0, 0, 0))
    link.external_attr = 0o120777 << 16
    with pytest.raises(VerificationError):
        open_container(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd")]))


def test_zip64_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file, file.open("CARD.md", "w", force_zip64=True) as entry:
        entry.write(b"x")
    with pytest.raises(VerificationError):
        open_container(path)


def test_zip_that_claims_many_files_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 60_000, 60_000, 0, 0, 0))
    with pytest.raises(VerificationError, match="60000 files"):
        open_container(path)


def test_overlapping_zip_entries_are_refused(tmp_path: Path) -> None:
    """Two names for the same bytes: a zip bomb without compression."""
    file = io.BytesIO()
    first = stored_zip.Entry("a", 100, zlib.crc32(b"x" * 100), 0)
    file.write(first.local_header() + b"x" * 100)
    second = stored_zip.Entry("b", first.length, first.checksum, first.offset)
    file.write(stored_zip.central_directory([first, second], file.tell()))
    with pytest.raises(VerificationError, match=r"^b:"):
        stored_zip.read_entries(tmp_path, file)
