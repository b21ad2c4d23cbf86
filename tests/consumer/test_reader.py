"""A data-set folder is read strictly: nothing outside it, nothing guessed, every problem named."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import schemas
from consumer.datasets import reader
from consumer.datasets.reader import Entry, decode, read_folder
from sharekit.errors import InputError, VerificationError
from tests.consumer.pairs import picture, read_records, save, write_pairs, write_records


def kinds(root: Path) -> list[str]:
    return [problem.kind for problem in read_folder(root).problems]


def write_description(root: Path, **layout: object) -> None:
    """A `dataset.json` as `consumer sample` writes it, with another layout."""
    vector = Path(schemas.__file__).parent / "v1/vectors/dataset/valid/trained-size.json"
    value = json.loads(vector.read_text())
    (root / "dataset.json").write_text(json.dumps({**value, "layout": {**value["layout"], **layout}}))


def test_a_sampled_data_set_is_sound(tmp_path: Path) -> None:
    folder = read_folder(write_pairs(tmp_path / "set")).require_sound()
    assert len(folder.entries) == 6
    assert folder.entries[1].generator == "b" * 32
    assert np.array_equal(folder.read_image(folder.entries[1]), picture(1))
    assert set(np.unique(folder.read_mask(folder.entries[1].masks["foreground"]))) == {0, 255}


def test_a_folder_without_metadata_is_paired_by_stem(tmp_path: Path) -> None:
    save(tmp_path / "images/one.jpg", picture(0))
    save(tmp_path / "masks/one.png", picture(0)[:, :, 0])
    assert read_folder(tmp_path).entries == (Entry("images/one.jpg", {"foreground": "masks/one.png"}),)


def test_folders_of_masks_are_classes(tmp_path: Path) -> None:
    save(tmp_path / "images/one.png", picture(0))
    for label in ("nucleus", "border"):
        save(tmp_path / f"masks/{label}/one.png", picture(0)[:, :, 0])
    (entry,) = read_folder(tmp_path).entries
    assert entry.masks == {"border": "masks/border/one.png", "nucleus": "masks/nucleus/one.png"}


def test_a_single_class_has_the_name_in_the_description(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    write_description(root, mask_classes=["polyp"])
    folder = read_folder(root)
    assert list(folder.entries[0].masks) == ["polyp"]
    assert folder.drawn is not None
    assert folder.drawn.layout.mask_classes == ("polyp",)


def test_a_description_of_another_form_says_nothing(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    (root / "dataset.json").write_text('{"channel_names": {"0": "R"}, "labels": {"background": 0}}')
    folder = read_folder(root).require_sound()
    assert (folder.drawn, list(folder.entries[0].masks)) == (None, ["foreground"])


def test_a_description_that_its_schema_does_not_allow_is_a_problem(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    write_description(root, mask_classes="polyp")
    assert kinds(root) == ["broken-metadata"]


def test_unpaired_and_foreign_files_are_problems(tmp_path: Path) -> None:
    save(tmp_path / "images/one.png", picture(0))
    save(tmp_path / "masks/two.png", picture(0)[:, :, 0])
    (tmp_path / "images/notes.txt").write_text("x")
    assert sorted(kinds(tmp_path)) == ["unlisted-file", "unpaired-file", "unpaired-file"]


def test_two_images_of_one_stem_are_a_problem(tmp_path: Path) -> None:
    for name in ("one.png", "one.jpg"):
        save(tmp_path / "images" / name, picture(0))
    save(tmp_path / "masks/one.png", picture(0)[:, :, 0])
    assert kinds(tmp_path) == ["repeated-file"]


def test_a_missing_a_repeated_and_an_unlisted_file_are_problems(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    records = read_records(root)
    write_records(root, [*records[:4], records[0]])
    (root / "images/000003.png").unlink()
    folder = read_folder(root)
    found = {(problem.kind, problem.path) for problem in folder.problems}
    assert ("missing-file", "images/000003.png") in found
    assert ("repeated-file", "images/000000.png") in found
    assert ("unlisted-file", "masks/000005.png") in found
    assert [entry.image for entry in folder.entries] == [f"images/00000{n}.png" for n in range(3)]
    with pytest.raises(InputError, match="more problems"):
        folder.require_sound()


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "/etc/passwd",
        "images/../../secret.png",
        "images//x.png",
        "images",
        "C:/x.png",
        "images\\..\\x.png",
        "images/x\n.png",
        "other/x.png",
        "images/" + "x" * 2000,
    ],
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    root = write_pairs(tmp_path / "set", 2)
    save(tmp_path / "secret.png", picture(9))
    records = read_records(root)
    write_records(root, [records[0] | {"file_name": path}, records[1]])
    folder = read_folder(root)
    assert "unsafe-path" in {problem.kind for problem in folder.problems}
    assert [entry.image for entry in folder.entries] == ["images/000001.png"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    save(tmp_path / "secret.png", picture(9))
    (root / "images/000000.png").unlink()
    (root / "images/000000.png").symlink_to(tmp_path / "secret.png")
    assert "missing-file" in kinds(root)


def test_a_link_in_a_folder_without_metadata_is_not_followed(tmp_path: Path) -> None:
    save(tmp_path / "secret.png", picture(9))
    save(tmp_path / "set/masks/one.png", picture(0)[:, :, 0])
    (tmp_path / "set/images").mkdir()
    (tmp_path / "set/images/one.png").symlink_to(tmp_path / "secret.png")
    folder = read_folder(tmp_path / "set")
    with pytest.raises(InputError):
        folder.read_image(folder.entries[0])


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    (root / "metadata.jsonl").unlink()
    folder = read_folder(root)
    assert folder.entries == ()
    assert ("unsafe-path", "images") in {(problem.kind, problem.path) for problem in folder.problems}


def test_a_file_name_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    Path(os.fsdecode(os.fsencode(root / "images") + b"/\xff.png")).touch()
    assert kinds(root) == ["unsafe-path"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"file_name": "images/000000.png"}',
        '{"file_name": 1, "mask_file_name": "masks/x.png"}',
        '{"file_name": "images/x.png", "mask_file_name": "masks/x.png", "generator": 7}',
        '{"file_name": "a", "file_name": "b"}',
        '{"file_name": "images/\\ud800.png", "mask_file_name": "masks/x.png"}',
        '{"a": NaN}',
        "\ufeff{}",
    ],
)
def test_a_broken_line_of_metadata_is_named_and_the_rest_is_read(tmp_path: Path, line: str) -> None:
    root = write_pairs(tmp_path / "set", 2)
    with (root / "metadata.jsonl").open("a") as file:
        file.write(line + "\n")
    folder = read_folder(root)
    assert [(problem.kind, problem.path) for problem in folder.problems] == [
        ("broken-metadata", "metadata.jsonl:3")
    ]
    assert len(folder.entries) == 2


def test_a_broken_description_is_a_problem(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    (root / "dataset.json").write_text("[")
    assert kinds(root) == ["broken-metadata"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images"):
        read_folder(tmp_path)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(InputError, match="at most"):
        decode(png(100_000, 100_000), "bomb.png")


@pytest.mark.parametrize("data", [b"", b"no image", png(4, 4), b"GIF89a"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.png") as caught:
        decode(data, "x.png")
    assert "0x" not in caught.value.found


def encoded(image: Image.Image, path: Path, **options: object) -> bytes:
    image.save(path, **options)
    return path.read_bytes()


def test_more_than_eight_bits_and_transparency_are_refused(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((4, 4), 1000, np.uint16))
    clear = Image.fromarray(np.zeros((4, 4, 4), np.uint8))
    for image in (wide, clear):
        with pytest.raises(InputError):
            decode(encoded(image, tmp_path / "x.png"), "x.png")


def test_opaque_alpha_is_dropped_and_orientation_applied(tmp_path: Path) -> None:
    opaque = np.dstack([picture(1), np.full((20, 24), 255, np.uint8)])
    assert np.array_equal(decode(encoded(Image.fromarray(opaque), tmp_path / "a.png"), "a"), picture(1))
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(Image.fromarray(picture(1)), tmp_path / "b.png", exif=turned)
    assert np.array_equal(decode(data, "b"), np.rot90(picture(1), -1))


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    save(root / "masks/000000.png", picture(0))
    with pytest.raises(InputError, match="coloured"):
        read_folder(root).read_mask("masks/000000.png")


@pytest.mark.parametrize("line", [b"\n", b"0\n", b'{"a":0,"b":0}\n'], ids=["empty lines", "numbers", "keys"])
def test_metadata_of_millions_of_lines_is_refused_by_its_count(
    tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_pairs(tmp_path / "set") / "metadata.jsonl").write_bytes(line * 1000)
    smaller = dataclasses.replace(reader.METADATA_BUDGET, max_nodes=999, max_keys=999)
    monkeypatch.setattr(reader, "METADATA_BUDGET", smaller)
    with pytest.raises(VerificationError, match=r"metadata\.jsonl: expected at most 999"):
        read_folder(tmp_path / "set")


def test_metadata_with_a_repeated_key_among_many_is_a_problem_at_once(tmp_path: Path) -> None:
    """The case json-duplicate-key-quadratic, in a line of a data set."""
    root = write_pairs(tmp_path / "set")
    names = ",".join(f'"{number:x}":0' for number in range(9_000))
    (root / "metadata.jsonl").write_text("{" + names + ',"z":0,"z":0}\n')
    problems = read_folder(root).problems
    assert ("broken-metadata", "metadata.jsonl:1") in {(one.kind, one.path) for one in problems}
