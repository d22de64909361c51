"""The images of a page as Common Crawl's WAT files describe it (the JSON of ia-web-commons, one record a response)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from string import whitespace
from typing import Any, NamedTuple

import msgspec
import stringzilla

from crawl.pages.html import METAS, Page, asks_noai, declared_language, limit_texts, open_graph
from crawl.pages.image_address import image_url, names_image
from crawl.pages.places import NOWHERE, Place, pixels
from crawl.pages.srcset import image_sources
from crawl.rsl import MEDIA_TYPE, is_license
from crawl.urls import INLINED
from crawl.wat.entities import UNREADABLE
from crawl.wishes import content_signal, content_usage, tdm_reservation

_IMAGE, _ANCHOR = "IMG@/src", "A@/href"
# How a producer that writes no white space, and the path first, begins the list of links, and a link.
_LINKS_BEGIN, _LINK_BEGINS = b'"Links":[', b'{"path":"'


class Link(msgspec.Struct, gc=False):
    """What a WAT says of a link; an image's link is one to what it shows."""

    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None
    text: str | None = None
    srcset: str | None = None
    data_src: str | None = msgspec.field(default=None, name="data-src")
    data_original: str | None = msgspec.field(default=None, name="data-original")
    data_lazy_src: str | None = msgspec.field(default=None, name="data-lazy-src")
    data_srcset: str | None = msgspec.field(default=None, name="data-srcset")
    width: str | None = None
    height: str | None = None

    @property
    def place(self) -> Place:
        """What of its place a WAT says: its size."""
        width, height = pixels(self.width or ""), pixels(self.height or "")
        return NOWHERE if width is None and height is None else Place(width=width, height=height)

    @property
    def names_others(self) -> bool:
        """Whether the image may show something else than `url`."""
        return bool(self.srcset or self.data_src or self.data_original or self.data_lazy_src or self.data_srcset)

    @property
    def lazy(self) -> str:
        """The value of `crawl.pages.image_address.LAZY[0]`."""
        return (self.data_src or "").strip()

    @property
    def names_lazy(self) -> bool:
        """Whether anything may come in the place of `url`."""
        return bool(self.data_src or self.data_original or self.data_lazy_src or self.data_srcset)

    def shown_url(self) -> str:
        """Return the URL of an image that names several."""
        attributes = {
            "src": self.url,
            "srcset": self.srcset,
            "data-src": self.data_src,
            "data-original": self.data_original,
            "data-lazy-src": self.data_lazy_src,
            "data-srcset": self.data_srcset,
        }
        return image_url(attributes)

    def any_address(self) -> str:
        """Return one that the image names, if it names one, else what is inlined: of images that are only counted."""
        url = (self.url or "").strip()
        if url and url[:5] not in INLINED:
            return url
        lazy = (self.data_src, self.data_original, self.data_lazy_src)
        others = [value.strip() for value in lazy if value]
        others += [source.url for value in (self.srcset, self.data_srcset) if value for source in image_sources(value)]
        return next((other for other in others if other and other[:5] not in INLINED), url)


class _Meta(msgspec.Struct, gc=False):
    name: str | None = None
    property: str | None = None
    content: str | None = None


class _Relation(msgspec.Struct, gc=False):
    rel: str | None = None
    url: str | None = None
    type: str | None = None


class _Head(msgspec.Struct):
    base: str | None = msgspec.field(default=None, name="Base")
    metas: list[_Meta] = msgspec.field(default_factory=list, name="Metas")
    relations: list[_Relation] = msgspec.field(default_factory=list, name="Link")


class _Html(msgspec.Struct):
    head: _Head = msgspec.field(default_factory=_Head, name="Head")
    links: list[Link] = msgspec.field(default_factory=list, name="Links")


class _Status(msgspec.Struct):
    status: str | int = msgspec.field(default="200", name="Status")


class _Headers(msgspec.Struct):
    robots: str | list[str] | None = msgspec.field(default=None, name="X-Robots-Tag")
    robots_lower: str | list[str] | None = msgspec.field(default=None, name="x-robots-tag")
    tdm: str | list[str] | None = msgspec.field(default=None, name="TDM-Reservation")
    tdm_lower: str | list[str] | None = msgspec.field(default=None, name="tdm-reservation")
    signal: str | list[str] | None = msgspec.field(default=None, name="Content-Signal")
    signal_lower: str | list[str] | None = msgspec.field(default=None, name="content-signal")
    usage: str | list[str] | None = msgspec.field(default=None, name="Content-Usage")
    usage_lower: str | list[str] | None = msgspec.field(default=None, name="content-usage")
    link: str | list[str] | None = msgspec.field(default=None, name="Link")
    link_lower: str | list[str] | None = msgspec.field(default=None, name="link")


class _Response(msgspec.Struct):
    message: _Status = msgspec.field(default_factory=_Status, name="Response-Message")
    headers: _Headers = msgspec.field(default_factory=_Headers, name="Headers")
    html: _Html | None = msgspec.field(default=None, name="HTML-Metadata")


class _Payload(msgspec.Struct):
    response: _Response | None = msgspec.field(default=None, name="HTTP-Response-Metadata")


class _Warc(msgspec.Struct):
    uri: str = msgspec.field(default="", name="WARC-Target-URI")
    date: str | None = msgspec.field(default=None, name="WARC-Date")


class _Envelope(msgspec.Struct):
    warc: _Warc = msgspec.field(default_factory=_Warc, name="WARC-Header-Metadata")
    payload: _Payload = msgspec.field(default_factory=_Payload, name="Payload-Metadata")


class _Wat(msgspec.Struct):
    envelope: _Envelope = msgspec.field(default_factory=_Envelope, name="Envelope")


_DECODER = msgspec.json.Decoder(_Wat)
_NO_HEADERS = _Headers()
_METAS_BEGIN = frozenset("rRtToOlL" + whitespace)  # of METAS


class WatPage(NamedTuple):
    """A page of a WAT record: address, status and date of the response that the record describes, and its images."""

    uri: str
    status: int
    date: str | None
    page: Page
    links: int = -1
    """Where in the record the list of links begins, if its images are still to be decoded (`crawl.wat.columns`)."""


def parse_wat(block: bytes | bytearray, text_sources: Sequence[str]) -> WatPage | None:
    """Read a WAT record. A WAT knows no language, figcaption or aria-label: those come from WARC alone.

    Returns:
        None if the record describes something else than a page (a request, an image, …).

    Raises:
        ValueError: the record is not the JSON of a WAT.
    """
    try:
        wat = _DECODER.decode(block)
    except UNREADABLE:  # a field of another type, a lone surrogate, bytes not UTF-8
        wat = _lenient(block)
    response = wat.envelope.payload.response
    if response is None or response.html is None:
        return None
    links = response.html.links
    page = _page(response, response.html.head, links, text_sources)
    return WatPage(wat.envelope.warc.uri, _status(response.message.status), wat.envelope.warc.date, page)


def parse_head(block: bytes | bytearray, text_sources: Sequence[str]) -> WatPage | None:
    """Read a WAT record without its list of links, which is most of it; None if that cannot be done.

    What stands between the start of the list and its last link is left out; if braces or brackets are then unbalanced,
    these were not the links of one list. No string can hold one of the marks looked for: its quotation marks would be
    escaped.
    """
    start = -1 if "link" in text_sources else stringzilla.find(block, _LINKS_BEGIN)
    last = block.rfind(_LINK_BEGINS, start) if start >= 0 else -1
    if last < 0:
        return None
    links = start + len(_LINKS_BEGIN)
    try:
        wat = _DECODER.decode(block[:links] + block[last:])
    except UNREADABLE:
        return None
    response = wat.envelope.payload.response
    if response is None or response.html is None:
        return None
    page = _page(response, response.html.head, [], text_sources)
    return WatPage(wat.envelope.warc.uri, _status(response.message.status), wat.envelope.warc.date, page, links)


def _page(response: _Response, head: _Head, links: list[Link], text_sources: Sequence[str]) -> Page:
    metas = [
        (name, meta.content or "")
        for meta in head.metas
        if (name := meta.name or meta.property) and name[0] in _METAS_BEGIN and (name := name.strip().lower()) in METAS
    ]
    page = Page(base=(head.base or "").strip() or None, texts=[[] for _ in text_sources])
    if metas:
        page.language = declared_language(metas)  # the only place: a WAT leaves out <html lang>
        page.noai = asks_noai([content for name, content in metas if name == "robots"])
        if tdm := [content for name, content in metas if name == "tdm-reservation"]:
            page.tdm_reserved, page.tdm_unreadable = tdm_reservation(tdm)
    for link in head.relations:
        if link.rel == "license" and link.url and page.license is None:
            page.license = link.url
        if link.type and link.url and is_license(link.rel or "", link.type):
            page.rsl_links.append(link.url)
    if response.headers != _NO_HEADERS:
        _add_headers(page, response.headers)
    if links:
        _list_images(page, [link for link in links if link.path == _IMAGE], text_sources)
    if "og" in text_sources:
        named = open_graph(metas)
        page.add(text_sources.index("og"), limit_texts(named))
        page.is_simplified = len(limit_texts(named)) < len(named)
    if "link" in text_sources:
        page.add(text_sources.index("link"), _links_to_images(links))
    return page


def _add_headers(page: Page, headers: _Headers) -> None:
    """Add what the headers of its response say of a page."""
    page.noai = page.noai or asks_noai(_values(headers.robots) + _values(headers.robots_lower))
    if tdm := _values(headers.tdm) + _values(headers.tdm_lower):
        page.add_tdm_header(tdm)
    page.content_signal = content_signal(_values(headers.signal) + _values(headers.signal_lower))
    page.content_usage = content_usage(_values(headers.usage) + _values(headers.usage_lower))
    page.rsl_header = [v for v in _values(headers.link) + _values(headers.link_lower) if MEDIA_TYPE in v.lower()]


def _list_images(page: Page, images: list[Link], text_sources: Sequence[str]) -> None:
    linked = [link for link in images if link.alt or link.title]
    page.silent = [
        link.any_address() if (url := (link.url or "").strip())[:1] in "dD" else url  # it may be empty, or `data:`
        for link in images
        if not (link.alt or link.title)
    ]
    page.urls = [(link.url or "").strip() for link in linked]
    page.places = {number: place for number, link in enumerate(linked) if (place := link.place) != NOWHERE}
    page.choices = {number: link for number, link in enumerate(linked) if link.names_others}
    page.texts = [_TEXTS.get(name, _empty_texts)(linked) for name in text_sources]


def _alt(links: list[Link]) -> list[str]:
    return [link.alt or "" for link in links]


def _title(links: list[Link]) -> list[str]:
    return [link.title or "" for link in links]


def _empty_texts(links: list[Link]) -> list[str]:
    return [""] * len(links)


_TEXTS = {"alt": _alt, "title": _title}


def _links_to_images(links: list[Link]) -> Iterator[tuple[str, str]]:
    """(URL, text) of the links that lead to image files and have a text."""
    for link in links:
        if link.path == _ANCHOR and link.url and (text := (link.text or "").strip()) and names_image(link.url.strip()):
            yield link.url.strip(), text


def _values(header: str | list[str] | None) -> list[str]:
    return [header] if isinstance(header, str) else header or []


@lru_cache(maxsize=64)
def _status(value: str | int) -> int:
    """A status as a number; 200 if it is none, as `archives.payload` has it for a response without a status line."""
    text = str(value).strip()
    return int(text) if re.fullmatch("[0-9]{3}", text) else 200


def _lenient(block: bytes | bytearray) -> _Wat:
    """A record in which single fields are not as they should be: those are left out, the rest is read."""
    try:
        data: Any = json.loads(block.decode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    payload = _part(_part(data, "Envelope"), "Payload-Metadata")
    header = _strings(_part(_part(data, "Envelope"), "WARC-Header-Metadata"))
    response = _part(payload, "HTTP-Response-Metadata")
    html = _part(response, "HTML-Metadata")
    head = _part(html, "Head")
    clean: dict[str, Any] = {
        "Response-Message": _strings(_part(response, "Response-Message")),
        "Headers": _strings(_part(response, "Headers")),
    }
    if "HTML-Metadata" in response:
        clean["HTML-Metadata"] = {
            "Head": {
                **_strings({"Base": head.get("Base")}),
                "Metas": _string_attributes(head.get("Metas")),
                "Link": _string_attributes(head.get("Link")),
            },
            "Links": _string_attributes(html.get("Links")),
        }
    envelope: dict[str, Any] = {"WARC-Header-Metadata": header, "Payload-Metadata": {}}
    if response:
        envelope["Payload-Metadata"] = {"HTTP-Response-Metadata": clean}
    return msgspec.convert({"Envelope": envelope}, _Wat)


def _part(data: Any, name: str) -> dict[str, Any]:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _strings(data: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in data.items() if isinstance(value, (str, int))}


def _string_attributes(data: Any) -> list[dict[str, str]]:
    return [_strings(item) for item in data if isinstance(item, dict)] if isinstance(data, list) else []
