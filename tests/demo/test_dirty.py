"""The gallery with spoilt texts: what is held out is gone, what is spoilt is named, all else is as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from demo.dirty import KINDS, _records, main
from tests.train import tiny


def archive(path: Path) -> Path:
    """A gallery of two classes."""
    with path.open("wb") as file:
        writer: Any = WARCWriter(file, gzip=True)

        def write(url: str, kind: str, body: bytes) -> None:
            headers = StatusAndHeaders("200 OK", [("Content-Type", kind)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
            )

        page = "<html><body>"
        for number, caption in enumerate(tiny.CAPTIONS):
            name = f"/images/{'left' if number % 2 else 'right'}/{number}.jpg"
            write(f"https://a.test{name}", "image/jpeg", tiny.picture(caption))
            page += f'<figure><img src="{name}" alt="{caption} &amp; more"><figcaption>{caption}</figcaption></figure>'
        write("https://a.test/0.html", "text/html", f"{page}</body></html>".encode())
    return path


def test_a_stated_share_is_spoilt_and_what_is_held_out_is_gone(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.warc.gz")
    assert main([str(source), str(tmp_path / "dirty"), "--share", "0.5", "--heldout", "0.2"]) == 0
    with (tmp_path / "dirty" / "spoilt.csv").open() as file:
        spoilt = {row["url"]: row for row in csv.DictReader(file)}
    with (tmp_path / "dirty" / "tasks" / "captions" / "captions.csv").open() as file:
        asked = list(csv.DictReader(file))
    before = {url: (kind, body) for url, kind, body in _records(str(source))}
    after = {url: (kind, body) for url, kind, body in _records(str(tmp_path / "dirty" / "dirty.warc.gz"))}
    gone = set(before) - set(after)
    assert 5 <= len(gone) == len(asked) <= 25
    assert 15 <= len(spoilt) <= 40 and {row["kind"] for row in spoilt.values()} == set(KINDS)
    page = after["https://a.test/0.html"][1].decode()
    assert not any(url.removeprefix("https://a.test") in page for url in gone)
    for url, row in spoilt.items():
        path = url.removeprefix("https://a.test")
        assert f'<img src="{path}" alt="{row["text"].replace("&", "&amp;")}"></figure>' in page
        assert row["text"] != row["true_text"] and row["true_text"].endswith("& more")
    whole = set(after) - gone - set(spoilt) - {"https://a.test/0.html"}
    for url in whole:
        assert after[url] == before[url]
        assert f'{url.removeprefix("https://a.test")}" alt="' in page
    assert page.count("<figcaption>") == len(whole)
    classes = {path.parent.name for path in (tmp_path / "dirty" / "tasks" / "categories").glob("*/*.jpg")}
    assert classes == {"left", "right"}
    again = tmp_path / "again"
    main([str(source), str(again), "--share", "0.5", "--heldout", "0.2"])
    assert (again / "spoilt.csv").read_bytes() == (tmp_path / "dirty" / "spoilt.csv").read_bytes()
