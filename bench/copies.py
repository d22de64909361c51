"""Which transformed copies are caught: clip art of ../shared/data's openclipart.warc.gz (or of `--archive FILE`, or the
held-out images of `--dataset DIR`), each picture in several forms, by each perceptual hash and by the copy-detection
model of `--model FILE`, and how many strangers are taken for copies.

A copy counts as caught by the very rule of `neardup`: its hash and its mean colour are near enough to the original's,
and both are good enough; or by that of `decontaminate` for a model: the cosine of the embeddings is at least
`min_cosine`. That is chosen so that no more of the pairs of strangers are taken for copies than PDQ takes within 31
bits, and once so that of all copies, and the strangers that are nearest to them, nine of ten that are taken for copies
are some (a precision of 0.9); `nearest` is the share of copies that are nearest to their own original of all,
whatever the threshold. FILE is YAML with `decontaminate.model`, as `python -m train.duplicate_detector`
writes it. The peer in the last line is pHash, by the library imagehash.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml
from fastwarc.warc import ArchiveIterator, WarcRecordType
from PIL import Image, ImageDraw, ImageOps

from bench.record import print_record
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested
from dataset.config_check import checked_config
from dataset.store.storage import Storage
from dataset.webdataset.shards import read_index, read_sample
from filters.duplicates.decontaminate import DecontaminateConfig, Embed
from filters.duplicates.near import NearDupConfig
from filters.images.embeddings import unit
from filters.images.models import load
from filters.images.perceptual import HASH_BITS, hamming, pdq, short_hash
from train.data.transforms import image_part
from train.duplicate_detector import least_cosine

ARCHIVE = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "openclipart.warc.gz"
PICTURES = 1_000
LIMITS = {"pdq": (15, 31), "phash": (3, 7), "dhash": (3, 7)}
COLOUR = NearDupConfig().max_colour_distance
QUALITY = NearDupConfig().min_quality


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return Image.open(sink)


def _scale(image: Image.Image, share: float) -> Image.Image:
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _crop(image: Image.Image, share: float) -> Image.Image:
    """Cut so much off each side together: half of it left and right, half above and below."""
    across, down = image.width * share / 2, image.height * share / 2
    return image.crop((round(across), round(down), round(image.width - across), round(image.height - down)))


def _watermark(image: Image.Image) -> Image.Image:
    """A half-transparent word across the middle."""
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    height = max(8, image.height // 5)
    width = draw.textlength("SAMPLE", font_size=height)
    place = ((image.width - width) / 2, image.height * 0.4)
    draw.text(place, "SAMPLE", fill=(128, 128, 128, 128), font_size=height)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


TRANSFORMS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resize to 1/2": lambda image: _scale(image, 0.5),
    "resize to 3/4": lambda image: _scale(image, 0.75),
    "resize to double": lambda image: _scale(image, 2),
    "JPEG 75": lambda image: _jpeg(image, 75),
    "JPEG 30": lambda image: _jpeg(image, 30),
    "brighter by 1/10": lambda image: image.point(lambda value: min(255, round(value * 1.1))),
    "crop 2 %": lambda image: _crop(image, 0.02),
    "crop 5 %": lambda image: _crop(image, 0.05),
    "border 5 %": lambda image: ImageOps.expand(image, max(1, round(min(image.size) * 0.05)), "black"),
    "flip": ImageOps.mirror,
    "watermark": _watermark,
}


def pictures(archive: Path, most: int) -> Iterator[Image.Image]:
    """Yield pictures of an archive, RGB, in its order."""
    left = most
    with archive.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if left and (record.http_content_type or "").startswith("image/"):
                left -= 1
                image = Image.open(io.BytesIO(record.reader.read()))
                yield image.convert("RGB")


def heldout(folder: str, most: int) -> Iterator[Image.Image]:
    """Yield pictures that no training on a dataset sees, RGB, in its order."""
    storage = Storage(folder)
    index = read_index(storage, "heldout")
    for row in range(min(most, len(index))):
        yield Image.open(io.BytesIO(image_part(read_sample(storage, index, row)))).convert("RGB")


def model_of(file: Path) -> Embed:
    """Return the model that a piece of config names. Raises ValueError, filters.images.models.ModelError."""
    section = yaml.safe_load(file.read_text())["decontaminate"]
    model = checked_config(DecontaminateConfig, section).model
    if model is None:
        raise ValueError(f"{file} has no decontaminate.model")
    return load(model, "decontaminate.model")


class Measured:
    """What `neardup` and `decontaminate` see of some images."""

    def __init__(self, images: list[Image.Image], embed: Embed | None):
        rows = []
        for image in images:
            sink = io.BytesIO()
            image.save(sink, "PNG")
            ingested = ingest(sink.getvalue(), ImageConfig(), pdq, lambda body, hash_: None)
            assert isinstance(ingested, Ingested)
            stored = np.asarray(Image.open(io.BytesIO(ingested.body)).convert("RGB"))
            short = {kind: short_hash(stored, kind) for kind, bits in HASH_BITS.items() if bits == 64}
            rows.append((ingested, {"pdq": ingested.pdq, **short}))
        self.good = np.array([ingested.pdq_quality >= QUALITY for ingested, _ in rows])
        self.colour = np.array([list(ingested.mean_rgb) for ingested, _ in rows], dtype=np.int64)
        self.hashes = {
            kind: np.frombuffer(b"".join(hashes[kind] for _, hashes in rows), ">u8").reshape(len(rows), -1)
            for kind in HASH_BITS
        }
        self._embeddings = None if embed is None else unit(embed([ingested.body for ingested, _ in rows]))

    def like(self, kind: str, limit: float, rows: np.ndarray, other: Measured, others: np.ndarray) -> np.ndarray:
        """Return which rows are taken for copies of the others' rows; limit: bits, or a cosine if the kind is
        "model".
        """
        if kind == "model":
            return np.asarray(self.cosines(other)[rows, others] >= limit)
        near = hamming(self.hashes[kind][rows], other.hashes[kind][others]) <= limit
        apart = np.abs(self.colour[rows] - other.colour[others]).max(axis=1)
        return np.asarray(near & (apart <= COLOUR) & self.good[rows] & other.good[others])

    def cosines(self, other: Measured) -> np.ndarray:
        """Return the cosine of every row with every one of the other's: float32 (rows, others)."""
        assert self._embeddings is not None and other._embeddings is not None
        return np.asarray(self._embeddings @ other._embeddings.T)


def _cosine_at_rate(original: Measured, rate: float) -> float:
    """The least cosine, to four digits, that at most a share of the pairs of strangers reach."""
    cosines = original.cosines(original)
    falling = np.sort(cosines[np.triu_indices(len(cosines), 1)])[::-1]
    return min(1.0, math.floor(10_000 * float(falling[min(int(rate * len(falling)), len(falling) - 1)]) + 1) / 10_000)


def _cosine_at_precision(copies: Mapping[str, Measured], original: Measured) -> float:
    """`least_cosine` of all copies together."""
    own_cosines, others = [], []
    for copy in copies.values():
        cosines = copy.cosines(original)
        own_cosines.append(cosines.diagonal().copy())
        np.fill_diagonal(cosines, -1)
        others.append(cosines.max(axis=1))
    return least_cosine(np.concatenate(own_cosines), np.concatenate(others))


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument("--archive", type=Path, default=ARCHIVE)
    sources.add_argument("--dataset", metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="FILE")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    options = parser.parse_args(arguments)
    embed = None if options.model is None else model_of(options.model)
    most = options.pictures
    images = list(heldout(options.dataset, most) if options.dataset else pictures(options.archive, most))
    original = Measured(images, embed)
    every = np.arange(len(images))
    a, b = np.triu_indices(len(images), 1)
    copies = {name: Measured([transform(image) for image in images], embed) for name, transform in TRANSFORMS.items()}
    columns: list[tuple[str, float]] = [(kind, limit) for kind, limits in LIMITS.items() for limit in limits]
    if embed is not None:
        rate = float(original.like("pdq", LIMITS["pdq"][1], a, original, b).mean())
        columns += [
            ("model", limit)
            for limit in sorted({_cosine_at_rate(original, rate), _cosine_at_precision(copies, original)})
        ]
    strangers = [float(original.like(kind, limit, a, original, b).mean()) for kind, limit in columns]
    print(f"{len(images):,} pictures, {original.good.mean():.1%} with a PDQ quality of at least {QUALITY}")
    heads = [_column(kind, limit) for kind, limit in columns] + ["nearest"] * (embed is not None)
    print(f"{'copy':<20}" + "".join(f"{head:>15}" for head in heads))
    table = {}
    for name, copy in copies.items():
        shares = [float(copy.like(kind, limit, every, original, every).mean()) for kind, limit in columns]
        table[name] = dict(zip((f"{kind} {limit}" for kind, limit in columns), shares, strict=True))
        if embed is not None:
            shares.append(float((copy.cosines(original).argmax(axis=1) == every).mean()))
            table[name]["nearest"] = shares[-1]
        print(f"{name:<20}" + "".join(f"{share:>15.1%}" for share in shares))
    print(f"{'two pictures':<20}" + "".join(f"{1e6 * share:>11.0f} ppm" for share in strangers))
    caught = table["JPEG 30"]
    print_record(
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


def _column(kind: str, limit: float) -> str:
    return f"{kind} ≥ {limit:.4f}" if kind == "model" else f"{kind} ≤ {limit}/{HASH_BITS[kind]}"


if __name__ == "__main__":
    main()
