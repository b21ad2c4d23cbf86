"""`consumer train`: train a segmentation model on data-set folders."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.program import progress, shared_options
from sharekit.program.output import Output, warn
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from consumer.training import TrainingResult

SUMMARY = "train a segmentation model on data sets; the same command again goes on after an interruption"
GOES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    _configure_data(parser)
    _configure_network(parser)
    _configure_schedule(parser)
    shared_options.device(parser)
    shared_options.threads(parser)
    progress.configure(parser)


def _configure_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "datasets",
        type=Path,
        nargs="+",
        metavar="DATASET",
        help="folder with images/ and masks/; several are joined",
    )
    parser.add_argument(
        "--validation",
        type=Path,
        required=True,
        metavar="DIR",
        help="data set that decides which weights are best; no image of it may be trained on",
    )
    parser.add_argument(
        "--hold-out-hospital",
        metavar="NAME",
        help="hospital whose synthetic images are scored and not trained on, as metadata.jsonl names it",
    )
    parser.add_argument(
        "--test",
        dest="tests",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="data set to score at the end, with the best and with the last weights; it chooses nothing "
        "(repeat for several)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="SEGMENTER.onnx", help="file of the model")
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class to segment, where there are several (left out: the only one)",
    )


def _configure_network(parser: argparse.ArgumentParser) -> None:
    from consumer.training import TrainingSettings
    from consumer.training.training_settings import ARCHITECTURES

    defaults = TrainingSettings()
    parser.add_argument(
        "--architecture",
        default=defaults.architecture,
        metavar="NAME",
        help=f"network: {', '.join(ARCHITECTURES)}",
    )
    parser.add_argument(
        "--encoder",
        default=defaults.encoder,
        metavar="NAME",
        help="encoder, as segmentation-models-pytorch names it; dpt takes those that start with tu-",
    )
    parser.add_argument(
        "--encoder-weights",
        default=defaults.encoder_weights,
        metavar="WEIGHTS",
        help="none (random), imagenet (downloaded by segmentation-models-pytorch) or FILE.safetensors",
    )
    parser.add_argument(
        "--freeze-encoder",
        action="store_true",
        help="keep the encoder's weights as they are; only the rest of the network learns",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=defaults.size,
        metavar="PIXELS",
        help="width and height of the model's input",
    )


def _configure_schedule(parser: argparse.ArgumentParser) -> None:
    from consumer.training import TrainingSettings

    defaults = TrainingSettings()
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=int,
        default=defaults.epochs,
        metavar="N",
        help="number of times to show every image; the paper: 300 in Table 1, 100 in Table 2",
    )
    length.add_argument("--updates", type=int, metavar="N", help="weight updates, instead of epochs")
    parser.add_argument(
        "--decay-at",
        type=int,
        metavar="EPOCH",
        help="epoch after which the learning rate is a tenth (left out: 50, or a third of --updates)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=defaults.batch_size, metavar="B", help="images in a batch"
    )
    parser.add_argument(
        "--real-share",
        type=float,
        metavar="S",
        help="share of real images in every batch, where some data sets are synthetic and some are not (left "
        "out: every image comes equally often)",
    )
    parser.add_argument(
        "--real-finish",
        type=float,
        default=defaults.real_finish,
        metavar="S",
        help="share of the updates, at the end, that show only real images, if the data has any",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=defaults.learning_rate,
        metavar="R",
        help="learning rate of Adam",
    )
    shared_options.seed(parser, defaults.seed, "weights, batches and augmentation")
    _configure_augmentation(parser)
    parser.add_argument(
        "--validations",
        type=int,
        default=defaults.validations,
        metavar="N",
        help="largest number of validations; without --updates, at most one per epoch",
    )


def _configure_augmentation(parser: argparse.ArgumentParser) -> None:
    from consumer.training.training_settings import AUGMENTATIONS, NO_AUGMENTATION, STANDARD

    parser.add_argument(
        "--augment",
        nargs="?",
        choices=AUGMENTATIONS,
        const=STANDARD,
        default=STANDARD,
        help="change training images at random; standard: flip, turn and recolour; strong: also bend, and "
        "recolour more; cutmix, copy-paste, mixup: standard, then mix images with each other",
    )
    parser.add_argument(
        "--no-augment",
        dest="augment",
        action="store_const",
        const=NO_AUGMENTATION,
        default=argparse.SUPPRESS,
        help="the same as --augment none",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    from consumer.training import TrainingSettings, read_task, train_segmenter
    from consumer.training.train_segmenter import check_out
    from sharekit.program.processors import free_processors

    settings = TrainingSettings.from_json(
        {field.name: getattr(args, field.name) for field in dataclasses.fields(TrainingSettings)}
    )
    check_out(args.out)
    with progress.reporter("read", unit="images") as on_progress:
        task = read_task(
            args.datasets,
            args.validation,
            settings,
            hold_out_hospital=args.hold_out_hospital,
            tests=args.tests,
            class_name=args.class_name,
            on_progress=on_progress,
        )
    with progress.reporter("train", unit="updates") as on_progress:
        result = train_segmenter(
            task,
            args.out,
            device=args.device,
            threads=args.threads or free_processors(),
            on_progress=on_progress,
            on_warning=warn,
        )
    output.result(result.to_json(), *_describe(result))
    return 0


def _describe(result: TrainingResult) -> list[str]:
    facts = result.to_json()
    task, best = result.task, facts["best"]["metrics"]
    tests = [
        f"test on {counted(each['images'], 'image')} of {each['folder']}, the same weights: "
        f"{_scores(each['best']['metrics'])}"
        for each in facts["tests"]
    ]
    return [
        f"{task.settings.architecture} with {task.settings.encoder} ({_weights(task.weights.source)}): "
        f"{counted(facts['images'], 'image')} ({facts['synthetic_images']} synthetic), "
        f"{counted(facts['updates'], 'update')}, "
        f"{result.seconds:.0f} s on {_device(result)}",
        f"best of {counted(len(task.validation), 'validation image')} after update {result.best.update}: "
        f"{_scores(best)}",
        *tests,
        *(
            f"{name}{', held out' if value['held_out'] else ''}: {counted(value['images'], 'image')}, "
            f"IoU {value['metrics']['iou']['mean']:.3f}"
            for name, value in facts["hospitals"].items()
        ),
        f"model: {result.out}",
    ]


def _scores(metrics: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        for name, value in metrics.items()
    )


def _device(result: TrainingResult) -> str:
    if result.device != "cpu":
        return result.device
    return f"the CPU ({counted(result.threads, 'thread')})"


def _weights(source: str) -> str:
    words = {"none": "random weights at first", "imagenet": "ImageNet weights at first"}
    return words.get(source, f"weights of {source} at first")
