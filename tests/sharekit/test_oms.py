"""Model signatures: the public schemas and vectors, and the public tool, agree with us."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from sharekit.errors import VerificationError
from sharekit.signing import dsse, keys, oms
from sharekit.signing.dsse import Subject
from sharekit.signing.oms import ModelStatement, SignatureFile
from sharekit.storage import files
from tests.sharekit.bundles import small_bundle

KEY, OTHER = keys.generate(), keys.generate()
DIGESTS = {"b/file": "1" * 64, "a": "0" * 64}
PUBLIC_VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "oms"
needs_vectors = pytest.mark.skipif(
    not PUBLIC_VECTORS.is_dir(),
    reason="the public vectors of ossf/model-signing-spec are not beside the project",
)


def public_schema(name: str) -> Draft202012Validator:
    loaded = {
        path.name.partition(".")[0]: json.loads(path.read_text())
        for path in (PUBLIC_VECTORS / "schemas" / "v1.0").glob("*.schema.json")
    }
    registry: Registry = Registry().with_resources(
        (value["$id"], Resource.from_contents(value)) for value in loaded.values()
    )
    return Draft202012Validator(loaded[name], registry=registry)


def vectors(kind: str) -> list[Path]:
    return sorted((PUBLIC_VECTORS / "test-vectors" / "v1.0" / kind).glob("*.json"))


def resigned(statement: dict[str, Any]) -> bytes:
    """A signature by the right key over any statement."""
    envelope = dsse.sign(files.dump_json(statement), dsse.IN_TOTO_PAYLOAD_TYPE, KEY)
    return SignatureFile(oms.key_hint(KEY.public), envelope).to_bytes()


@given(
    st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=8), max_size=5),
    st.lists(st.text(min_size=1, max_size=10), max_size=3),
)
def test_model_statement_round_trips(contents: dict[str, bytes], ignored: list[str]) -> None:
    resources = tuple(Subject(name, hashlib.sha256(contents[name]).hexdigest()) for name in sorted(contents))
    model = ModelStatement("model", resources, tuple(ignored))
    assert ModelStatement.from_statement(model.to_statement()) == model


def test_signature_file_round_trips() -> None:
    value = json.loads(oms.sign("model", DIGESTS, KEY))
    assert SignatureFile.from_json(value).to_json() == value


def test_signed_digests_are_verified() -> None:
    model, key = oms.verify(oms.sign("model", DIGESTS, KEY), [OTHER.public, KEY.public])
    assert (model.name, model.digests, key) == ("model", DIGESTS, KEY.public)


def test_root_digest_is_over_the_raw_digests_in_order_of_names() -> None:
    model, _ = oms.verify(oms.sign("model", DIGESTS, KEY), [KEY.public])
    raw = bytes.fromhex("0" * 64 + "1" * 64)
    assert model.root_digest() == hashlib.sha256(raw).hexdigest()


def test_no_byte_of_a_signature_file_can_change() -> None:
    data = oms.sign("model", {"a": "0" * 64}, KEY)
    accepted = []
    for position in range(len(data)):
        for bit in (0, 5):  # bit 5 turns the case of a letter
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                oms.verify(bytes(changed), [KEY.public])
            except VerificationError:
                continue
            accepted.append((position, bit))
    assert accepted == []


def _changed(part: str, value: Any) -> dict[str, Any]:
    statement = copy.deepcopy(ModelStatement("model", (Subject("a", "0" * 64),)).to_statement().to_json())
    target = statement
    *parents, last = part.split(".")
    for name in parents:
        target = target[name]
    target[last] = value
    return statement


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("predicateType", "https://model_signing/Digests/v0.1"),
        ("predicate.serialization.ignore_paths", ["model.sig", "generators"]),
        ("predicate.serialization.ignore_paths", []),
        ("predicate.serialization.allow_symlinks", True),
        ("predicate.serialization.allow_symlinks", 0),
        ("predicate.serialization.method", "shards"),
        ("predicate.serialization.hash_type", "blake2b"),
        ("predicate.extra", 1),
        ("predicate.resources", []),
        ("predicate.resources", [{"name": "a", "algorithm": "sha256", "digest": "0" * 64}] * 2),
        ("predicate.resources", [{"name": "a", "algorithm": "sha256", "digest": "0"}]),
        ("predicate.resources", [{"name": "a", "algorithm": "blake3", "digest": "0" * 64}]),
        ("predicate.resources", {"a": "0" * 64}),
        ("subject", [{"name": "model", "digest": {"sha256": "0" * 64}}]),
        ("subject", [{"name": "model", "digest": {"sha256": "0" * 64}}] * 2),
    ],
)
def test_right_key_over_another_statement_is_refused(part: str, value: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        oms.verify(resigned(_changed(part, value)), [KEY.public])
    assert caught.value.item == "model.sig"


def test_unchanged_statement_is_accepted() -> None:
    """The control of the test above: the signature it makes is a right one."""
    statement = _changed("predicateType", oms.PREDICATE_TYPE)
    assert oms.verify(resigned(statement), [KEY.public])[0].digests == {"a": "0" * 64}


def test_resources_in_another_order_are_refused() -> None:
    model = ModelStatement("model", (Subject("b", "0" * 64), Subject("a", "1" * 64)))
    with pytest.raises(VerificationError, match="sorted"):
        oms.verify(resigned(model.to_statement().to_json()), [KEY.public])


def test_duplicate_key_in_the_signature_file_is_refused() -> None:
    data = oms.sign("model", DIGESTS, KEY)
    doubled = data.replace(b'"mediaType":', b'"mediaType": "x", "mediaType":')
    with pytest.raises(VerificationError, match="twice"):
        oms.verify(doubled, [KEY.public])


def test_duplicate_key_in_the_signed_payload_is_refused() -> None:
    payload = files.dump_json(ModelStatement("m", ()).to_statement().to_json())
    doubled = payload.replace(b'"predicateType":', b'"predicateType": "x", "predicateType":')
    envelope = dsse.sign(doubled, dsse.IN_TOTO_PAYLOAD_TYPE, KEY)
    data = SignatureFile(oms.key_hint(KEY.public), envelope).to_bytes()
    with pytest.raises(VerificationError, match="twice"):
        oms.verify(data, [KEY.public])


@needs_vectors
def test_what_we_write_fits_the_public_schemas() -> None:
    value = json.loads(oms.sign("model", DIGESTS, KEY))
    public_schema("bundle").validate(value)
    payload = dsse.Envelope.from_json(value["dsseEnvelope"]).payload
    public_schema("statement").validate(json.loads(payload))


@needs_vectors
def test_public_vector_of_the_key_method_is_read() -> None:
    path = PUBLIC_VECTORS / "test-vectors/v1.0/valid/key.bundle.json"
    signature = SignatureFile.from_json(files.parse_json(path.read_bytes(), path), path)
    assert sorted(signature.statement().digests) == ["signme-1", "signme-2"]


@needs_vectors
def test_public_vector_is_refused_for_its_key_and_would_be_for_its_ignored_paths() -> None:
    path = PUBLIC_VECTORS / "test-vectors/v1.0/valid/key.bundle.json"
    with pytest.raises(VerificationError, match="another key"):
        oms.verify(path.read_bytes(), [KEY.public])
    statement = SignatureFile.from_json(json.loads(path.read_bytes())).statement().to_statement()
    with pytest.raises(VerificationError, match="ignore-me"):
        oms.verify(resigned(statement.to_json()), [KEY.public])


@needs_vectors
@pytest.mark.parametrize("method", ["certificate", "sigstore"])
def test_public_vectors_of_other_methods_are_refused(method: str) -> None:
    path = PUBLIC_VECTORS / f"test-vectors/v1.0/valid/{method}.bundle.json"
    with pytest.raises(VerificationError, match="publicKey"):
        SignatureFile.from_json(files.parse_json(path.read_bytes(), path), path)


@needs_vectors
@pytest.mark.parametrize("path", vectors("invalid"), ids=lambda path: path.stem)
def test_invalid_public_vectors_are_refused(path: Path) -> None:
    with pytest.raises(VerificationError):
        SignatureFile.from_json(files.parse_json(path.read_bytes(), path), path)


@needs_vectors
@pytest.mark.parametrize("path", vectors("invalid-payload"), ids=lambda path: path.stem)
def test_public_vectors_with_an_invalid_payload_are_refused(path: Path) -> None:
    signature = SignatureFile.from_json(files.parse_json(path.read_bytes(), path), path)
    with pytest.raises(VerificationError, match="predicate type"):
        signature.statement()


def reference_tool(folder: Path, public_key: Path) -> subprocess.CompletedProcess[str]:
    options = ["--signature", folder / oms.SIGNATURE_NAME, "--public_key", public_key]
    command = [sys.executable, "-m", "model_signing", "verify", "key", folder, *options]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_public_tool_accepts_a_bundle_and_refuses_it_after_one_flipped_byte(tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="a development dependency")
    small_bundle(tmp_path / "bundle", KEY)
    KEY.public.save(tmp_path / "right.pub")
    OTHER.public.save(tmp_path / "wrong.pub")
    accepted = reference_tool(tmp_path / "bundle", tmp_path / "right.pub")
    assert accepted.returncode == 0, accepted.stderr
    assert reference_tool(tmp_path / "bundle", tmp_path / "wrong.pub").returncode != 0
    path = next((tmp_path / "bundle" / "generators").iterdir())
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    refused = reference_tool(tmp_path / "bundle", tmp_path / "right.pub")
    assert refused.returncode != 0
    assert path.name in refused.stdout + refused.stderr
