from __future__ import annotations

import gzip
from pathlib import Path

from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS
from tests.crawl.archives.bodies import read_bodies
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


def told(record_id: str, digest: str) -> str:
    return f"\r\nWARC-Record-ID: <urn:uuid:{record_id}>\r\nWARC-Payload-Digest: {digest}"


def test_revisits_name_their_original_by_record_or_payload(tmp_path: Path) -> None:
    data = members(
        record(http(PNG, "image/png"), "http://a.example/1.png", type_="response" + told("1", "sha1:abc")),
        record(http(PNG, "image/png"), "http://a.example/2.png", type_="response" + told("2", "sha1:ABC")),
        record(http(b""), "http://b.example/by-id.png", type_="revisit\r\nWARC-Refers-To: <urn:uuid:1>"),
        record(http(b""), "http://b.example/by-digest.png", type_="revisit" + told("3", "SHA1:aBc")),
        record(
            http(b""),
            "http://b.example/by-both.png",
            type_="revisit\r\nWARC-Refers-To: <urn:uuid:9>" + told("4", "sha1:x"),
        ),
        record(http(b""), "http://b.example/by-none.png", type_="revisit"),
    )
    found = extract([whole(tmp_path, data)], ExtractConfig())
    images = [(row["url"], row["host"], row["offset"]) for row in found.archive_images.to_pylist()]
    first, second = images[0][2], images[3][2]
    assert images == [
        ("http://a.example/1.png", "a.example", first),
        ("record:urn:uuid:1", "record:urn:uuid:1", first),
        ("payload:SHA1:ABC", "payload:SHA1:ABC", first),  # the first of a name counts
        ("http://a.example/2.png", "a.example", second),
        ("record:urn:uuid:2", "record:urn:uuid:2", second),
    ]
    assert [(row["url"], row["target"]) for row in found.archive_leads.to_pylist()] == [
        ("http://b.example/by-id.png", "record:urn:uuid:1"),
        ("http://b.example/by-digest.png", "payload:SHA1:ABC"),
        ("http://b.example/by-both.png", "record:urn:uuid:9"),
        ("record:urn:uuid:9", "payload:SHA1:X"),  # should no archive hold the record
    ]


def chunked(data: bytes) -> bytes:
    return b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"


def test_images_are_known_by_their_content_once_it_is_decoded(tmp_path: Path) -> None:
    gzipped, pieces = ("Content-Encoding: gzip",), ("Transfer-Encoding: chunked",)
    end = f"bytes 0-{len(PNG) - 1}/{len(PNG)}"
    images = [
        http(PNG, "text/html; charset=utf-8"),
        http(PNG, "text/plain"),
        http(gzip.compress(PNG), "application/octet-stream", headers=gzipped),
        http(gzip.compress(PNG), "text/html", headers=gzipped),
        http(chunked(PNG), "application/octet-stream", headers=pieces),
        http(chunked(gzip.compress(PNG)), "", headers=gzipped + pieces),
        http(PNG, "image/png", status=203),
        http(PNG, "image/png", status=206, headers=(f"Content-Range: {end}",)),
        b"HTTP/1.1 200 OK\r\n\r\n" + PNG,
    ]
    others = [
        http(PNG, "image/png", status=206, headers=("Content-Range: bytes 0-3/8",)),
        http(PNG, "image/png", status=206),
        http(PNG, "image/png", status=404),
        http(PNG[:3], "text/html"),
    ]
    data = members(*(record(block, f"http://a.example/{n}") for n, block in enumerate([*images, *others])))
    piece = whole(tmp_path, data)
    held = extract([piece], ExtractConfig()).archive_images
    assert held["url"].to_pylist() == [f"http://a.example/{n}" for n in range(len(images))]
    assert [body for _, body, _ in read_bodies(piece.location, held["offset"].to_pylist())] == [PNG] * len(images)


def test_pages_without_a_type_are_read_or_counted(tmp_path: Path) -> None:
    page = b"<!doctype html><img src=a.png alt='a lantern'>"
    gzipped, pieces = b"Content-Encoding: gzip", b"Transfer-Encoding: chunked"
    blocks = [
        b"HTTP/1.1 200 OK\r\n\r\n" + page,
        b"HTTP/1.1 200 OK\r\n" + gzipped + b"\r\n\r\n" + gzip.compress(page),
        b"HTTP/1.1 200 OK\r\n" + pieces + b"\r\n\r\n" + chunked(page),
        b"HTTP/1.1 200 OK\r\n" + gzipped + b"\r\n" + pieces + b"\r\n\r\n" + chunked(gzip.compress(page)),
        b"HTTP/1.1 200 OK\r\n\r\nsome text",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ]
    found = extract([whole(tmp_path, members(*map(record, blocks)))], ExtractConfig())
    (row,) = found.sources.to_pylist()
    assert [row[name] for name in ("pages", "candidates", "untyped", "damaged_records")] == [4, 4, 1, 0]


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
