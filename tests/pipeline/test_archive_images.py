"""Images that the run's own archives hold under another address than the page's."""

from __future__ import annotations

from pathlib import Path

import dataset
from tests.crawl.warc_bytes import http, members, page, record
from tests.pipeline import pages

MOVED = (
    ("http://page.example/moved.jpg", "http://cdn.example/a.jpg"),
    ("http://page.example/out.jpg", "http://opted-out.example/a.jpg"),
)


def test_redirects_are_followed_in_the_archive(tmp_path: Path) -> None:
    body = pages.encoded(pages.texture(1))
    tags = "".join(f'<img src="{url}" alt="A castle at {number} o clock">' for number, (url, _) in enumerate(MOVED))
    data = [page(f'<html lang="en">{tags}<img src=/none.jpg alt="No castle at all">', "http://page.example/")]
    for url, final in MOVED:
        data.append(record(http(b"", status=302, headers=(f"Location: {final}",)), url))
        data.append(record(http(body, "image/jpeg"), final))
    (tmp_path / "moved.warc.gz").write_bytes(members(*data))
    (tmp_path / "out.txt").write_text("opted-out.example\n")
    fetch = {"origins": ["archive"], "opted_out_domains": str(tmp_path / "out.txt")}
    out = pages.crawl(tmp_path, "moved", {}, fetch=fetch)
    images = dataset.open(out).sql("SELECT url, final_url, outcome FROM images ORDER BY url").fetchall()
    assert images == [
        ("http://page.example/moved.jpg", "http://cdn.example/a.jpg", "ok"),
        ("http://page.example/none.jpg", "http://page.example/none.jpg", "not_in_archive"),
        ("http://page.example/out.jpg", "http://opted-out.example/a.jpg", "domain_opted_out"),
    ]
