"""What lies where in a node's folder: 0700, every file 0600, nothing of it ever leaves but by release."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.ledger.ledger import Ledger
from sharekit.errors import InputError, NodeStateError, UsageError
from sharekit.generator.tensors import ChannelLayout, pixels_to_tensor
from sharekit.storage import files, schema

SCHEMA_VERSION = 1
DEFAULT_HOSPITAL = "unnamed hospital"
COMMITMENT_KEY_BYTES = 32
MAX_STORED_BYTES = 2**29  # of one stored PNG

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")
_FOLDERS = ("secrets", "images", "models", "candidates", "audit", "approvals", "reports")


@dataclass(frozen=True)
class Pair:
    """One image with its masks, as stored by intake."""

    image: NDArray[np.uint8]  # (H, W, C), C is 3 (RGB) or 1 (grey)
    masks: Mapping[str, NDArray[np.uint8]]  # class -> (H, W), 0 and 255, in channel order

    @property
    def layout(self) -> ChannelLayout:
        return ChannelLayout(self.image.shape[2], tuple(self.masks))

    def tensor(self) -> NDArray[np.float32]:
        """`(C, H, W)` float32 in [-1, 1]: the image channels, then one channel per mask class."""
        return pixels_to_tensor(np.dstack([self.image, *self.masks.values()]))


class Node:
    """A node's folder.

    Attributes:
        root: the folder.
        hospital: the hospital's name, as its bundles will say it.
        ledger: which image is in which state.
    """

    def __init__(self, root: Path, hospital: str, ledger: Ledger) -> None:
        """Use `create`, `open` or `create_or_open`."""
        self.root = root
        self.hospital = hospital
        self.ledger = ledger

    @staticmethod
    def create(root: Path, hospital: str = DEFAULT_HOSPITAL) -> Node:
        """Make a new node; the folder is complete or not there.

        Raises:
            InputError: `root` exists and is not an empty folder.
            UsageError: the hospital's name is no label of our schemas: empty, longer than 200 characters, or
                with characters that control or are not seen.
        """
        root = Path(root)
        if not schema.is_label(hospital) or not hospital.strip():
            raise UsageError(
                "--hospital",
                expected="a name of 1 to 200 printable characters",
                found=repr(hospital[:50]),
                next_step="give the hospital's name",
            )
        if root.is_dir() and not root.is_symlink() and not any(root.iterdir()):
            root.rmdir()
        with files.new_directory(root, mode=0o700) as folder:
            folder.chmod(0o700)
            for name in _FOLDERS:
                private_directory(folder / name)
            _write_private(folder / "secrets" / "commitment.key", secrets.token_bytes(COMMITMENT_KEY_BYTES))
            Ledger.create(folder / "ledger.sqlite")
            description = {
                "schema_version": SCHEMA_VERSION,
                "hospital": hospital,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            _write_private(folder / "node.json", files.dump_json(description))
        return Node.open(root)

    @staticmethod
    def open(root: Path, *, read_only: bool = False) -> Node:
        """Open a node; `read_only` works while another process trains.

        Raises:
            InputError: there is no node.
            NodeStateError: it is of another version, or others on this machine may look into it.
        """
        root = Path(root)
        path = root / "node.json"
        if not path.is_file():
            raise InputError(
                root,
                expected="a node's folder",
                found="no node.json in it" if root.is_dir() else "no such folder",
                next_step="make a node with `hospital-node ingest --data DIR --node NODE`",
            )
        permissions = stat.S_IMODE(root.stat().st_mode)
        if permissions & 0o077:
            raise NodeStateError(
                root,
                expected="a folder that only its owner may enter (mode 0700)",
                found=f"mode {permissions:04o}",
                next_step=f"chmod 700 {root}",
            )
        description = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        version = description.get("schema_version") if isinstance(description, dict) else None
        if version != SCHEMA_VERSION or not isinstance(description.get("hospital"), str):
            raise NodeStateError(
                path,
                expected=f"a node of schema version {SCHEMA_VERSION} with the hospital's name",
                found=f"version {version}",
                next_step="use the release of hospital-node that made it",
            )
        return Node(root, description["hospital"], Ledger(root / "ledger.sqlite", read_only=read_only))

    @staticmethod
    def create_or_open(root: Path, hospital: str | None = None) -> Node:
        """Open the node, or make it when there is none.

        Raises:
            NodeStateError: the node exists under another hospital's name.
            UsageError: there is no node, and no hospital's name for a new one.
        """
        root = Path(root)
        if not (root / "node.json").is_file():
            if hospital is None:
                raise UsageError(
                    "--hospital",
                    expected="the hospital's name, which every bundle of a new node will carry",
                    found=f"none, and no node in {root} yet",
                    next_step='add --hospital "NAME"; it cannot be changed later',
                )
            return Node.create(root, hospital)
        node = Node.open(root)
        if hospital is not None and hospital != node.hospital:
            node.ledger.close()
            raise NodeStateError(
                root,
                expected=f"the hospital {node.hospital!r}, whose node this is",
                found=repr(hospital),
                next_step="leave out --hospital, or choose another folder for another hospital's node",
            )
        return node

    # -- what lies where

    @property
    def policy_path(self) -> Path:
        return self.root / "policy.json"

    @property
    def secrets_dir(self) -> Path:
        return self.root / "secrets"

    @property
    def images_dir(self) -> Path:
        return self.root / "images"

    @property
    def approvals_dir(self) -> Path:
        return self.root / "approvals"

    @property
    def reports_dir(self) -> Path:
        return self.root / "reports"

    def image_dir(self, image_id: str) -> Path:
        """Folder of the stored pixels: `image.png` and a `mask-<class>.png` each."""
        return self.images_dir / _checked(image_id)

    def model_dir(self, image_id: str) -> Path:
        """Folder of the checkpoints and the trained generator, made when it is not there."""
        return private_directory(self.root / "models" / _checked(image_id))

    def generator_path(self, image_id: str) -> Path:
        """The trained generator (`TrainedGenerator.save`)."""
        return self.root / "models" / _checked(image_id) / "generator.safetensors"

    def candidate_path(self, image_id: str) -> Path:
        """The exact ONNX bytes that are audited, approved and released."""
        return self.root / "candidates" / f"{_checked(image_id)}.onnx"

    def audit_path(self, image_id: str) -> Path:
        return self.root / "audit" / f"{_checked(image_id)}.json"

    # -- what it holds

    def store_pair(self, image_id: str, pair: Pair) -> None:
        """Write a pair as PNG from its pixels alone, whole or not at all; the name is taken afterwards."""
        with files.new_directory(self.image_dir(image_id), mode=0o700) as folder:
            folder.chmod(0o700)
            image = pair.image if pair.layout.image_channels == 3 else pair.image[:, :, 0]
            _write_private(folder / "image.png", encode_png(image))
            for name, mask in pair.masks.items():
                _write_private(folder / f"mask-{name}.png", encode_png(mask))

    def load_pair(self, image_id: str) -> Pair:
        """Read what intake stored.

        Raises:
            InputError: the node has no such image, or a stored file is missing.
            NodeStateError: the image was refused, or a stored file is damaged.
        """
        record = self.ledger.get(image_id)
        if not record.mask_classes:
            raise NodeStateError(
                image_id,
                expected="an image that intake took",
                found=f"{record.state}: {record.reason}",
                next_step="correct the file and ingest it again",
            )
        folder = self.image_dir(image_id)
        image = _read_png(folder / "image.png")
        return Pair(
            image[:, :, None] if image.ndim == 2 else image,
            {name: _read_png(folder / f"mask-{name}.png") for name in record.mask_classes},
        )

    def commit(self, data: bytes) -> str:
        """HMAC-SHA256 of `data` under the node's own key, hex.

        Keyed, because whoever holds a copy of an image could confirm it against a plain hash.
        """
        key = files.read_bytes(self.secrets_dir / "commitment.key", max_bytes=COMMITMENT_KEY_BYTES)
        return hmac.new(key, data, hashlib.sha256).hexdigest()

    def next_release(self) -> int:
        """The next number of the release counter: 1, 2, …, never the same twice."""
        return self.ledger.next_release()

    def remove_orphans(self) -> None:
        """Remove stored pixels that no record speaks of: an intake was killed between the two writes.

        Only for the holder of `training_lock`.
        """
        for folder in self.images_dir.iterdir():
            with contextlib.suppress(InputError):
                self.ledger.get(folder.name)
                continue
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def training_lock(self) -> Iterator[None]:
        """Be the one process that writes this node. The lock goes with the process, however that ends.

        Raises:
            NodeStateError: another process holds it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+") as file:
            os.fchmod(descriptor, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NodeStateError(
                    self.root,
                    expected="a node that no other process is writing",
                    found=f"process {file.read(20).strip() or 'unknown'} at work on it",
                    next_step="wait until it has ended; `hospital-node status` shows how far it is",
                ) from None
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield


def private_directory(path: Path) -> Path:
    """`path`, made when it is not there; mode 0700 whatever the umask."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W)` or `(H, W, 3)` uint8 as PNG bytes that hold nothing but the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def _checked(image_id: str) -> str:
    if not _IDENTIFIER.fullmatch(image_id):
        raise InputError(
            image_id,
            expected="an image identifier: 32 lower-case hexadecimal digits",
            found=f"{len(image_id)} characters",
            next_step="see `hospital-node status --all --format json` for the identifiers",
        )
    return image_id


def _write_private(path: Path, data: bytes) -> None:
    files.write_bytes(path, data, mode=0o600)


def _read_png(path: Path) -> NDArray[np.uint8]:
    data = files.read_bytes(path, max_bytes=MAX_STORED_BYTES)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image, dtype=np.uint8)
    except Exception as error:
        raise NodeStateError(
            path,
            expected="a PNG written by intake",
            found=f"{type(error).__name__}: {error}",
            next_step="ingest the image again into a new node",
        ) from error
