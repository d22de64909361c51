"""What the pages in OUT have in common: one file each, for a person, with pictures in it; nothing is loaded.

Everything that comes from the web is escaped by the template and shown as text; images are decoded, made small and
written into the page. Of one that may be unsafe a few blurred pixels are written, unless all are asked for.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image, ImageFilter

from dataset import images
from dataset.display import clean
from dataset.ledger.damage import is_whole
from dataset.query import sql
from dataset.query.views import Dataset
from dataset.store.faults import fault
from dataset.store.storage import Storage
from dataset.webdataset.shards import FOLDER, IMAGE_PARTS, DamagedSampleError, parse_sample
from pipeline.reports.format import cell

BLUR_ABOVE = 0.2
"""nsfw_probability above which an image is blurred: open_nsfw's authors call what is below 0.2 likely safe
(github.com/yahoo/open_nsfw, README)."""
_SIDE = 168  # pixels of a thumbnail's longer side
_QUALITY = 75
_BLURRED_SIDE = 8  # pixels of the longer side that are left of a blurred image
MOST_PIXELS = 50_000_000
"""The most pixels of an image that is shown; stored ones have far fewer."""


def environment(*folders: Path) -> jinja2.Environment:
    """Return what pages are made by: everything is cleaned as for a terminal and escaped, and a name that a template
    lacks is an error.

    folders: where templates are besides those of this room.
    """
    loader = jinja2.FileSystemLoader([*folders, Path(__file__).parent])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, finalize=_finalize
    )
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(number=_number, bytes=_bytes, shown=cell)
    environment.tests["web"] = lambda url: str(url).startswith(("http://", "https://"))
    return environment


def unsafe(dataset: Dataset, urls: Sequence[str], blur_above: float | None) -> set[str]:
    """Return which of some images are to be blurred.

    blur_above: the nsfw_probability above which they are; None blurs none. What was not measured is not blurred.
    """
    if blur_above is None:
        return set()
    return {
        url
        for (url,) in dataset.ask(sql.load("report/unsafe_urls"), {"most": blur_above, "urls": list(urls)}).fetchall()
    }


def thumbnail(body: bytes, *, blurred: bool = False) -> str | None:
    """Return an image as a small `data:` URI; None if it cannot be decoded. blurred: of so few pixels that nothing is
    told.
    """
    try:
        small = Image.fromarray(images.to_rgb(body, MOST_PIXELS, _SIDE))
    except images.ImageError:
        return None
    small.thumbnail((_SIDE, _SIDE))
    if blurred:
        size = small.size
        small.thumbnail((_BLURRED_SIDE, _BLURRED_SIDE))
        small = small.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(_BLURRED_SIDE))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def sample_image(storage: Storage, row: Mapping[str, Any]) -> bytes:
    """Return the image of a row of the view `pairs`, from its shard; no bytes if it is not what was written.

    row: with shard, key, offset, size and checksum.
    """
    try:
        (data,) = storage.read_ranges(f"{FOLDER}/{row['shard']}", [(max(0, row["offset"]), max(0, row["size"]))])
        parts = parse_sample(data, row["key"]) if is_whole(data, row["size"], row["checksum"]) else {}
    except (DamagedSampleError, FileNotFoundError):
        parts = {}
    except OSError as error:  # the name of no file: a folder's, or one that is too long
        if fault(error) is not None:
            raise
        parts = {}
    return next((parts[part] for part in IMAGE_PARTS if part in parts), b"")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _finalize(value: Any) -> str:
    """What a template puts on a page, whoever wrote it; markup of our own stays markup."""
    return Markup(clean(value)) if isinstance(value, Markup) else clean(str(value))  # noqa: S704


def _bytes(value: int) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,} bytes"
