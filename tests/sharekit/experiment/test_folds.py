"""No image is in two folds, by whatever name and however stored; a leak is refused, naming both files."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharekit.errors import InputError, UsageError
from sharekit.experiment.folds import make_folds, split_data
from sharekit.experiment.picture_pool import digest_of, read_pictures, write_pictures
from tests.consumer.pairs import disc, picture, save
from tests.sharekit.experiment.data import small_split, write_data, write_folds

BIG = (120, 150)  # height, width


def plant(data: Path, name: str, pixels: np.ndarray, **options: int) -> None:
    Image.fromarray(pixels).save(data / f"images/{name}.jpg", **options)
    save(data / f"masks/{name}.png", disc(0, pixels.shape[:2]))


def big_data(root: Path) -> dict[str, str]:
    """Three pictures in two folds."""
    for number in range(1, 4):
        plant(root, f"scene-{number}", picture(number, BIG))
    return {f"scene-{number}": str(number % 2) for number in range(1, 4)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/images").mkdir(parents=True)
    return tmp_path / "data"


def test_a_compressed_smaller_copy_in_another_fold_is_refused(data: Path) -> None:
    folds = big_data(data)
    copy = Image.fromarray(picture(1, BIG)).resize((75, 60))
    plant(data, "other-name", np.asarray(copy), quality=60)
    table = write_folds(data.parent / "folds.csv", folds | {"other-name": "0"})
    with pytest.raises(InputError, match=r"other-name and scene-1.*bits") as refused:
        split_data(data, folds=table)
    assert refused.value.exit_code == 3


def test_the_same_pixels_in_another_format_in_another_fold_are_refused(data: Path) -> None:
    folds = big_data(data)
    pixels = np.asarray(Image.open(data / "images/scene-2.jpg"))
    save(data / "images/again.png", pixels)
    save(data / "masks/again.png", disc(0, BIG))
    table = write_folds(data.parent / "folds.csv", folds | {"again": "1"})
    with pytest.raises(InputError, match=r"again and scene-2.*the same pixels"):
        split_data(data, folds=table)


def test_a_copy_in_the_same_fold_is_no_leak(data: Path) -> None:
    folds = big_data(data)
    shutil.copy(data / "images/scene-2.jpg", data / "images/again.jpg")
    shutil.copy(data / "masks/scene-2.png", data / "masks/again.png")
    table = write_folds(data.parent / "folds.csv", folds | {"again": folds["scene-2"]})
    split = split_data(data, folds=table)
    assert sorted(each.name for each in split.folds["0"]) == ["again", "scene-2"]


def test_a_group_in_two_folds_is_refused(data: Path) -> None:
    folds = write_folds(data.parent / "folds.csv", big_data(data))
    table = {"scene-1": "Mary", "scene-2": "Mary", "scene-3": "Ann"}
    groups = write_folds(data.parent / "g.csv", table, "group")
    with pytest.raises(InputError, match=r"scene-1 and scene-2.*Mary"):
        split_data(data, folds=folds, groups=groups)


@pytest.mark.parametrize("given", [True, False])
def test_groups_of_other_names_are_refused_and_not_ignored(data: Path, given: bool) -> None:
    folds = write_folds(data.parent / "folds.csv", big_data(data)) if given else None
    table = {"scene-1": "Mary", "scene-2.jpg": "Mary", "scene-3.jpg": "Ann"}
    groups = write_folds(data.parent / "g.csv", table, "group")
    if not given:
        big_data(data)
    with pytest.raises(InputError, match=r"g\.csv.*none for 2 of 3 images.*'scene-2'"):
        split_data(data, folds=folds, groups=groups, count=2)


def test_folds_that_are_made_keep_groups_and_near_duplicates_together(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 8)
    shutil.copy(data / "images/case-02.png", data / "images/twin.png")
    shutil.copy(data / "masks/case-02.png", data / "masks/twin.png")
    table = {f"case-{number:02d}": f"patient {number}" for number in range(8)}
    groups = write_folds(tmp_path / "g.csv", table | {"twin": "a", "case-05": "a"}, "group")
    split = split_data(data, groups=groups, count=3)
    fold_of = {each.name: label for label, fold in split.folds.items() for each in fold}
    assert len(fold_of) == 9
    assert fold_of["case-02"] == fold_of["twin"] == fold_of["case-05"]
    assert sorted(map(len, split.folds.values())) == [3, 3, 3]


@given(st.lists(st.integers(0, 12), min_size=6, max_size=60), st.integers(2, 4))
def test_made_folds_never_divide_a_group(groups: list[int], count: int) -> None:
    names = [str(number) for number in range(len(groups))]
    if len(set(groups)) < count:
        with pytest.raises(UsageError):
            make_folds(names, groups, count)
        return
    fold_of = make_folds(names, groups, count)
    assert len({(group, fold_of[name]) for name, group in zip(names, groups, strict=True)}) == len(
        set(groups)
    )
    sizes = Counter(fold_of.values())
    assert len(sizes) == count
    assert max(sizes.values()) - min(sizes.values()) <= max(Counter(groups).values())


def test_images_that_the_table_does_not_name_are_left_out(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 4)
    table = write_folds(tmp_path / "folds.csv", {"case-00": "a", "case-03": "b"})
    split = split_data(data, folds=table)
    assert {label: [each.name for each in fold] for label, fold in split.folds.items()} == {
        "a": ["case-00"],
        "b": ["case-03"],
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name,fold\n",
        "image,fold\ncase-00,1\n",
        "name,fold\ncase-00,\n",
        "name,fold\ncase-00,1\ncase-00,2\n",
        "name,fold\ncase-00,1\nabsent,2\n",
        "name,fold\ncase-00,1\ncase-01,1\n",
        "name,fold\ncase-00,1\ncase-01,../up\n",
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    data = write_data(tmp_path / "data", 3)
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(InputError):
        split_data(data, folds=tmp_path / "folds.csv")


def test_a_broken_or_unpaired_image_is_refused_by_name(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 3)
    (data / "images/case-01.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="case-01"):
        read_pictures(data)
    (data / "images/case-01.png").unlink()
    save(data / "images/alone.png", picture(9))
    with pytest.raises(InputError, match="alone"):
        read_pictures(data)


def test_the_order_of_a_fold_does_not_depend_on_other_images(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 12)
    folds = {f"case-{number:02d}": str(number % 2) for number in range(12)}
    few = {name: folds[name] for name in list(folds)[:8]}
    many = split_data(data, folds=write_folds(tmp_path / "many.csv", folds))
    fewer = split_data(data, folds=write_folds(tmp_path / "few.csv", few))
    for label in ("0", "1"):
        kept = [each for each in many.folds[label] if each.name in few]
        assert kept == list(fewer.folds[label])
    other = split_data(data, folds=tmp_path / "many.csv", seed=1)
    assert [each.name for each in other.folds["0"]] != [each.name for each in many.folds["0"]]


def test_copied_pictures_have_the_same_bytes_and_the_same_digest(tmp_path: Path) -> None:
    split = small_split(tmp_path)
    chosen = split.folds["1"][:2]
    write_pictures(split.root, chosen, tmp_path / "copy")
    for each in chosen:
        for path in (each.image, *each.masks):
            assert (tmp_path / "copy" / path).read_bytes() == (split.root / path).read_bytes()
    assert digest_of(read_pictures(tmp_path / "copy")) == digest_of(chosen)
    save(tmp_path / "copy" / chosen[0].masks[0], disc(3)[::-1])
    assert digest_of(read_pictures(tmp_path / "copy")) != digest_of(chosen)


@pytest.mark.real_data
def test_the_folds_beside_the_real_polyps_have_no_leak(kvasir_seg: Path) -> None:
    split = split_data(kvasir_seg, folds=kvasir_seg / "folds.csv")
    assert {label: len(fold) for label, fold in split.folds.items()} == {"0": 80, "1": 80, "2": 80}
