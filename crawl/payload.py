"""HTTP responses as archives keep them: status, headers and body, however broken, within bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crawl.codings import decoded

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
class Response:
    """An HTTP response: status (200 if it had no status line), headers by lower-case name, body as it was sent."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        """All values of a header, joined by a comma as RFC 9110 says; empty if there is none."""
        return ", ".join(self.headers.get(name, ()))

    @property
    def content_type(self) -> str:
        """The last Content-Type that is not blank: the one that browsers obey."""
        return next((value for value in reversed(self.headers.get("content-type", ())) if value), "")


def parse_response(block: bytes) -> Response:
    """Split a response; what has neither status line nor headers is HTTP/0.9, a body alone. Nothing is an error."""
    if _STATUS.match(block) is None and not _HEADERS_ALONE.match(block):
        return Response(200, {}, block)
    body = block
    for _ in range(_MAX_INTERIM):
        status = _STATUS.match(body)
        end = _HEADER_END.search(body, 0, _MAX_HEADER_BYTES)
        head, body = (body[: end.start()], body[end.end() :]) if end else (body[:_MAX_HEADER_BYTES], b"")
        if status is None or b":" in head or not _STATUS.match(body):
            break
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
    return Response(int(status[1]) if status else 200, headers, body)


def media_type(content_type: str) -> str:
    """`text/html` of `Text/HTML; charset=…`, and of what servers write for it: `text/html charset=…`, `text/html,…`."""
    match = _MEDIA_TYPE.match(content_type)
    return match[1].lower() if match else ""


def charset(content_type: str) -> str | None:
    """The charset parameter of a Content-Type."""
    match = _CHARSET.search(content_type)
    return match[1] if match else None


def is_html(type_: str, body: bytes) -> bool:
    """Whether a body is a page: by its media type, or by its first tag if the type says nothing."""
    return type_ in HTML_TYPES or (type_ in UNKNOWN_TYPES and _HTML_START.match(body, 0, 1024) is not None)


def is_image(type_: str, body: bytes) -> bool:
    """Whether a body is an image, by its media type or its first bytes."""
    return type_.startswith("image/") or _IMAGE_START.match(body) is not None


def decoded_body(response: Response, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body with its transfer and content encodings undone, at most `limit` bytes.

    Crawlers often store a body decoded under the headers of its encoded form: what does not decode is taken as it is.
    """
    body = response.body
    if "chunked" in response.header("transfer-encoding").lower():
        body = _dechunked(body)
    return decoded(body, response.header("content-encoding"), limit) or body[:limit]


def _dechunked(body: bytes) -> bytes:
    """The chunks' data; from a size on that is wrong, all that follows; the body itself if its first size is wrong."""
    parts = bytearray()  # of a hostile body there are millions
    view = memoryview(body)
    at = 0
    while match := _CHUNK_SIZE.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return bytes(parts)  # the trailers after it say nothing of the body
        end = match.end() + size
        if end < len(body) and body[end : end + 1] not in (b"\r", b"\n"):
            at = match.end() if parts else 0
            break
        parts += view[match.end() : end]
        at = end + (2 if body[end : end + 2] == b"\r\n" else 1)
    return bytes(parts + view[at:])
