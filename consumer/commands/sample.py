"""`consumer sample`: a verified bundle becomes a folder of images with masks."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from consumer import open_bundle
from consumer.sampling.refinement import UNREFINED, Refinement
from consumer.sampling.request import Request
from sharekit.program import progress
from sharekit.program.command_line import Output, default_of

SUMMARY = "draw a synthetic data set from a verified bundle"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder or zip file")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="PUB", help="the hospital's public key, as pinned"
    )
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many samples")
    parser.add_argument(
        "--seed", type=int, required=True, metavar="S", help="the same seed gives the same samples"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    parser.add_argument("--generator", metavar="ID", help="draw from this one; otherwise evenly from all")
    parser.add_argument(
        "--size", type=_size, metavar="WxH", help="pixels; otherwise the size of each generator's training"
    )
    parser.add_argument(
        "--provider",
        choices=["auto", "cuda", "cpu"],
        default=default_of(open_bundle, "provider"),
        help="where to run; auto says what it chose",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=Request.batch_size,
        metavar="B",
        help="samples that go through a generator at once: for speed alone",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="store the masks' raw probabilities, too"
    )
    refined = parser.add_argument_group("departures from the published sampling")
    refined.add_argument(
        "--temperature",
        type=float,
        default=Refinement.temperature,
        metavar="T",
        help="factor of all noise; below 1 samples vary less",
    )
    refined.add_argument(
        "--mask-threshold",
        type=float,
        default=Refinement.mask_threshold,
        metavar="P",
        help="a mask probability above this is foreground",
    )
    refined.add_argument("--clean-masks", action="store_true", help="drop specks from masks, fill pinholes")
    refined.add_argument(
        "--redraw-below",
        type=float,
        default=UNREFINED.redraw_below,
        metavar="SHARE",
        help="draw samples again, a few times, whose masks mark less of the image than this",
    )
    parser.add_argument(
        "--threads", type=int, metavar="T", help="on the CPU; otherwise every core of this process"
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.datasets.folder_writer import write_dataset

    refinement = Refinement(args.temperature, args.mask_threshold, args.clean_masks, args.redraw_below)
    request = Request(args.seed, args.generator, args.size, args.batch_size, args.probabilities, refinement)
    bundle = open_bundle(args.bundle, args.key, provider=args.provider, threads=args.threads)
    started = time.monotonic()
    with progress.reporter("sample", unit="samples") as on_progress:
        description = write_dataset(bundle, args.out, args.count, request, on_progress)
    seconds = time.monotonic() - started
    verified = bundle.verified
    output.result(
        {
            "out": str(args.out),
            "verdict": verified.verdict,
            "dataset": description.to_json(),
            "provider": {"name": bundle.provider.name, "reason": bundle.provider.reason},
            "seconds": round(seconds, 3),
            "samples_per_second": round(args.count / seconds, 2),
        },
        f"{verified.verdict}: {description.hospital}, release {description.release},"
        f" key {description.fingerprint}",
        f"ran on {bundle.provider.name}: {bundle.provider.reason}",
        f"{args.count} samples from {len(description.generators)} generators in {args.out}"
        f" ({args.count / seconds:.1f} a second)",
    )
    return 0


def _size(text: str) -> tuple[int, int]:
    """`WxH` to `(height, width)`."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})[xX]([1-9][0-9]{0,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 320x240")
    return int(match[2]), int(match[1])
