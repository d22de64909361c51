"""Pages of a made-up web, as a WARC and as the WAT that Common Crawl's extractor would write of it."""

from __future__ import annotations

import gzip
import json
import random
from html import escape
from pathlib import Path

PAGES = 300
WORDS = (
    "river",
    "kettle",
    "bridge",
    "castle",
    "garden",
    "lamp",
    "mountain",
    "harbour",
    "market",
    "window",
    "train",
    "forest",
    "winter",
    "café",
    "Straße",
)


def _member(type_: str, url: str, content_type: str, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {type_}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-06T07:08:09Z\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


def _page(rng: random.Random, url: str) -> tuple[bytes, bytes]:
    """A page's HTML, and the JSON of its WAT record."""

    def phrase(words: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(words))

    links, tags = [], []
    for number in range(rng.randint(50, 150)):
        address, text = f"/{rng.choice(WORDS)}/{number}.html", phrase(4)
        links.append({"path": "A@/href", "url": address, "text": text})
        tags.append(f'<p class="item"><a href="{address}">{text}</a> {phrase(30)}</p>')
    for number in range(rng.randint(5, 40)):
        address, alt = (
            f"{rng.choice(('', 'https://cdn.example'))}/{number}-{rng.random():.9f}.jpg",
            phrase(rng.randint(0, 9)),
        )
        links.append({"path": "IMG@/src", "url": address, "alt": alt})
        tags.append(f'<figure><img src="{address}" alt="{escape(alt)}" width="320"></figure>')
    title = phrase(5)
    html = f'<!doctype html><html lang="en"><head><title>{title}</title></head><body>{"".join(tags)}</body></html>'
    response = {
        "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": {"Content-Type": "text/html; charset=utf-8"},
        "HTML-Metadata": {"Head": {"Title": title}, "Links": links},
    }
    wat = {
        "Container": {"Filename": "made-up.warc.gz", "Compressed": True},
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": url},
            "Payload-Metadata": {"HTTP-Response-Metadata": response},
        },
    }
    return html.encode(), json.dumps(wat, ensure_ascii=False, separators=(",", ":")).encode()


def write_pages(folder: Path) -> tuple[Path, Path]:
    """Write both files; (WAT, WARC)."""
    rng = random.Random(0)
    wat, warc = folder / "made-up.warc.wat.gz", folder / "made-up.warc.gz"
    with wat.open("wb") as links, warc.open("wb") as pages:
        for number in range(PAGES):
            url = f"https://site{number % 20}.example/{number}.html"
            html, metadata = _page(rng, url)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
            pages.write(_member("response", url, "application/http; msgtype=response", head + html))
            links.write(_member("metadata", url, "application/json", metadata))
    return wat, warc
