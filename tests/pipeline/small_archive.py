"""A small archive of our own making: pages on six hosts, their images, and every kind of dirt that a run drops.

`write` makes it, the same bytes for the same arguments; `config` gives a run over it in which every stage that can
drops something.
"""

from __future__ import annotations

import hashlib
import io
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

HOSTS = ("garden", "birds", "kitchen", "travel", "shop", "kunst")
IMAGE_HOST = "images.example"  # of half of the pages: a host with more pairs than a partition's share
SPAM = "Buy the best products online today at our great shop"

TOPICS = {
    "garden": ("rose", "tulip", "fountain", "hedge", "greenhouse"),
    "birds": ("sparrow",),  # one query with many pairs, so that it is full
    "kitchen": ("kettle", "bread", "soup", "table", "orange"),
    "travel": ("mountain", "harbour", "bridge", "train", "castle"),
    "shop": ("jacket", "lamp", "chair", "clock", "mirror"),
    "kunst": ("painting", "statue"),
}
_DIRTY = ("lighthouse", "windmill")  # what dirt is captioned with: queries that the first balance leaves alone
QUERIES = sorted(
    {word for words in TOPICS.values() for word in words} | {*_DIRTY, "old bridge", "red rose", "products"}
)

_PLACES = ("in the morning light", "near the old house", "after a long rain", "at the edge of town", "on a quiet day")
_VIEWS = ("A photograph of", "A close view of", "The picture shows", "We are looking at", "My favourite view of")
_ADJECTIVES = ("small", "large", "beautiful", "dark", "bright", "weathered", "famous")
_GERMAN = ("Ein schönes altes Haus am Ufer des Flusses", "Der Garten hinter dem Schloss im späten Sommer")
_DATE = "2024-05-01T12:00:00Z"

PROVOKES = frozenset(
    {
        "url_scheme_not_allowed",
        "url_private",
        "page_noai",
        "text_too_short",
        "text_is_filename",
        "language_not_allowed",
        "no_query_match",
        "text_spam",
        "duplicate_pair",
        "query_full",
        "not_in_archive",
        "image_truncated",
        "not_an_image",
        "image_animated",
        "hash_list_match",
        "image_too_small",
        "image_aspect",
        "duplicate_image",
        "near_duplicate_image",
        "in_evaluation_set",
    }
)
"""Reasons that a run by `config` gives at least once, at the default number of pages."""


@dataclass(frozen=True)
class _Picture:
    """An `<img>` and what the archive holds at its address; no body, no record."""

    src: str
    alt: str | None
    body: bytes | None = None
    media_type: str = "image/jpeg"


def write(path: Path, seed: int = 0, pages: int = 40) -> Path:
    """Write the archive (.warc or .warc.gz by the name); beside it what `config` names.

    These are `queries.txt`, `hashes.sha256` with one image's hash, and `evaluation/`, a folder with another one.

    Args:
        path: where the archive goes.
        seed: another seed, other texts and pixels.
        pages: HTML pages, of about five images each; at least 12 for every kind of dirt to occur.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "queries.txt").write_text("".join(f"{query}\n" for query in QUERIES))
    listed, evaluated = _texture(seed, "listed"), _texture(seed, "evaluated")
    (path.parent / "hashes.sha256").write_text(hashlib.sha256(_jpeg(listed)).hexdigest() + "\n")
    folder = path.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    (folder / "image.png").write_bytes(_png(evaluated))
    written: set[str] = set()
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz", warc_version="WARC/1.1")
        for number in range(pages):
            host = HOSTS[number % len(HOSTS)]
            pictures = list(_pictures(seed, number, host))
            page = _page(host, number, pictures, noai=number == 11)
            _record(writer, f"http://{host}.example/page-{number}.html", "text/html", page)
            for picture in pictures:
                if picture.body is not None and picture.src not in written:
                    written.add(picture.src)
                    _record(writer, picture.src, picture.media_type, picture.body)
    return path


def config(path: Path | str, out: Path | str, **overrides: Any) -> dict[str, Any]:
    """A run over the archive at `path`, for `pipeline.config.build`; overrides by section: `run={"workers": 2}`.

    `beside` is where queries, hash list and evaluation set lie, if not beside `path` (an archive on s3).
    """
    beside = Path(overrides.pop("beside", Path(path).parent))
    raw: dict[str, Any] = {
        "sources": [str(path)],
        "out": str(out),
        "name": "small",
        "match": {"queries": str(beside / "queries.txt")},
        "dedup": {"max_images_per_text": 8},
        "prebalance": {"oversample": 2.0},
        "fetch": {"origins": ["archive"]},
        "hashlists": {"files": [str(beside / "hashes.sha256")]},
        "image": {"nsfw_model": ""},
        "decontaminate": {"folders": [str(beside / "evaluation")]},
        "balance": {"cap": 8},
        "pack": {"samples_per_shard": 20, "heldout_share": 0.2},
        "run": {"workers": 0, "piece_bytes": 2**18, "pairs_per_partition": 60},
        "allow_programs": "filters" in overrides,
    }
    for key, value in overrides.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) and key in raw else value
    return raw


def _pictures(seed: int, number: int, host: str) -> Iterator[_Picture]:
    """A page's images: four or five good ones, and one or two of the page's kind of dirt."""
    rng = random.Random(f"{seed} {number}")
    home = f"http://{IMAGE_HOST if host in ('garden', 'birds', 'shop') else f'{host}.example'}/{host}/{number}"
    for i in range(5 if host == "birds" else 4):
        noun = rng.choice(TOPICS[host])
        text = f"{rng.choice(_VIEWS)} a {rng.choice(_ADJECTIVES)} {noun} {rng.choice(_PLACES)} number {number * 10 + i}"
        texture = _texture(seed, f"{number}/{i}")
        png = rng.random() < 0.03
        body, ending = (_png(texture), "png") if png else (_jpeg(texture), "jpg")
        yield _Picture(f"{home}-{i}.{ending}", text, body, f"image/{'png' if png else 'jpeg'}")
    yield from _dirt(seed, number, home)


def _dirt(seed: int, number: int, home: str) -> Iterator[_Picture]:
    """Kinds of dirt, a page each, in turn; the numbers of pages are arbitrary."""
    own = _texture(seed, f"{number}/dirt")
    good = f"A photograph of the old {_DIRTY[number // 20 % 2]} by the sea on a quiet morning"
    kind = number % 20
    if kind < 12 and number < 40:
        yield _Picture(f"{home}-spam.jpg", SPAM, _jpeg(own))
    if kind == 0:
        logo = _jpeg(_texture(seed, "logo"))
        yield _Picture(
            f"http://{IMAGE_HOST}/logo.jpg", "The statue that stands beside the entrance of the museum", logo
        )
    elif kind == 1:
        yield _Picture(f"{home}-IMG_2034.jpg", "IMG_2034.jpg", _jpeg(own))
        yield _Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "A pixel that is written into the page")
    elif kind == 2:
        yield _Picture(f"{home}-no-alt.jpg", None, _jpeg(own))
        yield _Picture(f"{home}-empty-alt.jpg", "", _jpeg(own))
    elif kind == 3:
        yield _Picture(f"{home}-cut.jpg", f"{good} that broke off", _jpeg(own)[:900])
    elif kind == 4:
        yield _Picture(f"{home}-tiny.png", f"{good} as a thumbnail", _png(own[:24, :24]))
    elif kind == 5:
        yield _Picture(f"{home}-de.jpg", _GERMAN[number // 20 % 2], _jpeg(own))
    elif kind == 6:
        yield _Picture(f"{home}-banner.jpg", f"{good} as a banner", _jpeg(np.tile(own[:70], (1, 4, 1))))
    elif kind == 7:
        yield _Picture(f"{home}-lost.jpg", f"{good} that no archive holds")
        yield _Picture("ftp://files.example/a.jpg", f"{good} on a file server")
        yield _Picture("http://192.168.0.7/a.jpg", f"{good} on my own router")
    elif kind == 8:
        yield _Picture(f"{home}-copy.jpg", f"{good} once more, copied", _jpeg(_texture(seed, "0/0")))
        yield _Picture(f"{home}-copy-of-copy.jpg", f"{good} once more, copied twice", _jpeg(_texture(seed, "0/0")))
    elif kind == 9:
        again = _texture(seed, "6/1")
        yield _Picture(f"{home}-again.jpg", f"{good} once more, saved again", _jpeg(again, quality=60))
        yield _Picture(f"{home}-small.jpg", f"{good} once more, made smaller", _jpeg(again, side=88))
    elif kind == 10:
        frames = [Image.fromarray(own), Image.fromarray(255 - own)]
        sink = io.BytesIO()
        frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
        yield _Picture(f"{home}-moving.gif", f"{good} that moves", sink.getvalue(), "image/gif")
    elif kind == 12:
        yield _Picture(f"{home}-error.jpg", f"{good} with a sorry page", b"<html>not found</html>")
    elif kind == 13:
        yield _Picture(f"{home}-listed.jpg", f"{good} on a list", _jpeg(_texture(seed, "listed")))
    elif kind == 14:
        yield _Picture(f"{home}-evaluated.jpg", f"{good} that examines", _jpeg(_texture(seed, "evaluated"), quality=75))
    elif kind == 15:
        yield _Picture(f"{home}-plain.jpg", "Nothing of what anybody has ever searched for is here", _jpeg(own))
    elif kind == 16:
        yield _Picture(f"{home}-short.jpg", "rose", _jpeg(own))


def _texture(seed: int, name: str) -> np.ndarray:
    """Smooth noise, other for every name, that no perceptual hash confuses. uint8 (height, width, 3)."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    width, height = 96 + 8 * (digest[0] % 3), 88 + 8 * (digest[1] % 3)
    coarse = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)  # coarser noise would leave half of PDQ to rounding
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _jpeg(texture: np.ndarray, quality: int = 85, side: int | None = None) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(texture))
    if side is not None:
        image = image.resize((side, round(side * image.height / image.width)), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def _png(texture: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(texture)).save(sink, "PNG")
    return sink.getvalue()


def _page(host: str, number: int, pictures: list[_Picture], *, noai: bool) -> bytes:
    language = "de" if host == "kunst" and number % 20 == 5 else "en"
    tags = []
    for picture in pictures:
        alt = "" if picture.alt is None else f' alt="{escape(picture.alt)}"'
        tags.append(f'<p>Some words between the pictures.</p><img src="{escape(picture.src)}"{alt}>')
    robots = '<meta name="robots" content="noai">' if noai else ""
    title = f"Page {number} of {host}"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">{robots}<title>{title}</title></head>'
        f"<body><h1>{title}</h1>{''.join(tags)}</body></html>"
    ).encode()


def _record(writer: WARCWriter, url: str, media_type: str, body: bytes) -> None:
    headers = StatusAndHeaders(
        "200 OK", [("Content-Type", media_type), ("Content-Length", str(len(body)))], protocol="HTTP/1.1"
    )
    record = writer.create_warc_record(
        url,
        "response",
        payload=io.BytesIO(body),
        length=len(body),
        http_headers=headers,
        warc_headers_dict={
            "WARC-Date": _DATE,
            "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
        },
    )
    writer.write_record(record)
