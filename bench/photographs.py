"""Natural JPEGs of mixed sizes, in an environment with scikit-image and scikit-learn: FOLDER COUNT.

Photographs that these packages carry are laid side by side, at their own and at double size, until they fill a canvas;
every picture is a crop of it. Longer sides are spread evenly over the logarithm from 300 to 3,000 pixels, aspects from
1:2 to 2:1, qualities from 75 to 95, as on the web; the shorter side is at least 256, so that all of them are reduced.
"""

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

SIDE = 3_072
SHORTEST, LONGEST = 300, 3_000
LEAST = 257


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


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    whole = canvas(rng)
    for number in range(count):
        longer = round(SHORTEST * (LONGEST / SHORTEST) ** rng.random())
        size = [longer, max(LEAST, round(longer / rng.uniform(1, 2)))]
        rng.shuffle(size)
        left, top = rng.randint(0, SIDE - size[0]), rng.randint(0, SIDE - size[1])
        picture = whole.crop((left, top, left + size[0], top + size[1]))
        picture.save(folder / f"{number:05d}.jpg", quality=rng.randint(75, 95))


main()
