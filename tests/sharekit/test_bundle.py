"""Bundles: what the hospital signed is accepted as a whole; every attack is refused with the file's name."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sharekit.bundle import manifest
from sharekit.bundle.bundle import PRIVACY_PREDICATE, read_claims, verify_bundle
from sharekit.bundle.manifest import FeatureSource
from sharekit.cli import main
from sharekit.errors import InputError, UsageError, VerificationError
from sharekit.signing import dsse, keys, oms
from sharekit.signing.keys import PublicKey
from sharekit.signing.oms import SignatureFile
from sharekit.storage import container, files
from tests.sharekit.bundles import (
    CREATED,
    EXPIRES,
    VERDICT,
    attestation,
    complete,
    make_parts,
    privacy_predicate,
    sha256,
    small_bundle,
    tiny_onnx,
    write_signed,
)
from tests.tiny_features import tiny_network, tiny_statistics

VECTORS = Path(__file__).resolve().parents[2] / "schemas" / "v1" / "vectors"
KEY, OTHER = keys.generate(), keys.generate()
GENERATORS = [f"generators/{tiny_onnx(seed)[0].id}.onnx" for seed in (0, 1)]
STATISTICS = (VECTORS / "statistics" / "valid" / "one-class.json").read_bytes()
STYLE = tiny_statistics(tiny_network()).to_files()
STYLE_SOURCE = FeatureSource.from_json(json.loads(STYLE["style/style.json"])["network"])
NAMES = sorted(["CARD.md", "manifest.json", "model.sig", "privacy.json", "provenance.json", *GENERATORS])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("original") / "bundle", KEY).path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(original, tmp_path / "bundle")


def refusal(path: Path, pinned: PublicKey = KEY.public) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify_bundle(path, [pinned])
    return caught.value


# What is accepted.


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_written_bundle_is_authentic(tmp_path: Path, name: str) -> None:
    parts = make_parts(KEY, release=7)
    written = parts.write(tmp_path / name, KEY)
    verified = verify_bundle(tmp_path / name, [OTHER.public, KEY.public])
    assert (written.path, written.names) == (verified.path, verified.names)
    assert verified.names == tuple(name for name in NAMES if name != "model.sig")
    assert (verified.verdict, verified.fingerprint) == ("authentic", KEY.public.fingerprint)
    assert verified.manifest_sha256 == sha256(verified.read("manifest.json"))
    assert verified.manifest.release == 7
    assert all(written.read(file) == verified.read(file) == data for file, data in parts.contents.items())


def test_bundle_is_unchanged_when_moved(folder: Path, original: Path) -> None:
    moved = verify_bundle(folder.rename(folder.with_name("elsewhere")), [KEY.public])
    assert moved.digests == verify_bundle(original, [KEY.public]).digests


def test_unpacked_zip_is_the_same_bundle(tmp_path: Path) -> None:
    packed = small_bundle(tmp_path / "bundle.zip", KEY)
    with zipfile.ZipFile(packed.path) as file:
        file.extractall(tmp_path / "bundle")
    assert verify_bundle(tmp_path / "bundle", [KEY.public]).digests == packed.digests


def test_expired_bundle_is_authentic_and_says_that_it_has_expired(tmp_path: Path) -> None:
    expires = datetime(2026, 2, 1, tzinfo=UTC)
    bundle = small_bundle(tmp_path / "bundle", KEY, expires=expires)
    assert bundle.verdict == "authentic"
    assert bundle.manifest.expired(expires)


def test_statistics_and_style_are_carried_too(tmp_path: Path) -> None:
    extra = {"statistics.json": STATISTICS, **STYLE}
    bundle = small_bundle(tmp_path / "bundle", KEY, extra=extra)
    assert {name: bundle.read(name) for name in extra} == extra


def test_bundle_that_expired_or_comes_from_the_future_is_authentic_with_a_warning(folder: Path) -> None:
    """The case expired-bundle, at any time that a clock may show."""

    def kinds(now: datetime) -> list[str]:
        return [warning.kind for warning in verify_bundle(folder, [KEY.public], now).warnings]

    assert kinds(CREATED) == kinds(EXPIRES - timedelta(seconds=1)) == []
    assert kinds(EXPIRES) == ["expired"]
    assert kinds(CREATED - timedelta(minutes=5)) == []  # two clocks are never quite the same
    assert kinds(CREATED - timedelta(days=1)) == ["created-in-the-future"]


# What is never written.


def test_bundle_that_would_not_verify_is_not_written(tmp_path: Path) -> None:
    parts = make_parts(KEY)
    del parts.contents["privacy.json"]
    with pytest.raises(VerificationError, match="privacy"):
        parts.write(tmp_path / "bundle", KEY)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(folder: Path) -> None:
    with pytest.raises(InputError):
        small_bundle(folder, KEY)
    verify_bundle(folder, [KEY.public])


# Attacks by someone without the key.


def _flip_first(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _flip_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _flip_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _truncate(data: bytes) -> bytes:
    return data[:-1]


def _append(data: bytes) -> bytes:
    return data + b"\n"


def _empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [_flip_first, _flip_middle, _flip_last, _truncate, _append, _empty],
    ids=lambda change: change.__name__,
)
def test_changed_file_is_refused_by_its_name(
    folder: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    assert refusal(folder).item == name


@pytest.mark.parametrize("name", NAMES)
def test_changed_file_in_a_zip_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    path = small_bundle(tmp_path / "bundle.zip", KEY).path
    with zipfile.ZipFile(path) as file:
        inside = file.read(name)
    data = path.read_bytes()
    assert data.count(inside) == 1
    path.write_bytes(data.replace(inside, _flip_middle(inside)))
    assert refusal(path).item == name


def test_swapped_files_are_refused(folder: Path) -> None:
    first, second = (folder / name for name in GENERATORS)
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert refusal(folder).item == GENERATORS[0] or refusal(folder).item == GENERATORS[1]


def test_symbolic_link_is_refused(folder: Path, original: Path) -> None:
    (folder / "CARD.md").unlink()
    (folder / "CARD.md").symlink_to(original / "CARD.md")
    assert (refusal(folder).item, refusal(folder).found) == ("CARD.md", "a symbolic link")


def test_hard_link_is_refused(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "CARD.md", tmp_path / "second name")
    assert refusal(folder).item == "CARD.md"


def test_unlisted_file_is_refused(folder: Path) -> None:
    (folder / "generators" / "extra.onnx").write_bytes(b"x")
    assert refusal(folder).item == "generators/extra.onnx"


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        (".DS_Store", "delete it"),
        ("._manifest.json", "delete it"),
        ("style/.DS_Store", "delete it"),
        ("Thumbs.db", "delete it"),
        (".gitattributes", "delete it"),
        (".cache/huggingface/download/model.sig.metadata", "delete it"),
        ("notes.txt", "fetch the bundle again"),
        ("other/notes.json", "fetch the bundle again"),
        ("my notes.txt", "fetch the bundle again"),
        ("Größe.txt", "fetch the bundle again"),
        ("aux.txt", "fetch the bundle again"),
    ],
)
def test_extra_file_is_called_an_extra_file_whatever_its_name_is(
    folder: Path, name: str, next_step: str
) -> None:
    """The case bundle-with-os-files: `.DS_Store` was said to need ASCII letters."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    error = refusal(folder)
    assert error.item == ascii(name)[1:-1]
    assert (error.expected, error.found[:13]) == ("only files that the signature covers", "an extra file")
    assert error.next_step.startswith(next_step)


@pytest.mark.parametrize("name", ["manifest.json", "CARD.md", GENERATORS[0]])
def test_mismatch_says_the_digest_that_the_file_has_and_the_signed_one(folder: Path, name: str) -> None:
    """The case bundle-with-os-files: the digest that was found was said to be the signed one."""
    signed = sha256((folder / name).read_bytes())
    (folder / name).write_bytes(b"other bytes")
    error = refusal(folder)
    assert error.item == name
    assert signed in error.expected
    assert error.found == f"11 bytes, SHA-256 {sha256(b'other bytes')}"


@pytest.mark.parametrize("name", NAMES)
def test_git_lfs_pointer_in_the_place_of_a_file_is_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n"
    (folder / name).write_text(text)
    error = refusal(folder)
    assert (error.item, error.found) == (name, "a Git LFS pointer, which only stands for the file")
    assert "git lfs pull" in error.next_step


def test_files_of_a_zip_in_another_order_are_refused(tmp_path: Path) -> None:
    """Otherwise one bundle would make many zips, each with a digest of its own."""
    packed = small_bundle(tmp_path / "bundle.zip", KEY)
    names = list(packed.container.lengths)
    assert names == [*sorted(set(names) - {"manifest.json", "model.sig"}), "manifest.json", "model.sig"]
    for number, order in enumerate([names, names[1:] + names[:1], names[:-2] + names[:-3:-1]]):
        path = tmp_path / f"{number}.zip"
        with container.new_container(path) as writer:
            for name in order:
                writer.add(name, packed.container.read(name))
            writer.close()
        if order == names:
            assert path.read_bytes() == packed.path.read_bytes()
        else:
            assert refusal(path).found == "another order"


@pytest.mark.parametrize("name", NAMES)
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder).item == name


def test_wrong_key_is_refused(folder: Path) -> None:
    error = refusal(folder, OTHER.public)
    assert error.item == "model.sig"
    assert OTHER.public.fingerprint in error.expected


def test_no_key_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError):
        verify_bundle(folder, [])


def test_bundle_signed_anew_by_another_key_is_refused(folder: Path, tmp_path: Path) -> None:
    contents = complete(make_parts(OTHER))
    assert refusal(write_signed(tmp_path / "other", contents, OTHER)).item == "model.sig"


def test_p384_key_is_refused_as_a_pin_and_as_a_signer(folder: Path) -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(InputError, match="secp384r1"):
        PublicKey.from_pem(pem)
    signature = SignatureFile.from_bytes((folder / "model.sig").read_bytes())
    message = dsse.pae(signature.envelope.payload_type, signature.envelope.payload)
    envelope = dataclasses.replace(
        signature.envelope, signature=private.sign(message, ec.ECDSA(hashes.SHA384()))
    )
    forged = SignatureFile(signature.hint, envelope)
    (folder / "model.sig").write_bytes(forged.to_bytes())
    assert refusal(folder).item == "model.sig"


def _edit_signature(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads((folder / "model.sig").read_bytes())
    edit(value)
    (folder / "model.sig").write_bytes(files.dump_json(value))


def test_two_signatures_are_refused(folder: Path) -> None:
    _edit_signature(
        folder, lambda value: value["dsseEnvelope"]["signatures"].append({"keyid": "", "sig": "AA=="})
    )
    assert (refusal(folder).item, refusal(folder).found) == ("model.sig", "2 signatures")


def test_zero_signatures_are_refused(folder: Path) -> None:
    _edit_signature(folder, lambda value: value["dsseEnvelope"]["signatures"].clear())
    assert (refusal(folder).item, refusal(folder).found) == ("model.sig", "0 signatures")


def test_duplicate_key_in_the_signature_file_is_refused(folder: Path) -> None:
    data = (folder / "model.sig").read_bytes()
    (folder / "model.sig").write_bytes(data.replace(b'"payload":', b'"payload": "e30=", "payload":'))
    assert refusal(folder).item == "model.sig"
    assert "twice" in refusal(folder).found


def test_signature_of_an_older_release_is_refused(folder: Path, tmp_path: Path) -> None:
    older = small_bundle(tmp_path / "older", KEY, extra={"statistics.json": STATISTICS}).path
    shutil.copy(older / "model.sig", folder / "model.sig")
    assert refusal(folder).item == "statistics.json"


def test_huge_file_is_refused_without_being_read(folder: Path) -> None:
    os.truncate(folder / "CARD.md", 2**40)
    assert refusal(folder).item == "CARD.md"


def test_file_that_changes_after_verification_is_not_read(folder: Path) -> None:
    bundle = verify_bundle(folder, [KEY.public])
    (folder / "CARD.md").write_bytes(_flip_first((folder / "CARD.md").read_bytes()))
    with pytest.raises(VerificationError, match=r"CARD\.md"):
        bundle.read("CARD.md")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "model.sig", "nothing"])
def test_only_verified_files_can_be_read(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"x")
    with pytest.raises(VerificationError):
        verify_bundle(folder, [KEY.public]).read(name)


# What the right key signed, by mistake or under attack, and is refused all the same.


def resigned(tmp_path: Path, change: Callable[[dict[str, bytes]], None]) -> VerificationError:
    """The refusal of a bundle that was changed and then signed by the right key."""
    contents = complete(make_parts(KEY))
    change(contents)
    return refusal(write_signed(tmp_path / "bundle", contents, KEY))


def edited_manifest(tmp_path: Path, edit: Callable[[dict[str, Any]], Any]) -> VerificationError:
    def change(contents: dict[str, bytes]) -> None:
        value = json.loads(contents["manifest.json"])
        edit(value)
        contents["manifest.json"] = files.dump_json(value)

    return resigned(tmp_path, change)


def test_resigned_bundle_without_a_change_is_accepted(tmp_path: Path) -> None:
    """The control of the tests below: it is the change that makes them fail."""
    path = write_signed(tmp_path / "bundle", complete(make_parts(KEY)), KEY)
    assert verify_bundle(path, [KEY.public]).verdict == "authentic"


@pytest.mark.parametrize("name", ["notes/more.json", "run.py", "generators/hook.py", "style/pickle.npy"])
def test_signed_file_of_an_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    error = resigned(tmp_path, lambda contents: contents.update({name: b"{}"}))
    assert (error.item, error.found) == (name, "a signed file of another kind")
    parts = make_parts(KEY, extra={name: b"{}"})
    with pytest.raises(VerificationError, match="another kind"):
        parts.write(tmp_path / "written", KEY)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_the_exporter_writes_is_of_a_known_kind(name: str) -> None:
    assert manifest.is_known_file(name) is (name not in ("manifest.json", "model.sig"))


def _with_extra(tmp_path: Path, extra: dict[str, bytes], features: FeatureSource | None) -> VerificationError:
    parts = make_parts(KEY, extra=extra)
    needs = dataclasses.replace(parts.manifest.dependencies, features=features)
    changed = dataclasses.replace(parts, manifest=dataclasses.replace(parts.manifest, dependencies=needs))
    return refusal(write_signed(tmp_path / "bundle", complete(changed), KEY))


def _pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[None] * 4] * 4), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("extra", "item"),
    [
        ({"style/conv1_1.npy": _pickled()}, "style/conv1_1.npy"),
        ({"style/conv1_1.npy": b"not an array"}, "style/conv1_1.npy"),
        ({"style/conv5_4.npy": STYLE["style/conv1_1.npy"]}, "style/conv5_4.npy"),
        ({"style/style.json": b"{}"}, "style/style.json"),
    ],
    ids=["pickle", "no array", "no layer", "no description"],
)
def test_style_files_that_are_not_the_described_arrays_are_refused(
    tmp_path: Path, extra: dict[str, bytes], item: str
) -> None:
    assert _with_extra(tmp_path, {**STYLE, **extra}, STYLE_SOURCE).item == item


@pytest.mark.parametrize(
    ("extra", "features"),
    [(STYLE, None), ({}, STYLE_SOURCE), (STYLE, FeatureSource(STYLE_SOURCE.name, "0" * 64))],
    ids=["manifest has none", "style has none", "another digest"],
)
def test_style_of_another_network_than_the_manifest_says_is_refused(
    tmp_path: Path, extra: dict[str, bytes], features: FeatureSource | None
) -> None:
    assert _with_extra(tmp_path, extra, features).item == "style/style.json"


def test_style_with_the_manifests_network_is_accepted(tmp_path: Path) -> None:
    """The control of the tests above."""
    path = write_signed(tmp_path / "bundle", complete(make_parts(KEY, extra=STYLE)), KEY)
    assert verify_bundle(path, [KEY.public]).manifest.dependencies.features == STYLE_SOURCE


@pytest.mark.parametrize(
    ("card", "found"),
    [
        (b"# Card\x1b[2J\n", "the character U+001B"),
        (b"a\tb", "the character U+0009"),
        (b"a\r\n", "the character U+000D"),
        ("\u202egnp.exe".encode(), "the character U+202E"),
        ("a\u200bb".encode(), "the character U+200B"),
        ("a\U000e0041".encode(), "the character U+E0041"),
        ("a\u2028b".encode(), "the character U+2028"),
        ("\x85".encode(), "the character U+0085"),
        (b"\xff", "other bytes"),
        (b"x" * (2**20 + 1), "1048577 bytes"),
    ],
    ids=ascii,
)
def test_card_that_is_not_plain_text_is_refused(tmp_path: Path, card: bytes, found: str) -> None:
    parts = make_parts(KEY, extra={"CARD.md": card})
    error = refusal(write_signed(tmp_path / "bundle", complete(parts), KEY))
    assert (error.item, error.found) == ("CARD.md", found)


def test_card_may_hold_any_script(tmp_path: Path) -> None:
    text = "# Grüße, 内視鏡, سونوگرافی — “±” 😀\n"
    small_bundle(tmp_path / "bundle", KEY, extra={"CARD.md": text.encode()})


def test_path_traversal_in_the_manifest_is_refused(tmp_path: Path) -> None:
    error = edited_manifest(tmp_path, lambda value: value["files"][0].update(path="../CARD.md"))
    assert error.item == "manifest.json"
    assert error.expected.endswith("$.files[0].path")


def test_duplicate_key_in_the_manifest_is_refused(tmp_path: Path) -> None:
    def change(contents: dict[str, bytes]) -> None:
        contents["manifest.json"] = contents["manifest.json"].replace(
            b'"hospital":', b'"hospital": "Another", "hospital":'
        )

    error = resigned(tmp_path, change)
    assert (error.item, "twice" in error.found) == ("manifest.json", True)


def test_manifest_that_hides_a_file_is_refused(tmp_path: Path) -> None:
    assert edited_manifest(tmp_path, lambda value: value["files"].pop(0)).item == "manifest.json"


def test_manifest_with_another_length_is_refused(tmp_path: Path) -> None:
    assert edited_manifest(tmp_path, lambda value: value["files"][0].update(length=1)).item == "CARD.md"


def test_manifest_with_another_digest_is_refused(tmp_path: Path) -> None:
    assert (
        edited_manifest(tmp_path, lambda value: value["files"][0].update(sha256="0" * 64)).item == "CARD.md"
    )


def test_unknown_field_in_the_manifest_is_refused(tmp_path: Path) -> None:
    assert edited_manifest(tmp_path, lambda value: value.update(patient="x")).item == "manifest.json"


def test_name_collision_is_refused(tmp_path: Path) -> None:
    error = resigned(tmp_path, lambda contents: contents.update({"card.md": b"another card"}))
    assert "collision" in error.found


def test_ignored_path_that_hides_a_file_is_refused(folder: Path) -> None:
    """The reference tool skips what `ignore_paths` names; a file there is one that nobody vouches for."""
    (folder / "payload.bin").write_bytes(b"unsigned")
    model, _ = oms.verify((folder / "model.sig").read_bytes(), [KEY.public])
    hiding = dataclasses.replace(model, ignore_paths=("model.sig", "payload.bin"))
    _sign_statement(folder, hiding.to_statement())
    error = refusal(folder)
    assert error.item == "model.sig"
    assert "payload.bin" in error.found


def test_statement_of_another_predicate_type_is_refused(folder: Path) -> None:
    model, _ = oms.verify((folder / "model.sig").read_bytes(), [KEY.public])
    other = dataclasses.replace(model.to_statement(), predicate_type="https://slsa.dev/provenance/v1")
    _sign_statement(folder, other)
    assert refusal(folder).item == "model.sig"


def test_right_signature_over_something_else_is_refused(folder: Path) -> None:
    """The envelope in privacy.json is signed by the same key; it must not pass for the model's signature."""
    envelope = dsse.Envelope.from_bytes((folder / "privacy.json").read_bytes())
    signature = SignatureFile(oms.key_hint(KEY.public), envelope)
    (folder / "model.sig").write_bytes(signature.to_bytes())
    error = refusal(folder)
    assert (error.item, oms.PREDICATE_TYPE in error.expected) == ("model.sig", True)


def _sign_statement(folder: Path, statement: dsse.Statement) -> None:
    signature = SignatureFile(oms.key_hint(KEY.public), dsse.sign_statement(statement, KEY))
    (folder / "model.sig").write_bytes(signature.to_bytes())


@pytest.mark.parametrize("name", ["privacy.json", "provenance.json", "CARD.md"])
def test_bundle_without_a_required_file_is_refused(tmp_path: Path, name: str) -> None:
    parts = make_parts(KEY)
    del parts.contents[name]
    path = write_signed(tmp_path / "bundle", complete(parts), KEY)
    assert refusal(path).item == name


def _with_privacy(privacy: bytes, tmp_path: Path) -> VerificationError:
    parts = make_parts(KEY)
    parts.contents["privacy.json"] = privacy
    return refusal(write_signed(tmp_path / "bundle", complete(parts), KEY))


def test_attestation_by_another_key_is_refused(tmp_path: Path) -> None:
    entries = make_parts(KEY).manifest.generators
    privacy = attestation(PRIVACY_PREDICATE, entries, privacy_predicate(entries), OTHER)
    assert _with_privacy(privacy, tmp_path).item == "privacy.json"


def test_attestation_of_another_predicate_type_is_refused(tmp_path: Path) -> None:
    entries = make_parts(KEY).manifest.generators
    error = _with_privacy(attestation("urn:other", entries, privacy_predicate(entries), KEY), tmp_path)
    assert (error.item, error.found) == ("privacy.json", "'urn:other'")


def test_attestation_that_leaves_out_a_generator_is_refused(tmp_path: Path) -> None:
    entries = make_parts(KEY).manifest.generators
    privacy = attestation(PRIVACY_PREDICATE, entries[:1], privacy_predicate(entries), KEY)
    assert _with_privacy(privacy, tmp_path).item == "privacy.json"


def test_audit_that_leaves_out_a_generator_is_refused(tmp_path: Path) -> None:
    entries = make_parts(KEY).manifest.generators
    privacy = attestation(PRIVACY_PREDICATE, entries, privacy_predicate(entries[:1]), KEY)
    assert _with_privacy(privacy, tmp_path).item == "privacy.json"


def test_manifest_that_says_more_than_the_audit_is_refused(tmp_path: Path) -> None:
    error = edited_manifest(tmp_path, lambda value: value["generators"][0].update(verdict="anonymous-claim"))
    assert (error.item, VERDICT in error.found or "anonymous-claim" in error.found) == ("privacy.json", True)


def test_manifest_that_counts_more_units_than_the_audit_is_refused(tmp_path: Path) -> None:
    group = {"images": 12, "units": 10, "unit": "patient"}
    error = edited_manifest(tmp_path, lambda value: value["generators"][0].update(group=group))
    assert (error.item, error.found) == ("privacy.json", "1")
    assert "10 units" in error.expected


def test_attestation_outside_its_schema_is_refused(tmp_path: Path) -> None:
    entries = make_parts(KEY).manifest.generators
    predicate = privacy_predicate(entries) | {"patients": ["x"]}
    error = _with_privacy(attestation(PRIVACY_PREDICATE, entries, predicate, KEY), tmp_path)
    assert (error.item, "patients" in error.found) == ("privacy.json", True)


@pytest.mark.parametrize("name", ["statistics.json", "style/style.json"])
def test_json_file_outside_its_schema_is_refused(tmp_path: Path, name: str) -> None:
    parts = make_parts(KEY, extra={name: b"{}"})
    assert refusal(write_signed(tmp_path / "bundle", complete(parts), KEY)).item == name


def test_json_file_that_is_not_strict_is_refused(tmp_path: Path) -> None:
    doubled = STATISTICS.replace(b'"total_epsilon":', b'"total_epsilon": 1, "total_epsilon":')
    parts = make_parts(KEY, extra={"statistics.json": doubled})
    error = refusal(write_signed(tmp_path / "bundle", complete(parts), KEY))
    assert (error.item, "twice" in error.found) == ("statistics.json", True)


def test_generator_that_the_onnx_policy_refuses_is_refused(tmp_path: Path) -> None:
    spec, data = tiny_onnx()
    parts = make_parts(KEY, {spec: data + b"\x7a\x01x"})  # a field that no generator has
    path = write_signed(tmp_path / "bundle", complete(parts), KEY)
    assert refusal(path).item == f"generators/{spec.id}.onnx"


def test_generator_of_another_shape_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["generators"][0]["spec"]["scales"][1]["height"] += 1

    assert edited_manifest(tmp_path, change).item == GENERATORS[0]


# Commands.


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    KEY.public.save(tmp_path / "hospital.pub")
    return tmp_path / "hospital.pub"


def test_verify_prints_the_verdict(
    folder: Path, public_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(folder), "--key", str(public_key)]) == 0
    printed = capsys.readouterr().out
    for part in ("authentic", "Test hospital", KEY.public.fingerprint, "2 generators, 6 files"):
        assert part in printed


def test_verify_prints_json(folder: Path, public_key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder), "--key", str(public_key), "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], printed["freshness"], printed["expired"]) == ("authentic", "unknown", False)


def test_verify_takes_one_of_several_keys(folder: Path, public_key: Path, tmp_path: Path) -> None:
    OTHER.public.save(tmp_path / "other.pub")
    command = ["verify", str(folder), "--key", str(tmp_path / "other.pub")]
    assert main(command) == VerificationError.exit_code
    assert main([*command, "--key", str(public_key)]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_verify_fails_with_the_name_of_the_changed_file(
    folder: Path, public_key: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(_flip_middle((folder / name).read_bytes()))
    assert main(["verify", str(folder), "--key", str(public_key)]) == 4
    streams = capsys.readouterr()
    assert name in streams.err
    assert "authentic" not in streams.out


def test_verify_says_that_a_bundle_has_expired(
    public_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_bundle(tmp_path / "bundle", KEY, expires=datetime(2026, 1, 3, tzinfo=UTC)).path
    assert main(["verify", str(path), "--key", str(public_key)]) == 0
    assert "expired" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "inspect", "inspect without a key"])
def test_every_command_warns_of_a_date(
    public_key: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = make_parts(KEY)
    future = dataclasses.replace(parts.manifest, created=datetime(2900, 1, 1, tzinfo=UTC))
    path = dataclasses.replace(parts, manifest=future).write(tmp_path / "bundle", KEY).path
    name, *without = command.split(" without ")
    arguments = [name, str(path), *([] if without else ["--key", str(public_key)])]
    assert main(arguments) == 0
    assert "created in the future, on 2900-01-01" in capsys.readouterr().out
    assert main([*arguments, "--format", "json"]) == 0
    assert [one["kind"] for one in json.loads(capsys.readouterr().out)["warnings"]] == [
        "created-in-the-future"
    ]


def test_inspect_without_a_key_says_unverified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.sig").write_bytes(b"anything")
    assert main(["inspect", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("UNVERIFIED")
    for part in (*GENERATORS, VERDICT.split(":")[0]):
        assert part in printed


def test_inspect_with_a_key_verifies_first(
    folder: Path, public_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["inspect", str(folder), "--key", str(public_key)]
    assert main([*command, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "authentic"
    (folder / "CARD.md").write_bytes(b"x")
    assert main(command) == 4
    assert capsys.readouterr().out == ""


def test_claims_are_shown_as_text_and_not_as_markup(
    public_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_bundle(tmp_path / "bundle", KEY, hospital="[link=https://x.test]Test[/link]").path
    for command in (["inspect", str(path)], ["verify", str(path), "--key", str(public_key)]):
        assert main(command) == 0
        assert "[link=https://x.test]Test[/link]" in capsys.readouterr().out


def test_claims_of_what_is_no_bundle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(VerificationError):
        read_claims(tmp_path / "bundle")
