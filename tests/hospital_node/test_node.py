"""A node's folder: complete or not there, private, one writer."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair, common_size
from sharekit.errors import InputError, NodeStateError, UsageError
from tests.hospital_node.ingested import HEIGHT, WIDTH, ingested_image

IMAGE_ID = "0123456789abcdef" * 2


@pytest.fixture
def node(tmp_path):
    return Node.create(tmp_path / "node", "St. Test")


def stored(node: Node, channels: int = 3) -> Pair:
    rng = np.random.default_rng(0)
    masks = {name: np.where(rng.random((26, 31)) > 0.5, 255, 0).astype(np.uint8) for name in ("b", "a")}
    pair = Pair(rng.integers(0, 256, (26, 31, channels), dtype=np.uint8), masks)
    node.store_pair(IMAGE_ID, pair)
    node.ledger.add(
        ImageRecord(IMAGE_ID, "i", ("b", "a"), ImageState.INGESTED, mask_classes=tuple(pair.masks))
    )
    return pair


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        node = Node.create(tmp_path / "node")
        stored(node)
        node.model_dir(IMAGE_ID)
        with node.write_lock():
            modes = {path: path.stat().st_mode & 0o777 for path in [node.root, *node.root.rglob("*")]}
    finally:
        os.umask(before)
    assert {path.name for path in modes} >= {
        "ledger.sqlite",
        "commitment.key",
        "node.json",
        "lock",
        "image.png",
    }
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_a_node_reopens_as_it_was_made(node):
    again = Node.open(node.root)
    assert (again.hospital, again.root) == ("St. Test", node.root)
    assert Node.create_or_open(node.root).hospital == "St. Test"
    assert Node.create_or_open(node.root, "St. Test").hospital == "St. Test"


def test_another_hospital_s_name_is_refused(node):
    with pytest.raises(NodeStateError, match=r"'St\. Other'"):
        Node.create_or_open(node.root, "St. Other")


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "\x1b[31m", "x" * 201, "St.\u200cTest", "\u202etseT .tS", "a\x85b"]
)
def test_an_unfit_hospital_name_is_refused_and_leaves_nothing(tmp_path, name):
    with pytest.raises(UsageError):
        Node.create(tmp_path / "node", name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_made_a_node(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="something there"):
        Node.create(tmp_path)


def test_an_empty_folder_becomes_a_node(tmp_path):
    (tmp_path / "node").mkdir()
    assert Node.create(tmp_path / "node").ledger.records() == []


def test_no_node_is_told_with_the_way_to_make_one(tmp_path):
    with pytest.raises(InputError, match="hospital-node ingest"):
        Node.open(tmp_path / "node")


def test_a_node_open_to_others_is_refused(node):
    node.root.chmod(0o755)
    with pytest.raises(NodeStateError, match="chmod 700"):
        Node.open(node.root)


def test_a_node_of_another_version_is_refused(node):
    path = node.root / "node.json"
    path.write_bytes(path.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 3'))
    with pytest.raises(NodeStateError, match="version 3"):
        Node.open(node.root)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pair_comes_back_pixel_by_pixel(node, channels):
    pair = stored(node, channels)
    again = node.load_pair(IMAGE_ID)
    assert np.array_equal(again.image, pair.image)
    assert list(again.masks) == ["b", "a"]
    assert all(np.array_equal(again.masks[name], pair.masks[name]) for name in pair.masks)
    assert (again.layout.image_channels, again.layout.mask_classes) == (channels, ("b", "a"))


def test_the_tensor_is_image_then_masks_in_minus_one_to_one(node):
    pair = stored(node)
    tensor = node.load_pair(IMAGE_ID).tensor()
    assert (tensor.shape, tensor.dtype) == ((5, 26, 31), np.float32)
    assert np.allclose(tensor[:3], pair.image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert np.array_equal(tensor[3], np.where(pair.masks["b"] > 0, 1, -1))
    assert np.array_equal(tensor[4], np.where(pair.masks["a"] > 0, 1, -1))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=9))
def test_the_size_of_a_group_lies_between_the_sizes_of_its_images(sizes):
    for axis, found in enumerate(common_size(sizes)):
        along = [size[axis] for size in sizes]
        assert min(along) <= found <= max(along)
    assert common_size(sizes[:1] * 3) == sizes[0]


def test_a_resized_pair_keeps_its_layout_and_its_masks_stay_black_and_white(node):
    pair = stored(node)
    assert pair.resized(26, 31) is pair
    smaller, larger = pair.resized(13, 16), pair.resized(50, 60)
    for found, size in ((smaller, (13, 16)), (larger, (50, 60))):
        assert found.image.shape == (*size, 3)
        assert found.layout == pair.layout
        assert all(mask.shape == size and set(np.unique(mask)) <= {0, 255} for mask in found.masks.values())


def test_an_image_is_resized_alike_whatever_its_masks_show(node):
    """Nothing of the mask gets into the image, as it would in one picture with an alpha channel."""
    pair = stored(node)
    empty = Pair(pair.image, {name: np.zeros_like(mask) for name, mask in pair.masks.items()})
    assert np.array_equal(pair.resized(13, 16).image, empty.resized(13, 16).image)


def test_the_images_behind_a_generator_come_in_one_size(node):
    images = [ingested_image(node, number, shade=number) for number in (1, 2, 3)]
    (generator,) = node.ledger.generators.plan([images[::-1]])
    pairs = node.load_sources(generator)
    assert [int(pair.image[0, 0, 0]) for pair in pairs] == [3, 2, 1]
    assert {pair.tensor().shape for pair in pairs} == {(4, HEIGHT, WIDTH)}


def test_a_damaged_stored_image_is_named(node):
    stored(node)
    path = node.image_dir(IMAGE_ID) / "image.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(NodeStateError, match=r"image\.png"):
        node.load_pair(IMAGE_ID)


def test_a_refused_image_has_no_pixels_to_load(node):
    node.ledger.add(ImageRecord(IMAGE_ID, "i", (), ImageState.REFUSED, "no mask"))
    with pytest.raises(NodeStateError, match="no mask"):
        node.load_pair(IMAGE_ID)


@pytest.mark.parametrize("name", ["../../etc", "A" * 32, "a" * 31, "a" * 32 + "\n", ""])
def test_an_identifier_cannot_lead_out_of_the_node(node, name):
    for place in (node.image_dir, node.model_dir, node.candidate_path, node.audit_path, node.generator_path):
        with pytest.raises(InputError):
            place(name)


def test_commitments_are_keyed(node, tmp_path):
    other = Node.create(tmp_path / "other")
    assert node.commit(b"x") == Node.open(node.root).commit(b"x")
    assert (
        len({node.commit(b"x"), node.commit(b"y"), other.commit(b"x"), hashlib.sha256(b"x").hexdigest()}) == 4
    )


def test_one_writer_at_a_time(node):
    with node.write_lock(), pytest.raises(NodeStateError, match=str(os.getpid())):  # noqa: SIM117
        with Node.open(node.root).write_lock():
            pass
    with node.write_lock():
        pass


def test_the_lock_goes_with_a_killed_process(node):
    program = f"""
import os, signal
from hospital_node.node.node import Node
with Node.open({str(node.root)!r}).write_lock():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with node.write_lock():
        pass


def test_orphans_go_and_recorded_pixels_stay(node):
    stored(node)
    orphan = node.images_dir / ("f" * 32)
    orphan.mkdir()
    (node.images_dir / f".{'e' * 32}.1234.tmp").mkdir()
    node.remove_orphans()
    assert [path.name for path in node.images_dir.iterdir()] == [IMAGE_ID]


def test_release_numbers_count_up(node):
    assert [node.next_release(), Node.open(node.root).next_release()] == [1, 2]
