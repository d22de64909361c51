"""The images of a page as Common Crawl's WAT files describe it (the JSON of ia-web-commons, one record a response)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from crawl.html import Image, Page, asks_noai
from crawl.urls import image_url

_PATH = "IMG@/src"


class _Link(msgspec.Struct, gc=False):
    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None
    srcset: str | None = None
    data_src: str | None = msgspec.field(default=None, name="data-src")
    data_original: str | None = msgspec.field(default=None, name="data-original")
    data_lazy_src: str | None = msgspec.field(default=None, name="data-lazy-src")
    data_srcset: str | None = msgspec.field(default=None, name="data-srcset")


class _Meta(msgspec.Struct, gc=False):
    name: str | None = None
    content: str | None = None


class _Head(msgspec.Struct):
    base: str | None = msgspec.field(default=None, name="Base")
    metas: list[_Meta] = msgspec.field(default_factory=list, name="Metas")


class _Html(msgspec.Struct):
    head: _Head = msgspec.field(default_factory=_Head, name="Head")
    links: list[_Link] = msgspec.field(default_factory=list, name="Links")


class _Status(msgspec.Struct):
    status: str | int = msgspec.field(default="200", name="Status")


class _Headers(msgspec.Struct):
    robots: str | list[str] | None = msgspec.field(default=None, name="X-Robots-Tag")
    robots_lower: str | list[str] | None = msgspec.field(default=None, name="x-robots-tag")


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


class WatPage(NamedTuple):
    """A page of a WAT record: address, status and date of the response that the record describes, and its images."""

    uri: str
    status: int
    date: str | None
    page: Page


def parse_wat(block: bytes, text_sources: Sequence[str]) -> WatPage | None:
    """Read a WAT record. A WAT knows no language and no figcaption.

    Returns:
        None if the record describes something else than a page (a request, an image, …).

    Raises:
        ValueError: the record is not the JSON of a WAT.
    """
    try:
        wat = _DECODER.decode(block)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a field of another type, a lone surrogate, bytes not UTF-8
        wat = _lenient(block)
    response = wat.envelope.payload.response
    if response is None or response.html is None:
        return None
    html = response.html
    robots = [meta.content or "" for meta in html.head.metas if (meta.name or "").strip().lower() == "robots"]
    for value in (response.headers.robots, response.headers.robots_lower):
        robots += [value] if isinstance(value, str) else value or []
    images = [
        Image(_url(link), tuple([(getattr(link, name, None) or "") for name in text_sources]))
        for link in html.links
        if link.path == _PATH
    ]
    page = Page(base=(html.head.base or "").strip() or None, language=None, noai=asks_noai(robots), images=images)
    return WatPage(wat.envelope.warc.uri, _status(response.message.status), wat.envelope.warc.date, page)


def _status(value: str | int) -> int:
    """A status as a number; 200 if it is none, as `crawl.payload` has it for a response without a status line."""
    text = str(value).strip()
    return int(text) if re.fullmatch("[0-9]{3}", text) else 200


def _url(link: _Link) -> str:
    if link.url and not (link.srcset or link.data_src or link.data_original or link.data_lazy_src or link.data_srcset):
        return link.url.strip()
    attributes = {
        "src": link.url,
        "srcset": link.srcset,
        "data-src": link.data_src,
        "data-original": link.data_original,
        "data-lazy-src": link.data_lazy_src,
        "data-srcset": link.data_srcset,
    }
    return image_url(attributes)


def _lenient(block: bytes) -> _Wat:
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
    robots = {name: value for name, value in _strings(_part(response, "Headers")).items() if "robots" in name.lower()}
    clean: dict[str, Any] = {"Response-Message": _strings(_part(response, "Response-Message")), "Headers": robots}
    if "HTML-Metadata" in response:
        clean["HTML-Metadata"] = {
            "Head": {**_strings({"Base": head.get("Base")}), "Metas": _all_strings(head.get("Metas"))},
            "Links": _all_strings(html.get("Links")),
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


def _all_strings(data: Any) -> list[dict[str, str]]:
    return [_strings(item) for item in data if isinstance(item, dict)] if isinstance(data, list) else []
