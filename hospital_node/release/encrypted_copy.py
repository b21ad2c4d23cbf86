"""A bundle as one file, in clear or encrypted for recipients; the node itself can always read it again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hospital_node.node.node import Node
from hospital_node.release.recipients import Recipient
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.errors import UsageError, VerificationError
from sharekit.signing import encryption
from sharekit.storage import container, files

_IDENTITY = "reader"


def zipped(bundle: VerifiedBundle, folder: Path) -> Path:
    """The bundle as one zip, made in `folder` if it is none yet; equal bundles give equal zips."""
    if isinstance(bundle.container, container.Zip):
        return bundle.path
    out = folder / "bundle.zip"
    with container.new_container(out) as writer:
        for name in sorted(set(bundle.digests) - {"manifest.json"}):
            writer.add(name, bundle.read(name))
        writer.add("manifest.json", bundle.read("manifest.json"))
        writer.add("model.sig", bundle.container.read("model.sig"))
        writer.close()
    return out


def encrypt_for(node: Node, source: Path, out: Path, recipients: Sequence[Recipient]) -> Path:
    """Encrypt a file for these recipients and for the node, so that a second person can compare it.

    Raises:
        UsageError: a recipient has registered no key.
        DependencyError: pyrage is not installed.
    """
    encryption.encrypt(source, out, [*keys_of(recipients), _own_recipient(node)])
    return out


def keys_of(recipients: Sequence[Recipient]) -> list[str]:
    """The keys for encryption of these recipients.

    Raises:
        UsageError: one has registered none.
    """
    for recipient in recipients:
        if recipient.encryption_key is None:
            raise UsageError(
                f"--encrypt-for {recipient.name}",
                expected="a recipient with a key for encryption",
                found="none in the register",
                next_step="hospital-node recipient add --node NODE --name NAME … --encryption-key FILE",
            )
    return [str(recipient.encryption_key) for recipient in recipients]


def require_same(node: Node, encrypted: Path, plain: Path) -> None:
    """Refuse an encrypted file that does not hold the same bytes as a plain one.

    Raises:
        InputError: the node cannot read it, because another node encrypted it.
        VerificationError: it holds something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        opened = Path(folder, "opened")
        encryption.decrypt(encrypted, opened, [node.secrets_dir / f"{_IDENTITY}.identity"])
        if files.sha256_of(opened) != files.sha256_of(plain):
            raise VerificationError(
                encrypted,
                expected="the bundle that you publish, encrypted",
                found="another content",
                next_step="do not sign; ask the first person what was published",
            )


def encrypted_path(bundle: Path) -> Path:
    """Where the encrypted copy of an exported bundle goes: BUNDLE.zip.age.

    Raises:
        InputError: the path exists already.
    """
    name = bundle.name if bundle.suffix.lower() == ".zip" else f"{bundle.name}.zip"
    path = bundle.with_name(f"{name}{encryption.SUFFIX}")
    files.refuse_existing(path)
    return path


def encrypted_export(node: Node, bundle: VerifiedBundle, out: Path, recipients: Sequence[Recipient]) -> Path:
    """Encrypt an exported bundle into `out`, to hand over."""
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        return encrypt_for(node, zipped(bundle, Path(folder)), out, recipients)


def _own_recipient(node: Node) -> str:
    public = node.secrets_dir / f"{_IDENTITY}.recipient"
    if not public.is_file():
        encryption.write_identity(node.secrets_dir / _IDENTITY)
    return encryption.read_recipient(str(public))
