import base64
import gzip
import socket
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from crawl.web.config import FetchConfig
from crawl.web.crawl_pages import HarvestReport, harvest, links
from tests.crawl.hostile_images import picture
from tests.crawl.hostile_server import HostileServer
from tests.crawl.raw_server import Asked, answer, serving
from tests.crawl.web.fetching import one_server

__all__ = ["one_server"]

SITE = "http://site.test"


def pages(path: Path) -> list[tuple[str, bytes]]:
    with path.open("rb") as file:
        records = ArchiveIterator(file, record_types=WarcRecordType.response)
        return [(record.headers["WARC-Target-URI"], record.reader.read()) for record in records]


def crawl(
    server: HostileServer, path: Path, seeds: tuple[str, ...] = (f"{SITE}/",), max_pages: int = 100
) -> HarvestReport:
    return harvest(seeds, str(path), server.config(), max_pages=max_pages)


def test_pages_are_written_by_breadth_then_url(server: HostileServer, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "crawl.warc.gz"
    report = crawl(server, path)
    found = pages(path)
    assert [url.removeprefix(SITE) for url, _ in found] == ["/", "/a", "/b", "/deep/c", "/z"]
    assert all(f"<title>{url.removeprefix(SITE)}</title>".encode() in body for url, body in found)
    assert report.pages == 5
    assert report.page_bytes == sum(len(body) for _, body in found)
    assert [file.name for file in path.parent.iterdir()] == ["crawl.warc.gz"]


def test_every_address_that_gave_no_page_has_its_reason(server: HostileServer, tmp_path: Path) -> None:
    report = crawl(server, tmp_path / "crawl.warc.gz")
    assert {url.removeprefix(SITE): outcome for url, outcome, _ in report.refused} == {
        "/hidden/x": "robots_disallowed",
        "/gone": "http_client_error",
        "/picture.jpg": "not_a_page",
        "/leave": "off_site",
    }
    assert report.outcomes == {
        "ok": 5,
        "http_client_error": 1,
        "not_a_page": 1,
        "off_site": 1,
        "robots_disallowed": 1,
    }
    assert server.hits["site.test/hidden/x"] == 0


def test_the_archive_has_information_responses_and_requests(server: HostileServer, tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc.gz"
    crawl(server, path, max_pages=3)
    with path.open("rb") as file:
        records = [
            (
                record.record_type,
                record.headers["WARC-Record-ID"],
                record.headers.get("WARC-Concurrent-To"),
                record.verify_block_digest(),
            )
            for record in ArchiveIterator(file, parse_http=False)
        ]
    kinds = [kind for kind, *_ in records]
    assert kinds == [WarcRecordType.warcinfo, *[WarcRecordType.response, WarcRecordType.request] * 3]
    assert len({identity for _, identity, *_ in records}) == 7
    assert [records[n][2] for n in (2, 4, 6)] == [records[n][1] for n in (1, 3, 5)]
    assert all(intact for *_, intact in records)
    with path.open("rb") as file:
        noai = [record.http_headers.get("X-Robots-Tag") for record in ArchiveIterator(file) if record.is_http]
    assert noai == [None, None, None, None, "noai", None]


def test_so_many_pages_and_no_more(server: HostileServer, tmp_path: Path) -> None:
    for count in (1, 2, 4):
        path = tmp_path / f"{count}.warc.gz"
        assert crawl(server, path, max_pages=count).pages == count
        assert [url.removeprefix(SITE) for url, _ in pages(path)] == ["/", "/a", "/b", "/deep/c"][:count]


def test_other_hosts_are_visited_only_if_asked_for(server: HostileServer, tmp_path: Path) -> None:
    path = tmp_path / "all.warc.gz"
    report = harvest([f"{SITE}/"], str(path), server.config(), max_pages=100, same_hosts=False)
    assert ("http://images.test/ok.jpg", "not_a_page", "image/jpeg") in report.refused
    crawl(server, tmp_path / "seeds.warc.gz", seeds=(f"{SITE}/z", "http://images.test/page.html"))
    assert [url for url, _ in pages(tmp_path / "seeds.warc.gz")] == ["http://images.test/page.html", f"{SITE}/z"]


def test_two_crawls_differ_in_dates_only(server: HostileServer, tmp_path: Path) -> None:
    for name in "xy":
        crawl(server, tmp_path / f"{name}.warc.gz")
    assert pages(tmp_path / "x.warc.gz") == pages(tmp_path / "y.warc.gz")


def test_an_archive_that_could_not_be_finished_is_not_there(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> set[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr("crawl.web.crawl_pages.links", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        crawl(server, tmp_path / "crawl.warc.gz")
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_addresses_of_the_web(tmp_path: Path) -> None:
    for seed in ("site.test", "file:///etc/passwd", ""):
        with pytest.raises(ValueError, match="seeds"):
            harvest([seed], str(tmp_path / "x.warc.gz"), FetchConfig(), max_pages=1)
    assert list(tmp_path.iterdir()) == []


def test_links_of_a_page() -> None:
    page = b'<base href="/base/"><a href="x#y"></a><a href="//other.example/z"></a><a href="javascript:f()"></a><a></a>'
    assert links(page, "http://a.example/") == {"http://a.example/base/x", "http://other.example/z"}
    assert len(links(b"\xff\x00<a href='\xff'>", "http://a.example/")) <= 1


def test_no_image_is_written_whatever_it_is_called(server: HostileServer, tmp_path: Path) -> None:
    body = picture()
    inside = base64.b64encode(body).decode()
    page = f'<p>seen</p><img src="data:image/jpeg;base64,{inside}"><img src=" DATA: image/svg+xml;utf8,%3Csvg%3E">'
    server.more = {"/liar.html": ("text/html", body), "/inlined.html": ("text/html", page.encode())}
    seeds = [f"http://images.test{path}" for path in server.more]
    report = harvest(seeds, str(tmp_path / "a.warc.gz"), server.config(), max_pages=9)
    server.more = {}
    assert report.refused == ((seeds[0], "not_a_page", "an image, whatever its Content-Type says"),)
    data = gzip.decompress((tmp_path / "a.warc.gz").read_bytes())
    assert b'<p>seen</p><img src="data:image/jpeg;base64,"><img src=" DATA: image/svg+xml;utf8,%3Csvg%3E">' in data
    assert inside[50:90].encode() not in data


def test_what_has_no_type_is_a_page_by_its_first_tag(tmp_path: Path) -> None:
    html = b"<!doctype html><p>a page"
    answers = {
        "/plain": answer(body=html),
        "/coded": answer(b"Content-Encoding: gzip", body=gzip.compress(html)),
        "/chunked": answer(b"Transfer-Encoding: chunked", body=b"18\r\n" + html + b"\r\n0\r\n\r\n"),
        "/odd": answer(b"Content-Type: ", b"Content-Type : */*", b"no header", body=html),
        "/found": answer(body=html, status=b"HTTP/1.1 203 Non-Authoritative Information"),
        "/text": answer(body=b"not a page"),
        "/script": answer(b"Content-Type: text/javascript", body=html),
        "/part": answer(b"Content-Range: bytes 0-23/99", body=html, status=b"HTTP/1.1 206 Partial Content"),
    }

    def reply(asked: Asked, opened: socket.socket) -> bool:
        opened.sendall(answers.get(asked.path, answer(body=b"", status=b"HTTP/1.1 404 Not Found")))
        return False

    with serving(reply) as port:
        config = FetchConfig(resolve={"a.test": f"127.0.0.1:{port}"}, attempts=1)
        seeds = [f"http://a.test{path}" for path in answers]
        report = harvest(seeds, str(tmp_path / "a.warc.gz"), config, max_pages=9, follow=False)
    assert [(url.rpartition("/")[2], body) for url, body in pages(tmp_path / "a.warc.gz")] == [
        (name, html) for name in ("chunked", "coded", "found", "odd", "plain")
    ]
    assert [(url.rpartition("/")[2], outcome) for url, outcome, _ in report.refused] == [
        ("part", "connection_failed"),
        ("script", "not_a_page"),
        ("text", "not_a_page"),
    ]


def test_links_are_read_in_the_encoding_of_their_page() -> None:
    page = '<a href="/мир?q=мир">'.encode("cp1251")
    assert links(page, "http://a.example/", "windows-1251") == {"http://a.example/%D0%BC%D0%B8%D1%80?q=%EC%E8%F0"}
