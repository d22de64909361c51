"""Common Crawl's crawls by name: `cc:CC-MAIN-2026-40`, or some of its files, `cc:CC-MAIN-2026-40[0:100]`."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Literal

from crawl.archives.decoding.inflate import GZIP
from dataset.store.storage import open_input

PREFIX = "cc:"
_FORM = re.compile(r"cc:([A-Za-z0-9][A-Za-z0-9_-]*)(?:\[(\d*):(\d*)\])?")
_MAX_LISTING_BYTES = 64 * 2**20
"""The largest list of files, decompressed; those of 2024 name 90,000 files each and have 13 MB."""


@dataclass(frozen=True)
class CommonCrawlConfig:
    """What a source such as `cc:CC-MAIN-2026-40` stands for."""

    files: Literal["wat", "warc"] = "wat"
    """WAT files (a page's links, about a twentieth of the bytes) or WARC files (the pages themselves)."""
    base: str = "https://data.commoncrawl.org"
    """Where `crawl-data/` is: Common Crawl's https server, `s3://commoncrawl` within AWS, a mirror's URL or folder."""

    max_requests_per_s: float = 0.0
    """Requests a second to the servers of sources (https, s3), of all processes of a run together; 0 for no cap.
    Common Crawl's bucket is everybody's. On a cluster that grows, tasks at work keep the share that they were given."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_requests_per_s < float("inf"):
            raise ValueError(f"max_requests_per_s must be 0 or more, not {self.max_requests_per_s}")
        if self.files not in ("wat", "warc"):
            raise ValueError(f"files must be wat or warc, not {self.files!r}")


def files(source: str, config: CommonCrawlConfig) -> list[str]:
    """Return the locations of a crawl's files, in the order of the crawl's own list.

    Raises:
        ValueError: the source is not of the form, or names no file.
        OSError: the list cannot be read.
    """
    name, first, last = parse(source)
    base = config.base.rstrip("/")
    listing = f"{base}/crawl-data/{name}/{config.files}.paths.gz"
    with open_input(listing) as file:
        try:
            text = zlib.decompressobj(GZIP).decompress(bytes(file.read()), _MAX_LISTING_BYTES)
        except zlib.error:
            raise ValueError(f"{listing} is not a gzip file") from None
    paths = text.decode("utf-8", "replace").split()[first:last]
    if not paths:
        raise ValueError(f"{source} names no file: {listing} does not list so many")
    return [f"{base}/{path}" for path in paths]


def parse(source: str) -> tuple[str, int | None, int | None]:
    """Return a source's crawl, and the first and the end of its files. Raises ValueError."""
    match = _FORM.fullmatch(source)
    if match is None:
        raise ValueError(f"{source} is not a crawl's name, such as cc:CC-MAIN-2026-40 or cc:CC-MAIN-2026-40[0:100]")
    name, first, last = match.groups()
    return name, int(first) if first else None, int(last) if last else None
