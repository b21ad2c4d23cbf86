"""Draws the demo's pictures: seeded, endoscopy-like frames with a lesion, its mask and a caption.

Nothing in them is real. A frame is a height map (folds of the bowel wall, a lesion, fine relief) lit from
the camera by Lambert's and Blinn-Phong's laws, coloured like mucosa, with vessels, wet highlights, a dark
lumen, the octagonal black border of an endoscope and a made-up examination caption burned into its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sharekit.pictures.folder import IMAGES, MASKS

Array = NDArray[np.float32]

SMALLEST = 64  # pixels, short side; below it a caption cannot be read
_MUCOSA = np.array([[214, 124, 98], [205, 104, 92], [222, 142, 96], [198, 118, 112]], np.float32) / 255
_LESION = np.array([[204, 92, 78], [190, 74, 70], [226, 138, 112], [196, 96, 60]], np.float32) / 255
_VESSEL = np.array([128, 34, 38], np.float32) / 255


@dataclass(frozen=True)
class Frame:
    """One picture with its true mask."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.uint8]  # (H, W), 0 and 255: the lesion


def write_data_set(out: Path, count: int = 6, *, seed: int = 0, height: int = 288, width: int = 352) -> None:
    """Write `out/images/case-0001.jpg`, … and `out/masks/case-0001.png`, …; equal arguments, equal pictures.

    Sizes vary by up to a sixth around `height` times `width` pixels, as they do between endoscopes.
    """
    for folder in (IMAGES, MASKS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        stretch = rng.uniform(5 / 6, 7 / 6, 2)
        frame = draw_frame(
            rng, max(SMALLEST, int(height * stretch[0])), max(SMALLEST, int(width * stretch[1]))
        )
        name = f"case-{index + 1:04d}"
        Image.fromarray(frame.image).save(out / IMAGES / f"{name}.jpg", quality=92)
        Image.fromarray(frame.mask).save(out / MASKS / f"{name}.png")


def draw_frame(rng: np.random.Generator, height: int, width: int) -> Frame:
    """Draw one frame of `height` times `width` pixels, each at least `SMALLEST`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = float(min(height, width))
    wall = _Wall.draw(rng, y / unit, x / unit, height, width)
    aperture = _aperture(rng, height, width)
    lesion = _Lesion.draw(rng, y / unit, x / unit, height, width, wall)
    relief = wall.relief * (1 - 0.8 * lesion.inside) + lesion.dome
    albedo = _albedo(rng, wall, lesion, height, width)
    light = _light(relief, wall, lesion, unit)
    colour = albedo * light.diffuse[:, :, None]
    colour = colour + _highlights(rng, light.specular, height, width)[:, :, None]
    colour += rng.normal(0, 0.008, colour.shape).astype(np.float32)
    pixels = (np.clip(colour, 0, 1) ** 0.9 * 255 * aperture[:, :, None]).astype(np.uint8)
    canvas = Image.fromarray(pixels)
    _burn_in_caption(rng, canvas)
    mask = np.where((lesion.inside > 0.5) & (aperture > 0.5), np.uint8(255), np.uint8(0)).astype(np.uint8)
    return Frame(np.array(canvas), mask)


@dataclass(frozen=True)
class _Wall:
    """The bowel as the camera sees it."""

    depth: Array  # (H, W), 0 at the camera, 1 in the lumen
    relief: Array  # (H, W), height of folds and mucosa, in short sides
    groove: Array  # (H, W), 0 to 1: shade behind a fold
    lumen: tuple[float, float]  # y, x in short sides

    @staticmethod
    def draw(rng: np.random.Generator, y: Array, x: Array, height: int, width: int) -> _Wall:
        unit = min(height, width)
        lumen = (
            height / unit * rng.choice([rng.uniform(0.05, 0.3), rng.uniform(0.65, 0.9)]),
            width / unit * rng.uniform(0.25, 0.75),
        )
        warp = 0.10 * _noise(rng, height, width, 3)
        radius = np.hypot(y - lumen[0], x - lumen[1]) + warp
        angle = np.arctan2(y - lumen[0], x - lumen[1])
        size = rng.uniform(0.09, 0.17)
        depth = 1 / (1 + (np.maximum(radius, 0) / size) ** 2.2)
        # Folds are rings around the lumen that get closer with depth; each has a gap.
        phase = (
            7.5 * np.log(np.maximum(radius, 0.02))
            + 0.9 * np.sin(2 * angle + rng.uniform(0, 6))
            + 2.4 * warp / 0.1
        )
        saw = (phase / (2 * np.pi) + rng.uniform()) % 1
        openness = np.clip(0.7 + 0.6 * _noise(rng, height, width, 3), 0, 1)
        ridge = np.exp(-(((saw - 0.5) / 0.17) ** 2)) * openness
        groove = np.exp(-(((saw - 0.24) / 0.10) ** 2)) * openness
        fine = 0.006 * _noise(rng, height, width, 9) + 0.0012 * _noise(rng, height, width, 45)
        spread = np.clip(radius, 0.1, 0.8)
        return _Wall(depth, (0.10 * ridge * spread + fine).astype(np.float32), groove, lumen)


@dataclass(frozen=True)
class _Lesion:
    """A polyp: an uneven, lobed dome."""

    inside: Array  # (H, W), 0 to 1, with a soft edge of about a pixel
    dome: Array  # (H, W), its height in short sides
    shadow: Array  # (H, W), 0 to 1, on the wall around it
    pits: Array  # (H, W), fine pattern of its surface, about -1 to 1

    @staticmethod
    def draw(rng: np.random.Generator, y: Array, x: Array, height: int, width: int, wall: _Wall) -> _Lesion:
        unit = min(height, width)
        size = rng.uniform(0.13, 0.27)
        centre = _place(rng, height / unit, width / unit, wall.lumen, size)
        turn, flat = rng.uniform(0, np.pi), rng.uniform(0.68, 1.0)
        along = (x - centre[1]) * np.cos(turn) + (y - centre[0]) * np.sin(turn)
        across = ((y - centre[0]) * np.cos(turn) - (x - centre[1]) * np.sin(turn)) / flat
        angle = np.arctan2(across, along)
        outline = np.ones_like(angle)
        for order in range(2, 6):
            outline += rng.uniform(-0.1, 0.1) / (order - 1) * np.cos(order * angle + rng.uniform(0, 6))
        distance = np.hypot(along, across) / (size * outline) + 0.05 * _noise(rng, height, width, 7)
        inside = np.clip((1 - distance) * size * unit + 0.5, 0, 1)
        lobes = 1 + 0.10 * _noise(rng, height, width, 6)
        dome = size * rng.uniform(0.55, 0.8) * np.clip(1 - distance**2, 0, 1) ** 0.7 * lobes
        pits = _noise(rng, height, width, 38)
        shadow = np.exp(-np.maximum(distance - 1, 0) / 0.10) * (1 - inside)
        fields = (inside, dome + 0.0010 * pits * inside, shadow, pits)
        return _Lesion(*(field.astype(np.float32) for field in fields))


def _place(
    rng: np.random.Generator, height: float, width: float, lumen: tuple[float, float], size: float
) -> tuple[float, float]:
    """Choose a centre well inside the aperture and away from the lumen, in units of the short side."""
    candidates = np.stack(
        [rng.uniform(0.28, 0.72, 24) * height, rng.uniform(0.34, 0.74, 24) * width],
        axis=1,
    )
    apart = np.hypot(*(candidates - np.array(lumen)).T)
    good = candidates[apart > size + 0.12]
    best = good[0] if len(good) else candidates[np.argmax(apart)]
    return float(best[0]), float(best[1])


def _albedo(rng: np.random.Generator, wall: _Wall, lesion: _Lesion, height: int, width: int) -> Array:
    """`(H, W, 3)`, 0 to 1: the colour of the tissue before lighting."""
    number = rng.integers(len(_MUCOSA))
    base = _MUCOSA[number] * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    patches = _noise(rng, height, width, 4)[:, :, None]
    colour = base * (1 + patches * np.array([0.05, 0.11, 0.12], np.float32))
    vessels = _vessels(rng, height, width) * (1 - lesion.inside) * (1 - wall.depth)
    colour += (_VESSEL - colour) * (0.36 * vessels)[:, :, None]
    own = _LESION[rng.integers(len(_LESION))]
    surface = (0.55 * base * np.array([1.0, 0.84, 0.82], np.float32) + 0.45 * own) * (
        1 + 0.06 * lesion.pits[:, :, None]
    )
    redness = _noise(rng, height, width, 8)[:, :, None] * np.array([0.02, 0.09, 0.08], np.float32)
    colour += (surface * (1 - redness) - colour) * lesion.inside[:, :, None]
    return colour.astype(np.float32)


def _vessels(rng: np.random.Generator, height: int, width: int) -> Array:
    """`(H, W)`, 0 to 1: thin branching lines in some regions, drawn at the zero crossings of noise."""
    tree = np.zeros((height, width), np.float32)
    for cells, thickness in ((6, 0.035), (11, 0.055), (20, 0.08)):
        lines = np.exp(-((_noise(rng, height, width, cells) / thickness) ** 2))
        region = np.clip(1.6 * _noise(rng, height, width, 3), 0, 1)
        tree = np.maximum(tree, lines * region)
    return tree


@dataclass(frozen=True)
class _Light:
    diffuse: Array  # (H, W)
    specular: Array  # (H, W), 0 to 1


def _light(relief: Array, wall: _Wall, lesion: _Lesion, unit: float) -> _Light:
    """Light from a lamp next to the lens: Lambert's law, and Blinn-Phong's for the wet surface."""
    smooth = _blur(relief, unit / 220)
    slope_y, slope_x = np.gradient(smooth * unit)
    norm = np.sqrt(slope_y**2 + slope_x**2 + 1)
    direction = np.array([-0.42, -0.30, 0.86], np.float32)  # y, x, towards the camera
    lambert = np.clip((-slope_y * direction[0] - slope_x * direction[1] + direction[2]) / norm, 0, 1)
    half = direction + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    facing = np.clip((-slope_y * half[0] - slope_x * half[1] + half[2]) / norm, 0, 1)
    # A lesion stands out of the wall, towards the lamp.
    depth = wall.depth * (1 - 0.85 * lesion.inside)
    falloff = (1 - depth) ** 1.6 * (1 - 0.5 * depth)
    height, width = relief.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - 0.28 * np.clip(np.hypot(y, x) - 0.35, 0, 1) ** 1.5
    shade = (1 - 0.38 * wall.groove * (1 - lesion.inside)) * (1 - 0.45 * lesion.shadow)
    lit = (0.38 + 0.78 * lambert) * (0.10 + 0.90 * falloff) * vignette * shade
    return _Light(lit.astype(np.float32), (facing**70 * falloff).astype(np.float32))


def _highlights(rng: np.random.Generator, specular: Array, height: int, width: int) -> Array:
    """`(H, W)`: small, hard-edged reflections of the lamp where the surface faces it, with a faint glow."""
    drops = _noise(rng, height, width, 26) + 0.6 * _noise(rng, height, width, 60)
    hard = np.clip((drops - 1.15 + 0.9 * (specular - 0.75)) * 5, 0, 1) * np.clip(specular * 1.6 - 0.3, 0, 1)
    glow = _blur(hard.astype(np.float32), min(height, width) / 90)
    return (hard + 0.5 * glow + 0.07 * specular).astype(np.float32)


def _aperture(rng: np.random.Generator, height: int, width: int) -> Array:
    """`(H, W)`, 0 to 1: the octagon that the endoscope shows, sometimes with a black inset below left."""
    cut = int(min(height, width) * rng.uniform(0.20, 0.30))
    margin = 2
    corners = [(cut, margin), (width - cut, margin), (width - margin, cut), (width - margin, height - cut)]
    corners += [(width - cut, height - margin), (cut, height - margin), (margin, height - cut), (margin, cut)]
    shape = Image.new("L", (width, height))
    pen = ImageDraw.Draw(shape)
    pen.polygon(corners, fill=255)
    if rng.uniform() < 0.5:
        pen.rectangle((0, int(height * 0.70), int(width * rng.uniform(0.18, 0.3)), height), fill=0)
    return np.asarray(shape.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / np.float32(255)


def _burn_in_caption(rng: np.random.Generator, canvas: Image.Image) -> None:
    """Draw a made-up examination caption over the left edge, as endoscopy processors do."""
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(2008, 2019)
    hour, minute, second = rng.integers(8, 17), rng.integers(0, 60), rng.integers(0, 60)
    lines = [
        "Sex:  Age:",
        "D.O.B.:",
        f"{day:02d}/{month:02d}/{year}",
        f"{hour:02d}:{minute:02d}:{second:02d}",
        f"CVP:{rng.integers(1, 9)}",
    ]
    font = ImageFont.load_default_imagefont()
    text = Image.new("L", (72, 13 * len(lines)))
    pen = ImageDraw.Draw(text)
    for number, line in enumerate(lines):
        pen.text((0, 13 * number), line, fill=235, font=font)
    scale = canvas.height / 320
    text = text.resize(
        (max(1, int(text.width * scale)), max(1, int(text.height * scale))), Image.Resampling.BOX
    )
    white = Image.new("RGB", text.size, (240, 240, 240))
    canvas.paste(white, (4, int(canvas.height * 0.2)), text)


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Array:
    """`(H, W)` smooth noise of about unit variance with `cells` bumps along the short side."""
    unit = min(height, width)
    rows, columns = (max(2, round(cells * side / unit)) for side in (height, width))
    grid = Image.fromarray(rng.normal(0, 1.25, (rows, columns)).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _blur(values: Array, radius: float) -> Array:
    """Gaussian blur by three box filters along each axis; `radius` is the standard deviation in pixels."""
    reach = max(1, round(radius))
    for _ in range(3):
        for axis in (0, 1):
            padded = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            total = np.cumsum(np.insert(padded, 0, 0, axis=axis), axis=axis, dtype=np.float64)
            window = 2 * reach + 1
            size = values.shape[axis]
            upper = np.take(total, range(window, window + size), axis=axis)
            values = ((upper - np.take(total, range(size), axis=axis)) / window).astype(np.float32)
    return values
