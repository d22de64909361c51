from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crawl.extract import ExtractConfig, extract
from crawl.held import HeldImages
from tests.crawl.warc_bytes import http, members, record, whole

PNG = b"\x89PNG\r\n\x1a\n"


def redirect(uri: str, location: str, status: int = 302) -> bytes:
    return record(http(b"<p>moved", status=status, headers=(f"Location: {location}",)), uri)


def revisit(uri: str, earlier: str) -> bytes:
    return record(http(b""), uri, type_=f"revisit\r\nWARC-Refers-To-Target-URI: {earlier}")


def test_redirects_and_revisits_lead_to_the_images_of_the_archive(tmp_path: Path) -> None:
    data = members(
        redirect("http://a.example/old.png", "/new.png", 301),
        redirect("http://a.example/new.png", "https://cdn.example/1.png#x", 308),
        record(http(PNG, "image/png"), "https://cdn.example/1.png"),
        revisit("http://copy.example/1.png", "<https://cdn.example/1.png>"),
        revisit("http://copy.example/2.png", "http://a.example/new.png"),
        revisit("https://cdn.example/1.png", "https://cdn.example/1.png"),
        redirect("http://a.example/", "http://b.example/gone.png"),
        redirect("http://a.example/loop", "http://a.example/loop2"),
        redirect("http://a.example/loop2", "http://a.example/loop"),
        redirect("http://a.example/none", ""),
    )
    found = extract([whole(tmp_path, data)], ExtractConfig()).archive_images.to_pylist()
    assert {row["offset"] for row in found} == {found[0]["offset"]}
    assert [(row["url"], row["host"], row["final_url"]) for row in found] == [
        ("https://cdn.example/1.png", "cdn.example", "https://cdn.example/1.png"),
        ("http://a.example/old.png", "a.example", "https://cdn.example/1.png"),
        ("http://a.example/new.png", "a.example", "https://cdn.example/1.png"),
        ("http://copy.example/1.png", "copy.example", "http://copy.example/1.png"),
        ("http://copy.example/2.png", "copy.example", "https://cdn.example/1.png"),
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_any_leads_end(leads: list[tuple[int, int]]) -> None:
    held = HeldImages("a")
    held.image("http://h.example/0", "image/png", 7)
    for source, target in leads:
        held.redirect(f"http://h.example/{source}", f"/{target}")
    table = held.table()
    assert table["final_url"].unique().to_pylist() == ["http://h.example/0"]
    assert table["url"].to_pylist()[0] == "http://h.example/0"
    assert len(table["url"].unique()) == len(table)
