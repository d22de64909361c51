"""What pages, and the headers of their responses, say of their use, of a WARC and of a WAT."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from tests.crawl.hostile_wishes import license_of
from tests.crawl.warc_bytes import http, members, page, record, wat, wat_record, whole


def candidates(folder: Path, *records: bytes) -> pa.Table:
    return extract([whole(folder, members(*records))], ExtractConfig()).candidates


def test_what_the_page_says_of_its_use(tmp_path: Path) -> None:
    reserved = http(b"<img src=a alt=a>", headers=("TDM-Reservation: 1",))
    permitted = http(
        b"<meta name=tdm-reservation content=0><a rel=license href='//cc.example/by#x'><img src=b alt=b>",
        headers=("TDM-Reservation: 1",),
    )
    rows = candidates(tmp_path, record(reserved), record(permitted)).to_pylist()
    assert [(row["page_tdm_reserved"], row["page_license"]) for row in rows] == [
        (True, None),
        (False, "http://cc.example/by"),
    ]


def test_what_the_page_says_of_mining_that_cannot_be_read(tmp_path: Path) -> None:
    image = b"<img src=a alt=a>"
    meta = b"<meta name=tdm-reservation content='%s'>"
    said = [
        http(image, headers=("TDM-Reservation: maybe",)),
        http(meta % b"\0 ?" + image, headers=("TDM-Reservation: 0",)),
        http(meta % b"yes" + image, headers=("TDM-Reservation: 1",)),
        http(meta % b"0" + image, headers=("TDM-Reservation: maybe",)),
    ]
    link = {"path": "IMG@/src", "url": "b", "alt": "b"}
    metas = [{"name": "tdm-reservation", "content": "yes"}]
    described = [
        wat({"Links": [link]}, headers={"tdm-reservation": "maybe"}),
        wat({"Head": {"Metas": metas}, "Links": [link]}, headers={"TDM-Reservation": ["0", "?"]}),
    ]
    records = [*map(record, said), *map(wat_record, described)]
    rows = candidates(tmp_path, *records).to_pylist()
    assert [(row["page_tdm_reserved"], row["page_tdm_unreadable"]) for row in rows] == [
        (None, "maybe"),
        (False, "\ufffd ?"),
        (True, None),
        (False, None),
        (None, "maybe"),
        (False, "yes"),
    ]


def test_what_the_page_s_headers_say_of_training(tmp_path: Path) -> None:
    fields = ("Content-Signal: search=yes", "content-signal: ai-train=no", "CONTENT-USAGE: train-ai=perhaps")
    asking = http(b"<img src=a alt=a>", headers=fields)
    headers = {"Content-Signal": ["search=yes", "ai-train=no"], "content-usage": "train-ai=perhaps"}
    described = wat({"Links": [{"path": "IMG@/src", "url": "b", "alt": "b"}]}, headers=headers)
    rows = candidates(tmp_path, record(asking), wat_record(described), page("<img src=c alt=c>")).to_pylist()
    said = ("ai-train=no", "unreadable: train-ai=perhaps")
    assert [(row["page_content_signal"], row["page_content_usage"]) for row in rows] == [said, said, (None, None)]


def test_what_the_page_holds_and_names_of_rsl_licenses(tmp_path: Path) -> None:
    no = license_of(("", '<prohibits type="usage">ai-all</prohibits>'))
    link = 'Link: <https://l.example/r.xml>; rel="license"; type="application/rsl+xml"'
    tag = "<link rel=license type=application/rsl+xml href='/own.xml'>"
    headers = {"link": link.removeprefix("Link: ")}
    relation = {"path": "LINK@/href", "url": "/own.xml", "rel": "license", "type": "application/rsl+xml"}
    images = [{"path": "IMG@/src", "url": "b", "alt": "b"}]
    described = wat({"Head": {"Link": [relation]}, "Links": images}, headers=headers)
    rows = candidates(
        tmp_path,
        page(f'<script type="Application/RSL+xml">{no}</script><img src=a alt=a>'),
        record(http(f"{tag}<img src=a alt=a>".encode(), headers=(link,))),
        wat_record(described),
        page('<link rel=license href="https://cc.example/by"><p>+xml rsl+xml<img src=c alt=c>'),
    )["page_rsl"]
    own = "http://site.example/own.xml"
    named = f"license: https://l.example/r.xml {own}"
    assert rows.to_pylist() == ["prohibited: ai-all", named, named, None]
