"""A key service of somebody else: the class in docs/key-services.md signs behind its entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharekit.cli import main
from sharekit.errors import InputError
from sharekit.signing.external_key import load_signer
from sharekit.signing.keys import SigningKey, generate
from tests.commands_of_pages import blocks
from tests.sharekit.bundles import small_bundle

PAGE = Path(__file__).parents[2] / "docs" / "key-services.md"
CLOUD = """
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

KEYS = {}


class Service:
    def sign(self, KeyId, Message, MessageType, SigningAlgorithm):
        assert (MessageType, SigningAlgorithm) == ("DIGEST", "ECDSA_SHA_256")
        return {"Signature": KEYS[KeyId].sign(Message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))}


def client(name, region_name):
    assert (name, region_name) == ("kms", "eu-north-1")
    return Service()
"""
"""Stands for the cloud, which no test calls: it signs with real keys, and not always with the lower s."""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with the page's class and its entry point, and a key file of its scheme."""
    site = tmp_path / "site"
    info = site / "hospital_keys-1.dist-info"
    info.mkdir(parents=True)
    (site / "hospital_keys.py").write_text(blocks(PAGE, "python")[0])
    (site / "boto3.py").write_text(CLOUD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hospital-keys\nVersion: 1\n")
    entry = blocks(PAGE, "toml")[0].replace('[project.entry-points."sharekit.signers"]', "[sharekit.signers]")
    (info / "entry_points.txt").write_text(entry.replace('"', ""))
    monkeypatch.syspath_prepend(str(site))
    import boto3
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    boto3.KEYS["1234abcd"] = secret
    (tmp_path / "release.key").write_text('{"external_key": "kms:eu-north-1/1234abcd"}')
    SigningKey(secret).public.save(tmp_path / "release.pub")
    yield tmp_path
    for name in ("boto3", "hospital_keys"):
        sys.modules.pop(name, None)


def test_the_documented_class_signs_a_bundle_that_anybody_verifies(service: Path) -> None:
    signer = load_signer(service / "release.key")
    small_bundle(service / "bundle", signer)
    assert main(["verify", str(service / "bundle"), "--key", str(service / "release.pub")]) == 0
    assert all(signer.public.verify(signer.sign(message), message) for message in (b"a", b"b", b"c", b"d"))


def test_a_service_that_signs_with_another_key_is_noticed(service: Path) -> None:
    (service / "release.pub").unlink()
    generate().public.save(service / "release.pub")
    with pytest.raises(InputError, match="another key"):
        load_signer(service / "release.key").sign(b"message")


def test_a_service_that_fails_is_named(service: Path) -> None:
    (service / "release.key").write_text('{"external_key": "kms:eu-north-1/unknown"}')
    with pytest.raises(InputError, match="kms:eu-north-1/unknown"):
        load_signer(service / "release.key").sign(b"message")
