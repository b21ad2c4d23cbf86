"""A data folder's rules: which files count, what is passed over, and what is named as what it is."""

from __future__ import annotations

import json
import os

import pytest

from sharekit.errors import InputError
from sharekit.pictures import folder
from sharekit.pictures.folder import generated_by, is_hidden, list_files, read_file, require_folders

HIDDEN = [".DS_Store", "._a.png", "Thumbs.db", "thumbs.db", "desktop.ini", ".localized", "__MACOSX", "Icon\r"]


def test_hidden_files_subfolders_and_linked_folders_are_told_as_skipped(tmp_path):
    for name in ("images/deeper", "masks/lesion/deeper", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("images/a.png", "images/.DS_Store", "images/deeper/b.png", "masks/lesion/a.png"):
        (tmp_path / name).touch()
    (tmp_path / "masks/linked").symlink_to(tmp_path / "elsewhere")
    listing = list_files(tmp_path)
    assert listing.files == ("images/a.png", "masks/lesion/a.png")
    assert listing.skipped == ("images/.DS_Store", "images/deeper", "masks/lesion/deeper", "masks/linked")
    assert listing.linked == ("masks/linked",)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_an_operating_system_made_for_itself_is_hidden(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).touch()
    assert is_hidden(name)
    assert list_files(tmp_path).files == ()
    assert list_files(tmp_path, deep=True).files == ()


def test_a_deep_listing_looks_into_every_folder(tmp_path):
    (tmp_path / "images/a/b").mkdir(parents=True)
    (tmp_path / "images/a/b/c.png").touch()
    assert list_files(tmp_path, deep=True).files == ("images/a/b/c.png",)


def test_more_files_than_anybody_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MAX_FILES", 2)
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / "images" / name).touch()
    with pytest.raises(InputError, match="at most 2 files"):
        list_files(tmp_path)


@pytest.mark.parametrize("present", ["images", "masks"])
def test_both_folders_must_be_there(tmp_path, present):
    (tmp_path / present).mkdir()
    with pytest.raises(InputError, match="images/ and masks/"):
        require_folders(tmp_path)


def test_a_linked_images_folder_is_refused(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").symlink_to("/etc")
    with pytest.raises(InputError, match="symbolic link"):
        require_folders(tmp_path)


def test_a_link_is_named_with_a_way_out_and_never_followed(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images/a.png").symlink_to(tmp_path / "secret")
    (tmp_path / "images/b.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a symbolic link") as caught:
        read_file(tmp_path, "images/a.png")
    assert "cp -rL" in caught.value.next_step
    with pytest.raises(InputError, match="not there") as caught:
        read_file(tmp_path, "images/b.png")
    assert "git annex get" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "text", "generated"),
    [
        ("dataset.json", json.dumps({"bundle": {}, "generators": ["a"]}), True),
        ("dataset.json", json.dumps({"channel_names": {"0": "R"}, "labels": {"background": 0}}), False),
        ("dataset.json", "{", False),
        ("metadata.jsonl", '{"file_name": "a.png", "generator": "x"}\n', True),
        ("metadata.jsonl", '{"file_name": "a.png"}\n{"file_name": "b.png"}\n', False),
        ("metadata.jsonl", "no JSON\n", False),
    ],
)
def test_a_folder_says_whether_generators_drew_it(tmp_path, name, text, generated):
    (tmp_path / name).write_text(text)
    assert (generated_by(tmp_path) is not None) == generated


def test_a_pipe_instead_of_metadata_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "metadata.jsonl")
    os.mkfifo(tmp_path / "dataset.json")
    assert generated_by(tmp_path) is None
