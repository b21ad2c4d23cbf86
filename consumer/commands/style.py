"""`consumer style`: give a data set the look of the real images, without a real image."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sharekit.program import progress
from sharekit.program.command_line import Output, default_of

SUMMARY = "give a data set the look of the real images; masks pass through untouched"


def configure(parser: argparse.ArgumentParser) -> None:
    from consumer.style.gatys import StyleSettings
    from consumer.style.styled_dataset import style_dataset

    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder that `consumer sample` wrote")
    parser.add_argument(
        "--bundle",
        type=Path,
        required=True,
        metavar="BUNDLE",
        help="verified; its style statistics are the target",
    )
    parser.add_argument(
        "--key", type=Path, metavar="PUB", help="the hospital's public key; by default the data set's own"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the new data set; by default DATASET-styled"
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
        help="of Adam, for every image",
    )
    parser.add_argument(
        "--features", type=Path, metavar="FILE", help="feature file; by default looked for on this machine"
    )
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="where to run")
    parser.add_argument("--threads", type=int, metavar="T", help="on the CPU; otherwise torch's own choice")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        default=default_of(style_dataset, "batch_size"),
        help="images at once: for speed alone",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.datasets.reader import read_folder
    from consumer.style import gatys
    from consumer.style.styled_dataset import read_statistics, style_dataset
    from consumer.trust import verify_for

    settings = gatys.StyleSettings(args.content_weight, args.style_weight, args.steps)
    folder = read_folder(args.dataset)
    bundle = verify_for(folder, args.bundle, args.key)
    statistics = read_statistics(bundle)
    device = gatys.choose_device(args.device)
    network = gatys.load_network(statistics, args.features)
    if args.threads is not None:
        gatys.torch_module().set_num_threads(args.threads)
    root = args.dataset.resolve()
    started = time.monotonic()
    with progress.reporter("style", unit="images") as on_progress:
        result = style_dataset(
            folder,
            statistics,
            network,
            args.out or root.with_name(f"{root.name}-styled"),
            settings,
            batch_size=args.batch_size,
            device=device,
            on_progress=on_progress,
        )
    seconds = time.monotonic() - started
    output.result(
        {**result.to_json(), "verdict": bundle.verdict, "device": device, "seconds": round(seconds, 1)},
        f"{bundle.verdict}: {bundle.manifest.hospital}, key {bundle.fingerprint}",
        f"{result.images} images styled in {seconds:.1f} s on {device} with {result.network}, "
        f"after the statistics of {result.statistics_images} real images",
        f"pixels changed by {result.mean_change:.1f} of 255 on average; masks unchanged",
        f"data set: {result.path}",
    )
    return 0
