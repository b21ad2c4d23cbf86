"""A node with a hold-out of tiny pictures whose brighter half is their mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hospital_node.evaluation import evaluation_policy
from hospital_node.evaluation.evaluation_policy import EvaluationPolicy, Submitter
from hospital_node.intake import ingest
from hospital_node.node.node import Node
from sharekit.signing.keys import SigningKey

NAME = "mueller-1957"
HEIGHT, WIDTH = 28, 36


def write_pictures(folder: Path, count: int, *, seed: int, name: str = NAME) -> Path:
    """`count` pairs: a bright disc on dark noise, and the disc as mask; equal seeds, equal pictures."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        radius = rng.uniform(5, 9)
        disc = np.hypot(y - rng.uniform(10, 18), x - rng.uniform(12, 24)) < radius
        image = rng.integers(0, 90, (HEIGHT, WIDTH, 3)) + 150 * disc[:, :, None]
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{name}-{number:03}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"{name}-{number:03}.png")
    return folder


def node_with_hold_out(root: Path, images: int = 20) -> Node:
    node = Node.create(root / "node", "St. Test")
    ingest(write_pictures(root / "records", images, seed=1), node, hold_out=True)
    return node


def register(node: Node, key: SigningKey, **changes: object) -> EvaluationPolicy:
    """Make the key's holder the node's only submitter, under a policy with these changes."""
    policy = EvaluationPolicy(**changes).with_submitter(  # type: ignore[arg-type]
        Submitter("Laboratory", key.public.pem().decode())
    )
    evaluation_policy.save_policy(node.root / evaluation_policy.NAME, policy)
    return policy
