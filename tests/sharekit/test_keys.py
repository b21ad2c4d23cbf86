"""Keys: what is saved is what is loaded, and anything but a P-256 key of the right half is refused."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from sharekit.cli import main
from sharekit.errors import InputError
from sharekit.signing import keys
from sharekit.signing.keys import PublicKey, SigningKey

MESSAGE = b"message"


def private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("password", [None, b"correct horse"])
def test_saved_private_key_is_the_same_when_loaded(tmp_path: Path, password: bytes | None) -> None:
    key = keys.generate()
    key.save(tmp_path / "a.key", password)
    loaded = SigningKey.load(tmp_path / "a.key", password)
    assert loaded.public == key.public
    assert key.public.verify(loaded.sign(MESSAGE), MESSAGE)


def test_saved_public_key_is_the_same_when_loaded(tmp_path: Path) -> None:
    public = keys.generate().public
    public.save(tmp_path / "a.pub")
    assert PublicKey.load(tmp_path / "a.pub") == public
    assert PublicKey.from_pem(public.pem()) == public


def test_fingerprint_is_the_sha256_of_the_subject_public_key_info() -> None:
    public = keys.generate().public
    der = serialization.load_pem_public_key(public.pem()).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public.fingerprint == hashlib.sha256(der).hexdigest()


def test_compressed_point_is_the_same_key() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    # SubjectPublicKeyInfo of a compressed P-256 point: 33 bytes in a BIT STRING of 34.
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    der = serialization.load_der_public_key(prefix + point)
    pem = der.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.from_pem(pem) == PublicKey.from_pem(public_pem(private))


def test_signature_holds_for_its_message_and_key_only() -> None:
    key, other = keys.generate(), keys.generate()
    signature = key.sign(MESSAGE)
    assert key.public.verify(signature, MESSAGE)
    assert not key.public.verify(signature, MESSAGE + b"x")
    assert not key.public.verify(signature[:-1], MESSAGE)
    assert not key.public.verify(b"", MESSAGE)
    assert not other.public.verify(signature, MESSAGE)


def test_of_the_two_signatures_that_one_makes_the_lower_is_made_and_both_hold() -> None:
    """With (r, s) also (r, order - s) holds: ADR 25 says why that harms nobody."""
    key = keys.generate()
    for _ in range(40):
        r, s = decode_dss_signature(key.sign(MESSAGE))
        assert 0 < s <= keys.ORDER // 2
    assert key.public.verify(encode_dss_signature(r, keys.ORDER - s), MESSAGE)


def test_private_key_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    keys.generate().save(tmp_path / "a.key")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


def test_private_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    keys.generate().save(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(InputError, match="0640"):
        SigningKey.load(tmp_path / "a.key")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    for save in (keys.generate().save, keys.generate().public.save):
        with pytest.raises(InputError, match="never overwritten"):
            save(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("password", [None, b"wrong"])
def test_encrypted_key_needs_its_password(tmp_path: Path, password: bytes | None) -> None:
    keys.generate().save(tmp_path / "a.key", b"right")
    with pytest.raises(InputError, match="password"):
        SigningKey.load(tmp_path / "a.key", password)


def test_private_key_given_as_public_is_refused_as_such(tmp_path: Path) -> None:
    keys.generate().save(tmp_path / "a.key")
    with pytest.raises(InputError, match="a private key"):
        PublicKey.load(tmp_path / "a.key")


def test_public_key_given_as_private_is_refused_as_such(tmp_path: Path) -> None:
    keys.generate().public.save(tmp_path / "a.pub")
    (tmp_path / "a.pub").chmod(0o600)
    with pytest.raises(InputError, match="a public key"):
        SigningKey.load(tmp_path / "a.pub")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()], ids=lambda curve: curve.name)
def test_key_on_another_curve_is_refused_by_its_name(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    (tmp_path / "a.key").write_bytes(private_pem(private))
    (tmp_path / "a.key").chmod(0o600)
    with pytest.raises(InputError, match=curve.name):
        SigningKey.load(tmp_path / "a.key")
    with pytest.raises(InputError, match=curve.name):
        PublicKey.from_pem(public_pem(private))


def test_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "a.key").write_bytes(private_pem(private))
    (tmp_path / "a.key").chmod(0o600)
    with pytest.raises(InputError, match="Ed25519"):
        SigningKey.load(tmp_path / "a.key")
    with pytest.raises(InputError, match="Ed25519"):
        PublicKey.from_pem(public_pem(private))


@pytest.mark.parametrize("data", [b"", b"not a key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    path.chmod(0o600)
    for load in (PublicKey.load, SigningKey.load):
        with pytest.raises(InputError) as caught:
            load(path)
        assert caught.value.item == str(path)


def test_command_makes_a_pair_and_prints_its_fingerprint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            ["keys", "new", "--out", str(tmp_path / "new" / "hospital"), "--no-password", "--format", "json"]
        )
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert SigningKey.load(tmp_path / "new" / "hospital.key").public.fingerprint == made["fingerprint"]
    assert main(["keys", "fingerprint", made["public_key"]]) == 0
    assert capsys.readouterr().out.strip() == made["fingerprint"]


def test_command_puts_a_pair_into_a_folder_but_never_over_another(tmp_path: Path) -> None:
    assert main(["keys", "new", "--out", str(tmp_path), "--no-password"]) == 0
    before = (tmp_path / "signing.key").read_bytes()
    assert main(["keys", "new", "--out", str(tmp_path)]) == InputError.exit_code
    assert (tmp_path / "signing.key").read_bytes() == before


def test_command_makes_no_private_key_when_the_public_path_is_taken(tmp_path: Path) -> None:
    (tmp_path / "signing.pub").write_bytes(b"another")
    assert main(["keys", "new", "--out", str(tmp_path)]) == InputError.exit_code
    assert not (tmp_path / "signing.key").exists()


def test_command_encrypts_with_the_password_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSWORD", "secret")
    assert main(["keys", "new", "--out", str(tmp_path), "--password-env", "KEY_PASSWORD"]) == 0
    assert b"ENCRYPTED" in (tmp_path / "signing.key").read_bytes()
    SigningKey.load(tmp_path / "signing.key", b"secret")


def test_command_refuses_an_empty_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY_PASSWORD", raising=False)
    assert main(["keys", "new", "--out", str(tmp_path), "--password-env", "KEY_PASSWORD"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_command_makes_no_unencrypted_key_unless_asked(tmp_path: Path) -> None:
    assert main(["keys", "new", "--out", str(tmp_path / "a")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_command_takes_the_first_line_of_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\nnot this\n")
    arguments = ["--out", str(tmp_path / "a"), "--password-file", str(tmp_path / "password")]
    assert main(["keys", "new", *arguments]) == 0
    SigningKey.load(tmp_path / "a.key", b"secret")


def test_a_terminal_is_asked_for_the_password_of_a_new_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: "typed")
    assert main(["keys", "new", "--out", str(tmp_path / "a")]) == 0
    SigningKey.load(tmp_path / "a.key", b"typed")
