"""Leak, quality, utility and training time of generator settings, each a point of one table and one plot.

A point is a setting trained on groups of k real images. Its samples are attacked, looked at, and used to
train a segmenter, always next to what real images give:

    leak      how much more often than chance a sample's nearest real image is a source (thumbnail of 8
              pixels, also mirrored, full size, colour histogram); AUC of telling sources from images never
              seen by the nearest sample's distance; share of patches that are nearer to a source than to an
              image never seen, less one half; best of N, how near the nearest sample comes to either
    quality   agreement of the masks with a segmenter trained on real images; FID and KID next to those of
              real images among themselves
    utility   IoU, on real images never seen, of a segmenter trained on samples, and on samples and sources

Trained generators, samples and figures stay in a folder, so that the same command goes on where it stopped:

    python benchmarks/frontier.py --data DIR --out RUNS --settings group quick --k 10 --groups 0 1 2
    python benchmarks/frontier.py --out RUNS --table
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import group_leaks
import levers
import numpy as np
import patch_baseline
import torch
from numpy.typing import NDArray
from PIL import Image
from quality import load_pair
from rich.console import Console
from rich.table import Table

from consumer.sampling.refinement import Refinement, marked_share
from consumer.training.augmentation import augmentation
from consumer.training.data import Pairs
from consumer.training.loop import Loop
from consumer.training.network import EncoderWeights, build_network, input_statistics, read_weights
from consumer.training.task import Task
from consumer.training.training_settings import TrainingSettings as SegmenterSettings
from hospital_node.fidelity import inception
from hospital_node.fidelity.frechet import frechet_distance
from hospital_node.fidelity.kernel import kernel_distance
from hospital_node.fidelity.subject import features
from hospital_node.node.pair import common_size
from hospital_node.singan.config import PROFILES, TrainingConfig, TrainingSettings
from hospital_node.singan.lane import LaneJob
from hospital_node.singan.networks import sample
from hospital_node.singan.pyramid import pyramid_sizes
from hospital_node.singan.pyramid import resize as resize_tensor
from hospital_node.singan.trained import TrainedGenerator
from hospital_node.singan.training import DivergedError, train_lanes
from sharekit.demo import phantom
from sharekit.generator.tensors import ChannelLayout, tensor_to_pixels
from sharekit.intervals import Interval, student_mean
from sharekit.page.plots import MUTED, SERIES, drawing, svg
from sharekit.segmenter.contract import SegmenterContract
from sharekit.segmenter.metrics import SMOOTHING, score_image

Array = NDArray[np.float32]
LAYOUT = ChannelLayout(3, ("mask",))
SEGMENTER_SIDE = 64  # pixels, of both sides
SAMPLES = 200
"""Samples of one point, over all its generators."""
FEATURES = 80
"""Pictures behind each FID and KID: distances of sets of other sizes cannot be compared."""
REFINED = Refinement(clean_masks=True, redraw_below=0.05)
"""What a consumer does to samples that are to train a segmenter."""


def changed(profile: str = "quick", /, **settings: Any) -> TrainingConfig:
    """A profile with some of its settings replaced."""
    return dataclasses.replace(PROFILES[profile], **settings)


UNTURNED = changed("group", turn=0.0, shift=0.0)
"""The profile before it turned real pictures."""
SETTINGS: Mapping[str, TrainingConfig | None] = {
    "patches": None,
    **PROFILES,
    "planted": changed("quick", reconstruction_weight=100.0),
    "planted redrawn": changed("quick", reconstruction_weight=100.0, redraw_z_star=True),
    "turns": changed("quick", iterations=1200),
    "group z*": changed("group", z_star=True),
    "group norm": changed("group", critic_norm=True),
    "group w0": changed("group", reconstruction_weight=0.0),
    "group turns": changed("group", pictures=1),
    "group 6 scales": changed("group", scale_factor=0.65),
    "group from 18": changed("group", min_side=18),
    "group from 25": changed("group", min_side=25),
    "group long": changed("group", iterations=1200),
    "group upright": TrainingSettings.of("group").upright().config,
    "group unturned": UNTURNED,
    "group flips": dataclasses.replace(UNTURNED, colour_jitter=0.0),
    "group unchanged": dataclasses.replace(UNTURNED, colour_jitter=0.0, flips=False),
    **dict.fromkeys(levers.LEVERS, UNTURNED),
}
"""Settings by name; None is the training-free baseline. `planted` is to leak: run it with `--k 1`."""


@dataclass(frozen=True)
class Data:
    """Real images at the size of training with their folds."""

    tensors: Array  # (N, 4, H, W) in [-1, 1]
    folds: NDArray[np.int64]  # (N,), 0 to 2; near duplicates share one

    @staticmethod
    def read(folder: Path, side: int) -> Data:
        """The pairs in `images/` and `masks/`; `folds.csv` (name, fold), or folds by chance."""
        stems = sorted(path.stem for path in (folder / "images").iterdir())
        sizes = [Image.open(next((folder / "images").glob(f"{stem}.*"))).size[::-1] for stem in stems]
        height, width = pyramid_sizes(*common_size(sizes), changed(max_side=side))[-1]
        pairs = (torch.from_numpy(load_pair(folder, stem))[None] for stem in stems)
        tensors = torch.cat([resize_tensor(pair, height, width) for pair in pairs]).numpy()
        listed = folder / "folds.csv"
        if listed.exists():
            rows = dict(line.split(",") for line in listed.read_text().split()[1:])
            folds = np.array([int(rows[stem]) for stem in stems])
        else:
            folds = np.random.default_rng(0).permutation(len(stems)) % 3
        return Data(tensors, folds)

    @property
    def side(self) -> int:
        """The long side in pixels."""
        return max(self.tensors.shape[2:])

    @property
    def judged(self) -> Array:
        """The real images that segmenters are judged on: fold 0."""
        return self.tensors[self.folds == 0]

    def group(self, number: int, size: int) -> tuple[Array, Array]:
        """The `number`-th group of `size` images, of fold 1 or of fold 2, and all of the other folds."""
        chosen, others = self._fold(number, size)
        if len(chosen) < size:
            raise SystemExit(
                f"group {number} of {size}: its fold has only {len(chosen) + len(others)} images"
            )
        return self.tensors[chosen], np.delete(self.tensors, np.concatenate([chosen, others]), axis=0)

    def mates(self, number: int, size: int) -> Array:
        """The other images of the fold of that group."""
        return self.tensors[self._fold(number, size)[1]]

    def _fold(self, number: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The group's images, and the others of its fold."""
        fold = 1 + number % 2
        members = np.random.default_rng(fold).permutation(np.flatnonzero(self.folds == fold))
        place = np.s_[number // 2 * size : (number // 2 + 1) * size]
        return members[place], np.delete(members, place)


@dataclass(frozen=True)
class Point:
    """One setting on one group."""

    setting: str
    k: int  # images behind each generator
    group: int
    images: int = 10
    """Least number of images behind all the generators of the point."""

    @property
    def sources(self) -> int:
        return max(self.k, self.images)

    @property
    def name(self) -> str:
        return f"{self.setting}-k{self.k}-g{self.group}"

    def folder(self, out: Path) -> Path:
        return out / self.name


def samples_of(point: Point, data: Data, out: Path) -> tuple[Array, float]:
    """`(SAMPLES, 4, H, W)` and the CPU seconds of training, trained and drawn where the folder lacks them."""
    folder = point.folder(out)
    stored = folder / "samples.npz"
    if not stored.exists():
        sources, _ = data.group(point.group, point.sources)
        config = SETTINGS[point.setting]
        started = time.process_time()
        if config is None:
            drawn = patch_baseline.draw(list(sources), changed(max_side=data.side), SAMPLES).numpy()
        else:
            config = dataclasses.replace(config, max_side=data.side)
            parts = np.array_split(sources, point.sources // point.k)
            each = SAMPLES // len(parts)
            drawn = np.concatenate(
                [
                    _draw(_trained(part, point.setting, config, folder / str(number), number), each)
                    for number, part in enumerate(parts)
                ]
            )
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(stored, samples=drawn.astype(np.float16), seconds=time.process_time() - started)
        contact_sheet(drawn[:: max(1, len(drawn) // 24)][:24], folder / "samples.png")
    with np.load(stored) as found:
        return found["samples"].astype(np.float32), float(found["seconds"])


def _trained(
    sources: Array, setting: str, config: TrainingConfig, folder: Path, number: int
) -> TrainedGenerator:
    path = folder / "generator.safetensors"
    if not path.exists():
        job = LaneJob(list(sources), LAYOUT, f"{number:032x}", folder, seed=7 + number)
        with levers.applied(setting):
            (trained,) = train_lanes([job], config, profile="benchmark")
        if isinstance(trained, DivergedError):
            raise trained
        trained.save(path)
    return TrainedGenerator.load(path)


def _draw(generator: TrainedGenerator, count: int) -> Array:
    batches = np.array_split(np.arange(count), max(1, count // 20))
    drawn = [sample(generator, generator.spec.noise(0, [int(i) for i in batch])) for batch in batches]
    return np.concatenate(drawn).clip(-1, 1)


def contact_sheet(pictures: Array, path: Path) -> None:
    """Pictures in rows of eight, each above its mask. They may resemble real images: never commit one."""
    pixels = tensor_to_pixels(pictures)
    cells = np.concatenate([pixels[..., :3], pixels[..., 3:].repeat(3, axis=3)], axis=1)
    rows = [np.concatenate(list(cells[start : start + 8]), axis=1) for start in range(0, len(cells) - 7, 8)]
    Image.fromarray(np.concatenate(rows)).resize((8 * 128, len(rows) * 216)).save(path)


@dataclass(frozen=True)
class Segmenting:
    """How segmenters are trained."""

    architecture: str
    encoder: str
    weights: str
    updates: int
    seeds: int

    def settings(self, seed: int, real_share: float | None = None) -> SegmenterSettings:
        return SegmenterSettings(
            architecture=self.architecture,
            encoder=self.encoder,
            encoder_weights=self.weights,
            size=SEGMENTER_SIDE,
            updates=self.updates,
            learning_rate=1e-3,
            validations=10,
            real_share=real_share,
            seed=seed,
        )


def pairs_of(tensors: Array, contract: SegmenterContract, synthetic: bool) -> Pairs:
    """Pictures `(N, 4, H, W)` with their masks at a segmenter's size."""
    pixels = tensor_to_pixels(tensors)
    masks = pixels[..., 3] > 127
    if synthetic:
        masks = np.stack([REFINED.masks(mask[None].astype(np.float32))[0] > 0 for mask in masks])
        wanted = np.array([REFINED.miss(marked_share(mask[None].astype(np.uint8))) == 0 for mask in masks])
        pixels, masks = pixels[wanted], masks[wanted]
    images = np.stack([contract.resize(np.ascontiguousarray(one[..., :3])) for one in pixels])
    small = np.stack([contract.resize(mask.astype(np.uint8) * 255)[..., 0] > 127 for mask in masks])
    return Pairs(images, small, (Path("x"),) * len(images), np.full(len(images), synthetic), Path())


def joined(first: Pairs, second: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.masks, second.masks]),
        first.files + second.files,
        np.concatenate([first.synthetic, second.synthetic]),
        first.root,
    )


@dataclass(frozen=True)
class Segmenters:
    """Trains segmenters, and judges them on real images never seen."""

    how: Segmenting
    contract: SegmenterContract
    encoder: EncoderWeights
    judged: Pairs

    @staticmethod
    def of(how: Segmenting, data: Data) -> Segmenters:
        mean, std = input_statistics(how.settings(0))
        contract = SegmenterContract(3, (SEGMENTER_SIDE, SEGMENTER_SIDE), mean, std, "logits", ("mask",))
        return Segmenters(how, contract, read_weights(how.weights), pairs_of(data.judged, contract, False))

    def train(self, training: Pairs, seed: int, real_share: float | None = None) -> Loop:
        settings = self.how.settings(seed, real_share)
        task = Task(settings, self.contract, self.encoder, training, self.judged)
        augment = augmentation(settings.augment)
        import segmentation_models_pytorch as smp  # needs operators that `augmentation` defines

        torch.manual_seed(seed)
        loss = smp.losses.DiceLoss("binary", from_logits=True, smooth=SMOOTHING / 2)
        loop = Loop(build_network(settings, self.encoder), loss, augment, task, "cpu")
        while not loop.finished:
            loop.step()
        return loop

    def iou(self, training: Pairs, real_share: float | None = None) -> list[float]:
        """IoU of the best validation, seed by seed, as in the experiments of this project."""
        return [self.train(training, seed, real_share).best.iou for seed in range(self.how.seeds)]

    def agreement(self, judge: torch.nn.Module, pairs: Pairs) -> float:
        """Mean IoU of the pairs' masks with those of a segmenter trained on real images."""
        with torch.inference_mode():
            inputs = torch.from_numpy(self.contract.normalise(pairs.images))
            raw = torch.cat([judge.eval()(batch) for batch in inputs.split(16)]).numpy()
        found = self.contract.probabilities(raw)[:, 0]
        return float(np.mean([score_image(a, b).iou for a, b in zip(found, pairs.masks, strict=True)]))


class Bench:
    """Real images, segmenters and features that all points are compared with."""

    def __init__(self, data: Data, how: Segmenting, out: Path, weights: Path | None) -> None:
        self.data, self.out = data, out
        self.segmenters = Segmenters.of(how, data)
        self.network = None if weights is None else inception.load(weights)
        self._cache = out / "real.json"
        self._known: dict[str, Any] = json.loads(self._cache.read_text()) if self._cache.exists() else {}

    def _once(self, name: str, value: Any) -> Any:
        """What `value()` gives, computed once for all runs in this folder."""
        if name not in self._known:
            self._known[name] = value()
            self._cache.write_text(json.dumps(self._known))
        return self._known[name]

    @cached_property
    def judge(self) -> torch.nn.Module:
        """A segmenter of all real images outside fold 0."""
        path = self.out / "judge.pt"
        contract = self.segmenters.contract
        network = build_network(self.segmenters.how.settings(0), self.segmenters.encoder)
        if not path.exists():
            real = pairs_of(self.data.tensors[self.data.folds != 0], contract, False)
            longer = dataclasses.replace(self.segmenters.how, updates=3 * self.segmenters.how.updates)
            trained = dataclasses.replace(self.segmenters, how=longer).train(real, 0)
            torch.save(trained.best_network().state_dict(), path)
        network.load_state_dict(torch.load(path, weights_only=True))
        return network

    def row(self, point: Point, arms: Sequence[str]) -> dict[str, Any]:
        """All figures of a point, as JSON."""
        samples, seconds = samples_of(point, self.data, self.out)
        sources, unseen = self.data.group(point.group, point.sources)
        pictures = (samples[:, :3], sources[:, :3], unseen[:, :3])
        drawn = pairs_of(samples, self.segmenters.contract, True)
        row: dict[str, Any] = {
            "setting": point.setting,
            "k": point.k,
            "group": point.group,
            "seconds": seconds,
            "chance": len(sources) / (len(sources) + len(unseen)),
            **leaks(*pictures, self.data.mates(point.group, point.sources)[:, :3]),
            "unmarked": 1 - len(drawn) / len(samples),
            "agreement": self.segmenters.agreement(self.judge, drawn) if len(drawn) else 0.0,
            "real_agreement": self._once(
                "agreement", lambda: self.segmenters.agreement(self.judge, self.segmenters.judged)
            ),
        }
        if self.network is not None:
            row |= self._fidelity(samples[:, :3])
        if arms and len(drawn):
            row |= self._utility(point, sources, drawn, arms)
        return row

    def _fidelity(self, samples: Array) -> dict[str, float]:
        real = self.real_features
        count = min(FEATURES, len(real) // 2)
        assert self.network is not None
        found = features(samples[:: max(1, len(samples) // count)][:count], self.network)
        half, other = real[:count], real[count : 2 * count]
        return {
            "fid": frechet_distance(found, half),
            "kid": kernel_distance(found, half),
            "real_fid": frechet_distance(other, half),
            "real_kid": kernel_distance(other, half),
        }

    @cached_property
    def real_features(self) -> NDArray[np.float64]:
        """Features of the real images, in an order by chance."""
        path = self.out / "features.npy"
        if not path.exists():
            assert self.network is not None
            order = np.random.default_rng(0).permutation(len(self.data.tensors))
            np.save(path, features(self.data.tensors[order, :3], self.network))
        return np.load(path)

    def _utility(
        self, point: Point, sources: Array, drawn: Pairs, arms: Sequence[str]
    ) -> dict[str, list[float]]:
        real = pairs_of(sources, self.segmenters.contract, False)
        name = f"real-{len(sources)}-g{point.group}-{self.segmenters.how.seeds}"
        found = {"iou_real": self._once(name, lambda: self.segmenters.iou(real))}
        if "alone" in arms:
            found["iou"] = self.segmenters.iou(drawn)
        if "both" in arms:
            found["iou_both"] = self.segmenters.iou(joined(real, drawn), real_share=0.5)
        return found


def leaks(samples: Array, sources: Array, unseen: Array, mates: Array) -> dict[str, Any]:
    """What the attacks find, as JSON; all pictures are `(N, 3, H, W)`."""
    pictures = (samples, sources, unseen)
    control = (
        {
            name: _as_json(one)
            for name, one in group_leaks.controls(samples, mates, unseen, len(sources)).items()
        }
        if len(mates) > len(sources)
        else None
    )
    return {
        "nearest": _as_json(group_leaks.nearest_source(*pictures)),
        "auc": _as_json(group_leaks.membership(*pictures)),
        "patches": group_leaks.patch_copying(*pictures).to_json(),
        "turned patches": group_leaks.patch_copying(*pictures, turned=True).to_json(),
        "best": group_leaks.best_of_n(*pictures),
        "control": control,
    }


def _as_json(found: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_json() for name, interval in found.items()}


ROWS = "rows.jsonl"
PLOT = "frontier.svg"
ARMS = ("alone", "both")
Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/ (left out: drawn pictures)")
    parser.add_argument("--out", type=Path, help="folder of results (left out: a temporary one)")
    parser.add_argument("--side", type=int, default=64, help="long side of the pictures in pixels")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["patches"])
    parser.add_argument("--k", type=int, nargs="+", default=[10], help="images behind a generator")
    parser.add_argument("--images", type=int, default=10, help="least number of images of a group")
    parser.add_argument("--groups", type=int, nargs="+", default=[0], help="numbers of the groups")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS, help="segmenters to train")
    parser.add_argument("--seeds", type=int, default=3, help="segmenters of each kind")
    parser.add_argument("--updates", type=int, default=150, help="updates of a segmenter")
    parser.add_argument("--architecture", default="linknet")
    parser.add_argument("--encoder", default="timm-tf_efficientnet_lite0")
    parser.add_argument("--encoder-weights", default="none", help="none or FILE.safetensors")
    parser.add_argument("--features", type=Path, help="Inception weights (left out: no FID and KID)")
    parser.add_argument("--table", action="store_true", help="only print what the folder holds")
    parser.add_argument("--attack", action="store_true", help="only make the attacks that earlier rows lack")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        args.out = args.out or Path(scratch) / "runs"
        args.out.mkdir(parents=True, exist_ok=True)
        if args.attack:
            attack(args.out, Data.read(args.data, args.side))
        elif not args.table:
            measure(args, Path(scratch))
        rows = read_rows(args.out)
        Console(width=320).print(table(rows))
        (args.out / PLOT).write_bytes(plot(rows))


def measure(args: argparse.Namespace, scratch: Path) -> None:
    """Add the rows that the folder lacks."""
    if args.data is None:
        args.data = scratch / "data"
        phantom.write_data_set(args.data, 60, height=96, width=112)
    how = Segmenting(args.architecture, args.encoder, args.encoder_weights, args.updates, args.seeds)
    bench = Bench(Data.read(args.data, args.side), how, args.out, args.features)
    known = {Point(row["setting"], row["k"], row["group"]).name for row in read_rows(args.out)}
    for setting, k, group in itertools.product(args.settings, args.k, args.groups):
        point = Point(setting, k, group, args.images)
        if point.name not in known:
            row = bench.row(point, args.arms)
            with (args.out / ROWS).open("a") as file:
                file.write(json.dumps(row) + "\n")


def attack(out: Path, data: Data) -> None:
    """Attack the samples of rows that were written before there were all of today's attacks."""
    rows = []
    for row in read_rows(out):
        if "control" in row:
            rows.append(row)
            continue
        images = round(row["chance"] / (1 - row["chance"]) * (data.folds != 1 + row["group"] % 2).sum())
        point = Point(row["setting"], row["k"], row["group"], images)
        samples, _ = samples_of(point, data, out)
        sources, unseen = data.group(point.group, point.sources)
        mates = data.mates(point.group, point.sources)
        pictures = (one[:, :3] for one in (samples, sources, unseen, mates))
        rows.append({**row, **leaks(*pictures)})
    (out / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(out: Path) -> list[Row]:
    """What earlier runs measured in this folder."""
    path = out / ROWS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_point(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    """Rows of the groups of each setting and k."""
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["setting"], row["k"]].append(row)
    return found


def excess(row: Row, view: str) -> float | None:
    """How much more often than chance the nearest real image is a source, as a share of the samples."""
    return float(row["nearest"][view]["mean"] - row["chance"]) if view in row["nearest"] else None


def membership(row: Row, view: str) -> float | None:
    """AUC of telling sources from images never seen, or None where this was not measured."""
    return float(row["auc"][view]["mean"]) if view in row["auc"] else None


def utility(row: Row, arm: str = "iou") -> float | None:
    """IoU as a share of that of the real images behind the samples, or None where it was not measured."""
    return float(np.mean(row[arm]) / np.mean(row["iou_real"])) if arm in row else None


FIGURES: Mapping[str, Callable[[Row], float | None]] = {
    **{f"nearest, {view}": partial(excess, view=view) for view in group_leaks.VIEWS},
    **{f"AUC, {view}": partial(membership, view=view) for view in group_leaks.VIEWS},
    "patches": lambda row: row["patches"]["mean"],
    "patches, turned": lambda row: row["turned patches"]["mean"] if "turned patches" in row else None,
    "best of N": lambda row: row["best"]["full.source"] / row["best"]["full.unseen"],
    "mask IoU / real": lambda row: row["agreement"] / row["real_agreement"],
    "FID / real": lambda row: row["fid"] / row["real_fid"] if "fid" in row else None,
    "KID": lambda row: row.get("kid"),
    "IoU / real": utility,
    "both / real": partial(utility, arm="iou_both"),
    "CPU s": lambda row: row["seconds"],
}
"""Columns of the table. Best of N is the distance to a source over that to an image never seen."""


def table(rows: Sequence[Row]) -> Table:
    """The mean over the groups of each setting, with a Student t interval where there are several."""
    result = Table(title="mean over groups [95 %]; nearest: share above chance")
    for column in ("setting", "k", "groups", *FIGURES):
        result.add_column(column, justify="right")
    for (setting, k), group in by_point(rows).items():
        cells = []
        for figure in FIGURES.values():
            values = [value for row in group if (value := figure(row)) is not None]
            shown = str(student_mean(values)) if len(values) > 1 else "".join(f"{one:.3g}" for one in values)
            cells.append(shown)
        result.add_row(setting, str(k), str(len(group)), *cells)
    return result


def plot(rows: Sequence[Row]) -> bytes:
    """Utility over leak, one point for each setting and k: the best are high on the left."""
    points = []
    for (setting, k), group in by_point(rows).items():
        shares = [share for row in group if (share := utility(row)) is not None]
        if shares:
            # A collage of patches is near to no real image as a whole: only this attack sees it.
            leak = np.mean([row["patches"]["mean"] for row in group])
            points.append((100 * float(leak), 100 * float(np.mean(shares)), f"{setting}, k = {k}"))
    with drawing(4.2) as figure:
        axes = figure.add_subplot()
        # Labels go above and below in turn, because neighbours would cover each other.
        turns = zip(itertools.cycle(SERIES), itertools.cycle([-12, 5]), strict=False)
        for (leak, height, label), (colour, shift) in zip(sorted(points), turns, strict=False):
            axes.plot(leak, height, "o", color=colour)
            axes.annotate(label, (leak, height), (5, shift), textcoords="offset points")
        axes.axhline(100, color=MUTED, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.grid(True)
        axes.set_xlabel("leak: patches nearer to a source than to images never seen, per cent above chance")
        axes.set_ylabel("utility: IoU, as a share of the real images', %")
        return svg(figure)


if __name__ == "__main__":
    main()
