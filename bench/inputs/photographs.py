"""Natural JPEGs of mixed sizes, in an environment with scikit-image and scikit-learn: FOLDER COUNT even|laion.

Photographs that these packages carry are laid side by side, at their own and at double size, until they fill a canvas;
each picture is a crop of it, with an aspect from 1:2 to 2:1 and a quality from 75 to 95. Longer sides are evenly spread
from 300 to 3,000 pixels (`even`), or the shorter ones as in LAION-400M (`laion`): of its 211M images with both sides of
256 pixels or more, 67M have 512 and 9.6M have 1,024 (laion.ai/blog/laion-400-open-dataset).
"""

import math
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

SIDE = 3_072
LEAST, SHORTEST, LONGEST = 257, 300, 3_000  # all are reduced: none is shorter than 256
AT_512, AT_1024 = 67 / 211, 9.6 / 211  # shares of images whose shorter side is at least so long


def canvas(rng: random.Random) -> Image.Image:
    photographs = [Image.fromarray(image) for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]
    photographs += [Image.fromarray(np.asarray(image)) for image in load_sample_images().images]
    whole = Image.new("RGB", (SIDE, SIDE))
    top = 0
    while top < SIDE:
        height, left = rng.randint(350, 800), 0
        while left < SIDE:
            photograph = rng.choice(photographs)
            width = round(photograph.width * height / photograph.height)
            whole.paste(photograph.resize((width, height), Image.Resampling.LANCZOS), (left, top))
            left += width
        top += height
    return whole


def shorter_side(rng: random.Random) -> int:
    share = 1 - rng.random()
    if share > AT_512:
        octaves = math.log(share) / math.log(AT_512)
    else:
        octaves = 1 + math.log(share / AT_512) / math.log(AT_1024 / AT_512)
    return max(LEAST, round(256 * 2**octaves))


def main() -> None:
    folder, count, sizes = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    whole = canvas(rng)
    for number in range(count):
        aspect = rng.uniform(1, 2)
        longer = rng.randint(SHORTEST, LONGEST) if sizes == "even" else round(shorter_side(rng) * aspect)
        longer = min(longer, LONGEST)
        size = [longer, max(LEAST, round(longer / aspect))]
        rng.shuffle(size)
        left, top = rng.randint(0, SIDE - size[0]), rng.randint(0, SIDE - size[1])
        picture = whole.crop((left, top, left + size[0], top + size[1]))
        picture.save(folder / f"{number:05d}.jpg", quality=rng.randint(75, 95))


main()
