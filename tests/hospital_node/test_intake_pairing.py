"""Pairing by name: every file ends in exactly one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.intake.pairing import SINGLE_CLASS, SourcePair, list_files, pair
from sharekit.errors import InputError


def reasons(*paths: str) -> dict[str, str]:
    return {mismatch.path: str(mismatch.reason) for mismatch in pair(paths).mismatches}


def test_names_agree_up_to_the_ending():
    assert pair(["images/a.b.jpg", "masks/a.b.png"]).pairs == (
        SourcePair("images/a.b.jpg", {SINGLE_CLASS: "masks/a.b.png"}),
    )


def test_class_folders_give_classes_in_alphabetical_order():
    found = pair(
        ["masks/tool/a.png", "images/a.png", "masks/lesion/a.png", "masks/lesion/b.png", "images/b.png"]
    )
    assert [list(source.masks) for source in found.pairs] == [["lesion", "tool"], ["lesion"]]


def test_an_image_without_a_mask_is_refused():
    assert "masks/a.*" in reasons("images/a.png")["images/a.png"]


def test_a_mask_without_an_image_is_refused():
    assert "images/a.*" in reasons("masks/lesion/a.png")["masks/lesion/a.png"]


def test_names_agree_in_case():
    assert set(reasons("images/A.png", "masks/a.png")) == {"images/A.png", "masks/a.png"}


@pytest.mark.parametrize("twice", [("images/a.png", "images/a.jpg"), ("masks/a.png", "masks/a.tif")])
def test_a_name_with_two_endings_is_refused_with_its_partners(twice):
    paths = {"images/a.png", "masks/a.png", *twice}
    found = reasons(*paths)
    assert set(found) == paths
    assert all("2 that differ only in their ending" in reason for reason in found.values())


@pytest.mark.parametrize("name", ["Lesion", "a b", "ä", "x" * 33, "a.b"])
def test_an_unfit_class_name_is_refused(name):
    path = f"masks/{name}/a.png"
    assert set(reasons("images/a.png", path)) == {"images/a.png", path}


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff"])
def test_a_name_that_cannot_be_printed_is_refused_and_shown_escaped(name):
    (shown,) = reasons(f"images/{name}.png")
    assert shown.isprintable()
    assert shown.startswith("images/")


@given(
    st.sets(
        st.tuples(
            st.sampled_from(["images", "masks", "masks/x", "masks/y", "masks/No"]),
            st.sampled_from("abc"),
            st.sampled_from(["png", "jpg"]),
        ).map(lambda parts: f"{parts[0]}/{parts[1]}.{parts[2]}")
    )
)
def test_every_file_is_in_exactly_one_place(paths):
    found = pair(paths)
    paired = [path for source in found.pairs for path in (source.image, *source.masks.values())]
    assert sorted(paired + [mismatch.path for mismatch in found.mismatches]) == sorted(paths)


def test_hidden_files_subfolders_and_linked_folders_are_told_as_skipped(tmp_path):
    for folder in ("images/deeper", "masks/lesion/deeper", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("images/a.png", "images/.DS_Store", "images/deeper/b.png", "masks/lesion/a.png"):
        (tmp_path / name).touch()
    (tmp_path / "masks/linked").symlink_to(tmp_path / "elsewhere")
    assert list_files(tmp_path) == (
        ["images/a.png", "masks/lesion/a.png"],
        ["images/.DS_Store", "images/deeper", "masks/lesion/deeper", "masks/linked"],
    )


@pytest.mark.parametrize("present", ["images", "masks"])
def test_both_folders_must_be_there(tmp_path, present):
    (tmp_path / present).mkdir()
    with pytest.raises(InputError, match="images/ and masks/"):
        list_files(tmp_path)


def test_a_linked_images_folder_is_refused(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").symlink_to("/etc")
    with pytest.raises(InputError, match="is a link"):
        list_files(tmp_path)
