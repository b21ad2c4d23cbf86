"""`consumer style`: give a data set the look of the real images, without a real image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program.command_line import Output, default_of, thread_count

if TYPE_CHECKING:
    from consumer.style.style_data_set import StyledBundle

SUMMARY = "give a data set the look of the real images; masks pass through untouched"


def configure(parser: argparse.ArgumentParser) -> None:
    from consumer.style.gatys import StyleSettings
    from consumer.style.style_data_set import style_data_set

    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder that `consumer sample` wrote")
    parser.add_argument(
        "--bundle",
        type=Path,
        required=True,
        metavar="BUNDLE",
        help="bundle whose style statistics are the target; it is verified",
    )
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="the hospital's public key (left out: the data set's own)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the new data set (left out: DATASET-styled)"
    )
    parser.add_argument(
        "--content-weight",
        type=float,
        metavar="W",
        default=default_of(StyleSettings, "content_weight"),
        help="how strongly to keep what is shown",
    )
    parser.add_argument(
        "--style-weight",
        type=float,
        metavar="W",
        default=default_of(StyleSettings, "style_weight"),
        help="how strongly to take on the look",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        default=default_of(StyleSettings, "steps"),
        help="steps of Adam for every image",
    )
    parser.add_argument(
        "--features", type=Path, metavar="FILE", help="feature file (left out: looked for on this machine)"
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cuda", "cpu"],
        default=default_of(style_data_set, "device"),
        help="where to run",
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="T", help="threads on the CPU (left out: torch's own choice)"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        default=default_of(style_data_set, "batch_size"),
        help="images at once: for speed alone",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.style.gatys import StyleSettings
    from consumer.style.style_data_set import style_data_set
    from sharekit.program.progress import reporter

    settings = StyleSettings(args.content_weight, args.style_weight, args.steps)
    with reporter("style", unit="images") as on_progress:
        result = style_data_set(
            args.dataset,
            args.bundle,
            args.key,
            args.out,
            settings,
            features=args.features,
            device=args.device,
            threads=args.threads,
            batch_size=args.batch_size,
            on_progress=on_progress,
        )
    output.result(result.to_json(), *_lines(result))


def _lines(result: StyledBundle) -> list[str]:
    from rich.markup import escape

    styled = result.styled
    before = f" ({styled.images - styled.styled} of them before)" if styled.styled < styled.images else ""
    return [
        f"{result.verdict}: {escape(result.hospital)}, key {result.fingerprint}",
        *(f"[yellow]{escape(warning)}[/]" for warning in result.warnings),
        f"{styled.images} images styled{before} in {result.seconds:.1f} s on {result.device} with "
        f"{styled.network}, after the statistics of {styled.statistics_images} real images",
        f"pixels changed by {styled.mean_change:.1f} of 255 on average; masks unchanged",
        f"data set: {escape(str(styled.path))}",
    ]
