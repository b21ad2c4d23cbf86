"""`consumer sample`: draw a folder of images with masks from one verified bundle, or from several."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from consumer import open_bundle
from consumer.sampling.refinement import (
    LEAST_AGREEMENT,
    MAX_DRAWS_IN_RANGE,
    MAX_DRAWS_JUDGED,
    UNREFINED,
    Coverage,
    JudgedBy,
    Refinement,
)
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
    from consumer.datasets.mixture import SampledMixture
    from consumer.datasets.sample_bundle import SampledBundle
    from consumer.sampling.judge import Judge

T = TypeVar("T")

SUMMARY = "draw a synthetic data set from a verified bundle, or from several hospitals' bundles"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="+",
        metavar="BUNDLE",
        help="folder or zip file, or a hospital whose bundle you pulled; several bundles give one data set",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="PUB",
        help="public key of the hospital, or the name of one that you trust; one for all bundles, or one "
        "for each in order (left out: each pulled bundle's hospital)",
    )
    parser.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="share of the samples for each bundle, in order (left out: equal shares)",
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
    group.add_argument(
        "--coverage",
        type=_coverage,
        metavar="LEAST:MOST",
        help="draw a sample again until its masks mark a share of the image in this range, such as "
        f"0.05:0.3; after {MAX_DRAWS_IN_RANGE} draws the nearest one stays",
    )
    group.add_argument(
        "--judge",
        type=Path,
        metavar="SEGMENTER.onnx",
        help="draw a sample again if this model of yours finds other masks in it, such as one that `consumer "
        f"train` made from your real images; after {MAX_DRAWS_JUDGED} draws the best one stays",
    )
    group.add_argument(
        "--least-agreement",
        type=float,
        metavar="IOU",
        help=f"IoU of the sample's masks and the judge's, below which it is drawn again (left out: "
        f"{LEAST_AGREEMENT})",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.datasets.mixture import Part, sample_mixture
    from consumer.datasets.sample_bundle import sample_bundle
    from sharekit.repository.known import note_drawn

    refinement = Refinement(
        args.temperature, args.mask_threshold, args.clean_masks, args.redraw_below, args.coverage
    )
    request = Request(
        args.seed,
        args.generator,
        args.size,
        args.batch_size,
        args.probabilities,
        refinement,
        args.layout,
        args.vetted_only,
        _judge(args.judge, args.least_agreement),
    )
    keys = _one_each("--key", args.key or [None], args.bundle)
    weights = _one_each("--weights", args.weights or [1.0], args.bundle)
    options = {"device": args.device, "threads": args.threads, "isolate": args.isolate}
    with contextlib.ExitStack() as stack:
        bundles = [
            stack.enter_context(open_bundle(path, key, **options))
            for path, key in zip(args.bundle, keys, strict=True)
        ]
        on_progress = stack.enter_context(progress.reporter("sample", unit="samples"))
        if len(bundles) == 1:
            result = sample_bundle(bundles[0], args.out, args.samples, request, on_progress)
            value, lines = result.to_json(), _lines(result, bundles[0].vetted_seed)
        else:
            parts = [Part(bundle, weight) for bundle, weight in zip(bundles, weights, strict=True)]
            mixture = sample_mixture(parts, args.out, args.samples, request, on_progress)
            value, lines = mixture.to_json(), _mixed_lines(mixture, request)
    for bundle in bundles:
        note_drawn(bundle.verified.manifest_sha256, args.out)
    output.result(value, *lines)


def _judge(path: Path | None, least: float | None) -> Judge | None:
    if path is not None:
        from consumer.sampling.judge import Judge

        return Judge.open(path, LEAST_AGREEMENT if least is None else least)
    if least is not None:
        raise UsageError(
            "--least-agreement",
            expected="a model to agree with, by --judge",
            found="none",
            next_step="add --judge SEGMENTER.onnx; `consumer train` makes one",
        )
    return None


def _one_each(option: str, values: Sequence[T], bundles: Sequence[Path]) -> Sequence[T]:
    """One value for each bundle; a single one counts for all.

    Raises:
        UsageError: there are as many as neither.
    """
    if len(values) == 1:
        return [*values] * len(bundles)
    if len(values) != len(bundles):
        raise UsageError(
            option,
            expected=f"one for all bundles, or {len(bundles)}: one for each",
            found=str(len(values)),
            next_step="name them in the order of the bundles",
        )
    return values


def _mixed_lines(mixture: SampledMixture, request: Request) -> list[str | Text]:
    coverage, judge = request.refinement.coverage, request.judge
    lines: list[str | Text] = [f"{verdict}: {name}" for name, verdict in mixture.verdicts.items()]
    for data_set in mixture.data_sets:
        shares = ", ".join(f"{count} of {name}" for name, count in data_set.counts.items())
        lines.append(f"{counted(sum(data_set.counts.values()), 'sample')} in {data_set.path}: {shares}")
        if coverage is not None:
            description = data_set.description
            lines.append(_covered(coverage, description["within_coverage"], description["count"]))
        if judge is not None:
            description = data_set.description
            lines.append(_agreed(judge.described, description["agreeing"], description["count"]))
    return lines


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
        if description.refinement.coverage is not None and description.within_coverage is not None:
            lines.append(
                _covered(description.refinement.coverage, description.within_coverage, description.count)
            )
        if description.judge is not None and description.agreeing is not None:
            lines.append(_agreed(description.judge, description.agreeing, description.count))
    return [*lines, f"{result.samples_per_second:.1f} samples a second"] if result.drawn else lines


def _why(description: DatasetDescription, seed: int | None) -> str:
    return "" if description.vetted else f": the list holds for seed {seed} at the trained size"


def _covered(coverage: Coverage, within: int, count: int) -> str:
    left = f"; the others are the nearest of {MAX_DRAWS_IN_RANGE} draws" if within < count else ""
    return f"coverage {coverage} in {within:,} of {count:,}{left}"


def _agreed(judge: JudgedBy, agreeing: int, count: int) -> str:
    left = f"; the others are the best of {MAX_DRAWS_JUDGED} draws" if agreeing < count else ""
    return f"agreement {judge.least_agreement:g} or more in {agreeing:,} of {count:,}{left}"


def _share_drawn(drawn: int, count: int) -> str:
    if drawn == count:
        return ""
    return f" ({drawn} drawn now, {count - drawn} before)" if drawn else " (all drawn before)"


def _size(text: str) -> Size:
    try:
        return Size.of(text)
    except UsageError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 320x240") from None


def _coverage(text: str) -> Coverage:
    try:
        return Coverage.of(text)
    except UsageError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of shares like 0.05:0.3") from None
