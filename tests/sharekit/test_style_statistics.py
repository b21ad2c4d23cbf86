"""Style statistics are averages over enough images, and nothing else is read from a bundle."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable

import numpy as np
import pytest

from sharekit.bundle.style_statistics import DESCRIPTION_FILE, StyleStatistics, average
from sharekit.errors import PolicyError, VerificationError
from tests.tiny_features import tiny_network, tiny_statistics

NETWORK = tiny_network()
STATISTICS = tiny_statistics(NETWORK)
Contents = dict[str, bytes]


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def test_what_is_written_is_read_again() -> None:
    assert StyleStatistics.from_files(STATISTICS.to_files()) == STATISTICS


def test_equal_statistics_give_equal_bytes() -> None:
    reordered = dict(reversed(STATISTICS.grams.items()))
    assert dataclasses.replace(STATISTICS, grams=reordered).to_files() == STATISTICS.to_files()


def test_every_image_weighs_the_same() -> None:
    grams = [{"conv1_1": np.eye(4, dtype=np.float32) * value} for value in (1, 1, 1, 1, 6)]
    assert np.array_equal(average(NETWORK, grams).grams["conv1_1"], 2 * np.eye(4))


def test_an_average_is_symmetric_though_products_are_not_quite() -> None:
    gram = np.float32([[1, 0.5], [0.5000001, 1]])
    averaged = average(NETWORK, [{"conv1_1": gram}] * 5)
    assert StyleStatistics.from_files(averaged.to_files()) == averaged


@pytest.mark.parametrize("count", [0, 1, 4])
def test_an_average_of_fewer_than_k_images_is_refused_where_it_is_made(count: int) -> None:
    with pytest.raises(PolicyError, match=f"{count} images"):
        average(NETWORK, [STATISTICS.grams] * count, min_images=5)


def test_an_average_of_fewer_than_k_images_is_refused_where_it_is_read() -> None:
    few = dataclasses.replace(STATISTICS, image_count=4)
    with pytest.raises(PolicyError, match="4 images"):
        StyleStatistics.from_files(few.to_files())
    assert StyleStatistics.from_files(few.to_files(), min_images=4) == few


def changed_description(**changes: object) -> Callable[[Contents], None]:
    def change(contents: Contents) -> None:
        description = json.loads(contents[DESCRIPTION_FILE])
        contents[DESCRIPTION_FILE] = json.dumps({**description, **changes}).encode()

    return change


def first_layer(**changes: object) -> Callable[[Contents], None]:
    layers = json.loads(STATISTICS.to_files()[DESCRIPTION_FILE])["layers"]
    return changed_description(layers=[{**layers[0], **changes}, *layers[1:]])


def replaced(array: np.ndarray, *, allow_pickle: bool = False) -> Callable[[Contents], None]:
    return lambda contents: contents.update({"style/conv1_1.npy": npy(array, allow_pickle=allow_pickle)})


GRAM = np.array(STATISTICS.grams["conv1_1"])
ATTACKS: dict[str, Callable[[Contents], object]] = {
    "missing description": lambda contents: contents.pop(DESCRIPTION_FILE),
    "missing layer": lambda contents: contents.pop("style/conv1_1.npy"),
    "unknown field": changed_description(path="/home"),
    "other version": changed_description(schema_version=2),
    "no layer": changed_description(layers=[]),
    "the same file for two layers": first_layer(file="style/conv2_1.npy"),
    "a layer twice": first_layer(name="conv2_1", file="style/conv2_1.npy", channels=4),
    "too many channels": first_layer(channels=4096),
    "other channels": first_layer(channels=5),
    "not an array": lambda contents: contents.update({"style/conv1_1.npy": b"x"}),
    "an overlong file": lambda contents: contents.update({"style/conv1_1.npy": bytes(2**21)}),
    "pickled objects": replaced(np.array([[None] * 4] * 4), allow_pickle=True),
    "another type": replaced(GRAM.astype(np.float64)),
    "not square": replaced(GRAM[:, :3]),
    "NaN": replaced(np.where(np.eye(4) > 0, np.nan, GRAM).astype(np.float32)),
    "infinity": replaced(np.full((4, 4), np.inf, np.float32)),
    "asymmetric": replaced((GRAM + np.triu(np.ones((4, 4)), 1)).astype(np.float32)),
    "negative diagonal": replaced(-np.eye(4, dtype=np.float32)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_implausible_file_is_refused(attack: str) -> None:
    contents = STATISTICS.to_files()
    ATTACKS[attack](contents)
    with pytest.raises(VerificationError) as caught:
        StyleStatistics.from_files(contents)
    assert caught.value.item.startswith("style/")
