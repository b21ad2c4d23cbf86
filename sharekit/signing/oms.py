"""OpenSSF Model Signing v1.0, key method, ECDSA P-256: one signature over the digests of all files.

Source: https://github.com/ossf/model-signing-spec (v1.0). Our reader is stricter than the specification, see
`docs/adr/0002-stricter-verifier.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharekit.errors import VerificationError
from sharekit.signing import dsse
from sharekit.signing.dsse import Envelope, Statement, Subject, is_sha256, refusal, require_keys
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files

SIGNATURE_NAME = "model.sig"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_METHOD = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


@dataclass(frozen=True)
class ModelStatement:
    """The signed content: the digest of each file. Law: `from_statement(to_statement(x)) == x`."""

    name: str
    """Name of the model, for a person."""
    resources: tuple[Subject, ...]
    """Every signed file, sorted by name."""
    ignore_paths: tuple[str, ...] = (SIGNATURE_NAME,)

    @property
    def digests(self) -> dict[str, str]:
        """File name to SHA-256, for each signed file."""
        return {resource.name: resource.sha256 for resource in self.resources}

    def root_digest(self) -> str:
        """SHA-256 of the concatenated raw digests, in the order of the resources."""
        return hashlib.sha256(b"".join(bytes.fromhex(one.sha256) for one in self.resources)).hexdigest()

    def to_statement(self) -> Statement:
        predicate = {
            "serialization": {**_METHOD, "ignore_paths": list(self.ignore_paths)},
            "resources": [
                {"name": resource.name, "algorithm": "sha256", "digest": resource.sha256}
                for resource in self.resources
            ],
        }
        return Statement((Subject(self.name, self.root_digest()),), PREDICATE_TYPE, predicate)

    @staticmethod
    def from_statement(statement: Statement, item: object = SIGNATURE_NAME) -> ModelStatement:
        """Read the statement of a signature.

        Raises:
            VerificationError: the predicate, method or hash differs, a name occurs twice, or the root digest
                is wrong.
        """
        if statement.predicate_type != PREDICATE_TYPE:
            raise refusal(item, f"predicate type {PREDICATE_TYPE}", f"{statement.predicate_type!r:.100}")
        require_keys(statement.predicate, {"serialization", "resources"}, item)
        ignored = _ignored_paths(statement.predicate["serialization"], item)
        entries = statement.predicate["resources"]
        if not isinstance(entries, list):
            raise refusal(item, "a list of resources", type(entries).__name__)
        resources = tuple(_resource(entry, item) for entry in entries)
        names = [resource.name for resource in resources]
        if names != sorted(set(names)):
            raise refusal(item, "resources sorted by name, each once", "another order, or a name twice")
        if len(statement.subjects) != 1:
            raise refusal(item, "exactly one subject", f"{len(statement.subjects)}")
        model = ModelStatement(statement.subjects[0].name, resources, ignored)
        if statement.subjects[0].sha256 != model.root_digest():
            raise refusal(item, f"root digest {model.root_digest()}", statement.subjects[0].sha256)
        return model


@dataclass(frozen=True)
class SignatureFile:
    """The file `model.sig`: a Sigstore bundle of the key method. Law: `from_json(to_json(x)) == x`."""

    hint: str
    """SHA-256 of the public key's PEM, as the reference tool writes it."""
    envelope: Envelope

    def to_json(self) -> dict[str, Any]:
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.hint}, "tlogEntries": []},
            "dsseEnvelope": self.envelope.to_json(),
        }

    @staticmethod
    def from_json(value: Any, item: object = SIGNATURE_NAME) -> SignatureFile:
        """Read a signature file of the key method.

        Raises:
            VerificationError: the file uses another method (certificate, Sigstore), or is malformed.
        """
        require_keys(value, {"mediaType", "verificationMaterial", "dsseEnvelope"}, item)
        if value["mediaType"] != MEDIA_TYPE:
            raise refusal(item, f"media type {MEDIA_TYPE}", f"{value['mediaType']!r:.100}")
        material = value["verificationMaterial"]
        require_keys(material, {"publicKey"}, item, optional={"tlogEntries"})
        if material.get("tlogEntries", []) != []:
            raise refusal(item, "no transparency log entries with the key method", "some")
        require_keys(material["publicKey"], {"hint"}, item)
        hint = material["publicKey"]["hint"]
        if not is_sha256(hint):
            raise refusal(item, "a SHA-256 as the key's hint", f"{hint!r:.100}")
        return SignatureFile(hint, Envelope.from_json(value["dsseEnvelope"], item))

    def to_bytes(self) -> bytes:
        """The file `model.sig`."""
        return files.dump_json(self.to_json())

    @staticmethod
    def from_bytes(data: bytes, item: object = SIGNATURE_NAME) -> SignatureFile:
        """`from_json` of a file.

        Raises:
            VerificationError: naming `item`.
        """
        return SignatureFile.from_json(files.parse_json(data, item), item)

    def statement(self, item: object = SIGNATURE_NAME) -> ModelStatement:
        """The statement in the file, unverified; use `verify` to check the signature.

        Raises:
            VerificationError: the payload is not a model statement.
        """
        return ModelStatement.from_statement(Statement.from_bytes(self.envelope.payload, item), item)


def key_hint(key: PublicKey) -> str:
    """SHA-256 of the key's PEM, hexadecimal, by which a signature file names its key."""
    return hashlib.sha256(key.pem()).hexdigest()


def sign(name: str, digests: Mapping[str, str], key: Signer) -> bytes:
    """Sign a model: the bytes of `model.sig` for the name and the files' SHA-256 digests by name."""
    resources = tuple(Subject(path, digests[path]) for path in sorted(digests))
    envelope = dsse.sign_statement(ModelStatement(name, resources).to_statement(), key)
    return SignatureFile(key_hint(key.public), envelope).to_bytes()


def verify(
    data: bytes, keys: Sequence[PublicKey], item: object = SIGNATURE_NAME
) -> tuple[ModelStatement, PublicKey]:
    """Verify a signature file, and return its statement and the key that signed.

    Raises:
        VerificationError: none of the keys made the signature, it ignores paths other than the signature
            itself, or the bytes differ from those that `sign` writes around this signature.
    """
    signature = SignatureFile.from_bytes(data, item)
    _, key = dsse.verify_with_signer(signature.envelope, keys, item=item)
    # Parts outside the signed payload have only one form, so that no byte of the file can change unnoticed.
    if data != SignatureFile(key_hint(key), signature.envelope).to_bytes():
        raise refusal(item, "the one way to write this signature", "other bytes around the signed payload")
    model = signature.statement(item)
    if model.ignore_paths != (SIGNATURE_NAME,):
        raise VerificationError(
            item,
            expected=f"every file signed but {SIGNATURE_NAME}",
            found=f"ignored paths {list(model.ignore_paths)!r:.100}",
            next_step="do not use it: an ignored file is one that nobody vouches for",
        )
    return model, key


def _ignored_paths(serialization: Any, item: object) -> tuple[str, ...]:
    require_keys(serialization, set(_METHOD), item, optional={"ignore_paths"})
    method = {field: serialization[field] for field in _METHOD}
    # 0 equals False in Python, but not in JSON.
    if method != _METHOD or serialization["allow_symlinks"] is not False:
        raise refusal(item, f"serialization {_METHOD}", f"{method!r:.100}")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(path, str) for path in ignored):
        raise refusal(item, "ignore_paths, a list of strings", f"{ignored!r:.100}")
    return tuple(ignored)


def _resource(entry: Any, item: object) -> Subject:
    require_keys(entry, {"name", "algorithm", "digest"}, item)
    if entry["algorithm"] != "sha256" or not is_sha256(entry["digest"]):
        raise refusal(item, "a SHA-256 digest for each resource", f"{entry!r:.100}")
    if not isinstance(entry["name"], str) or not entry["name"]:
        raise refusal(item, "a name for each resource", f"{entry!r:.100}")
    return Subject(entry["name"], entry["digest"])
