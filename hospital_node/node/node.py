"""Layout of a node's folder: mode 0700, every file 0600, and nothing leaves it except by release."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import shlex
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

from hospital_node.ledger.ledger import Ledger
from hospital_node.node.left_files import finish_interrupted_erasure
from hospital_node.node.pair import Pair, common_size, encode_png, read_png
from hospital_node.node.upgrade import OLDER_VERSIONS, SCHEMA_VERSION, upgrade
from hospital_node.node.write_lock import write_lock
from sharekit.errors import InputError, NodeStateError, UsageError
from sharekit.storage import files, schema

DEFAULT_HOSPITAL = "unnamed hospital"
COMMITMENT_KEY_BYTES = 32

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")
_FOLDERS = ("secrets", "images", "models", "candidates", "audit", "approvals", "reports")


class Node:
    """A node's folder.

    Attributes:
        root: the folder.
        hospital: the hospital's name, which its bundles carry.
        ledger: the states of images and generators.
    """

    def __init__(self, root: Path, hospital: str, ledger: Ledger, *, up_to_date: bool = True) -> None:
        """Use `create`, `open` or `create_or_open`."""
        self.root = root
        self.hospital = hospital
        self.ledger = ledger
        self._up_to_date = up_to_date

    @staticmethod
    def create(root: Path, hospital: str = DEFAULT_HOSPITAL) -> Node:
        """Make a new node; its folder appears complete or not at all.

        Raises:
            InputError: `root` exists and is not an empty folder.
            UsageError: the hospital's name does not fit our schemas: it is empty, longer than 200 characters,
                or has control or invisible characters.
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

        An interrupted erasure is finished, and a node of an earlier release is upgraded, but not with
        `read_only`: then an older ledger can be read, and asking for a generator's files raises an error.

        Raises:
            InputError: `root` holds no node.
            NodeStateError: the node is of another version, other users may enter it, or it needs an upgrade
                while another process writes it.
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
        known = version == SCHEMA_VERSION or version in OLDER_VERSIONS
        if not known or not isinstance(description.get("hospital"), str):
            raise NodeStateError(
                path,
                expected=f"a node of schema version {SCHEMA_VERSION} with the hospital's name",
                found=f"version {version}",
                next_step="use the release of hospital-node that made it",
            )
        if version in OLDER_VERSIONS and not read_only:
            upgrade(root, description)
            version = SCHEMA_VERSION
        ledger = Ledger(root / "ledger.sqlite", read_only=read_only)
        if not read_only:
            finish_interrupted_erasure(root, ledger)
        return Node(root, description["hospital"], ledger, up_to_date=version == SCHEMA_VERSION)

    @staticmethod
    def create_or_open(root: Path, hospital: str | None = None) -> Node:
        """Open the node, or make it if it does not exist.

        Raises:
            NodeStateError: the node exists under another hospital's name.
            UsageError: there is no node yet, and `hospital` gives no name for a new one.
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

    # -- paths

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
        """Folder of the stored pixels: `image.png` and one `mask-<class>.png` per class."""
        return self.images_dir / _checked(image_id)

    def model_dir(self, generator_id: str) -> Path:
        """Folder of the checkpoints and the trained generator, created if missing."""
        return private_directory(self._place("models", generator_id))

    def generator_path(self, generator_id: str) -> Path:
        """The trained generator (`TrainedGenerator.save`)."""
        return self._place("models", generator_id) / "generator.safetensors"

    def candidate_path(self, generator_id: str) -> Path:
        """The exact ONNX bytes that are audited, approved and released."""
        return self._place("candidates", generator_id, ".onnx")

    def audit_path(self, generator_id: str) -> Path:
        return self._place("audit", generator_id, ".json")

    def audit_seal_path(self, generator_id: str) -> Path:
        """The seal that the audit was written with (`audited.store_audit`)."""
        return self._place("audit", generator_id, ".seal")

    def _place(self, folder: str, generator_id: str, suffix: str = "") -> Path:
        if not self._up_to_date:
            command = f"hospital-node report --node {shlex.quote(str(self.root))}"
            raise NodeStateError(
                self.root,
                expected="a node of this release",
                found="one of an earlier release, opened for reading",
                next_step=f"run `{command}`, which brings it up to date",
            )
        return self.root / folder / f"{_checked(generator_id)}{suffix}"

    # -- contents

    def store_pair(self, image_id: str, pair: Pair) -> None:
        """Write the pixels of a pair, and nothing else, as PNG files; all of them or none are stored."""
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
        image = read_png(folder / "image.png")
        return Pair(
            image[:, :, None] if image.ndim == 2 else image,
            {name: read_png(folder / f"mask-{name}.png") for name in record.mask_classes},
        )

    def load_sources(self, generator_id: str) -> tuple[Pair, ...]:
        """The pairs behind a generator, brought to their `common_size`, in the order of training.

        Raises:
            InputError: the node has no such generator, or a stored file is missing.
            NodeStateError: a stored file is damaged.
        """
        pairs = [self.load_pair(image) for image in self.ledger.generators.get(generator_id).images]
        height, width = common_size([pair.image.shape[:2] for pair in pairs])
        return tuple(pair.resized(height, width) for pair in pairs)

    def commit(self, data: bytes) -> str:
        """HMAC-SHA256 of `data` under the node's own key, hex.

        It is keyed because a plain hash would let anybody with a copy of an image confirm that it is here.
        """
        key = files.read_bytes(self.secrets_dir / "commitment.key", max_bytes=COMMITMENT_KEY_BYTES)
        return hmac.new(key, data, hashlib.sha256).hexdigest()

    def next_release(self) -> int:
        """The next number of the release counter: 1, 2, …, never the same twice."""
        return self.ledger.next_release()

    def remove_orphans(self) -> None:
        """Remove stored pixels without a ledger record, left by an intake killed between the two writes.

        Call this only while holding `write_lock`.
        """
        for folder in self.images_dir.iterdir():
            with contextlib.suppress(InputError):
                self.ledger.get(folder.name)
                continue
            shutil.rmtree(folder)

    def write_lock(self) -> contextlib.AbstractContextManager[None]:
        """Become the only process that writes this node; the lock ends with the process, however it ends.

        Raises:
            NodeStateError: another process holds it.
        """
        return write_lock(self.root)


def private_directory(path: Path) -> Path:
    """`path`, created if missing, with mode 0700 for any umask."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def _checked(identifier: str) -> str:
    if not _IDENTIFIER.fullmatch(identifier):
        raise InputError(
            identifier,
            expected="an identifier of 32 lower-case hexadecimal digits",
            found=f"{len(identifier)} characters",
            next_step="see `hospital-node status --all --format json` for the identifiers",
        )
    return identifier


def _write_private(path: Path, data: bytes) -> None:
    files.write_bytes(path, data, mode=0o600)
