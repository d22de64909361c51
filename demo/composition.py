"""Drawn questions of counting and composition, at several difficulties, for `wit eval --evaluators counting`.

    python -m demo.composition DIR

DIR/number-N/CLASS/*.png: one to six shapes of a kind, told by class. DIR/KIND-N.json: of position, binding, size and
negation, an image with a caption that fits it and one that does not. N is the difficulty: how many other shapes there
are.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": "#d62828", "green": "#2a9d3a", "blue": "#2a4fd6", "yellow": "#e9c92a", "black": "#111111"}
SHAPES = ("circle", "square", "triangle")
SIDE = 96
CELLS = [(x, y) for y in range(3) for x in range(3)]
NUMBERS = ("one", "two", "three", "four", "five", "six")
DIFFICULTIES = (0, 1, 2)
Shape = tuple[str, str, tuple[int, int], float]
"""Colour, shape, cell, and size as a share of the cell."""


def draw(shapes: list[Shape]) -> Image.Image:
    """Return a picture of shapes, each in its cell of three by three."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    brush = ImageDraw.Draw(image)
    cell = SIDE / 3
    for colour, shape, (x, y), size in shapes:
        middle = ((x + 0.5) * cell, (y + 0.5) * cell)
        half = cell / 2 * size
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
        fill = COLOURS[colour]
        if shape == "circle":
            brush.ellipse(box, fill=fill)
        elif shape == "square":
            brush.rectangle(box, fill=fill)
        else:
            brush.polygon([(middle[0], box[1]), (box[0], box[3]), (box[2], box[3])], fill=fill)
    return image


def others(rng: random.Random, count: int, taken: list[Shape]) -> list[Shape]:
    """Draw shapes that are of none of the colours, in none of the cells, that are taken."""
    colours = [name for name in COLOURS if name not in {colour for colour, *_ in taken}]
    cells = [cell for cell in CELLS if cell not in {cell for *_, cell, _ in taken}]
    rng.shuffle(cells)
    return [(rng.choice(colours), rng.choice(SHAPES), cell, 0.6) for cell in cells[:count]]


def question(rng: random.Random, kind: str) -> tuple[list[Shape], str, str]:
    """Return (what is drawn, the caption that fits, the caption that does not) of a kind of question."""
    one, two = rng.sample(sorted(COLOURS), 2)
    first, second = rng.sample(SHAPES, 2)
    if kind == "position":
        upright = rng.random() < 0.5
        places = ((1, 0), (1, 2)) if upright else ((0, 1), (2, 1))
        words = "above" if upright else "to the left of"
        shapes = [(one, first, places[0], 0.7), (two, second, places[1], 0.7)]
        right, wrong = (f"a {one} {first}", f"a {two} {second}"), (f"a {two} {second}", f"a {one} {first}")
        return shapes, f" {words} ".join(right), f" {words} ".join(wrong)
    if kind == "binding":
        cells = rng.sample(CELLS, 2)
        shapes = [(one, first, cells[0], 0.7), (two, second, cells[1], 0.7)]
        return shapes, f"a {one} {first} and a {two} {second}", f"a {two} {first} and a {one} {second}"
    if kind == "size":
        cells = rng.sample(CELLS, 2)
        shapes = [(one, first, cells[0], 0.95), (two, second, cells[1], 0.4)]
        return (
            shapes,
            f"a large {one} {first} and a small {two} {second}",
            f"a small {one} {first} and a large {two} {second}",
        )
    shapes = [(one, first, rng.choice(CELLS), 0.7)]
    return shapes, f"a {one} shape, not a {two} shape", f"a {two} shape, not a {one} shape"


def write(root: Path, each: int = 40, seed: int = 0) -> list[Path]:
    """Write all sets; returns their paths, as `wit eval --tasks` takes them."""
    paths = []
    for difficulty in DIFFICULTIES:
        for kind in ("position", "binding", "size", "negation"):
            rng = random.Random(f"{seed} {kind} {difficulty}")
            entries = []
            for number in range(each):
                shapes, right, wrong = question(rng, kind)
                name = f"{kind}-{difficulty}/{number:03}.png"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                draw(shapes + others(rng, difficulty, shapes)).save(root / name)
                entries.append({"filename": name, "caption": right, "negative_caption": wrong, "kind": kind})
            path = root / f"{kind}-{difficulty}.json"
            path.write_text(json.dumps(entries, indent=1))
            paths.append(path)
        folder = root / f"number-{difficulty}"
        rng = random.Random(f"{seed} number {difficulty}")
        for count, word in enumerate(NUMBERS, 1):
            for number in range(max(1, each // len(NUMBERS))):
                colour, shape = rng.choice(sorted(COLOURS)), rng.choice(SHAPES)
                drawn: list[Shape] = [(colour, shape, cell, 0.7) for cell in rng.sample(CELLS, count)]
                file = folder / f"{count}" / f"{number:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                draw(drawn + others(rng, difficulty, drawn)).save(file)
            (folder / "classes.txt").open("a" if count > 1 else "w").write(f"{count}\t{word}\n")
        (folder / "templates.txt").write_text("{} shapes\na picture of {} shapes of one colour\n")
        paths.append(folder)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m demo.composition DIR")
    print("\n".join(map(str, write(Path(sys.argv[1])))))
