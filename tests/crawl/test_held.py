from __future__ import annotations

from pathlib import Path

from crawl.extract import ExtractConfig, extract
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS
from tests.crawl.warc_bytes import http, members, record, redirect, revisit, whole

PNG = b"\x89PNG\r\n\x1a\n"


def test_images_and_what_leads_to_them(tmp_path: Path) -> None:
    data = members(
        redirect("http://a.example/old.png", "/new.png", 301),
        redirect("http://a.example/new.png", "https://CDN.example/1.png#x", 308),
        record(http(PNG, "image/png"), "https://cdn.example/1.png"),
        revisit("http://copy.example/1.png", "<https://cdn.example/1.png>"),
        record(http(PNG, "image/png"), "https://cdn.example/1.png"),
    )
    found = extract([whole(tmp_path, data)], ExtractConfig())
    assert (found.archive_images.schema, found.archive_leads.schema) == (ARCHIVE_IMAGES, ARCHIVE_LEADS)
    images = found.archive_images.to_pylist()
    assert images[0]["offset"] < images[1]["offset"]
    for image in images:
        assert image["url"] == image["final_url"] == "https://cdn.example/1.png"
        assert (image["host"], image["media_type"], image["archive"]) == ("cdn.example", "image/png", "a.warc.gz")
    assert [tuple(row.values()) for row in found.archive_leads.to_pylist()] == [
        ("http://a.example/old.png", "a.example", "http://a.example/new.png", "a.example", True),
        ("http://a.example/new.png", "a.example", "https://cdn.example/1.png", "cdn.example", True),
        ("http://copy.example/1.png", "copy.example", "https://cdn.example/1.png", "cdn.example", False),
    ]


def test_bytes_beyond_ascii_of_a_url_in_a_header_stand_for_themselves(tmp_path: Path) -> None:
    data = members(
        redirect("http://a.example/1", "/Größe?ü"),
        redirect("http://a.example/2", "/Gr@@e").replace(b"@@", b"\xf6\xdf"),  # Latin-1
        redirect("http://a.example/3", "http://bücher.example/"),
        revisit("http://a.example/ü", "http://a.example/ß"),
    )
    found = extract([whole(tmp_path, data)], ExtractConfig())
    assert [(row["url"][16:], row["target"]) for row in found.archive_leads.to_pylist()] == [
        ("/1", "http://a.example/Gr%C3%B6%C3%9Fe?%C3%BC"),
        ("/2", "http://a.example/Gr%F6%DFe"),
        ("/3", "http://xn--bcher-kva.example/"),
        ("/%C3%BC", "http://a.example/%C3%9F"),
    ]


def test_what_leads_nowhere_is_left_out_and_the_first_lead_of_a_url_counts(tmp_path: Path) -> None:
    data = members(
        redirect("http://a.example/1", ""),
        redirect("http://a.example/1", "http://a.example/1#top"),
        redirect("http://a.example/1", "ftp://a.example/1"),
        revisit("http://a.example/1", "http://a.example/1"),
        revisit("http://a.example/1", ""),
        redirect("urn:uuid:1", "http://a.example/1"),
        redirect("http://a.example/1", "2"),
        redirect("http://a.example/1", "3"),
    )
    found = extract([whole(tmp_path, data)], ExtractConfig())
    assert found.archive_leads.select(["url", "target"]).to_pylist() == [
        {"url": "http://a.example/1", "target": "http://a.example/2"}
    ]
