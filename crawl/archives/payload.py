"""HTTP responses as archives keep them: status, headers and body, however broken, within bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crawl.archives.decoding.content_encoding import codings, decode_body

MAX_BODY_BYTES = 64 * 2**20
"""What a body may have once its encodings are undone; the rest of a decompression bomb is left."""

_MAX_HEADER_BYTES = 256 * 1024
_MAX_INTERIM = 4  # of 100 Continue and a proxy's "connection established" before the response itself
_HEADER_END = re.compile(rb"\n\r{0,2}\n")
_STATUS = re.compile(rb"(?:HTTP|ICY)[^\s]{0,16}\s+(\d{1,3})\b", re.IGNORECASE)
# A response whose status line was lost; what else begins so is text.
_HEADERS_ALONE = re.compile(rb"(?:[a-z][a-z0-9-]{0,63}:[^\n]{0,4096}\n){0,64}content-type:", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"\s*([^\s;,]*)")
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes[ \t=]+(\d{1,18})[ \t]*-[ \t]*(\d{1,18})[ \t]*/[ \t]*(\d{1,18})", re.IGNORECASE)
_START_BYTES, _CODED_START_BYTES = 1445, 2**16  # MIME Sniffing standard, section 5.2: 1445 at most
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")
UNKNOWN_TYPES = frozenset({"", "*/*", "unknown/unknown", "application/unknown"})
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
# Tags that a browser takes for HTML where the type is unknown (MIME Sniffing standard, section 7.1).
_HTML_START = re.compile(
    rb"[\t\n\f\r ]*(?:\xef\xbb\xbf)?[\t\n\f\r ]*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style"
    rb"|title|b|body|br|p|!--)[\t\n\f\r >]",
    re.IGNORECASE,
)
# Image signatures (MIME Sniffing standard, section 6.1; ISO/IEC 23008-12 for AVIF and HEIF).
_IMAGE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBPVP|BM....\x00\x00\x00\x00|\x00\x00[\x01\x02]\x00.\x00"
    rb"|....ftyp(?:avif|avis|heic|mif1)",
    re.DOTALL,
)


@dataclass(slots=True)
class ArchivedResponse:
    """An HTTP response: status (200 if it had no status line), headers by lower-case name, body as it was sent.

    Attributes:
        has_end: whether the head ends within its first 256 KiB, or the response does; else there is no body.
    """

    status: int
    headers: dict[str, list[str]]
    body: bytes
    has_end: bool = True

    def header(self, name: str) -> str:
        """Return all values of a header, joined by a comma as RFC 9110 says; empty if there is none."""
        return ", ".join(self.headers.get(name, ()))

    @property
    def content_type(self) -> str:
        """The last Content-Type that is not blank: the one that browsers obey."""
        return next((value for value in reversed(self.headers.get("content-type", ())) if value), "")

    @property
    def is_chunked(self) -> bool:
        """Whether the body is said to stand in chunks."""
        return "chunked" in self.header("transfer-encoding").lower()

    @property
    def content_length(self) -> int | None:
        """What the response says that its body has, as it was sent; None if it does not, or says several things."""
        values = self.headers.get("content-length", ())
        if len(values) != 1 or "," in values[0]:  # repeated, they may be equal
            values = list({part.strip() for value in values for part in value.split(",")})
        return int(values[0]) if len(values) == 1 and _LENGTH.fullmatch(values[0]) else None


def parse_response(block: bytes | bytearray) -> ArchivedResponse:
    """Split a response; what has neither status line nor headers is HTTP/0.9, a body alone. Nothing is an error."""
    if _STATUS.match(block) is None and not _HEADERS_ALONE.match(block):
        return ArchivedResponse(200, {}, bytes(block))
    position = 0  # where what is left begins, which is copied once
    for _ in range(_MAX_INTERIM):
        status = _STATUS.match(block, position)
        end = _HEADER_END.search(block, position, position + _MAX_HEADER_BYTES)
        has_end = end is not None or len(block) - position <= _MAX_HEADER_BYTES
        head = bytes(block[position : end.start() if end else position + _MAX_HEADER_BYTES])
        position = end.end() if end else len(block)
        if status is None or b":" in head or not _STATUS.match(block, position):
            break
    body = bytes(memoryview(block)[position:])
    if status is None:
        head = b"\n" + head
    headers: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in head.decode("latin-1").split("\n")[1:]:
        if line[:1] in (" ", "\t"):  # folded: continues the value before it
            if values:
                values[-1] = f"{values[-1]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if colon:
            values = headers.setdefault(name.strip().lower(), [])
            values.append(value.strip())
    return ArchivedResponse(int(status[1]) if status else 200, headers, body, has_end)


def media_type(content_type: str) -> str:
    """Return `text/html` of `Text/HTML; charset=…`, and of what servers write for it: `text/html charset=…`,
    `text/html,…`.
    """
    match = _MEDIA_TYPE.match(content_type)
    return match[1].lower() if match else ""


def charset(content_type: str) -> str | None:
    """Return the charset parameter of a Content-Type."""
    match = _CHARSET.search(content_type)
    return match[1] if match else None


def is_html(type_: str, body: bytes) -> bool:
    """Return whether a body is a page: by its media type, or by its first tag if the type says nothing."""
    return type_ in HTML_TYPES or (type_ in UNKNOWN_TYPES and _HTML_START.match(body, 0, 1024) is not None)


def is_image(type_: str, body: bytes) -> bool:
    """Return whether a body is an image, by its media type or its first bytes."""
    return type_.startswith("image/") or looks_like_image(body)


def looks_like_image(body: bytes) -> bool:
    """Return whether a body begins as an image does."""
    return _IMAGE_START.match(body) is not None


def is_whole(response: ArchivedResponse) -> bool:
    """Return whether an answer brings all of what it is an answer for: 200, 203, or 206 with a range that is all."""
    return response.status in (200, 203) or (
        response.status == 206
        and bool(response.header("content-range"))
        and part_of(206, response.header("content-range")) is None
    )


def part_of(status: int, content_range: str) -> str | None:
    """Return what a 206 brings of something longer, in the server's words; None if it is all, or says nothing."""
    match = _CONTENT_RANGE.fullmatch(content_range.strip()) if status == 206 else None
    if match is None:
        return None
    first, last, length = map(int, match.groups())
    return None if first == 0 and last + 1 >= length else content_range.strip()


def decoded_start(response: ArchivedResponse) -> bytes:
    """Return the first bytes of the body, its encodings undone: enough to tell what it is."""
    if not response.is_chunked and not codings(response.header("content-encoding")):
        return response.body[:_START_BYTES]
    start = ArchivedResponse(response.status, response.headers, response.body[:_CODED_START_BYTES])
    return decoded_body(start, _START_BYTES)


def decoded_body(response: ArchivedResponse, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return the body with its transfer and content encodings undone, at most `limit` bytes.

    Crawlers often store a body decoded under the headers of its encoded form: what does not decode is taken as it is.
    """
    coding = response.header("content-encoding")
    is_coded = bool(coding) and bool(codings(coding))
    body = response.body
    if response.is_chunked:
        body = _join_chunks(body)
    elif not is_coded and response.content_length is not None:  # of a coded body it is often not the one stored
        body = body[: response.content_length]
    return (is_coded and decode_body(body, coding, limit)) or body[:limit]


def chunks_end(body: bytes) -> int | None:
    """Return where the last chunk of a body ends, or a place behind it if it is cut off; None if its chunks are
    wrong.
    """
    position = 0
    while match := _CHUNK_SIZE.match(body, position):
        size = int(match[1], 16)
        if size == 0:
            return match.end()
        position = match.end() + size
        position += 2 if body[position : position + 2] == b"\r\n" else 1
    return position + 1 if position >= len(body) else None


def _join_chunks(body: bytes) -> bytes:
    """The chunks' data; from a size on that is wrong, all that follows; the body itself if its first size is wrong."""
    parts = bytearray()  # of a hostile body there are millions
    view = memoryview(body)
    position = 0
    while match := _CHUNK_SIZE.match(body, position):
        size = int(match[1], 16)
        if size == 0:
            return bytes(parts)  # the trailers after it say nothing of the body
        end = match.end() + size
        if end < len(body) and body[end : end + 1] not in (b"\r", b"\n"):
            position = match.end() if parts else 0
            break
        parts += view[match.end() : end]
        position = end + (2 if body[end : end + 2] == b"\r\n" else 1)
    return bytes(parts + view[position:])
