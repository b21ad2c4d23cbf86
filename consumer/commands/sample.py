"""`consumer sample`: draw a folder of images with masks from a verified bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from consumer import open_bundle
from consumer.sampling.refinement import UNREFINED, Refinement
from consumer.sampling.request import BATCH_SIZE, Request, Size
from sharekit.errors import UsageError
from sharekit.program import progress, shared_options
from sharekit.program.arguments import show_first_name, whole_number
from sharekit.program.command_line import default_of
from sharekit.program.output import Output, warning_text
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.text import Text

    from consumer.datasets.description import DatasetDescription
    from consumer.datasets.sample_bundle import SampledBundle

SUMMARY = "draw a synthetic data set from a verified bundle"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder or zip file")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="PUB", help="the hospital's pinned public key"
    )
    count = parser.add_argument(
        *("--samples", "--count"),
        type=whole_number(),
        required=True,
        metavar="N",
        help="number of samples to draw",
    )
    show_first_name(count)
    shared_options.seed(parser, None, "the noise")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    parser.add_argument(
        "--generator", metavar="ID", help="the only generator to draw from (left out: all of them in turn)"
    )
    parser.add_argument(
        "--layout",
        metavar="NAME",
        help="the only channel layout to draw, such as rgb-polyp (left out: one data set for each layout, in "
        "folders of DIR)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help="width and height in pixels (left out: the size of each generator's training)",
    )
    shared_options.device(parser, "--provider")
    shared_options.threads(parser)
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        help=f"samples that go through a generator at once; affects only the speed (left out: "
        f"{BATCH_SIZE}, within the bundle's limit)",
    )
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=default_of(open_bundle, "isolate"),
        help="run the generators in a process with limits of memory and time, which sees no file (left out: "
        "where it is possible, on Linux on the CPU)",
    )
    parser.add_argument(
        "--vetted-only",
        action="store_true",
        help="refuse to draw more samples than the hospital vetted (`sharekit inspect` shows their number "
        "and their seed)",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="also store the masks' raw probabilities"
    )
    progress.configure(parser)
    _configure_refinement(parser)


def _configure_refinement(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("departures from the published sampling")
    group.add_argument(
        "--temperature",
        type=float,
        default=Refinement.temperature,
        metavar="T",
        help="factor on all noise; below 1, samples vary less",
    )
    group.add_argument(
        "--mask-threshold",
        type=float,
        default=Refinement.mask_threshold,
        metavar="P",
        help="mask probability above which a pixel is foreground",
    )
    group.add_argument("--clean-masks", action="store_true", help="drop specks from masks, fill pinholes")
    group.add_argument(
        "--redraw-below",
        type=float,
        default=UNREFINED.redraw_below,
        metavar="SHARE",
        help="draw a sample again, a few times, if its masks mark less than this share of the image",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.datasets.sample_bundle import sample_bundle

    refinement = Refinement(args.temperature, args.mask_threshold, args.clean_masks, args.redraw_below)
    request = Request(
        args.seed,
        args.generator,
        args.size,
        args.batch_size,
        args.probabilities,
        refinement,
        args.layout,
        args.vetted_only,
    )
    with (
        open_bundle(
            args.bundle, args.key, device=args.device, threads=args.threads, isolate=args.isolate
        ) as bundle,
        progress.reporter("sample", unit="samples") as on_progress,
    ):
        result = sample_bundle(bundle, args.out, args.samples, request, on_progress)
        vetted_seed = bundle.vetted_seed
    output.result(result.to_json(), *_lines(result, vetted_seed))


def _lines(result: SampledBundle, seed: int | None) -> list[str | Text]:
    """The result in words; `seed` is the one whose samples the hospital vetted."""
    origin = result.data_sets[0].description
    apart = ", in a process with limits" if result.isolated else ""
    lines: list[str | Text] = [
        f"{result.verdict}: {origin.hospital}, release {origin.release}, key {origin.fingerprint}",
        *(warning_text(warning) for warning in result.warnings),
        f"ran on {result.provider.name}: {result.provider.reason}{apart}",
    ]
    for data_set in result.data_sets:
        description = data_set.description
        lines.append(
            f"{counted(description.count, 'sample')} from "
            f"{counted(len(description.generators), 'generator')} in "
            f"{data_set.path}" + _share_drawn(data_set.drawn, description.count)
        )
        if description.vetted is not None:
            lines.append(f"vetted {description.vetted:,} of {description.count:,}{_why(description, seed)}")
    return [*lines, f"{result.samples_per_second:.1f} samples a second"] if result.drawn else lines


def _why(description: DatasetDescription, seed: int | None) -> str:
    return "" if description.vetted else f": the list holds for seed {seed} at the trained size"


def _share_drawn(drawn: int, count: int) -> str:
    if drawn == count:
        return ""
    return f" ({drawn} drawn now, {count - drawn} before)" if drawn else " (all drawn before)"


def _size(text: str) -> Size:
    try:
        return Size.of(text)
    except UsageError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 320x240") from None
