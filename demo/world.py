"""A small world of pictures: scenes of coloured shapes, drawn and described from (seed, id) alone.

A scene has a subject (a shape in a colour, one to four times), a fill pattern, a size, a place, a rotation and a
background. Some combinations of colour and shape are *held out*: no scene of the web ever has them, so that a
model which recognises them has composed what it knows of colours and of shapes.

Backgrounds and patterns are never named by a colour's word, so that a caption which holds a colour and a shape
holds the combination that is in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from dataset.ids import hash64

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 38),
    "orange": (245, 134, 24),
    "yellow": (248, 220, 40),
    "green": (38, 158, 62),
    "blue": (36, 84, 208),
    "purple": (124, 46, 168),
    "pink": (248, 130, 190),
    "brown": (122, 74, 34),
    "black": (22, 22, 26),
    "white": (246, 246, 244),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "brown": ("brown",),
    "black": ("black",),
    "white": ("white",),
}
"""What people call a colour; the first word is by far the most frequent."""

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross",),
    "ring": ("ring", "hoop"),
    "moon": ("moon", "crescent"),
    "arrow": ("arrow",),
    "flower": ("flower", "blossom"),
    "house": ("house", "cottage"),
    "fish": ("fish",),
}
PLURALS = {"box": "boxes", "cross": "crosses", "fish": "fish"}
POPULARITY = (2.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0)
"""How often the web shows each shape, relatively: hearts and stars are everywhere, as on the real one."""

BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {
    "paper": ((232, 226, 208), ("on paper", "on a sheet of paper")),
    "sky": ((150, 196, 236), ("in the sky", "in front of the clouds")),
    "night": ((24, 28, 62), ("at night", "in the night sky")),
    "grass": ((96, 150, 56), ("on the grass", "on a lawn", "in a meadow")),
    "sand": ((218, 190, 140), ("on sand", "on the beach")),
    "wood": ((158, 110, 66), ("on a wooden board", "on wood")),
    "bricks": ((164, 84, 66), ("on a brick wall", "in front of a brick wall")),
    "water": ((48, 120, 160), ("on the water", "over the waves")),
    "tiles": ((150, 154, 160), ("on a tiled floor", "on tiles")),
    "snow": ((226, 234, 244), ("in the snow", "on snow")),
}
"""Mean colour, and what people say of it."""

PATTERNS: dict[str, tuple[str, ...]] = {
    "solid": ("",),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered",),
}
SIZES: dict[str, tuple[str, ...]] = {"small": ("small", "little", "tiny"), "medium": ("",), "big": ("big", "large")}
NUMBERS = ("", "two", "three", "four")
PLACES: dict[str, tuple[str, ...]] = {
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "centre": ("in the middle", "in the centre"),
}

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (colour, shape)
    for i, colour in enumerate(COLOURS)
    for j, shape in enumerate(SHAPE_WORDS)
    if (j - i) % 12 in (0, 5) or (i < 4 and j == (i + 9) % 12)
)
"""24 (colour, shape) of the 120, two or three of each colour: in no scene of the web and in no caption."""

_DIMENSIONS = ((64, 64), (72, 72), (80, 80), (96, 96), (80, 72), (72, 80), (96, 80), (80, 96), (88, 80), (64, 72))
_SUPERSAMPLE = 3
_MIN_CONTRAST = 105.0  # Euclidean distance in RGB below which a subject is not put before a background

Option = TypeVar("Option")


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `width` and `height` in pixels."""

    id: str
    shape: str
    colour: str
    pattern: str
    size: str
    number: int
    background: str
    place: str
    width: int
    height: int


def generator(seed: int, *parts: object) -> np.random.Generator:
    """Return a random stream of its own for each (seed, parts)."""
    return np.random.Generator(np.random.PCG64(hash64(seed, *parts)))


def one_of(rng: np.random.Generator, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
    """Return one of the options, by weight."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    edges = np.cumsum(weights)
    return options[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def scene(seed: int, identity: str, combination: tuple[str, str] | None = None) -> Scene:
    """Return the scene of an identity; of a combination (colour, shape) if one is given, else of one that is not held
    out.
    """
    rng = generator(seed, "scene", identity)
    while combination is None:
        candidate = one_of(rng, list(COLOURS)), one_of(rng, list(SHAPE_WORDS), POPULARITY)
        combination = None if candidate in HELD_OUT else candidate
    colour, shape = combination
    width, height = one_of(rng, _DIMENSIONS)
    number = one_of(rng, (1, 2, 3, 4), (0.78, 0.1, 0.07, 0.05))
    return Scene(
        id=identity,
        shape=shape,
        colour=colour,
        pattern=one_of(rng, list(PATTERNS), (0.55, 0.15, 0.15, 0.15)),
        size=one_of(rng, list(SIZES), (0.2, 0.4, 0.4)),
        number=number,
        background=one_of(rng, _visible_backgrounds(colour)),
        place=one_of(rng, list(PLACES), (1, 1, 1, 1, 2)),
        width=width,
        height=height,
    )


@cache
def _visible_backgrounds(colour: str) -> list[str]:
    rgb = np.array(COLOURS[colour], dtype=float)
    return [
        name for name, (mean, _) in BACKGROUNDS.items() if float(np.linalg.norm(rgb - np.array(mean))) >= _MIN_CONTRAST
    ]


# --- Drawing -------------------------------------------------------------------------------------------------------


def _arc(radius: float = 1.0, x: float = 0.0, y: float = 0.0, points: int = 36) -> np.ndarray:
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _star() -> np.ndarray:
    angle = np.arange(10) * math.pi / 5 - math.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.05, 0.43)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16 - 0.1], axis=1)


@cache
def _outline(shape: str) -> tuple[tuple[int, np.ndarray], ...]:
    """Polygons in a disc of radius about 1, y downwards, drawn one over another: (255, fill) or (0, hole)."""
    square = np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
    arm = 0.3
    match shape:
        case "circle":
            return ((255, _arc(0.9)),)
        case "square":
            return ((255, square),)
        case "triangle":
            return ((255, np.array([(0, -1.0), (0.95, 0.75), (-0.95, 0.75)])),)
        case "star":
            return ((255, _star()),)
        case "heart":
            return ((255, _heart()),)
        case "cross":
            quarter = [(arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1)]
            return ((255, np.array(quarter + [(-x, -y) for x, y in quarter])),)
        case "ring":
            return (255, _arc(0.95)), (0, _arc(0.55))
        case "moon":
            return (255, _arc(0.95)), (0, _arc(0.8, 0.5, -0.1))
        case "arrow":
            return (
                (
                    255,
                    np.array(
                        [(-1, -0.26), (0.15, -0.26), (0.15, -0.75), (1, 0), (0.15, 0.75), (0.15, 0.26), (-1, 0.26)]
                    ),
                ),
            )
        case "flower":
            petals = [_arc(0.4, 0.6 * math.cos(a), 0.6 * math.sin(a), 20) for a in np.arange(6) * math.pi / 3]
            return (*((255, petal) for petal in petals), (255, _arc(0.4)), (0, _arc(0.22)))
        case "house":
            body = np.array([(-0.7, 0.9), (-0.7, -0.1), (-0.95, -0.1), (0, -1), (0.95, -0.1), (0.7, -0.1), (0.7, 0.9)])
            return (255, body), (0, np.array([(-0.2, 0.9), (-0.2, 0.3), (0.2, 0.3), (0.2, 0.9)]))
        case "fish":
            body = _arc(1.0) * np.array([0.72, 0.48]) + np.array([0.22, 0.0])
            tail = np.array([(-0.35, 0.0), (-1.0, -0.55), (-0.8, 0.0), (-1.0, 0.55)])
            return (255, body), (255, tail), (0, _arc(0.09, 0.6, -0.12, 12))
    raise ValueError(f"no outline for the shape {shape!r}")


def _noise(rng: np.random.Generator, height: int, width: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise of shape (height, width), about -1 to 1, with `cells` (down, across) bumps."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells[0] + 1, cells[1] + 1)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _backdrop(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    """float32 of shape (height, width, 3), 0 to 255."""
    mean = np.array(BACKGROUNDS[name][0], dtype=np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    scale = float(rng.uniform(0.8, 1.25))
    match name:
        case "sky":
            light = 22 * y / height + 34 * np.clip(_noise(rng, height, width, (3, 3)), 0, 1)
        case "night":
            light = 10 * _noise(rng, height, width, (2, 2)) + 150.0 * (rng.random((height, width)) > 0.99)
        case "grass":
            light = 26 * _noise(rng, height, width, (5, 40)) + 10 * _noise(rng, height, width, (2, 2))
        case "sand":
            light = 9 * rng.standard_normal((height, width), dtype=np.float32) + 12 * _noise(rng, height, width, (4, 2))
        case "wood":
            light = 20 * _noise(rng, height, width, (18, 2)) - 40 * ((y + rng.uniform(0, 30)) % (26 * scale) < 1.5)
        case "bricks":
            row = y // (10 * scale)
            mortar = (y % (10 * scale) < 1.5) | ((x + (row % 2) * 10 * scale + rng.uniform(0, 20)) % (20 * scale) < 1.5)
            light = 46.0 * mortar + 12 * _noise(rng, height, width, (8, 5))
        case "water":
            phase = x / (6 * scale) + 2 * np.sin(y / 5) + rng.uniform(0, 6)
            light = 16 * np.sin(y / (2.5 * scale) + np.sin(phase)) + 12 * _noise(rng, height, width, (3, 2))
        case "tiles":
            shift = rng.uniform(0, 20, 2)
            odd = ((x + shift[0]) // (13 * scale) + (y + shift[1]) // (13 * scale)) % 2
            light = 30 * (odd - 0.5) + 6 * _noise(rng, height, width, (3, 3))
        case "snow":
            light = 9 * _noise(rng, height, width, (3, 3)) + 6 * rng.standard_normal((height, width), dtype=np.float32)
        case _:
            light = 6 * _noise(rng, height, width, (20, 20)) + 9 * _noise(rng, height, width, (2, 2))
    direction = rng.uniform(-1, 1, 2)
    slope = direction[0] * (x / width - 0.5) + direction[1] * (y / height - 0.5)
    lamp = 34 * slope + 20 * _noise(rng, height, width, (2, 3)) + 14 * _noise(rng, height, width, (9, 9))
    return mean + (light + lamp).astype(np.float32)[:, :, None]


def _centres(rng: np.random.Generator, view: Scene, height: int, width: int) -> tuple[float, list[tuple[float, float]]]:
    """Radius and centres of the subject's pieces, in pixels."""
    short = min(height, width)
    share = {"small": 0.25, "medium": 0.33, "big": 0.42}[view.size] * (1.0, 0.72, 0.6, 0.56)[view.number - 1]
    radius = short * share * float(rng.uniform(0.93, 1.07))
    if view.number == 1:
        spread_x, spread_y = max(width / 2 - radius, 0), max(height / 2 - radius, 0)
        x, y = rng.uniform(-0.25, 0.25, 2)
        x += {"left": -0.75, "right": 0.75}.get(view.place, 0)
        y += {"top": -0.75, "bottom": 0.75}.get(view.place, 0)
        return radius, [(width / 2 + x * spread_x, height / 2 + y * spread_y)]
    if view.number == 2:
        cells = [(0.0, -1.0), (0.0, 1.0)] if height > width else [(-1.0, 0.0), (1.0, 0.0)]
    elif view.number == 3:
        cells = [(-1.0, 0.6), (1.0, 0.6), (0.0, -1.0)]
    else:
        cells = [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)]
    jitter = rng.uniform(-0.12, 0.12, (len(cells), 2))
    return radius, [
        (width * (0.5 + 0.24 * x) + jitter[k, 0] * short, height * (0.5 + 0.24 * y) + jitter[k, 1] * short)
        for k, (x, y) in enumerate(cells)
    ]


def _fill(rng: np.random.Generator, view: Scene, radius: float, height: int, width: int) -> np.ndarray:
    """The subject's paint, float32 of shape (height, width, 3); a pattern's second tone is of the same colour."""
    base = np.array(COLOURS[view.colour], dtype=np.float32) + rng.uniform(-9, 9, 3).astype(np.float32)
    angle = float(rng.uniform(0, math.pi))
    period = max(radius * float(rng.uniform(0.38, 0.5)), 3.0)
    if view.pattern == "solid":
        return np.broadcast_to(base, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    match view.pattern:  # how far inside the second tone, in pixels: edges are soft over one pixel
        case "striped":
            inside = np.sin(u * (2 * math.pi / period)) * (period / 4)
        case "dotted":
            inside = period * 0.3 - np.hypot(u % period - period / 2, v % period - period / 2)
        case _:
            cell = math.pi / (period * 0.6)
            inside = np.sin(u * cell) * np.sin(v * cell) * period
    towards = np.float32(20 if base.mean() > 150 else 255)
    second = (towards - base) * np.float32(0.34)
    return base + np.clip(inside + 0.5, 0, 1)[:, :, None] * second


def render(seed: int, view: Scene) -> Image.Image:
    """Draw a scene: RGB, `view.width` × `view.height`; the subject's edges are supersampled."""
    rng = generator(seed, "render", view.id)
    width, height = view.width, view.height
    canvas = _backdrop(rng, view.background, height, width)
    radius, centres = _centres(rng, view, height, width)
    fine = (width * _SUPERSAMPLE, height * _SUPERSAMPLE)
    mask = Image.new("L", fine)
    for x, y in centres:
        angle = math.radians(float(rng.uniform(-28, 28)))
        turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]) * radius
        piece = Image.new("L", fine)
        pen = ImageDraw.Draw(piece)
        for value, points in _outline(view.shape):
            pen.polygon([(px, py) for px, py in ((points @ turn + (x, y)) * _SUPERSAMPLE).tolist()], fill=value)
        mask.paste(255, mask=piece)
    paint = _fill(rng, view, radius, height, width)
    cover = (np.asarray(mask.reduce(_SUPERSAMPLE), dtype=np.float32) / 255)[:, :, None]
    canvas += cover * (paint - canvas)
    canvas *= np.float32(rng.uniform(0.93, 1.06))
    canvas += float(rng.uniform(0.5, 2)) * rng.standard_normal((height, width, 1), dtype=np.float32)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str, quality: int = 90) -> bytes:
    """Return the image as a file of a Pillow format (JPEG, PNG, WEBP, …)."""
    buffer = BytesIO()
    image.save(buffer, form, quality=quality)
    return buffer.getvalue()
