"""Draws pictures with one overlay each, by kind, and the same grounds without any.

The grounds are drawn, or given: real pictures without text. The kinds are those that a detector made for
documents may miss: serial numbers and captions of other devices, text in the middle of the picture, upright
text, light text on light ground, small and faint fonts, glyphs cut at the edge, other scripts, colour bars,
logos, position boxes. Equal seeds and grounds give equal pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; the last two are not inside."""

FONTS = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf")
OUTLINED = 0.4  # share of texts with a dark outline, as many devices draw them


@dataclass(frozen=True)
class Drawn:
    """A picture and the box of its text; without text, the box is None."""

    pixels: Pixels  # (H, W, 3)
    box: Box | None


# -- grounds


def mucosa(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """An endoscopy-like picture: folds, vessels, highlights, and dark cut corners."""
    folds = _noise(rng, height, width, 40)
    fine = _noise(rng, height, width, 3)
    light = np.clip(0.62 + 0.16 * folds + 0.05 * fine, 0.05, 1)
    vessels = np.abs(_noise(rng, height, width, 9)) < 0.06
    colour = light[:, :, None] * np.array([0.88, 0.5, 0.42]) * np.where(vessels[:, :, None], 0.8, 1)
    y, x = np.mgrid[0:height, 0:width]
    for _ in range(int(rng.integers(5, 25))):
        centre, size = rng.uniform(0, 1, 2) * (height, width), rng.uniform(1.5, 6, 2)
        glint = ((y - centre[0]) / size[0]) ** 2 + ((x - centre[1]) / size[1]) ** 2 < 1
        colour[glint] = 0.97
    corner = min(height, width) * rng.uniform(0.2, 0.3)
    edge = np.minimum(x, width - 1 - x) + np.minimum(y, height - 1 - y)
    colour[edge < corner] = 0.01
    return _bytes(colour)


def ultrasound(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A sector of speckle on black ground."""
    y, x = np.mgrid[0:height, 0:width] / float(height)
    centre = width / height / 2
    radius, angle = np.hypot(y + 0.15, x - centre), np.arctan2(x - centre, y + 0.15)
    sector = (radius > 0.3) & (radius < 1.05) & (np.abs(angle) < rng.uniform(0.5, 0.7))
    tissue = np.exp(0.5 * _noise(rng, height, width, 20)) * rng.rayleigh(0.25, (height, width))
    grey = np.where(sector, gaussian_filter(tissue, 0.9), 0.0)
    return _bytes(np.repeat(grey[:, :, None], 3, axis=2))


def xray(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Soft grey shades with bone-like ridges."""
    grey = 0.45 + 0.2 * _noise(rng, height, width, 60) + 0.12 * np.abs(_noise(rng, height, width, 14))
    return _bytes(np.repeat((grey + rng.normal(0, 0.02, grey.shape))[:, :, None], 3, axis=2))


def light_field(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A bright stained slide: pale ground with darker spots."""
    spots = np.clip(_noise(rng, height, width, 5) - 1.2, 0, 1)[:, :, None]
    pale = np.array([0.93, 0.86, 0.91]) + 0.02 * _noise(rng, height, width, 25)[:, :, None]
    return _bytes(pale - spots * np.array([0.35, 0.6, 0.3]))


GROUNDS = (mucosa, ultrasound, xray, light_field)


# -- texts


def _serial(rng: np.random.Generator) -> str:
    models = ("CF-HQ190L", "EC38-i20cL", "GIF-1TH190", "PCF-PH190I", "EG-760Z", "SN", "S/N:", "REF")
    return f"{rng.choice(models)} {rng.integers(10**6, 10**7)}"


def _caption(rng: np.random.Generator) -> str:
    return str(
        rng.choice(
            [
                f"MI {rng.uniform(0.2, 1.5):.1f}  TIS {rng.uniform(0.1, 2):.1f}",
                f"DOE JANE  {_date(rng)}",
                f"C5-1  {rng.integers(10, 60)}Hz  {rng.integers(4, 20)}cm",
                f"ID {rng.integers(10**5, 10**8)}",
                f"Abd Gen  {rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}",
            ]
        )
    )


def _date(rng: np.random.Generator) -> str:
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1930, 2025)
    return str(rng.choice([f"{day:02d}/{month:02d}/{year}", f"{year}-{month:02d}-{day:02d}"]))


def _name(rng: np.random.Generator) -> str:
    return str(rng.choice(["MEIER ANNA", "John Smith", "Dupont, L.", "B. Okafor", "LEE M", "Patient 4711"]))


def _other_script(rng: np.random.Generator) -> str:
    return str(
        rng.choice(["Иванов П.", "Παπαδόπουλος", "Жен. 54 г.", "Müller Jörg", "Ål Ødegård", "Γυναίκα"])
    )


# -- kinds


def serial_number(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """A scope's model and serial number in a corner of the picture."""
    pixels = _ground(rng, given, mucosa)
    return _write(rng, pixels, _serial(rng), size=rng.integers(12, 22), where="corner")


def ultrasound_caption(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    pixels = _ground(rng, given, ultrasound)
    return _write(rng, pixels, _caption(rng), size=rng.integers(11, 20), where="top")


def middle(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """Text over the middle of any ground."""
    pixels = _ground(rng, given, *GROUNDS[:3])
    return _write(rng, pixels, _name(rng), size=rng.integers(14, 30), where="middle")


def upright(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """Text turned by a right angle."""
    pixels = _ground(rng, given, *GROUNDS[:3])
    return _write(rng, pixels, _caption(rng), size=rng.integers(13, 24), where="edge", turns=1)


def light_on_light(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """Text 30 to 60 grey levels off a light ground, without an outline."""
    pixels = _ground(rng, given, light_field)
    change = int(rng.integers(30, 60))
    return _write(rng, pixels, _date(rng), size=rng.integers(14, 26), where="middle", change=change)


def small(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """Letters of 8 to 10 pixels with their ascenders."""
    pixels = _ground(rng, given, *GROUNDS[:3])
    return _write(rng, pixels, _date(rng), size=rng.integers(8, 11), where="corner")


def cut_at_the_edge(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """A line of which the left border of the picture cuts off a part."""
    pixels = _ground(rng, given, mucosa)
    return _write(rng, pixels, _date(rng), size=rng.integers(14, 22), where="cut")


def other_script(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    pixels = _ground(rng, given, *GROUNDS[:3])
    return _write(rng, pixels, _other_script(rng), size=rng.integers(14, 26), where="corner")


def two_letters(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """A short mark, such as the side or a reader's initials."""
    pixels = _ground(rng, given, *GROUNDS[:3])
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTVXYZ"), 2))
    return _write(rng, pixels, text, size=rng.integers(16, 30), where="corner")


def faint(rng: np.random.Generator, given: Pixels | None) -> Drawn:
    """Letters of 10 to 13 pixels, 40 to 70 grey levels off their ground, without an outline."""
    pixels = _ground(rng, given, *GROUNDS[:3])
    change = int(rng.integers(40, 70))
    return _write(rng, pixels, _date(rng), size=rng.integers(10, 14), where="corner", change=change)


TEXTS: Mapping[str, Callable[[np.random.Generator, Pixels | None], Drawn]] = {
    "serial number": serial_number,
    "ultrasound caption": ultrasound_caption,
    "middle of the picture": middle,
    "upright": upright,
    "light on light": light_on_light,
    "small, 8 to 10 px": small,
    "small and faint": faint,
    "cut at the edge": cut_at_the_edge,
    "other script": other_script,
    "two letters": two_letters,
}


def colour_bar(pixels: Pixels) -> Drawn:
    """Eight blocks from blue to red near the right edge."""
    height, width = pixels.shape[:2]
    out, side = pixels.copy(), max(8, height // 40)
    left, top = width - 3 * side, height // 3
    for number in range(8):
        part = slice(top + number * side, top + (number + 1) * side)
        out[part, left : left + side] = (32 * number, 120, 255 - 32 * number)
    return Drawn(out, (left, top, left + side, top + 8 * side))


def logo(pixels: Pixels) -> Drawn:
    """A white ring with a bar through it, as large as a thumbnail, in the lower right corner."""
    height, width = pixels.shape[:2]
    size = height // 9
    image = Image.fromarray(pixels)
    box = (width - size - 12, height - size - 12, width - 12, height - 12)
    pen = ImageDraw.Draw(image)
    pen.ellipse(box, outline=(235, 235, 235), width=max(3, size // 8))
    pen.rectangle((box[0], box[1] + size // 2 - 2, box[2], box[1] + size // 2 + 2), fill=(235, 235, 235))
    return Drawn(np.asarray(image), box)


def position_box(pixels: Pixels) -> Drawn:
    """The map of a scope's position: a plain dark box with a coloured curve, in the lower left corner."""
    height, width = pixels.shape[:2]
    wide, high = width // 5, height // 4
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    box = (8, height - high - 8, 8 + wide, height - 8)
    pen.rectangle(box, fill=(0, 60, 60), outline=(0, 190, 190), width=2)
    inner = (box[0] + wide // 5, box[1] + high // 5, box[2] - wide // 5, box[3] - high // 5)
    pen.arc(inner, 20, 320, fill=(230, 230, 90), width=4)
    return Drawn(np.asarray(image), box)


MARKS: Mapping[str, Callable[[Pixels], Drawn]] = {
    "colour bar": colour_bar,
    "logo": logo,
    "position box": position_box,
}
"""What a device draws into all its pictures, at the same place."""


def draw(kind: str, number: int, *, seed: int = 0, given: Pixels | None = None) -> Drawn:
    """Picture `number` of a kind of `TEXTS`; `plain` is the kind without text.

    Args:
        kind: a key of `TEXTS`, or `plain`.
        number: another one gives another text, and another drawn ground.
        seed: of everything that is random.
        given: `(H, W, 3)` uint8, the ground to write on; None: draw one.
    """
    rng = np.random.default_rng((seed, sum(kind.encode()), number))
    return Drawn(_ground(rng, given, *GROUNDS), None) if kind == "plain" else TEXTS[kind](rng, given)


def _ground(rng: np.random.Generator, given: Pixels | None, *choice: Callable[..., Pixels]) -> Pixels:
    if given is not None:
        return given
    draw_ground = choice[int(rng.integers(len(choice)))]
    return draw_ground(rng, int(rng.integers(400, 720)), int(rng.integers(480, 900)))


def _write(
    rng: np.random.Generator,
    pixels: Pixels,
    text: str,
    *,
    size: int,
    where: str,
    turns: int = 0,
    change: int | None = None,
) -> Drawn:
    """Write `text` into the pixels, or `change` grey levels darker or lighter than the ground."""
    height, width = pixels.shape[:2]
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(folder / rng.choice(FONTS)), int(size))
    left, top, right, bottom = font.getbbox(text)
    stroke = int(change is None and rng.random() < OUTLINED)
    stamp = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(stamp).text((2 - left, 2 - top), text, 255, font=font)
    ink = np.rot90(np.asarray(stamp), turns) / 255.0
    around = np.zeros_like(ink)
    if stroke:
        padded = Image.new("L", stamp.size)
        ImageDraw.Draw(padded).text(
            (2 - left, 2 - top), text, 255, font=font, stroke_width=1, stroke_fill=255
        )
        around = np.rot90(np.asarray(padded), turns) / 255.0
    high, wide = ink.shape
    room_y, room_x = max(1, height - high - 8), max(1, width - wide - 8)
    y = int(rng.integers(4, room_y)) if where not in ("top", "corner") else int(rng.integers(4, 40))
    x = int(rng.integers(4, room_x)) if where in ("top",) else int(rng.integers(4, 60))
    if where == "corner":
        y = y if rng.random() < 0.5 else max(0, height - high - y)
        x = x if rng.random() < 0.5 else max(0, width - wide - x)
    if where == "middle":
        y = int(height / 2 + rng.integers(-height // 6, height // 6) - high / 2)
        x = max(0, int(width / 2 + rng.integers(-width // 8, width // 8) - wide / 2))
    cut = int(wide * rng.uniform(0.2, 0.6)) if where == "cut" else 0
    if cut:
        x, ink, around = 0, ink[:, cut:], around[:, cut:]
    ink, around = ink[: height - y, : width - x], around[: height - y, : width - x]
    high, wide = ink.shape
    out = pixels.astype(np.float64)
    patch = out[y : y + high, x : x + wide]
    colour: NDArray[np.float64] | float
    if change is not None:
        # Every letter differs by as much from the very ground below it. On black ground, dark letters would
        # not be there at all.
        darker = rng.random() < 0.7 and patch[ink > 0].min() >= change
        colour = np.clip(patch - change if darker else patch + change, 0, 255)
    else:
        bright = patch.mean() > 190
        colour = float(rng.integers(0, 30)) if bright else float(rng.integers(225, 256))
        around = around * (not bright)
    patch *= 1 - around[:, :, None]
    patch[:] = patch * (1 - ink[:, :, None]) + colour * ink[:, :, None]
    rows, columns = np.nonzero(ink > 0.3)
    box = (x + int(columns.min()), y + int(rows.min()), x + int(columns.max()) + 1, y + int(rows.max()) + 1)
    return Drawn(out.round().astype(np.uint8), box)


def _noise(rng: np.random.Generator, height: int, width: int, size: float) -> NDArray[np.float64]:
    """`(H, W)`: smooth noise of mean 0 and deviation 1, with features of about `size` pixels."""
    found = gaussian_filter(rng.normal(size=(height, width)), size, mode="reflect")
    return (found - found.mean()) / max(float(found.std()), 1e-9)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
