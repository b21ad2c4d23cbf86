"""`consumer submit`: pack a segmentation model for evaluation on a hospital's hold-out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import password, shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from consumer.submission.pack import PackedSubmission

SUMMARY = "pack a segmentation model with its input contract for evaluation inside a hospital"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="segmenter, its weights inside")
    shared_options.private_key(parser, "the submitter's")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="SUBMISSION", help="a new folder, or a new zip: NAME.zip"
    )
    parser.add_argument(
        "--purpose", metavar="TEXT", default="evaluation", help="one line for the hospital's reader"
    )
    contract = parser.add_argument_group(
        "contract",
        "what goes into the model and what comes out, where `consumer train` did not write it into the file",
    )
    contract.add_argument(
        "--size", type=_size, metavar="WxH", help="size of the model's input, pixels (left out: as it states)"
    )
    contract.add_argument(
        "--mean", type=float, nargs="+", metavar="M", help="mean of each channel, of pixels in [0, 1]"
    )
    contract.add_argument(
        "--std", type=float, nargs="+", metavar="S", help="standard deviation of each channel, in [0, 1]"
    )
    contract.add_argument(
        "--output", choices=["logits", "probabilities"], help="values of the model's output"
    )
    contract.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes that the output's channels mark, in order"
    )
    contract.add_argument(
        "--threshold", type=float, metavar="T", help="probability above which a pixel is foreground"
    )
    contract.add_argument(
        "--channel",
        type=int,
        nargs="+",
        default=[],
        metavar="K",
        help="output channel of each class, from 0 (left out: all); for argmax, its numbers",
    )
    contract.add_argument(
        "--background",
        type=int,
        metavar="K",
        help="output channel that marks no class, from 0; logits then go through softmax over all channels",
    )
    contract.add_argument(
        "--output-name", metavar="NAME", help="output that holds the masks, if there are several"
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.submission.pack import ContractOptions, pack_submission
    from consumer.submission.usual_exports import Channels
    from sharekit.trust.key_choice import private_key

    options = ContractOptions(
        size=args.size,
        mean=args.mean and tuple(args.mean),
        std=args.std and tuple(args.std),
        output=args.output,
        classes=args.classes and tuple(args.classes),
        threshold=args.threshold,
        output_name=args.output_name,
        channels=Channels(tuple(args.channel), args.background),
    )
    key = private_key(args)
    packed = pack_submission(args.model, key, args.out, options=options, purpose=args.purpose)
    output.result(packed.to_json(), *_describe(packed))


def _describe(packed: PackedSubmission) -> list[str]:
    contract = packed.submission.contract
    height, width = contract.size
    return [
        f"submission   {packed.path}",
        f"input        {width}x{height}, {counted(contract.image_channels, 'channel')}",
        f"output       {contract.output} of {', '.join(contract.classes)}",
        f"digest       {packed.submission.sha256}",
        f"signed by    {packed.submission.public_key.fingerprint}",
        "Send it to the hospital, which must have registered this key.",
    ]


def _size(text: str) -> tuple[int, int]:
    """Height and width from a text `WxH`."""
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 320x240") from None
    return height, width
