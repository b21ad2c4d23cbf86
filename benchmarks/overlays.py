"""Measure how much burned-in text intake finds, and how often it takes something else for text.

Four tables. *Real pictures*: every box of `overlay-labels.json` was drawn or checked by eye. *Drawn on
real pictures*: one text of each kind of `drawn_overlays.py`, in several fonts, on pictures without text. *A
mark*: what a device draws into all its pictures, looked for in all of them together. *Drawn pictures*: the
same texts on drawn grounds. A line counts as found when intake paints over, or puts before a person, at least
90 % of its box; a graphic needs 60 %. Shares have 95 % Clopper-Pearson intervals, which hold for few trials.

What the detector answers is kept in `--out`: a run that was stopped goes on, and a change of what follows the
detector is measured in minutes.

    python benchmarks/overlays.py --data ../shared/data/kvasir-seg --out RUNS
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from drawn_overlays import MARKS, TEXTS, Drawn, Pixels, draw
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from hospital_node.overlays import text_detector
from hospital_node.overlays.outcome import Overlays, Treatment, decide
from hospital_node.overlays.paint import painted
from hospital_node.overlays.region import Region
from hospital_node.overlays.survey import Survey
from hospital_node.overlays.text_detector import TextDetector, load_detector
from hospital_node.overlays.text_reader import load_reader

LABELS = Path(__file__).with_name("overlay-labels.json")
LINE, GRAPHIC = 0.9, 0.6
"""Least share of a box that is painted over, for it to count as found."""
ANSWERS, TABLES = "answers.jsonl", "tables.md"
DEVICE = (620, 520)
"""Width and height of the pictures of one device, in pixels."""


class KeptAnswers(TextDetector):
    """The detector, with its answers in a file: each picture is looked at once."""

    def __init__(self, out: Path) -> None:
        self._path = out / ANSWERS
        source = Path(text_detector.__file__).read_bytes()
        self._detector = hashlib.sha256(source).hexdigest()[:16]
        self._kept: dict[str, list[Region]] = {}
        if self._path.is_file():
            for text in self._path.read_text(encoding="utf-8").splitlines():
                line = json.loads(text)
                if line["detector"] == self._detector:
                    self._kept[line["picture"]] = list(map(Region.from_json, line["regions"]))

    def find(self, pixels: Pixels) -> list[Region]:
        name = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()
        if name not in self._kept:
            found = load_detector().find(pixels)
            line = {"detector": self._detector, "picture": name, "regions": [one.to_json() for one in found]}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self._kept[name] = list(map(Region.from_json, line["regions"]))
        return self._kept[name]


def share(hits: int, trials: int) -> str:
    """`97.1 % [95.9, 98.0] | 1,404 of 1,446`."""
    if not trials:
        return "none | 0"
    found = binomtest(hits, trials).proportion_ci(0.95, "exact")
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * hits / trials:.1f} % [{low:.1f}, {high:.1f}] | {hits:,} of {trials:,}"


def caught(boxes: Sequence[Sequence[int]], found: NDArray[np.bool_], least: float) -> list[bool]:
    """For each box, whether at least this share of it is marked in `(H, W)`."""
    return [bool(found[top:bottom, left:right].mean() >= least) for left, top, right, bottom in boxes]


def unlabelled(decided: Overlays, boxes: Sequence[Sequence[int]], height: int, width: int) -> list[Region]:
    """Regions that touch none of the boxes."""
    truth = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        truth[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
    return [one for one in (*decided.painted, *decided.doubtful) if not truth[one.slices].any()]


def real_pictures(data: Path, labels: dict[str, dict], new_survey: Callable[[], Survey]) -> Iterator[str]:
    pictures = {name: picture(data, name) for name in sorted(labels)}
    survey = new_survey()
    for name, pixels in pictures.items():
        survey.look(name, pixels)
    lines: list[bool] = []
    graphics: list[bool] = []
    whole: list[bool] = []
    some: list[bool] = []
    false_regions, false_pictures, review, more = 0, 0, 0, 0.0
    for name, pixels in pictures.items():
        height, width = pixels.shape[:2]
        mask = np.asarray(Image.open(data / "masks" / name).convert("L")) > 127
        decided = decide(survey.overlays(name, pixels), {"lesion": mask}, height, width)
        review += decided.treatment is Treatment.WAITING
        found = painted((*decided.painted, *decided.doubtful), height, width)
        text = caught(labels[name]["text"], found, LINE)
        lines += text
        graphics += caught(labels[name]["graphics"], found, GRAPHIC)
        if text:
            whole.append(all(text))
            some.append(any(text))
        boxes = (*labels[name]["text"], *labels[name]["graphics"])
        wrong = unlabelled(decided, boxes, height, width)
        false_regions += len(wrong)
        false_pictures += bool(wrong)
        more += float(painted(wrong, height, width).mean()) if wrong else 0.0
    yield from heading(f"{len(pictures)} real pictures")
    yield f"| pictures with text in which text was found | {share(sum(some), len(some))} |"
    yield f"| pictures with text in which every line was found | {share(sum(whole), len(whole))} |"
    yield f"| lines found | {share(sum(lines), len(lines))} |"
    yield f"| graphics found | {share(sum(graphics), len(graphics))} |"
    yield f"| pictures with a false region | {share(false_pictures, len(pictures))} |"
    yield f"| pictures put before a person | {share(review, len(pictures))} |"
    yield f"| false regions a picture | {false_regions / len(pictures):.2f} | |"
    yield f"| pixels that false regions take of a picture | {100 * more / len(pictures):.2f} % | |"


def drawn_texts(
    title: str,
    grounds: Sequence[Pixels | None],
    seed: int,
    new_survey: Callable[[], Survey],
    kinds: Sequence[str],
) -> Iterator[str]:
    """One row for each kind of text, each picture looked at alone."""
    yield from heading(title)
    plain = [
        _decided(new_survey(), draw("plain", at, seed=seed, given=one)) for at, one in enumerate(grounds)
    ]
    for kind in kinds:
        hits = 0
        for number, ground in enumerate(grounds):
            one = draw(kind, number, seed=seed, given=ground)
            hits += _is_found(one, _decided(new_survey(), one), LINE)
        yield f"| {kind} | {share(hits, len(grounds))} |"
    wrong = sum(bool(one.painted or one.doubtful) for one in plain)
    yield f"| without text: a false region | {share(wrong, len(plain))} |"


def drawn_marks(grounds: Sequence[Pixels], new_survey: Callable[[], Survey]) -> Iterator[str]:
    """One row for each mark that a device draws into all its pictures."""
    yield from heading(f"a mark in {len(grounds)} real pictures of one size")
    for kind, mark in MARKS.items():
        survey = new_survey()
        drawn = [mark(np.asarray(Image.fromarray(one).resize(DEVICE))) for one in grounds]
        for number, one in enumerate(drawn):
            survey.look(str(number), one.pixels)
        hits = sum(_is_found(one, _decided(survey, one, str(at)), GRAPHIC) for at, one in enumerate(drawn))
        yield f"| {kind} | {share(hits, len(drawn))} |"


def heading(title: str) -> list[str]:
    return ["", f"| {title} | found [95 %] | of |", "| --- | ---: | ---: |"]


def picture(data: Path, name: str) -> Pixels:
    return np.asarray(Image.open(data / "images" / name).convert("RGB"))


def small_picture(data: Path, name: str) -> Pixels:
    """A picture with a long side of at most `DEVICE` pixels, so that looking at many takes minutes."""
    image = Image.fromarray(picture(data, name))
    image.thumbnail((max(DEVICE), max(DEVICE)))
    return np.asarray(image)


def _decided(survey: Survey, one: Drawn, name: str = "one") -> Overlays:
    return decide(survey.overlays(name, one.pixels), {}, *one.pixels.shape[:2])


def _is_found(one: Drawn, decided: Overlays, least: float) -> bool:
    assert one.box is not None
    found = painted((*decided.painted, *decided.doubtful), *one.pixels.shape[:2])
    return caught([one.box], found, least)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled pictures")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the detector's answers and tables"
    )
    parser.add_argument("--drawn", type=int, default=12, help="drawn grounds of each kind of text")
    parser.add_argument("--grounds", type=int, default=25, help="real pictures without text to draw on")
    parser.add_argument(
        "--kinds", nargs="+", choices=tuple(TEXTS), help="texts drawn on real pictures, and nothing else"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawn pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    plain = [name for name in sorted(labels) if not labels[name]["text"] and not labels[name]["graphics"]]
    grounds = [small_picture(args.data, name) for name in plain[: args.grounds]]
    detector = KeptAnswers(args.out)

    def new_survey() -> Survey:
        return Survey(detector, load_reader())

    lines: list[str] = []
    kinds = args.kinds or tuple(TEXTS)
    tables = [] if args.kinds else [real_pictures(args.data, labels, new_survey)]
    if grounds:
        title = f"drawn on {len(grounds)} real pictures"
        tables += [] if args.kinds else [drawn_marks(grounds, new_survey)]
        tables.append(drawn_texts(title, grounds, args.seed, new_survey, kinds))
    if args.drawn and not args.kinds:
        nothing = [None] * args.drawn
        title = f"{args.drawn} drawn pictures"
        tables.append(drawn_texts(title, nothing, args.seed, new_survey, kinds))
    for table in tables:
        for line in table:
            print(line, flush=True)
            lines.append(line)
    (args.out / TABLES).write_text("\n".join(lines).lstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
