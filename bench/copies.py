"""Which transformed copies are caught: clip art of ../shared/data's openclipart.warc.gz (or of `--archive FILE`), each
picture in several forms, by each perceptual hash, and how many strangers are taken for copies.

A copy counts as caught by the very rule of `neardup`: its hash and its mean colour are near enough to the original's,
and both are good enough. The peer in the last line is pHash, by the library imagehash.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fastwarc.warc import ArchiveIterator, WarcRecordType
from PIL import Image, ImageDraw, ImageOps

from crawl.images import ImageConfig, ingest
from crawl.observations import Ingested
from filters.neardup import NearDupConfig
from filters.perceptual import HASH_BITS, hamming, pdq, short_hash

ARCHIVE = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "openclipart.warc.gz"
PICTURES = 1_000
LIMITS = {"pdq": (15, 31), "phash": (3, 7), "dhash": (3, 7)}
STRANGERS = 200_000  # pairs of distinct pictures
COLOUR = NearDupConfig().max_colour_distance
QUALITY = NearDupConfig().min_quality


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return Image.open(sink)


def _scaled(image: Image.Image, share: float) -> Image.Image:
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    """Without so much of each side together: half of it left and right, half above and below."""
    across, down = image.width * share / 2, image.height * share / 2
    return image.crop((round(across), round(down), round(image.width - across), round(image.height - down)))


def _marked(image: Image.Image) -> Image.Image:
    """A half-transparent word across the middle."""
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    height = max(8, image.height // 5)
    width = draw.textlength("SAMPLE", font_size=height)
    place = ((image.width - width) / 2, image.height * 0.4)
    draw.text(place, "SAMPLE", fill=(128, 128, 128, 128), font_size=height)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


TRANSFORMS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resize to 1/2": lambda image: _scaled(image, 0.5),
    "resize to 3/4": lambda image: _scaled(image, 0.75),
    "resize to double": lambda image: _scaled(image, 2),
    "JPEG 75": lambda image: _jpeg(image, 75),
    "JPEG 30": lambda image: _jpeg(image, 30),
    "brighter by 1/10": lambda image: image.point(lambda value: min(255, round(value * 1.1))),
    "crop 2 %": lambda image: _cropped(image, 0.02),
    "crop 5 %": lambda image: _cropped(image, 0.05),
    "border 5 %": lambda image: ImageOps.expand(image, max(1, round(min(image.size) * 0.05)), "black"),
    "flip": ImageOps.mirror,
    "watermark": _marked,
}


def pictures(archive: Path, most: int) -> Iterator[Image.Image]:
    """Pictures of an archive, RGB, in its order."""
    left = most
    with archive.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if left and (record.http_content_type or "").startswith("image/"):
                left -= 1
                image = Image.open(io.BytesIO(record.reader.read()))
                yield image.convert("RGB")


class Measured:
    """What `neardup` sees of some images."""

    def __init__(self, images: list[Image.Image]):
        rows = []
        for image in images:
            sink = io.BytesIO()
            image.save(sink, "PNG")
            found = ingest(sink.getvalue(), ImageConfig(), pdq, lambda body, hash_: None)
            assert isinstance(found, Ingested)
            stored = np.asarray(Image.open(io.BytesIO(found.body)).convert("RGB"))
            short = {kind: short_hash(stored, kind) for kind, bits in HASH_BITS.items() if bits == 64}
            rows.append((found, {"pdq": found.pdq, **short}))
        self.good = np.array([found.pdq_quality >= QUALITY for found, _ in rows])
        self.colour = np.array([list(found.mean_rgb) for found, _ in rows], dtype=np.int64)
        self.hashes = {
            kind: np.frombuffer(b"".join(hashes[kind] for _, hashes in rows), ">u8").reshape(len(rows), -1)
            for kind in HASH_BITS
        }

    def like(self, kind: str, limit: int, rows: np.ndarray, other: Measured, others: np.ndarray) -> np.ndarray:
        """Which rows are taken for copies of the others' rows."""
        near = hamming(self.hashes[kind][rows], other.hashes[kind][others]) <= limit
        apart = np.abs(self.colour[rows] - other.colour[others]).max(axis=1)
        return np.asarray(near & (apart <= COLOUR) & self.good[rows] & other.good[others])


def main() -> None:
    """Print a table, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    options = parser.parse_args()
    images = list(pictures(options.archive, options.pictures))
    original = Measured(images)
    every = np.arange(len(images))
    columns = [(kind, limit) for kind, limits in LIMITS.items() for limit in limits]
    print(f"{len(images):,} pictures, {original.good.mean():.1%} with a PDQ quality of at least {QUALITY}")
    print(f"{'copy':<20}" + "".join(f"{f'{kind} {limit}/{HASH_BITS[kind]}':>14}" for kind, limit in columns))
    table = {}
    for name, transform in TRANSFORMS.items():
        copies = Measured([transform(image) for image in images])
        shares = [float(copies.like(kind, limit, every, original, every).mean()) for kind, limit in columns]
        table[name] = dict(zip((f"{kind} {limit}" for kind, limit in columns), shares, strict=True))
        print(f"{name:<20}" + "".join(f"{share:>14.1%}" for share in shares), flush=True)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, len(images), (2, STRANGERS))
    a, b = a[a != b], b[a != b]
    shares = [float(original.like(kind, limit, a, original, b).mean()) for kind, limit in columns]
    print(f"{'two pictures':<20}" + "".join(f"{1e6 * share:>10.0f} ppm" for share in shares))
    caught = table["JPEG 30"]
    print(
        json.dumps(
            {
                "bench": "copies",
                "ours": round(caught["pdq 31"], 3),
                "peer": round(caught["phash 7"], 3),
                "unit": "share of JPEG 30 copies caught: PDQ within 31 of 256 bits, pHash within 7 of 64",
                "ratio": round(caught["pdq 31"] / caught["phash 7"], 2),
                "equal": True,
                "copies": table,
            }
        )
    )


if __name__ == "__main__":
    main()
