from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crawl.candidates.archive_reader
from crawl.archives.records import Piece, split
from crawl.candidates.config import ExtractConfig, in_sample
from crawl.candidates.extract import Beside, Extraction, extract, read_candidates
from dataset.ids import pair_id
from dataset.schema import ARCHIVE_IMAGES, CANDIDATES, SOURCES
from tests.crawl.warc_bytes import compact, http, members, page, record, wat, wat_record, whole


def run(folder: Path, *records: bytes, **config: Any) -> Extraction:
    return extract([whole(folder, members(*records))], ExtractConfig(**config))


def pairs(found: Extraction) -> list[tuple[str, str]]:
    return list(zip(found.candidates["url"].to_pylist(), found.candidates["text"].to_pylist(), strict=True))


def source(found: Extraction) -> dict[str, Any]:
    row: dict[str, Any] = found.sources.to_pylist()[0]
    return row


@pytest.mark.parametrize("more", [b"X: y\r\n" * 60_000, b"X: " + b"y" * 300_000 + b"\r\n"])
def test_a_page_behind_a_head_without_end_is_counted_and_named(tmp_path: Path, more: bytes) -> None:
    block = b"HTTP/1.1 200 OK\r\n" + more + b"Content-Type: text/html\r\n\r\n<img src=a alt=b>"
    found = run(tmp_path, record(block), page("<img src=c alt=d>"))
    assert [text for _, text in pairs(found)] == ["d"]
    assert source(found)["damaged_records"] == 1
    assert "byte 0 has a head of HTTP that does not end" in source(found)["error"]


def test_a_candidate_has_everything(tmp_path: Path) -> None:
    html = '<html lang=de><base href="/d/"><img src="a.png" alt=" Eine  Katze "><img src=b.png title=Hund>'
    found = run(tmp_path, page("<p>"), page(html, "http://Site.example:8080/x#top"))
    assert found.candidates.schema == CANDIDATES
    first, second = found.candidates.to_pylist()
    offset = first.pop("offset")
    assert first == {
        "pair_id": pair_id("http://site.example:8080/d/a.png", "Eine Katze"),
        "url": "http://site.example:8080/d/a.png",
        "text": "Eine Katze",
        "text_source": "alt",
        "personal_data": [],
        "host": "site.example",
        "page_url": "http://site.example:8080/x",
        "page_language": "de",
        "page_status": 200,
        "page_noai": False,
        "page_tdm_reserved": None,
        "page_tdm_unreadable": None,
        "page_content_signal": None,
        "page_content_usage": None,
        "page_rsl": None,
        "page_license": None,
        "page_date": "2024-05-06T07:08:09Z",
        "page_part": None,
        "tag_role": None,
        "links_elsewhere": None,
        "tag_width": None,
        "tag_height": None,
        "archive": "a.warc.gz",
        "ordinal": 0,
    }
    assert offset == second["offset"] == len(members(page("<p>")))
    assert (second["text"], second["text_source"], second["ordinal"]) == ("Hund", "title", 1)


def test_a_text_names_its_source_whatever_other_sources_give(tmp_path: Path) -> None:
    html = "<img src=a title=b><img src=c data-image-title=d><img src=e title=f data-image-title=g>"
    sources = ("figcaption", "title", "alt", "data-image-title")
    found = run(tmp_path, page(html), text_sources=sources, texts_per_image="all").candidates
    told = list(zip(found["text"].to_pylist(), found["text_source"].to_pylist(), strict=True))
    assert told == [("b", "title"), ("d", "data-image-title"), ("f", "title"), ("g", "data-image-title")]


def test_every_image_is_a_candidate_or_counted(tmp_path: Path) -> None:
    html = """
        <img src=a.png alt=a> <img src=b.png> <img src=c.png alt=" &#8203; "> <img alt=d> <img src="data:,x" alt=e>
        <img src="" alt=f> <img src="data:,x" data-src=g.png alt=g> <img src=h.png title=h>
    """
    found = run(tmp_path, page(html))
    assert [text for _, text in pairs(found)] == ["a", "g", "h"]
    counted = source(found)
    assert {name: counted[name] for name in ("images_seen", "candidates", "no_text", "no_url", "data_uri")} == {
        "images_seen": 8,
        "candidates": 3,
        "no_text": 2,
        "no_url": 2,
        "data_uri": 1,
    }
    assert (counted["pages"], counted["records"], counted["type"], counted["error"]) == (1, 1, "warc", None)


def test_an_inlined_drawing_is_counted_as_inlined(tmp_path: Path) -> None:
    found = source(run(tmp_path, page("""<img alt=a src='data:image/svg+xml,<svg id="{a}">'>""")))
    assert (found["data_uri"], found["no_url"]) == (1, 0)


def test_addresses_that_cannot_be_fetched_stay_as_written(tmp_path: Path) -> None:
    html = "<img src='http://[bad' alt=a><img src='file:///c.png' alt=b><img src='http://h/{}' alt=c>".format(
        "x" * 3000
    )
    found = run(tmp_path, page(html))
    assert pairs(found)[:2] == [("http://[bad", "a"), ("file:///c.png", "b")]
    assert len(pairs(found)[2][0]) == 2048
    assert found.candidates["host"].to_pylist() == ["", "", ""]
    relative = run(tmp_path, page("<img src=a.png alt=a>", "urn:x"))
    assert pairs(relative) == [("a.png", "a")]
    assert relative.candidates["page_url"].to_pylist() == ["urn:x"]


CAPTION = "figcaption"
TEXTS = "<figure><img src=a.png alt='one' title=' one'><img src=b.png title=t><figcaption>cap</figcaption></figure>"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [("one", "alt"), ("t", "title")]),
        ({"text_sources": ("title", "alt")}, [("one", "title"), ("t", "title")]),
        ({"text_sources": ("alt",)}, [("one", "alt")]),
        ({"text_sources": ("figcaption", "alt")}, [("cap", "figcaption"), ("cap", "figcaption")]),
        ({"texts_per_image": "all"}, [("one", "alt"), ("cap", CAPTION), ("t", "title"), ("cap", CAPTION)]),
    ],
)
def test_texts_by_config(config: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path) -> None:
    found = run(tmp_path, page(TEXTS), **config)
    rows = found.candidates.to_pylist()
    assert [(row["text"], row["text_source"]) for row in rows] == expected
    assert [row["ordinal"] for row in rows] == list(range(len(expected)))


@pytest.mark.parametrize(
    "config",
    [{"text_sources": ()}, {"text_sources": ("alt", "alt")}, {"text_sources": ("body",)}, {"texts_per_image": "some"}],
)
def test_impossible_configs(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(config))} must be "):
        ExtractConfig(**config)


def test_pages_of_any_status_and_images_of_200_count(tmp_path: Path) -> None:
    image = http(b"\x89PNG\r\n\x1a\n", "image/png")
    found = run(
        tmp_path,
        record(http(b"<img src=a alt=a>", status=404)),
        record(http(b"<img src=a alt=b>", "text/plain")),
        record(http(b"<img src=a alt=c>", status=206)),
        record(http(b"<!doctype html><img src=a alt=d>", "")),
        record(b"<img src=a alt=e>", type_="resource", content_type="text/html"),
        record(b"GET / HTTP/1.1\r\n\r\n", type_="request", content_type="application/http; msgtype=request"),
        record(image, "http://H.example/1.png#x"),
        record(http(b"\xff\xd8\xff", "application/octet-stream"), "http://h.example/2"),
        record(http(b"", "image/gif", status=404), "http://h.example/3"),
        record(image, "urn:no-url"),
        record(b"GIF89a", "http://h.example/4", type_="resource", content_type="image/gif"),
    )
    assert [text for _, text in pairs(found)] == ["a", "c", "d", "e"]
    assert found.candidates["page_status"].to_pylist() == [404, 206, 200, 200]
    assert found.archive_images.schema == ARCHIVE_IMAGES
    assert found.archive_images.drop_columns(["archive", "archive_checksum", "offset", "final_url"]).to_pylist() == [
        {"url": "http://h.example/1.png", "host": "h.example", "media_type": "image/png"},
        {"url": "http://h.example/2", "host": "h.example", "media_type": "application/octet-stream"},
        {"url": "http://h.example/4", "host": "h.example", "media_type": "image/gif"},
    ]


def test_charset_encoding_and_robots_headers(tmp_path: Path) -> None:
    import gzip

    body = gzip.compress("<html><img src=a alt='日本語の画像'>".encode("euc-jp"))
    block = http(body, "text/html; charset=EUC-JP", headers=("Content-Encoding: gzip", "X-Robots-Tag: bot: noai"))
    found = run(tmp_path, record(block), page('<meta name="robots" content="noimageai"><img src=b alt=b>'))
    assert [text for _, text in pairs(found)] == ["日本語の画像", "b"]
    assert found.candidates["page_noai"].to_pylist() == [True, True]


def test_a_query_is_in_the_encoding_of_its_page(tmp_path: Path) -> None:
    body = "<base href='/ж/?ж'><img src='ж.jpg?ж=1' alt='ж'><a rel=license href='?ж'>".encode("cp1251")
    found = run(tmp_path, record(http(body, "text/html; charset=windows-1251")), page("<img src='?ж' alt=u>"))
    assert pairs(found) == [
        ("http://site.example/%D0%B6/%D0%B6.jpg?%E6=1", "ж"),
        ("http://site.example/page?%D0%B6", "u"),
    ]
    assert found.candidates["page_license"][0].as_py() == "http://site.example/%D0%B6/?%E6"


@pytest.mark.parametrize("text", ["東京タワーの夜景", "Новый год", "voilà"])
@pytest.mark.parametrize("label", ["ISO-8859-1", "windows-1252"])
def test_utf_8_that_is_called_latin_1_is_mended(tmp_path: Path, label: str, text: str) -> None:
    block = http(f'<img src=a alt="{text}">'.encode(), f"text/html; charset={label}")
    assert [found for _, found in pairs(run(tmp_path, record(block)))] == [text]


def test_a_sample_is_of_pages_by_url(tmp_path: Path) -> None:
    urls = [f"http://site.example/{n}" for n in range(200)]
    image = record(http(b"GIF89a", "image/gif"), "http://site.example/a.gif")
    found = run(tmp_path, *(page("<img src=a alt=a>", url) for url in urls), image, sample=0.2)
    assert found.candidates["page_url"].to_pylist() == [url for url in urls if in_sample(url, 0.2)]
    assert (source(found)["pages"], source(found)["not_sampled"]) == (
        found.candidates.num_rows,
        200 - len(found.candidates),
    )
    assert found.archive_images.num_rows == 1  # whichever page shows it
    described = [wat_record(wat({"Links": []}))]
    sampled = sum(source(run(tmp_path, *described, sample=share))["not_sampled"] for share in (1e-18, 1.0))
    assert sampled == 1


def test_wat(tmp_path: Path) -> None:
    links = [{"path": "IMG@/src", "url": "../a.png", "alt": "x"}, {"path": "IMG@/src", "alt": "y"}]
    found = run(
        tmp_path, wat_record(wat({"Links": links})), wat_record(b'{"Envelope": ['), wat_record(wat({"Links": links}))
    )
    assert pairs(found) == [("http://site.example/a.png", "x")] * 2
    assert found.candidates["page_url"].to_pylist() == ["http://site.example/dir/page"] * 2
    counted = source(found)
    assert (counted["type"], counted["pages"], counted["images_seen"], counted["no_url"]) == ("wat", 2, 4, 2)
    assert counted["damaged_records"] == 1
    assert counted["error"].startswith("a.warc.gz: the record at byte ")


def test_images_of_a_wat_come_page_by_page_whatever_is_read_how(tmp_path: Path) -> None:
    """The second record is read whole, for the path of a link stands last; og:image comes after a page's own images."""
    head = {"Metas": [{"property": "og:image", "content": "og.jpg"}, {"property": "og:title", "content": "Title"}]}
    image = {"path": "IMG@/src", "url": "a.jpg", "alt": "A"}
    first = compact({"Head": head, "Links": [image, {**image, "url": "b.jpg", "alt": "B"}]})
    second = compact({"Head": head, "Links": [{"url": "c.jpg", "alt": "C", "path": "IMG@/src"}, image]})
    found = run(tmp_path, *[wat_record(block) for block in (first, second, first)], text_sources=("alt", "og"))
    each = [["A", "B", "Title"], ["C", "A", "Title"], ["A", "B", "Title"]]
    assert [text for _, text in pairs(found)] == [text for texts in each for text in texts]
    assert found.candidates["ordinal"].to_pylist() == [0, 1, 2] * 3


def test_ordinals_are_unique_where_a_member_holds_two_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.candidates.archive_reader, "_FLUSH_IMAGES", 1)
    two = page("<img src=a alt=a><img src=b alt=b>") + page("<img src=c alt=c>")
    found = run(tmp_path, page("<p>"), two, page("<img src=d alt=d>"))
    rows = found.candidates.to_pylist()
    assert [(row["text"], row["ordinal"]) for row in rows] == [("a", 0), ("b", 1), ("c", 2), ("d", 0)]
    assert len({row["offset"] for row in rows}) == 2


@pytest.mark.parametrize("limit", [("_FLUSH_IMAGES", 2), ("_FLUSH_BYTES", 3)])
def test_flushing_changes_nothing(limit: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [page("".join(f"<img src={i} alt='{'x' * i} {i}'>" for i in range(n))) for n in (0, 3, 1, 0, 5)]
    before = run(tmp_path, *records)
    monkeypatch.setattr(crawl.candidates.archive_reader, *limit)
    after = run(tmp_path, *records)
    assert after.candidates.equals(before.candidates)
    assert after.sources.equals(before.sources)


def test_candidates_come_while_the_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.candidates.archive_reader, "_FLUSH_IMAGES", 2)
    piece = whole(tmp_path, members(*(page(f"<img src={n} alt={n}>") for n in range(5))))
    beside = Beside()
    tables = read_candidates([piece, piece], ExtractConfig(), beside)
    assert next(tables)["text"].to_pylist() == ["0", "1"]
    assert beside.sources.num_rows == 0
    rest = [table.num_rows for table in tables]
    assert sum(rest) == 8
    assert max(rest) == 2
    assert beside.sources["candidates"].to_pylist() == [5, 5]


def test_bad_inputs_are_rows_of_sources(tmp_path: Path) -> None:
    pieces = [
        whole(tmp_path, b"", "empty"),
        whole(tmp_path, b"<html>", "page"),
        Piece("gone", str(tmp_path / "gone"), 0, -1),
        whole(tmp_path, members(page("<img src=a alt=a>")), "good"),
    ]
    found = extract(pieces, ExtractConfig())
    assert found.sources.schema == SOURCES
    rows = found.sources.to_pylist()
    assert [(row["archive"], row["type"], row["candidates"]) for row in rows] == [
        ("empty", "unknown", 0),
        ("page", "unknown", 0),
        ("gone", "unknown", 0),
        ("good", "warc", 1),
    ]
    assert [row["error"] is None for row in rows] == [False, False, False, True]
    assert extract([], ExtractConfig()).candidates.schema == CANDIDATES


PARTS = [
    "<img src=a.png alt='x'>",
    "<img alt=y>",
    "<p>text",
    "<img src='data:,' alt=z>",
    "<img src=b title='\x00'>",
    "é\ud800",
]


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from(PARTS)), max_size=5), st.sampled_from(["first", "all"]), st.integers(1, 5))
def test_images_are_conserved_and_splits_agree(
    tmp_path_factory: pytest.TempPathFactory, pages: list[list[str]], mode: Any, cuts: int
) -> None:
    items = [record(http("".join(parts).encode("utf-8", "surrogatepass"))) for parts in pages]
    data = members(record(b"", type_="warcinfo"), *items)
    piece = whole(tmp_path_factory.mktemp("x"), data)
    config = ExtractConfig(texts_per_image=mode)
    found = extract([piece], config)
    row = source(found)
    assert row["images_seen"] == row["candidates"] + row["no_text"] + row["no_url"] + row["data_uri"]
    parts = extract(split(piece.archive, piece.location, len(data), -(-len(data) // cuts)), config)
    assert parts.candidates.equals(found.candidates)
    for name in ("records", "pages", "images_seen", "candidates", "no_text", "no_url", "data_uri"):
        assert pc.sum(parts.sources[name]).as_py() == row[name]


def test_noise_is_survived(tmp_path: Path) -> None:
    noise = random.Random(3)
    for _ in range(20):
        block = noise.randbytes(300)
        kinds = (record(http(block)), record(block), wat_record(block), record(block, type_="resource"), block)
        extract([whole(tmp_path, members(*kinds))], ExtractConfig())


def test_real_archives(shared_data: Path) -> None:
    def of(name: str) -> Extraction:
        return extract([Piece(name, str(shared_data / name), 0, -1)], ExtractConfig())

    gimp = of("gimp-help.warc.gz")
    assert (source(gimp)["pages"], source(gimp)["images_seen"], source(gimp)["candidates"]) == (278, 2073, 2017)
    assert gimp.archive_images.num_rows == 3 * 295  # each by its address, its record and its payload

    aut = of("archives/aut--example.warc.gz")
    inside = aut.candidates.filter(
        pc.is_in(aut.candidates["url"], value_set=aut.archive_images["url"].combine_chunks())
    )
    assert inside.group_by(["url", "text"]).aggregate([]).num_rows == 69

    wats = of("news-and-blogs.warc.wat.gz")
    assert source(wats)["pages"] == 305
    assert source(wats)["images_seen"] == sum(
        source(wats)[name] for name in ("candidates", "no_text", "no_url", "data_uri")
    )
    assert source(wats)["candidates"] == 3760

    clipped = source(of("archives/chatnoir-resiliparse--clipped.warc.gz"))
    assert (clipped["candidates"], clipped["damaged_records"]) == (7, 1)
    assert "cut off" in clipped["error"]
