"""`consumer submit`: pack a segmentation model for evaluation on a hospital's hold-out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.program import options, password
from sharekit.program.output import Output

if TYPE_CHECKING:
    import onnx

    from sharekit.segmenter.contract import SegmenterContract

SUMMARY = "pack a segmentation model with its input contract for evaluation inside a hospital"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, metavar="MODEL.onnx", help="one input, one output, weights inside"
    )
    options.private_key(parser, "the submitter's")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="SUBMISSION", help="a new folder, or a new zip: NAME.zip"
    )
    parser.add_argument(
        "--purpose", metavar="TEXT", default="evaluation", help="one line for the hospital's reader"
    )
    contract = parser.add_argument_group(
        "contract", "for a model that `consumer train` did not write, or to change what it wrote"
    )
    contract.add_argument("--size", type=_size, metavar="WxH", help="size of the model's input, pixels")
    contract.add_argument(
        "--mean", type=float, nargs="+", metavar="M", help="mean of each channel, in [0, 1]"
    )
    contract.add_argument(
        "--std", type=float, nargs="+", metavar="S", help="standard deviation of each channel, in [0, 1]"
    )
    contract.add_argument(
        "--output", choices=["logits", "probabilities"], help="numbers that the model gives"
    )
    contract.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes of the output's channels, in order"
    )
    contract.add_argument("--threshold", type=float, metavar="T", help="a probability above is foreground")
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    import hashlib

    from consumer.submission.canonical import canonical_bytes, load_model
    from consumer.submission.trial import run_once
    from sharekit.segmenter.segmenter_policy import check_segmenter
    from sharekit.segmenter.submission import Submission, write_submission
    from sharekit.signing.keys import SigningKey
    from sharekit.storage import files

    files.refuse_existing(args.out)
    key = SigningKey.load(args.key, password.from_args(args))
    model = load_model(args.model)
    contract = _contract(args, model)
    data = canonical_bytes(model, contract)
    check_segmenter(data, args.model, contract)
    run_once(data, contract, args.model)
    submission = Submission(hashlib.sha256(data).hexdigest(), contract, key.public, args.purpose)
    write_submission(args.out, submission, data, key)
    output.result(
        {
            "submission": str(args.out),
            "sha256": submission.sha256,
            "model_sha256": submission.model_sha256,
            "fingerprint": key.public.fingerprint,
            "contract": contract.to_json(),
            "bytes": len(data),
        },
        f"submission   {args.out}",
        f"digest       {submission.sha256}",
        f"signed by    {key.public.fingerprint}",
        "Send it to the hospital, which must have registered this key.",
    )


def _contract(args: argparse.Namespace, model: onnx.ModelProto) -> SegmenterContract:
    """What the model carries, changed by the options; all of it from them where it carries nothing."""
    from sharekit.errors import UsageError
    from sharekit.segmenter.contract import METADATA_KEY, SegmenterContract, contract_of

    options = ("size", "mean", "std", "output", "classes", "threshold")
    given: dict[str, Any] = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    carried = {}
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        carried = contract_of(model, args.model).to_json()
    else:
        missing = [name for name in options[:-1] if name not in given]
        if missing:
            raise UsageError(
                args.model,
                expected="a contract in the file's metadata, or in the options",
                found=f"none, and no --{', --'.join(missing)}",
                next_step="give them, or train the model with `consumer train`",
            )
        carried = {"image_channels": len(given["mean"]), "threshold": SegmenterContract.threshold}
    return SegmenterContract.from_json({**carried, **given})


def _size(text: str) -> list[int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 320x240") from None
    return [height, width]
