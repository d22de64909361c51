"""What a license says that a page names holds for the pairs of that page, wherever their images are from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

import dataset
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config import to_builtins
from pipeline.stages.fetch.licenses import SAID, strictest_by_pair
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server
from tests.pipeline import pages

__all__ = ["one_server"]

HELD, SHARED, ALONE = "http://page.test/held.jpg", "http://images.test/ok-shared.jpg", "http://images.test/ok-alone.jpg"
NO, GONE = "http://licenses.test/no.xml", "http://licenses.test/gone.xml"


def _page(path: str, license_: str, *urls: str) -> tuple[str, str]:
    link = f'<link rel="license" type="application/rsl+xml" href="{license_}">' if license_ else ""
    tags = "".join(f'<img src="{url}" alt="a kettle {path} {url[-9:-4]}">' for url in urls)
    return f"http://page.test/{path}", f'<html lang="en">{link}{tags}'


def built(server: HostileServer, folder: Path, first: str, **changes: Any) -> dict[tuple[str, str], str]:
    """The reason of each dropped pair of the fetch stage, by page and URL; `first` is the license of the first page."""
    archive = pages.write(
        folder / "pages.warc.gz",
        [_page("first", first, HELD, SHARED, ALONE), _page("second", "", SHARED), _page("third", GONE, SHARED)],
        {HELD: ("image/jpeg", pages.encoded(pages.texture(1)))},
        asking=[
            (f'Link: <{NO}>; rel="license"; type="application/rsl+xml"', *_page("fourth", "", f"{HELD}?4")),
        ],
    )
    (folder / "queries.txt").write_text("kettle\n")
    raw = {
        "sources": [str(archive)],
        "out": str(folder / "out"),
        "match": {"queries": str(folder / "queries.txt")},
        "fetch": {**to_builtins(server.config(timeout_s=20.0).__dict__), **changes},
        "run": {"workers": 0},
    }
    build(make_config(raw), to="fetch", quiet=True)
    query = "SELECT page_url, url, reason FROM dropped WHERE stage = 'fetch'"
    rows = dataset.open(raw["out"]).sql(query).fetchall()
    return {(page.removeprefix("http://page.test/"), url): reason for page, url, reason in rows}


def test_pairs_of_a_page_are_dropped_and_others_of_the_same_image_are_not(
    server: HostileServer, tmp_path: Path
) -> None:
    server.hits.clear()
    found = built(server, tmp_path, NO)
    refused = dict.fromkeys([("first", HELD), ("first", SHARED), ("first", ALONE)], "rsl_prohibited")
    others = {("third", SHARED): "rsl_unreadable", ("fourth", f"{HELD}?4"): "rsl_prohibited"}
    assert found == refused | others
    asked = {url: hits for url, hits in server.hits.items() if not url.endswith(("robots.txt", "tdmrep.json"))}
    assert asked == {"licenses.test/no.xml": 1, "licenses.test/gone.xml": 1, "images.test/ok-shared.jpg": 1}


def test_what_a_page_refuses_later_is_erased_and_what_others_show_stays(server: HostileServer, tmp_path: Path) -> None:
    built(server, tmp_path, "", unreadable_license="allow")
    view = dataset.open(str(tmp_path / "out"))
    stored = view.sql("SELECT url, blob, blob_offset, blob_length FROM images WHERE blob IS NOT NULL").fetchall()
    places = {url: place for url, *place in stored}
    wishes = view.sql("SELECT wish_value, wish_place FROM images WHERE wish_value IS NOT NULL").fetchall()
    assert wishes == [("unreadable: HTTP 404", f"page http://page.test/third: {GONE}")]
    built(server, tmp_path, NO, unreadable_license="allow")

    def is_there(url: str) -> bool:
        blob, start, length = places[url]
        return any((tmp_path / "out" / blob).read_bytes()[start : start + length])

    assert {url: is_there(url) for url in (HELD, SHARED, ALONE)} == {HELD: False, SHARED: True, ALONE: False}


def test_who_asks_nobody_knows_no_license_and_takes_it_for_a_refusal(server: HostileServer, tmp_path: Path) -> None:
    server.hits.clear()
    found = built(server, tmp_path, NO, origins=["archive"])
    assert found["first", HELD] == "rsl_unreadable" and not server.hits


def test_of_licenses_at_several_hosts_one_that_refuses_counts() -> None:
    pair = {"url": "http://a/1", "host": "a", "page_url": "http://p/", "signal": "RSL", "value": "", "place": "page"}
    reasons = [None, "rsl_unreadable", "rsl_prohibited", None]
    said = pa.Table.from_pylist(
        [*({**pair, "reason": reason} for reason in reasons), {**pair, "url": "http://a/2"}], SAID
    )
    assert strictest_by_pair(said)["reason"].to_pylist() == ["rsl_prohibited", None]
