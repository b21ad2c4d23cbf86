"""Trial nodes: copies of some pictures, one with a planted pattern that the audit has to find again."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import Array
from hospital_node.audit.attacks import canary
from hospital_node.audit.attacks.canary import draw_canary
from hospital_node.audit.attacks.distance import poses
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.ledger.states import ImageState
from hospital_node.node import history
from hospital_node.node.fingerprints import store_fingerprint
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from sharekit.errors import InputError
from sharekit.pictures.similarity import fingerprint
from sharekit.program.phrases import counted
from sharekit.storage import files

FILE = "canaries.json"
"""In a trial node's folder."""
TRIAL = "this node is a trial: a pattern was planted in one of its pictures, so that nothing may leave it"
SIDE = 12
"""Pixels: side of a planted pattern."""
MAX_SIDE = 64
"""Pixels, long side, of a trial's pictures: the finest scale of the profiles `quick` and `group`."""


@dataclass(frozen=True)
class Planted:
    """Where a pattern was planted. Law: `from_json(to_json(x)) == x`."""

    image: str  # identifier of the marked picture in the trial node
    seed: int  # of the pattern
    y: int  # pixels, of its upper left corner
    x: int

    def patterns(self, channels: int) -> tuple[Array, ...]:
        """The pattern in all its poses, `(channels, SIDE, SIDE)`: training may turn and mirror pictures."""
        return tuple(np.ascontiguousarray(pose[0]) for pose in poses(self._pattern(channels)[None]))

    def _pattern(self, channels: int) -> Array:
        return draw_canary(np.random.default_rng(self.seed), channels, SIDE, SIDE)

    def mark(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture `(H, W, C)` with the pattern in it."""
        marked = pixels.copy()
        shown = np.where(self._pattern(pixels.shape[2]) > 0, 255, 0).astype(np.uint8).transpose(1, 2, 0)
        marked[self.y : self.y + SIDE, self.x : self.x + SIDE] = shown
        return marked

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Planted:
        return Planted(value["image"], int(value["seed"]), int(value["y"]), int(value["x"]))


@dataclass(frozen=True)
class Trial:
    """A trial node that was made."""

    root: Path
    images: int
    size: tuple[int, int]  # height and width of its pictures in pixels
    marked: str
    """Name of the marked picture's file in the hospital's folder, which never leaves."""

    def to_json(self) -> dict[str, Any]:
        height, width = self.size
        return {
            "node": str(self.root),
            "images": self.images,
            "height": height,
            "width": width,
            "marked": self.marked,
        }


def planted_in(node: Node) -> Planted | None:
    """The pattern of a trial node; None: the node is no trial."""
    path = node.root / FILE
    if not path.exists():
        return None
    return Planted.from_json(files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path))


def plant_canary(node: Node, root: Path, *, images: int = 1, seed: int = 0) -> Trial:
    """Make a trial node from some pictures of a node, and plant a pattern in the first of them.

    Args:
        node: is read, not changed.
        root: folder of the trial node, new or empty.
        images: pictures to copy, at least 1, a random choice; they are brought to the marked one's size.
        seed: seed of the choice, the pattern and its place.

    Raises:
        InputError: the node has fewer pictures, its pictures are too small for a pattern, or `root` exists.
    """
    rng = np.random.default_rng(seed)
    records = list(node.ledger.iterate(ImageState.INGESTED))
    if len(records) < images or not records:
        raise InputError(
            node.root,
            expected=f"a node of at least {counted(max(images, 1), 'image')}",
            found=f"{len(records)} ingested",
            next_step="ingest more images, or choose a smaller --images",
        )
    chosen = [records[number] for number in rng.permutation(len(records))[:images]]
    first = node.load_pair(chosen[0].id)
    height, width = _reduced_size(first)
    if min(height, width) < SIDE:
        raise InputError(
            chosen[0].source,
            expected=f"a picture whose short side has {SIDE} pixels when the long one has {MAX_SIDE}",
            found=f"{width}x{height} pixels",
            next_step="choose another picture with --seed",
        )
    trial = Node.create(root, f"{node.hospital[:150]} (trial with a planted pattern)")
    planted = Planted(
        secrets.token_hex(16),
        int(rng.integers(2**31)),
        int(rng.integers(height - SIDE + 1)),
        int(rng.integers(width - SIDE + 1)),
    )
    # First: a trial that is interrupted here is a trial already.
    files.write_json(trial.root / FILE, planted.to_json(), mode=0o600)
    for number, record in enumerate(chosen):
        pair = node.load_pair(record.id).resized(height, width)
        image = planted.image if number == 0 else secrets.token_hex(16)
        if number == 0:
            pair = Pair(planted.mark(pair.image), pair.masks)
        trial.store_pair(image, pair)
        store_fingerprint(trial, image, fingerprint(pair.image))
        trial.ledger.add(replace(record, id=image, height=height, width=width))
    history.record(trial, history.Action.INTAKE, images=len(chosen), planted=1)
    return Trial(trial.root, len(chosen), (height, width), chosen[0].source)


def _reduced_size(pair: Pair) -> tuple[int, int]:
    height, width = pair.image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def canary_in_words(planted: Planted, audits: Iterable[GeneratorAudit]) -> str:
    """Whether the audits of the generators that learnt from the marked picture found the pattern."""
    results = [one for audit in audits for one in audit.attacks if one.attack == canary.NAME]
    made = [one for one in results if one.samples]
    if not made:
        return "canary: not looked for; no audited generator learnt the marked picture at its own size"
    found = sum(one.at_chance is False for one in made)
    best = max(measure.value for one in made for measure in one.measures)
    return (
        f"canary: found in the samples of {found} of {counted(len(made), 'generator')} that learnt the marked"
        f" picture (largest correlation {best:.2f})"
    )
