"""Data-set folders as people have them: the consumer takes and refuses the same files as a hospital."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from consumer.datasets.reader import DatasetFolder, Entry, UnusablePairError, read_folder
from consumer.training.data import choose_class, read_pairs
from consumer.validation.measure_files import measure
from sharekit.errors import InputError
from sharekit.pictures.folder import FORMER_SINGLE_CLASS, SINGLE_CLASS
from sharekit.segmenter.contract import SegmenterContract
from tests.consumer.pairs import disc, picture, save

SHAPE = (32, 40)
CONTRACT = SegmenterContract(3, (32, 32), (0.0,) * 3, (1.0,) * 3, "logits", (SINGLE_CLASS,))


def pairs(root: Path, count: int = 3) -> Path:
    for number in range(count):
        save(root / f"images/a{number}.png", picture(number, SHAPE))
        save(root / f"masks/a{number}.png", disc(number, SHAPE))
    return root


def masks_read(folder: DatasetFolder) -> np.ndarray:
    (read,) = read_pairs([[folder]], SINGLE_CLASS, CONTRACT)
    return read.masks


def problem_of(folder: DatasetFolder) -> tuple[str, str]:
    """Kind and message of the only file of a folder that cannot be used."""
    (found,) = measure(folder).failures
    return found.kind, found.message


def test_masks_of_0_and_1_are_not_empty_in_training(tmp_path: Path) -> None:
    plain, zero_one = pairs(tmp_path / "plain"), pairs(tmp_path / "zero-one")
    for number in range(3):
        save(zero_one / f"masks/a{number}.png", disc(number, SHAPE) // 255)
    expected = masks_read(read_folder(plain))
    assert expected.any(axis=(1, 2)).all()
    assert np.array_equal(masks_read(read_folder(zero_one)), expected)


@pytest.mark.parametrize("form", ["1", "RGB", "RGBA", "P", "JPEG", "TIFF"])
def test_masks_in_any_form_are_the_same_masks(tmp_path: Path, form: str) -> None:
    root = pairs(tmp_path / "set", 1)
    image = Image.open(root / "masks/a0.png")
    image.load()
    if form in ("JPEG", "TIFF"):
        (root / "masks/a0.png").unlink()
        image.save(root / f"masks/a0.{form.lower()}", form)
    else:
        image.convert(form).save(root / "masks/a0.png")
    folder = read_folder(root).require_sound()
    (path,) = folder.entries[0].masks.values()
    assert np.array_equal(folder.read_mask(path), disc(0, SHAPE))


def sixteen_bits(root: Path) -> None:
    save(root / "images/a0.png", (np.arange(1280).reshape(SHAPE) * 3).astype(np.uint16))


def sixteen_bit_colour(root: Path) -> None:
    (root / "images/a0.png").unlink()
    values = np.random.default_rng(0).integers(0, 4096, (*SHAPE, 3)).astype(np.uint16)
    tifffile.imwrite(root / "images/a0.tif", values, photometric="rgb", metadata=None)


def two_pages(root: Path) -> None:
    (root / "images/a0.png").unlink()
    pages = [Image.fromarray(picture(seed, SHAPE)) for seed in (5, 6)]
    pages[0].save(root / "images/a0.tif", save_all=True, append_images=pages[1:])


def sixteen_bit_mask(root: Path) -> None:
    save(root / "masks/a0.png", (disc(0, SHAPE) > 0) * np.uint16(65535))


def class_numbers(root: Path) -> None:
    labels = disc(0, SHAPE) // 255
    labels[25:, 25:] = 255
    save(root / "masks/a0.png", labels)


def colours(root: Path) -> None:
    save(root / "masks/a0.png", np.dstack([disc(0, SHAPE), *[disc(0, SHAPE) * 0] * 2]))


def turned_picture(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture(0, SHAPE)).save(root / "images/a0.png", exif=exif)


def another_size(root: Path) -> None:
    save(root / "masks/a0.png", disc(0, (16, 20)))


FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "16 bits": (sixteen_bits, "unreadable-image", "from 0 to 3837"),
    "16-bit colour": (sixteen_bit_colour, "unreadable-image", "uses 12 bits"),
    "two pages": (two_pages, "unreadable-image", "a TIFF of 2 pages"),
    "16-bit mask": (sixteen_bit_mask, "unreadable-mask", "-threshold 0"),
    "class numbers": (class_numbers, "class-numbers", "uncertain pixels"),
    "colours": (colours, "unreadable-mask", "#ff0000"),
    "turned picture": (turned_picture, "orientation-mismatch", "only one of the two would be turned"),
    "another size": (another_size, "size-mismatch", "20x16"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_be_read_wrongly_is_neither_sound_nor_trained_on(tmp_path: Path, fault: str) -> None:
    damage, kind, words = FAULTS[fault]
    root = pairs(tmp_path / "set")
    damage(root)
    folder = read_folder(root).require_sound()
    assert problem_of(folder)[0] == kind
    assert words in problem_of(folder)[1]
    with pytest.raises(UnusablePairError, match=r"a0\."):
        read_pairs([[folder]], SINGLE_CLASS, CONTRACT)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a0.png", "__MACOSX/a0.png"])
def test_files_of_operating_systems_are_passed_over(tmp_path: Path, name: str) -> None:
    root = pairs(tmp_path / "set")
    for folder in ("images", "masks"):
        (root / folder / name).parent.mkdir(exist_ok=True)
        (root / folder / name).write_bytes(b"something")
    assert len(read_folder(root).require_sound().entries) == 3


def test_a_folder_of_links_is_called_one(tmp_path: Path) -> None:
    store = pairs(tmp_path / "store", 1)
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "a0.png").symlink_to(store / folder / "a0.png")
    with pytest.raises(InputError, match="a symbolic link") as caught:
        masks_read(read_folder(tmp_path / "set"))
    assert "cp -rL" in caught.value.next_step


@pytest.mark.parametrize("ending", ["_segmentation", "_mask", "_gt"])
def test_endings_of_masks_are_left_out(tmp_path: Path, ending: str) -> None:
    root = pairs(tmp_path / "set", 1)
    (root / "masks/a0.png").rename(root / f"masks/a0{ending}.png")
    assert read_folder(root).require_sound().entries == (
        Entry("images/a0.png", {SINGLE_CLASS: f"masks/a0{ending}.png"}),
    )


@pytest.mark.parametrize("name", ["患者\u300001", "می\u200cشود", "scan\u00a01", "12:30"])
def test_names_in_any_language_are_taken(tmp_path: Path, name: str) -> None:
    root = pairs(tmp_path / "set", 1)
    for folder in ("images", "masks"):
        (root / folder / "a0.png").rename(root / folder / f"{name}.png")
    assert len(read_folder(root).require_sound().entries) == 1


def test_a_telephones_picture_and_a_tiff_of_an_unusual_layout_are_read(tmp_path: Path) -> None:
    root = pairs(tmp_path / "set", 2)
    for name in ("a0", "a1"):
        (root / f"images/{name}.png").unlink()
    photo = Image.fromarray(picture(0, SHAPE))
    buffer = io.BytesIO()
    photo.save(buffer, "MPO", save_all=True, append_images=[photo.resize((8, 6))])
    (root / "images/a0.jpg").write_bytes(buffer.getvalue())
    tifffile.imwrite(
        root / "images/a1.tif",
        picture(1, SHAPE),
        photometric="minisblack",
        planarconfig="contig",
        metadata=None,
    )
    folder = read_folder(root).require_sound()
    assert np.array_equal(folder.read_image(folder.entries[1]), picture(1, SHAPE))
    assert masks_read(folder).any(axis=(1, 2)).all()


def test_the_former_name_of_the_only_class_is_still_understood(tmp_path: Path) -> None:
    folder = read_folder(pairs(tmp_path / "set"))
    assert choose_class([folder], None) == SINGLE_CLASS
    assert choose_class([folder], FORMER_SINGLE_CLASS) == FORMER_SINGLE_CLASS
    (read,) = read_pairs([[folder]], FORMER_SINGLE_CLASS, CONTRACT)
    assert len(read) == 3
