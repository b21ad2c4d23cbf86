"""Take a folder of images and masks into a node, one pair at a time."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hospital_node.intake.decode import LIMITS, Limits, check_same_size, decode_image, decode_mask
from hospital_node.intake.pairing import Mismatch, SourcePair, list_files, pair
from hospital_node.intake.separation import OtherSide
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node, Pair
from sharekit.errors import InputError, NodeStateError
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files


@dataclass(frozen=True)
class Refusal:
    """Why one file, or the pair it belongs to, was not taken."""

    path: str  # relative to the data folder
    expected: str
    found: str
    next_step: str

    @staticmethod
    def of(error: InputError) -> Refusal:
        return Refusal(error.item, error.expected, error.found, error.next_step)

    @property
    def reason(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}. Next: {self.next_step}"

    def to_json(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class IntakeReport:
    """What became of a folder. It names files: it is for the hospital alone."""

    ingested: int
    """Pairs taken now."""
    known: int
    """Pairs that the node had already, or that are in the folder twice."""
    refused: tuple[Refusal, ...]
    """What is refused now, whether or not it was before."""
    skipped: tuple[str, ...]
    """Hidden files, and folders that are not looked into."""

    @property
    def usable(self) -> int:
        return self.ingested + self.known

    def to_json(self) -> dict[str, Any]:
        return {
            "ingested": self.ingested,
            "known": self.known,
            "refused": [refusal.to_json() for refusal in self.refused],
            "skipped": list(self.skipped),
        }


def ingest(
    data: Path,
    node: Node,
    on_progress: ProgressCallback = ignore,
    *,
    limits: Limits = LIMITS,
    hold_out: bool = False,
) -> IntakeReport:
    """Take every usable pair of `data` into `node`; what is not usable is refused with its reason.

    Pairs that the node has already are known by a keyed commitment to their bytes, so that the same call goes
    on after a kill and takes only what is new. With `hold_out` the pairs are for evaluation alone; an image
    that nearly equals one on the other side is refused, and so is every new one once the hold-out has been
    evaluated on: the difference of two reports would tell about the images that were added.

    Raises:
        InputError: `data` has no `images` and `masks` folders.
        NodeStateError: another process is writing the node, or the disk is full.
    """
    data = Path(data).resolve()
    pairing = pair(*list_files(data))
    total = len(pairing.pairs)
    with node.write_lock():
        node.remove_orphans()
        intake = _Intake(data, node, limits, hold_out)
        for mismatch in pairing.mismatches:
            intake.refuse_file(mismatch)
        for number, source in enumerate(pairing.pairs):
            on_progress(Progress(number, total, values={"refused": len(intake.refusals)}))
            intake.take(source)
        on_progress(Progress(total, total, values={"refused": len(intake.refusals)}))
    return IntakeReport(intake.ingested, intake.known, tuple(intake.refusals), pairing.skipped)


class _Intake:
    """One run over one folder: what it has counted so far."""

    def __init__(self, data: Path, node: Node, limits: Limits, hold_out: bool) -> None:
        self.data = data
        self.node = node
        self.limits = limits
        self.hold_out = hold_out
        self.other_side = OtherSide(node, hold_out=hold_out)
        self.ingested = 0
        self.known = 0
        self.refusals: list[Refusal] = []

    def take(self, source: SourcePair) -> None:
        try:
            image = self._read(source.image)
            masks = {name: self._read(path) for name, path in source.masks.items()}
            content_key = self._commit(
                "pair", _digest(image), *(f"{name}:{_digest(mask)}" for name, mask in masks.items())
            )
            known = self.node.ledger.find(content_key)
            if known is not None:
                self.other_side.check_known(known, source.image)
                self.known += 1
                return
            self._check_open(source.image)
            decoded = self._decode(source, image, masks)
            self.other_side.check_unlike(decoded.image, source.image)
        except InputError as error:
            self._refuse(source.image, tuple(source.masks.values()), error)
        else:
            self._accept(source, decoded, content_key)

    def refuse_file(self, mismatch: Mismatch) -> None:
        image, masks = (mismatch.path, ()) if mismatch.is_image else ("", (mismatch.path,))
        self._refuse(image, masks, mismatch.reason)

    def _read(self, path: str) -> bytes:
        if (self.data / path).is_symlink():
            raise InputError(
                path, expected="a regular file", found="a link", next_step="put a copy of the file there"
            )
        try:
            return files.read_bytes(self.data / path, max_bytes=self.limits.file_bytes)
        except InputError as error:
            # The same refusal, named as the folder's owner knows the file.
            raise InputError(
                path, expected=error.expected, found=error.found, next_step=error.next_step
            ) from None

    def _check_open(self, path: str) -> None:
        if self.hold_out and self.node.ledger.evaluations.count():
            raise InputError(
                path,
                expected="a hold-out that nothing has been evaluated on yet",
                found=f"{self.node.ledger.evaluations.count()} evaluations",
                next_step="make a new node, with images that nothing was ever evaluated on",
            )

    def _decode(self, source: SourcePair, image: bytes, masks: Mapping[str, bytes]) -> Pair:
        pixels = decode_image(image, source.image, self.limits)
        decoded = {}
        for name, path in source.masks.items():
            decoded[name] = decode_mask(masks[name], path, self.limits)
            check_same_size(pixels, decoded[name], path)
        return Pair(pixels, decoded)

    def _accept(self, source: SourcePair, decoded: Pair, content_key: str) -> None:
        image_id = secrets.token_hex(16)
        try:
            self.node.store_pair(image_id, decoded)
        except OSError as error:
            raise NodeStateError(
                self.node.root,
                expected="room for one more image",
                found=error.strerror or type(error).__name__,
                next_step="free some disk space and run the same command again",
            ) from error
        height, width, channels = decoded.image.shape
        self.node.ledger.add(
            ImageRecord(
                image_id,
                source.image,
                tuple(source.masks.values()),
                ImageState.HELD_OUT if self.hold_out else ImageState.INGESTED,
                height=height,
                width=width,
                image_channels=channels,
                mask_classes=tuple(decoded.masks),
                data_dir=str(self.data),
                content_key=content_key,
            )
        )
        self.ingested += 1

    def _refuse(self, image: str, masks: tuple[str, ...], error: InputError) -> None:
        refusal = Refusal.of(error)
        self.refusals.append(refusal)
        content_key = self._commit("refused", str(self.data), image, *masks, refusal.reason)
        if not self.node.ledger.known(content_key):
            self.node.ledger.add(
                ImageRecord(
                    secrets.token_hex(16),
                    image,
                    masks,
                    ImageState.REFUSED,
                    refusal.reason,
                    data_dir=str(self.data),
                    content_key=content_key,
                )
            )

    def _commit(self, *parts: str) -> str:
        return self.node.commit(json.dumps(parts).encode())


def _digest(data: bytes) -> str:
    # Only ever inside a keyed commitment.
    return hashlib.sha256(data).hexdigest()
