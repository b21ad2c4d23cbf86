"""A node with small trained generators, as training leaves it: random weights, seeded pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hospital_node.ledger.states import GeneratorState, ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.singan.config import TrainingSettings
from sharekit.signing.keys import SigningKey, generate
from tests.tiny import tiny_generator

HEIGHT, WIDTH = 20, 24
APPROVER_NAME = "Data protection officer"


@dataclasses.dataclass(frozen=True)
class Keys:
    release: SigningKey
    approver: SigningKey
    stranger: SigningKey


def make_keys() -> Keys:
    return Keys(generate(), generate(), generate())


def picture(seed: int, channels: int = 3) -> Pair:
    """A smooth random picture `(20, 24, C)` with an elliptic mask: unlike for every seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH
    waves = [
        np.sin(2 * np.pi * (random.uniform(0.5, 3) * y + random.uniform(0.5, 3) * x + random.uniform()))
        for _ in range(channels)
    ]
    noise = random.normal(0, 6, (HEIGHT, WIDTH, channels))
    image = np.clip(127 + 80 * np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)
    inside = (y - random.uniform(0.3, 0.5)) ** 2 + (x - random.uniform(0.3, 0.7)) ** 2 < random.uniform(
        0.01, 0.06
    )
    return Pair(image, {"lesion": np.where(inside, 255, 0).astype(np.uint8)})


def add_image(node: Node, number: int, pair: Pair | None = None) -> str:
    """One more ingested image of the node, `picture(number)` or `pair`; its identifier."""
    pair = pair or picture(number)
    image_id = f"{number:032x}"
    record = ImageRecord(
        id=image_id,
        source_image=f"images/patient-mueller-{number:03}.png",
        source_masks=(f"masks/patient-mueller-{number:03}.png",),
        state=ImageState.INGESTED,
        height=HEIGHT,
        width=WIDTH,
        image_channels=pair.layout.image_channels,
        mask_classes=pair.layout.mask_classes,
        data_dir="/records/endoscopy",
        content_key=f"key {number}",
    )
    node.store_pair(image_id, pair)
    node.ledger.add(record)
    return image_id


def train(node: Node, images: Sequence[str], seed: int) -> str:
    """A trained generator of these images, with random weights; its identifier."""
    (generator_id,) = node.ledger.generators.plan([images])
    made = tiny_generator(seed)
    generator = dataclasses.replace(
        made, spec=dataclasses.replace(made.spec, id=generator_id), group_size=len(images)
    )
    settings = TrainingSettings(generator.profile, generator.config)
    node.ledger.generators.begin(generator_id, settings.profile, settings.canonical)
    node.model_dir(generator_id)
    generator.save(node.generator_path(generator_id))
    node.ledger.generators.transition(generator_id, GeneratorState.TRAINED)
    return generator_id


def add_trained(node: Node, number: int) -> str:
    """One more image of the node, with a trained generator of its own; the generator's identifier."""
    return train(node, [add_image(node, number)], seed=1000 + number)


def generator_of(node: Node, image_id: str) -> str:
    """The only generator of an image."""
    (record,) = node.ledger.generators.of_image(image_id)
    return record.id


def trained_node(root: Path, images: int = 3, hospital: str = "Test hospital") -> Node:
    node = Node.create(root, hospital)
    for number in range(1, images + 1):
        add_trained(node, number)
    return node
