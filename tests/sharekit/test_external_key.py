"""Keys on a PKCS#11 token: the very commands work, and the private key never leaves the token."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sharekit.cli import main
from sharekit.errors import InputError
from sharekit.signing.external_key import load_signer
from sharekit.signing.keys import ORDER, PublicKey, generate
from tests.sharekit.bundles import small_bundle

LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
LIBRARY = next((path for path in LIBRARIES if Path(path).is_file()), None)
PIN = "1234"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A software token with a P-256 key under the identifier 2, and a file with its PIN."""
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra token)")
    if LIBRARY is None or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed: its token stands for hardware")
    root = tmp_path_factory.mktemp("token")
    (root / "tokens").mkdir()
    (root / "softhsm2.conf").write_text(f"directories.tokendir = {root / 'tokens'}\n")
    (root / "pin").write_text(PIN)
    os.environ["SOFTHSM2_CONF"] = str(root / "softhsm2.conf")
    os.environ["PYKCS11LIB"] = LIBRARY
    make = ["softhsm2-util", "--init-token", "--free", "--label", "hospital", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(make, check=True, capture_output=True)
    from pkcs11.util.ec import encode_named_curve_parameters

    session = pkcs11.lib(LIBRARY).get_token(token_label="hospital").open(rw=True, user_pin=PIN)
    with session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        domain = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        domain.generate_keypair(
            store=True, label="release", id=b"\x02", mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN
        )
    return root


@pytest.fixture
def key_file(token: Path, tmp_path: Path) -> Path:
    pin = ("--password-file", str(token / "pin"))
    assert main(["keys", "new", "--out", str(tmp_path / "release"), "--token", "2@hospital", *pin]) == 0
    return tmp_path / "release.key"


def test_a_token_signs_a_bundle_that_anybody_verifies(key_file: Path, tmp_path: Path) -> None:
    signer = load_signer(key_file, PIN.encode())
    small_bundle(tmp_path / "bundle", signer)
    assert main(["verify", str(tmp_path / "bundle"), "--key", str(tmp_path / "release.pub")]) == 0


def test_the_key_file_holds_an_address_and_no_key(key_file: Path) -> None:
    assert b"PRIVATE" not in key_file.read_bytes()
    assert b"hsm:2" in key_file.read_bytes()
    assert key_file.stat().st_mode & 0o077 == 0


def test_signatures_of_a_token_have_the_lower_s(key_file: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    signer = load_signer(key_file, PIN.encode())
    for message in (b"a", b"b", b"c", b"d"):
        signature = signer.sign(message)
        assert signer.public.verify(signature, message)
        assert decode_dss_signature(signature)[1] <= ORDER // 2


def test_a_wrong_or_missing_pin_is_said_so(key_file: Path) -> None:
    with pytest.raises(InputError, match="PIN"):
        load_signer(key_file, b"0000").sign(b"message")
    with pytest.raises(InputError, match="PIN"):
        load_signer(key_file).sign(b"message")


def test_a_public_file_of_another_key_is_noticed(key_file: Path) -> None:
    public = key_file.with_suffix(".pub")
    public.unlink()
    generate().public.save(public)
    with pytest.raises(InputError, match="another key"):
        load_signer(key_file, PIN.encode()).sign(b"message")


def test_a_repository_takes_a_token_for_a_root_key(key_file: Path, tmp_path: Path) -> None:
    from sharekit.repository import steward

    roots = [load_signer(key_file, PIN.encode()), generate()]
    publics = [*(root.public for root in roots), generate().public]
    made = steward.init(tmp_path / "repository", publics, roots, generate())
    assert len(made.root_fingerprint) == 64


@pytest.mark.parametrize("text", ["{", '{"external_key": 1}', '{"external_key": "hsm:2", "more": 1}'])
def test_a_malformed_address_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.key").write_text(text)
    with pytest.raises(InputError, match="external_key"):
        load_signer(tmp_path / "a.key")


def test_an_unknown_kind_of_address_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("securesystemslib", reason="securesystemslib is not installed")
    (tmp_path / "a.key").write_text('{"external_key": "nothing:2"}')
    generate().public.save(tmp_path / "a.pub")
    with pytest.raises(InputError):
        load_signer(tmp_path / "a.key", b"1").sign(b"message")
    assert PublicKey.load(tmp_path / "a.pub")
