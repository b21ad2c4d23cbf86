"""The queue of a run: from the ledger and the file of groups to generators that wait, without a Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState, ImageRecord, ImageState
from hospital_node.node.groups_file import read_groups
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.pool.default_training import SINGLES, DefaultTraining, default_training
from hospital_node.pool.queue import Queue, fill_queue
from hospital_node.pool.training_options import GroupOptions
from hospital_node.release.release_policy import Policy, save_policy
from hospital_node.singan.config import TrainingSettings
from sharekit.errors import InputError, NodeStateError
from tests.hospital_node.golden import write_node
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import add_image, train

G = GeneratorState
SETTINGS = TrainingSettings.of("quick", iterations=2, max_side=32)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.create(tmp_path / "node")


def fill(node: Node, size: int = 1, file: Path | None = None, *, restart: bool = False) -> Queue:
    return fill_queue(node, SETTINGS, GroupOptions(size, file), restart=restart)


def add(node: Node, number: int, height: int, width: int) -> str:
    """One more image of this size."""
    image_id = f"{number:032x}"
    pixels = np.full((height, width, 3), number, np.uint8)
    node.store_pair(image_id, Pair(pixels, {"polyp": np.zeros((height, width), np.uint8)}))
    node.ledger.add(
        ImageRecord(
            image_id,
            f"images/case-{number}.png",
            (f"masks/case-{number}.png",),
            ImageState.INGESTED,
            height=height,
            width=width,
            image_channels=3,
            mask_classes=("polyp",),
            data_dir="/records",
            content_key=str(number),
        )
    )
    return image_id


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_images_of_a_group_are_brought_to_their_median_height_and_median_width(node: Node) -> None:
    for number, size in enumerate([(30, 60), (40, 50), (80, 40)]):
        add(node, number, *size)
    queue = fill(node, 3)
    (generator,) = queue.generators
    assert queue.sizes[generator.id] == (40, 50, 4)
    assert {pair.tensor().shape for pair in node.load_sources(generator.id)} == {(4, 40, 50)}


def test_generators_are_trained_side_by_side_only_with_as_many_images(node: Node) -> None:
    images = [ingested_image(node, number) for number in range(7)]
    fill(node, 3)
    node.ledger.generators.plan([images[:1], images[1:2]])
    waiting = node.ledger.generators.records()
    queue = Queue(tuple(waiting), {one.id: (28, 32, 4) for one in waiting}, ())
    buckets = queue.first_schedule(1, 4, 3, SETTINGS.config).buckets
    assert len(buckets) == 4
    kinds = {buckets[one.id]: len(one.images) for one in waiting}
    assert sorted(kinds.values()) == [1, 3, 4]


def test_the_same_command_again_plans_nothing_twice(node: Node) -> None:
    for number in range(7):
        ingested_image(node, number)
    first = fill(node, 3)
    assert sorted(len(one.images) for one in first.generators) == [3, 4]
    assert fill(node, 3) == first
    events = len(list(node.ledger.events()))
    assert fill(node, 3) == first
    assert len(list(node.ledger.events())) == events


def test_too_few_images_wait_and_the_queue_says_so(node: Node) -> None:
    ingested_image(node, 1)
    assert fill(node, 2) == Queue(
        (), {}, ("1 image waits: of RGB images with masks polyp, a generator needs at least 2",)
    )
    ingested_image(node, 2)
    assert [len(one.images) for one in fill(node, 2).generators] == [2]


def test_copies_of_one_picture_stay_together_and_count_once(node: Node) -> None:
    shades = [10, 20, 10, 30, 20, 10]
    images = [ingested_image(node, number, shade) for number, shade in enumerate(shades)]
    assert fill(node, 4).generators == ()
    queue = fill(node, 3)
    assert queue.plan == "1 group of 6 images"
    assert set(queue.generators[0].images) == set(images)


def test_the_plan_is_said_in_words(node: Node) -> None:
    for number in range(31):
        ingested_image(node, number)
    assert fill(node, 10).plan == "3 groups of 10 to 11 images"
    assert fill(node).plan == "31 generators of one image"


def test_a_node_trains_groups_by_default_once_a_layout_has_enough_pictures(node: Node) -> None:
    for number in range(3):
        ingested_image(node, number)
    assert default_training(node, 4) == SINGLES
    copy = ingested_image(node, 3, shade=0)
    assert default_training(node, 4) == SINGLES, copy
    ingested_image(node, 4)
    assert default_training(node, 4) == DefaultTraining("group", 4)


def test_the_command_without_options_trains_groups_of_the_policys_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "node"
    node = Node.create(root, "Test hospital")
    save_policy(node.policy_path, Policy(min_group=3))
    train(node, [add_image(node, number) for number in range(4)], seed=1)
    node.ledger.close()
    # Their group is trained, so nothing waits and no Ray starts; generators of single images would wait.
    assert main(["train", "--node", str(root)]) == 0
    printed = capsys.readouterr()
    assert "no generator waits, profile group" in printed.err
    assert "1 trained, 0 waiting" in printed.out


def test_an_unfinished_training_decides_what_is_trained_by_default(node: Node) -> None:
    images = [ingested_image(node, number) for number in range(4)]
    (generator,) = node.ledger.generators.plan([images[:1]])
    node.ledger.generators.begin(generator, "private", "{}")
    assert default_training(node, 4) == SINGLES
    assert default_training(node, 4, restart=True).profile == "group"
    node.ledger.generators.transition(generator, G.FAILED, "no gradient")
    assert default_training(node, 4).profile == "group"


def test_another_request_replaces_what_was_not_begun_and_leaves_a_line_in_the_log(node: Node) -> None:
    for number in range(4):
        ingested_image(node, number)
    singles = fill(node).generators
    (group,) = fill(node, 4).generators
    assert [one.id for one in node.ledger.generators.iterate()] == [group.id]
    assert [event.after for event in node.ledger.events(singles[0].id)] == [G.PLANNED, None]


def test_restarting_with_another_group_size_gives_up_what_failed(node: Node) -> None:
    images = [ingested_image(node, number) for number in range(4)]
    failed, begun = (fill(node).generators[number].id for number in (0, 1))
    node.ledger.generators.transition(failed, G.FAILED, "no gradient")
    node.ledger.generators.begin(begun, SETTINGS.profile, SETTINGS.canonical)
    (node.model_dir(begun) / "checkpoint.pt").write_bytes(b"z*")
    # Without a restart, what failed stays as it is and what has begun goes on.
    waiting = fill(node, 4).generators
    assert [len(one.images) for one in waiting] == [1, 4]
    assert waiting[0].id == begun
    (group,) = fill(node, 4, restart=True).generators
    assert set(group.images) == set(images)
    assert [one.id for one in node.ledger.generators.iterate()] == [group.id]
    assert not (node.root / "models" / begun).exists()


def test_what_was_interrupted_goes_first(node: Node) -> None:
    for number in range(3):
        ingested_image(node, number)
    last = fill(node).generators[2].id
    node.ledger.generators.begin(last, SETTINGS.profile, SETTINGS.canonical)
    queue = fill(node)
    assert queue.generators[0].id == last
    assert (queue.generators[0].state, queue.generators[0].reason) == (G.PLANNED, "interrupted")


def test_an_interrupted_training_of_an_old_node_goes_on_with_its_settings_alone(tmp_path: Path) -> None:
    node = Node.open(write_node(tmp_path / "node"))
    (before,) = node.ledger.generators.iterate(G.PLANNED)
    with pytest.raises(NodeStateError, match="sha256 0123456789ab"):
        fill(node)
    assert (node.model_dir(before.id) / "checkpoint.pt").exists()
    queue = fill(node, restart=True)
    assert before.id in {one.id for one in queue.generators}
    assert not (node.model_dir(before.id) / "checkpoint.pt").exists()


# -- the file of groups


def test_images_are_named_by_path_file_name_or_stem(node: Node, tmp_path: Path) -> None:
    images = [add(node, number, 28, 32) for number in range(4)]
    path = table(
        tmp_path,
        "group,image,remark\na,images/case-0.png,\na,/records/images/case-1.png,x\nb,case-2.png,\nb,case-3,\n",
    )
    assert read_groups(path, node.ledger.iterate()) == dict(zip(images, "aabb", strict=True))


def test_a_file_of_groups_decides_who_belongs_together(node: Node, tmp_path: Path) -> None:
    images = [add(node, number, 28, 32) for number in range(5)]
    path = table(tmp_path, "image,group\n" + "".join(f"case-{n},{'ab'[n % 2]}\n" for n in range(4)))
    queue = fill(node, 1, path)
    assert [set(one.images) for one in queue.generators] == [{images[0], images[2]}, {images[1], images[3]}]
    assert queue.notes == ("1 image waits: not in the file of groups",)
    assert {one.reason for one in queue.generators} == {"images chosen by the file of groups"}


def test_a_table_with_semicolons_and_a_mark_of_its_encoding_is_read(node: Node, tmp_path: Path) -> None:
    image = add(node, 7, 28, 32)
    assert read_groups(
        table(tmp_path, "\ufeffimage;group\ncase-7;patient, one\n"), node.ledger.iterate()
    ) == {image: "patient, one"}


def test_refused_and_held_out_images_may_be_listed(node: Node, tmp_path: Path) -> None:
    for number, state in ((1, ImageState.REFUSED), (2, ImageState.HELD_OUT)):
        node.ledger.add(ImageRecord(f"{number:032x}", f"images/case-{number}.png", (), state))
    path = table(tmp_path, "image,group\ncase-1,a\ncase-2,a\n")
    assert read_groups(path, node.ledger.iterate()) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("image,group\nunknown,a\n", "'unknown', which is no image"),
        ("image,group\ncase-0,a\nimages/case-0.png,b\n", "in 'a' and in 'b'"),
        ("image,group\ncase-0,\n", "group ''"),
        ("name,group\ncase-0,a\n", "name, group"),
        ("", "an empty file"),
        ('image,group\n"case-0,a\n', "Error"),
        ("image,group\nsame,a\n", "'same', which is 2 images"),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused_before_anything_is_planned(
    node: Node, tmp_path: Path, text: str, found: str
) -> None:
    add(node, 0, 28, 32)
    for number, folder in ((1, "/a"), (2, "/b")):
        node.ledger.add(
            ImageRecord(f"{number:032x}", "images/same.png", (), ImageState.INGESTED, data_dir=folder)
        )
    with pytest.raises(InputError) as caught:
        fill(node, 1, table(tmp_path, text))
    assert found in caught.value.found
    assert node.ledger.generators.records() == []


def test_a_table_that_is_no_text_is_refused(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(InputError, match="UTF-8"):
        read_groups(path, node.ledger.iterate())
