"""Pairing by name: every file ends in exactly one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.pictures.folder import SINGLE_CLASS
from sharekit.pictures.mask_map import CLASS_NAME
from sharekit.pictures.pairing import SourcePair, pair


def reasons(*paths: str) -> dict[str, str]:
    return {mismatch.path: str(mismatch.reason) for mismatch in pair(paths, class_name=CLASS_NAME).mismatches}


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
    found = pair(paths, class_name=CLASS_NAME)
    paired = [path for source in found.pairs for path in (source.image, *source.masks.values())]
    assert sorted(paired + [mismatch.path for mismatch in found.mismatches]) == sorted(paths)


# -- names that are almost the same


ENDINGS = ["_mask", "_segmentation", "_Segmentation", "-seg", "_gt", ".label", " mask", "_groundtruth"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_usual_endings_of_masks_need_no_option(ending):
    found = pair(["images/ISIC_1.jpg", f"masks/ISIC_1{ending}.png"])
    assert found.pairs == (SourcePair("images/ISIC_1.jpg", {SINGLE_CLASS: f"masks/ISIC_1{ending}.png"}),)


def test_an_ending_of_the_image_or_the_class_is_left_out_too():
    found = pair(["images/a_image.png", "masks/a_mask.png", "images/b.png", "masks/polyp/b_polyp.png"])
    assert [(source.image, dict(source.masks)) for source in found.pairs] == [
        ("images/a_image.png", {SINGLE_CLASS: "masks/a_mask.png"}),
        ("images/b.png", {"polyp": "masks/polyp/b_polyp.png"}),
    ]


def test_the_exact_name_comes_before_a_name_with_an_ending():
    found = pair(["images/a.png", "masks/a.png", "masks/a_mask.png"])
    assert found.pairs == (SourcePair("images/a.png", {SINGLE_CLASS: "masks/a.png"}),)
    assert [one.path for one in found.mismatches] == ["masks/a_mask.png"]


def test_two_endings_for_one_image_are_refused():
    found = reasons("images/a.png", "masks/a_mask.png", "masks/a_seg.png")
    assert set(found) == {"images/a.png", "masks/a_mask.png", "masks/a_seg.png"}
    assert "--mask-suffix" in found["masks/a_seg.png"]


def test_a_named_ending_counts_alone():
    paths = ["images/a.png", "masks/a.png", "masks/a_lesion.png", "images/b.png", "masks/b_lesion.png"]
    found = pair(paths, mask_suffix="_lesion")
    assert [source.masks[SINGLE_CLASS] for source in found.pairs] == [
        "masks/a_lesion.png",
        "masks/b_lesion.png",
    ]
    assert [one.path for one in found.mismatches] == ["masks/a.png"]


def test_an_unknown_ending_that_all_masks_share_is_named_once():
    numbers = range(5)
    found = pair([f"images/ISIC_{n}.jpg" for n in numbers] + [f"masks/ISIC_{n}_lesion.png" for n in numbers])
    assert (found.pairs, len(found.mismatches)) == ((), 10)
    assert "--mask-suffix=_lesion" in found.hint


def test_other_beginnings_that_all_names_share_are_named_once():
    numbers = range(10, 15)
    found = pair([f"images/img_{n}.jpg" for n in numbers] + [f"masks/mask_{n}.png" for n in numbers])
    assert "img_NAME" in found.hint
    assert "mask_NAME" in found.hint


def test_names_without_anything_in_common_give_no_hint():
    assert pair(["images/a.png", "images/b.png", "masks/c.png", "masks/d.png"]).hint == ""


def test_a_name_in_another_case_is_pointed_at():
    assert "masks/a.png has almost its name" in reasons("images/A.png", "masks/a.png")["images/A.png"]


def test_an_ome_tiff_has_one_ending():
    found = pair(["images/cell.ome.tif", "masks/cell.png", "images/nerve.OME.TIFF", "masks/nerve.ome.tif"])
    assert [source.name for source in found.pairs] == ["cell", "nerve"]


@pytest.mark.parametrize("name", ["患者\u300001", "می\u200cشود", "scan\u00a01", "a\u200db", "x y"])
def test_names_with_spaces_and_joiners_of_any_language_pair(name):
    assert len(pair([f"images/{name}.png", f"masks/{name}.png"]).pairs) == 1


def test_one_name_in_two_unicode_forms_pairs():
    composed, decomposed = "Schädel", "Scha\u0308del"
    found = pair([f"images/{composed}.png", f"masks/{decomposed}.png"])
    assert [source.image for source in found.pairs] == [f"images/{composed}.png"]


def test_two_images_of_one_name_in_two_unicode_forms_are_refused():
    found = reasons("images/é.png", "images/e\u0301.png", "masks/é.png")
    assert len(found) == 3
    assert all("how Unicode stores" in reason for reason in found.values())


@pytest.mark.parametrize(
    ("name", "shown"), [("a\u202eb", "U+202E"), ("a\nb", "U+000A"), ("\udcff", "U+DCFF")]
)
def test_a_character_that_no_name_may_hold_is_named(name, shown):
    (reason,) = reasons(f"images/{name}.png").values()
    assert shown in reason


def test_other_files_next_to_a_picture_cost_no_pair():
    found = pair(["images/a.png", "masks/a.png", "masks/a.json", "images/notes.txt"])
    assert len(found.pairs) == 1
    assert {one.path: one.kind for one in found.mismatches} == {
        "masks/a.json": "unlisted-file",
        "images/notes.txt": "unlisted-file",
    }


@given(
    st.sets(st.tuples(st.sampled_from(["images", "masks", "masks/x"]), st.sampled_from(["a", "a_mask", "b"])))
)
def test_every_file_is_in_exactly_one_place_with_endings_too(files):
    paths = [f"{folder}/{name}.png" for folder, name in files]
    found = pair(paths)
    paired = [path for source in found.pairs for path in (source.image, *source.masks.values())]
    assert sorted(paired + [mismatch.path for mismatch in found.mismatches]) == sorted(paths)
