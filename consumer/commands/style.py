"""`consumer style`: give a data set the look of the real images, without a real image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import progress, shared_options
from sharekit.program.command_line import default_of
from sharekit.program.output import Output, warning_text
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.text import Text

    from consumer.style.style_data_set import StyledBundle

SUMMARY = "give a data set the look of the real images; masks pass through untouched"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    from consumer.style.gatys import StyleSettings
    from consumer.style.style_data_set import style_data_set

    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder that `consumer sample` wrote")
    parser.add_argument(
        "--bundle",
        type=Path,
        required=True,
        metavar="BUNDLE",
        help="bundle whose style statistics are the target: Gram matrices, or protected colours, for which "
        "weights and steps do not count; it is verified",
    )
    parser.add_argument(
        "--key",
        metavar="PUB",
        help="the hospital's public key, or the name of a hospital that you trust (left out: the data "
        "set's own)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the new data set (left out: DATASET-styled)"
    )
    parser.add_argument(
        "--content-weight",
        type=float,
        metavar="W",
        default=default_of(StyleSettings, "content_weight"),
        help="weight of the image's content",
    )
    parser.add_argument(
        "--style-weight",
        type=float,
        metavar="W",
        default=default_of(StyleSettings, "style_weight"),
        help="weight of the real images' look",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        default=default_of(StyleSettings, "steps"),
        help="number of Adam steps for each image",
    )
    parser.add_argument(
        "--features", type=Path, metavar="FILE", help="feature file (left out: looked for on this machine)"
    )
    shared_options.device(parser)
    shared_options.threads(parser, "torch's own choice")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        default=default_of(style_data_set, "batch_size"),
        help="images to style at once; affects only the speed",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from consumer.style.gatys import StyleSettings
    from consumer.style.style_data_set import style_data_set

    settings = StyleSettings(args.content_weight, args.style_weight, args.steps)
    with progress.reporter("style", unit="images") as on_progress:
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


def _lines(result: StyledBundle) -> list[str | Text]:
    from consumer.style.styled_dataset import COLOURS

    method = "a transfer of colours" if result.styled.network == COLOURS else result.styled.network
    styled = result.styled
    before = f" ({styled.images - styled.styled} of them before)" if styled.styled < styled.images else ""
    return [
        f"{result.verdict}: {result.hospital}, key {result.fingerprint}",
        *(warning_text(warning) for warning in result.warnings),
        f"{counted(styled.images, 'image')} styled{before} in {result.seconds:.1f} s on {result.device} with "
        f"{method}, after the statistics of {counted(styled.statistics_images, 'real image')}",
        f"pixels changed by {styled.mean_change:.1f} of 255 on average; masks unchanged",
        f"data set: {styled.path}",
    ]
