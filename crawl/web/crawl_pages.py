"""A small, polite crawl of web pages into a WARC file: the archive of those who have none.

Breadth first from the seeds, through the same guarded client and by the same manners as images. Only pages are
written: HTML and XHTML by their type, or by their first tag if they have none. Their images are fetched by the run that
reads the archive, where hash lists see them before anything is written. So no image is written here either: none that a
server calls a page, and none that a page holds as `data:`. What a page says of itself (`noai`) is recorded with it and
decided there.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import posixpath
import re
import uuid
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from multidict import CIMultiDictProxy
from selectolax.lexbor import LexborHTMLParser
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawl.archives.payload import HTML_TYPES, UNKNOWN_TYPES, charset, is_html, media_type
from crawl.images.observations import now
from crawl.pages.charset import to_utf8
from crawl.pages.query_encoding import with_query_encoded
from crawl.urls import canonical_url
from crawl.web.address_guard import Guard
from crawl.web.client import Client
from crawl.web.config import FetchConfig
from crawl.web.contact import Contact
from crawl.web.response import Refused, Response
from crawl.web.visit import visit
from dataset.hosts import hostname
from dataset.images import sniff
from dataset.store.local_files import TEMPORARY
from dataset.store.storage import filesystem

_ACCEPT = "text/html,application/xhtml+xml;q=0.9"
_BATCH = 256  # pages in memory at a time
_LINKS_PER_PAGE = 5_000
_INLINED = re.compile(rb"(data:\s*image/[^,\"'<>]{0,200},)[A-Za-z0-9+/=%\s_-]{16,}", re.IGNORECASE)
_REWRITTEN = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


@dataclass(frozen=True)
class HarvestReport:
    """What a crawl came to: pages and bytes of HTML written, and each address that gave no page, with the reason."""

    pages: int
    page_bytes: int
    refused: tuple[tuple[str, str, str], ...]
    """(url, outcome, detail): outcomes of the fetch stage, and not_a_page, off_site."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How many addresses came to what, `ok` among them."""
        return {"ok": self.pages, **dict(sorted(Counter(outcome for _, outcome, _ in self.refused).items()))}


def harvest(
    seeds: Sequence[str],
    out_path: str,
    config: FetchConfig,
    *,
    max_pages: int,
    follow: bool = True,
    same_hosts: bool = True,
    opted_out: Container[str] = frozenset(),
) -> HarvestReport:
    """Crawl pages from seeds and write them as one .warc.gz: warcinfo, then response and request of each page.

    Pages stand in the order of their distance from the seeds, then of their URL, whichever server was fastest.

    Args:
        seeds: absolute http or https URLs.
        out_path: path or URL of the file; it appears when it is whole.
        config: limits and manners.
        max_pages: pages to write at most.
        follow: whether to go where the pages' links lead, or to fetch the seeds alone.
        same_hosts: whether to stay on the seeds' hosts.
        opted_out: domains that are not asked, nor those below them.

    Raises:
        ValueError: a seed is no absolute http or https URL.
        NoContactError: a host of the web would be asked, and the config does not say who asks.
    """
    starts = {seed: canonical_url(seed) for seed in seeds}
    for seed, url in starts.items():
        if url is None or not _is_web(url):
            raise ValueError(f"seeds must be absolute http or https URLs, not {seed!r}")
    urls = sorted({url for url in starts.values() if url is not None})
    Contact(config.user_agent, Guard(config.resolve)).check_all(urls)
    hosts = frozenset(hostname(url) for url in urls) if same_hosts else None
    with _atomic(out_path) as file:
        crawl = _Crawl(config, hosts, opted_out, _Archive(file, posixpath.basename(out_path), config))
        return asyncio.run(crawl.run(urls, max_pages, follow))


class _Crawl:
    def __init__(self, config: FetchConfig, hosts: frozenset[str] | None, opted_out: Container[str], archive: _Archive):
        self._config = config
        self._hosts = hosts
        self._opted_out = opted_out
        self._archive = archive
        self._written: set[str] = set()
        self._bytes = 0
        self._refused: list[tuple[str, str, str]] = []

    async def run(self, level: list[str], max_pages: int, follow: bool) -> HarvestReport:
        seen = set(level)
        async with Client(self._config, _ACCEPT, self._opted_out) as client:
            while level:
                next_level: set[str] = set()
                start = 0
                while start < len(level) and len(self._written) < max_pages:
                    size = min(_BATCH, max_pages - len(self._written))  # never more than may be written
                    next_level.update(await self._batch(client, level[start : start + size]))
                    start += size
                if len(self._written) >= max_pages or not follow:
                    break
                level = sorted(next_level - seen)
                seen.update(level)
        return HarvestReport(len(self._written), self._bytes, tuple(self._refused))

    async def _batch(self, client: Client, urls: list[str]) -> set[str]:
        """Fetch, then write in the order given; the links found."""
        answers: dict[str, Response | Refused] = {}

        async def take(url: str, answer: Response | Refused, attempts: int) -> None:
            answers[url] = answer

        await visit(client, urls, _check, take)
        next_level: set[str] = set()
        for url in urls:
            answer = answers[url]
            if isinstance(answer, Refused):
                self._refused.append((url, answer.outcome, answer.detail))
            elif not self._is_wanted(answer.url):
                self._refused.append((url, "off_site", f"a redirect to {answer.url}"))
            elif sniff(answer.body) is not None:
                self._refused.append((url, "not_a_page", "an image, whatever its Content-Type says"))
            elif not is_html(_media_type(answer.headers), answer.body):
                self._refused.append((url, "not_a_page", f"begins with {answer.body[:16]!r}, and has no Content-Type"))
            elif answer.url not in self._written:
                self._written.add(answer.url)
                self._bytes += len(answer.body)
                self._archive.write(answer)
                declared = charset(answer.headers.get("Content-Type", ""))
                next_level.update(link for link in links(answer.body, answer.url, declared) if self._is_wanted(link))
        return next_level

    def _is_wanted(self, url: str) -> bool:
        return self._hosts is None or hostname(url) in self._hosts


def links(page: bytes, url: str, declared: str | None = None) -> set[str]:
    """Return canonical http and https URLs that a page's `<a href>` lead to, of its first few thousand.

    declared: the charset of the page's Content-Type, if it has one.
    """
    html, encoding = to_utf8(page, declared, url)
    tree = LexborHTMLParser(html)
    base = tree.css_first("base[href]")
    origin = canonical_url(base.attributes.get("href") or "", url) if base is not None else None
    urls: set[str] = set()
    for anchor in tree.css("a[href]")[:_LINKS_PER_PAGE]:
        target = canonical_url(with_query_encoded(anchor.attributes.get("href") or "", encoding), origin or url)
        if target is not None and _is_web(target):
            urls.add(target)
    return urls


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _check(headers: CIMultiDictProxy[str]) -> None:
    """Refuses what a type says to be no page; without a type, the body tells once it is there."""
    type_ = _media_type(headers)
    if type_ not in HTML_TYPES and type_ not in UNKNOWN_TYPES:
        raise Refused("not_a_page", type_[:100])


def _media_type(headers: CIMultiDictProxy[str]) -> str:
    """The media type by the last Content-Type header that is not blank, as in browsers."""
    return media_type(next((value for value in reversed(headers.getall("Content-Type", ())) if value.strip()), ""))


class _Archive:
    """Writes WARC 1.1 records; ids are made of what they name, so that equal crawls differ in dates only."""

    def __init__(self, file: BinaryIO, name: str, config: FetchConfig):
        self._writer = WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        self._user_agent = config.user_agent
        information = {
            "software": "openwit",
            "format": "WARC File Format 1.1",
            "http-header-user-agent": config.user_agent,
            "robots": "obey" if config.respect_robots else "ignore",
        }
        record = self._writer.create_warcinfo_record(name, information)
        record.rec_headers.replace_header("WARC-Record-ID", _record_id("warcinfo", name))
        record.rec_headers.replace_header("WARC-Date", f"{now()[:19]}Z")
        self._writer.write_record(record)

    def write(self, page: Response) -> None:
        """One page's response, then its request."""
        date, body = f"{now()[:19]}Z", _INLINED.sub(rb"\1", page.body)
        response_id = _record_id("response", page.url)
        # The body is written as decoded, and its headers say so, as Common Crawl does.
        headers = [
            (f"X-Crawler-{_text(name)}" if name.lower() in _REWRITTEN else _text(name), _text(value))
            for name, value in page.raw_headers
        ]
        headers.append(("Content-Length", str(len(body))))
        self._writer.write_record(
            self._writer.create_warc_record(
                page.url,
                "response",
                payload=io.BytesIO(body),
                length=len(body),
                http_headers=StatusAndHeaders(
                    f"{page.status} {_text(page.reason.encode('utf-8', 'surrogateescape'))}", headers, "HTTP/1.1"
                ),
                warc_headers_dict={"WARC-Record-ID": response_id, "WARC-Date": date},
            )
        )
        request = [("Host", page.url.split("/")[2]), ("User-Agent", self._user_agent), ("Accept", _ACCEPT)]
        target = "/" + page.url.split("/", 3)[3] if page.url.count("/") > 2 else "/"
        self._writer.write_record(
            self._writer.create_warc_record(
                page.url,
                "request",
                http_headers=StatusAndHeaders(f"GET {target} HTTP/1.1", request, is_http_request=True),
                warc_headers_dict={
                    "WARC-Record-ID": _record_id("request", page.url),
                    "WARC-Date": date,
                    "WARC-Concurrent-To": response_id,
                },
            )
        )


def _record_id(kind: str, name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {name}')}>"


def _text(raw: bytes) -> str:
    """Header bytes as ASCII; others are escaped, for nothing is known of their encoding."""
    return raw.decode("ascii", "backslashreplace")


@contextmanager
def _atomic(url: str) -> Iterator[BinaryIO]:
    """A file to write at a path or URL, that is there only when the block has ended well."""
    system, path = filesystem(url)
    folder, name = posixpath.split(path)
    system.create_dir(folder, recursive=True)
    temporary = f"{folder}/{TEMPORARY}{uuid.uuid4().hex}-{name}"
    try:
        with system.open_output_stream(temporary, compression=None) as stream:  # not by the name's .gz
            yield cast(BinaryIO, stream)
        system.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            system.delete_file(temporary)
        raise
