"""A submission: a segmentation model, its contract, and the submitter's signature.

It is a folder, or one STORED zip, with two files: `model.onnx`, and `submission.json`, a DSSE envelope with
an in-toto statement about the model. The statement carries its own public key, so the signature proves that
one submitter vouches for model and contract. The hospital's evaluation policy decides whether that submitter
may have it evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.errors import SharekitError
from sharekit.segmenter import segmenter_policy
from sharekit.segmenter.contract import SegmenterContract
from sharekit.signing import dsse
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import container, schema
from sharekit.storage.budget import Budget

SCHEMA_VERSION = 1
PREDICATE_TYPE = "urn:sharekit:submission:v1"
MODEL_NAME = "model.onnx"
STATEMENT_NAME = "submission.json"
STATEMENT_BUDGET = Budget(2**18, max_nodes=1000, max_depth=16, max_keys=1000)


@dataclass(frozen=True)
class Submission:
    """The content that a submitter signs. Law: `from_statement(to_statement(x)) == x`.

    It has no date: the same model for the same purpose is the same submission, and spends budget only once.
    """

    model_sha256: str
    contract: SegmenterContract
    public_key: PublicKey
    purpose: str  # for the hospital's reader

    @property
    def sha256(self) -> str:
        """SHA-256 of the signed bytes, hexadecimal, by which a report identifies the submission."""
        return hashlib.sha256(self.to_statement().to_bytes()).hexdigest()

    def to_statement(self) -> dsse.Statement:
        return dsse.Statement(
            (dsse.Subject(MODEL_NAME, self.model_sha256),),
            PREDICATE_TYPE,
            {
                "schema_version": SCHEMA_VERSION,
                "contract": self.contract.to_json(),
                "public_key": self.public_key.pem().decode(),
                "purpose": self.purpose,
            },
        )

    @staticmethod
    def from_statement(statement: dsse.Statement, item: object = STATEMENT_NAME) -> Submission:
        """Read a statement.

        Raises:
            VerificationError: naming `item`; it does not fit the schema, or its contract or key is invalid.
        """
        schema.validate("submission", statement.to_json(), item)
        predicate: Mapping[str, Any] = statement.predicate
        try:
            return Submission(
                statement.subjects[0].sha256,
                SegmenterContract.from_json(predicate["contract"]),
                PublicKey.from_pem(predicate["public_key"].encode(), item),
                predicate["purpose"],
            )
        except SharekitError as error:
            raise dsse.refusal(item, error.expected, error.found) from None


@dataclass(frozen=True)
class SignedSubmission:
    """A submission with a valid signature and digest. Its model has not been checked."""

    submission: Submission
    model: bytes


def write_submission(out: Path, submission: Submission, model: bytes, key: Signer) -> None:
    """Sign and write a submission, read it again, and then give it its final name.

    Args:
        out: a new folder, or a new zip when it ends in `.zip`.
        submission: about `model`, with the public half of `key`.
        model: the ONNX file's bytes, as `segmenter_policy` allows them.
        key: the submitter's key.

    Raises:
        InputError: `out` exists already.
        VerificationError: the arguments do not belong together.
    """
    envelope = dsse.sign_statement(submission.to_statement(), key)
    with container.new_container(out) as writer:
        writer.add(MODEL_NAME, model)
        writer.add(STATEMENT_NAME, envelope.to_bytes())
        writer.close()
        read_submission(writer.path)


def read_submission(path: Path) -> SignedSubmission:
    """Read a submission once, within size limits, and check its form, signature and digest.

    Raises:
        InputError: nothing exists at `path`.
        VerificationError: a check failed; the error names the file.
    """
    box = container.open_container(path)
    if set(box.lengths) != {MODEL_NAME, STATEMENT_NAME}:
        found = ", ".join(sorted(box.lengths)) or "nothing"
        raise dsse.refusal(path, f"exactly the files {MODEL_NAME} and {STATEMENT_NAME}", f"{found:.200}")
    for name, limit in (
        (MODEL_NAME, segmenter_policy.MAX_BYTES),
        (STATEMENT_NAME, STATEMENT_BUDGET.max_bytes),
    ):
        if box.lengths[name] > limit:
            raise dsse.refusal(name, f"at most {limit} bytes", f"{box.lengths[name]} bytes")
    submission = _verified(box.read(STATEMENT_NAME))
    model = box.read(MODEL_NAME)
    found = hashlib.sha256(model).hexdigest()
    if found != submission.model_sha256:
        raise dsse.refusal(MODEL_NAME, f"SHA-256 {submission.model_sha256}, as signed", found)
    return SignedSubmission(submission, model)


def _verified(data: bytes) -> Submission:
    """Read a submission from an envelope, if its own key signed it and its encoding is canonical."""
    envelope = dsse.Envelope.from_bytes(data, STATEMENT_NAME, STATEMENT_BUDGET)
    submission = Submission.from_statement(dsse.Statement.from_bytes(envelope.payload, STATEMENT_NAME))
    dsse.verify(envelope, [submission.public_key], item=STATEMENT_NAME)
    if hashlib.sha256(envelope.payload).hexdigest() != submission.sha256:
        raise dsse.refusal(STATEMENT_NAME, "the statement in Sharekit's encoding", "another encoding of it")
    return submission
