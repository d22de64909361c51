"""Archives of pages written by hand, for tests that need one particular thing on a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.build import build
from pipeline.config import build as make_config

IMAGE_HOST = "http://images.example"


def texture(seed: int, side: int = 96, shift: int = 0, contrast: int = 95) -> np.ndarray:
    """A picture that no other seed's resembles: coarse noise, enlarged. uint8 (side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(125 - contrast, 125 + contrast, (12, 12, 3))
    coarse = np.clip(coarse + shift, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, kind: str = "JPEG", quality: int = 90) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=quality)
    return buffer.getvalue()


def write(
    path: Path,
    pages: Sequence[tuple[str, str]],
    images: Mapping[str, tuple[str, bytes]] = {},
    missing: Sequence[tuple[str, str]] = (),
    asking: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """A WARC of (URL, HTML) pages, of pages answered with 404, of pages (header, URL, HTML) that ask something by a
    header, then of images by URL: (media type, body).
    """
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        type_ = "text/html; charset=utf-8"
        bodies = [(url, "200 OK", type_, html.encode(), "") for url, html in pages]
        bodies += [(url, "404 Not Found", type_, html.encode(), "") for url, html in missing]
        bodies += [(url, "200 OK", type_, html.encode(), header) for header, url, html in asking]
        bodies += [(url, "200 OK", media_type, body, "") for url, (media_type, body) in images.items()]
        for url, status, media_type, body, header in bodies:
            listed = [("Content-Type", media_type), *([tuple(header.split(": ", 1))] if header else [])]
            headers = StatusAndHeaders(status, listed, protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
            )
    return path


def crawl(
    folder: Path, name: str, images: Mapping[str, tuple[str, bytes]], *, to: str | None = None, **changes: Any
) -> str:
    """A dataset FOLDER/NAME from one page that shows these images: file name -> (text about a castle, body).

    The archive of a name is written once; `to` is the last stage, `changes` are sections of the config, `out` too.
    """
    tags = "".join(f'<img src="{IMAGE_HOST}/{file}" alt="{text}">' for file, (text, _) in images.items())
    held = {f"{IMAGE_HOST}/{file}": ("image/jpeg", body) for file, (_, body) in images.items()}
    archive = folder / f"{name}.warc.gz"
    if not archive.exists():
        write(archive, [("http://page.example/", f'<html lang="en">{tags}')], held)
    (folder / "queries.txt").write_text("castle\n")
    raw = {
        "sources": [str(archive)],
        "out": str(folder / name),
        "match": {"queries": str(folder / "queries.txt")},
        "fetch": {"origins": ["archive"]},
        "image": {"nsfw_model": ""},
        "run": {"workers": 0},
        **changes,
    }
    build(make_config(raw), to=to, quiet=True)
    return str(raw["out"])
