"""Pack an ONNX file into a signed submission."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from consumer.submission.canonical import canonical_bytes
from consumer.submission.trial import run_once
from consumer.submission.usual_exports import Channels, adapt, image_form, image_input, keep_one_output
from sharekit.errors import InputError, UsageError, VerificationError
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.segmenter.contract import METADATA_KEY, OutputKind, SegmenterContract, contract_of
from sharekit.segmenter.model_file import load_model
from sharekit.segmenter.segmenter_policy import OPERATORS, check_segmenter
from sharekit.segmenter.submission import Submission, write_submission
from sharekit.signing.keys import Signer
from sharekit.storage import files


@dataclass(frozen=True)
class ContractOptions:
    """Contract fields that the user sets; None takes the value from the file."""

    size: tuple[int, int] | None = None  # height, width
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: OutputKind | None = None
    classes: tuple[str, ...] | None = None
    threshold: float | None = None
    output_name: str | None = None
    channels: Channels = field(default_factory=Channels)

    def given(self) -> dict[str, Any]:
        """The contract fields that are set, in the form of the contract's JSON."""
        named = {name: getattr(self, name) for name in _CONTRACT_FIELDS}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in named.items()
            if value is not None
        }


_CONTRACT_FIELDS = ("size", "mean", "std", "output", "classes", "threshold")
_NEEDED = _CONTRACT_FIELDS[:-1]


@dataclass(frozen=True)
class PackedSubmission:
    """A submission that was written to disk."""

    path: Path
    submission: Submission
    bytes: int  # length of the model

    def to_json(self) -> dict[str, Any]:
        return {
            "submission": str(self.path),
            "sha256": self.submission.sha256,
            "model_sha256": self.submission.model_sha256,
            "fingerprint": self.submission.public_key.fingerprint,
            "contract": self.submission.contract.to_json(),
            "bytes": self.bytes,
        }


def pack_submission(
    path: Path, key: Signer, out: Path, *, options: ContractOptions, purpose: str
) -> PackedSubmission:
    """Rewrite a model into the node's form, try it, sign it and write it.

    Args:
        path: the model's ONNX file.
        key: the submitter's signing key.
        out: a new folder, or a new zip when the name ends in `.zip`.
        options: contract fields that the file lacks or that replace the file's.
        purpose: one line for the reader in the hospital.

    Raises:
        InputError: the file is missing, or the model cannot be rewritten into the form that a node accepts.
        UsageError: the options do not say enough, or do not fit the model.
    """
    files.refuse_existing(out)
    model = load_model(path)
    keep_one_output(model, options.output_name, path)
    model, contract = adapt(model, _contract(model, options, path), options.channels, path)
    data = _accepted(model, contract, path)
    run_once(data, contract, path)
    submission = Submission(hashlib.sha256(data).hexdigest(), contract, key.public, purpose)
    write_submission(out, submission, data, key)
    return PackedSubmission(out, submission, len(data))


def _contract(model: ModelProto, options: ContractOptions, path: Path) -> SegmenterContract:
    """The contract in the model's metadata, changed by the options; without metadata, the options' alone."""
    given = options.given()
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        return SegmenterContract.from_json({**contract_of(model, path).to_json(), **given})
    stated = {**_stated(model, path), **given}
    missing = [name for name in _NEEDED if name not in stated]
    if missing:
        raise UsageError(
            path,
            expected="a contract in the file's metadata, or in the options",
            found=f"none, and no --{', --'.join(missing)}",
            next_step="give them, or train the model with `consumer train`",
        )
    stated["image_channels"] = len(stated["mean"])
    return SegmenterContract.from_json({"threshold": SegmenterContract.threshold, **stated})


def _stated(model: ModelProto, path: Path) -> Mapping[str, Any]:
    """The contract fields that follow from the file's input and output."""
    value = image_input(model, path)
    channels, size = image_form(value)
    stated: dict[str, Any] = {}
    if all(size):
        stated["size"] = list(size)
    if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and channels:
        # A model of bytes takes pixels without normalisation.
        stated |= {"mean": [0.0] * channels, "std": [1.0] * channels}
    if model.graph.output[0].type.tensor_type.elem_type in _NUMBERS_OF_CLASSES:
        stated["output"] = "probabilities"
    return stated


_NUMBERS_OF_CLASSES = frozenset(
    {
        *(onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.UINT8, onnx.TensorProto.INT8),
        onnx.TensorProto.BOOL,
    }
)


def _accepted(model: ModelProto, contract: SegmenterContract, path: Path) -> bytes:
    """The model's bytes in the form that a node accepts, with constants folded where that is necessary.

    Raises:
        InputError: a node does not accept the model even with constants folded.
    """
    try:
        return _checked(model, contract, path)
    except (InputError, VerificationError) as error:
        refusal = error
    try:
        model = _folded(model)
        return _checked(model, contract, path)
    except Exception:  # when folding fails, the first refusal is the better message
        unknown = sorted({node.op_type for node in model.graph.node} - OPERATORS - {"Constant"})
        raise InputError(
            path,
            expected="operators that a node accepts" if unknown else refusal.expected,
            found=", ".join(unknown)[:300] or refusal.found,
            next_step="export the model again: fixed height and width, float32, no control flow, its "
            "weights inside",
        ) from refusal


def _checked(model: ModelProto, contract: SegmenterContract, path: Path) -> bytes:
    data = canonical_bytes(model, contract)
    check_segmenter(data, path, contract)
    return data


def _folded(model: ModelProto) -> ModelProto:
    """The model after ONNX Runtime's basic rewriting, which folds the computation of fixed sizes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4  # fatal
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)
