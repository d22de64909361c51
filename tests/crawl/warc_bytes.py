"""Archives written by hand, byte by byte, so that tests can break them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from crawl.archives.records import Piece

HTML = "text/html; charset=utf-8"


def http(body: bytes, content_type: str = HTML, *, status: int = 200, headers: tuple[str, ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(
    block: bytes,
    uri: str = "http://site.example/page",
    *,
    type_: str = "response",
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {type_}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: 2024-05-06T07:08:09Z\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page(body: str, uri: str = "http://site.example/page") -> bytes:
    return record(http(body.encode()), uri)


def redirect(uri: str, location: str, status: int = 302) -> bytes:
    return record(http(b"<p>moved", status=status, headers=(f"Location: {location}",)), uri)


def revisit(uri: str, earlier: str) -> bytes:
    return record(http(b""), uri, type_=f"revisit\r\nWARC-Refers-To-Target-URI: {earlier}")


def wat(html: dict[str, object], *, status: str = "200", headers: dict[str, object] | None = None) -> bytes:
    response = {"Response-Message": {"Status": status}, "Headers": headers or {}, "HTML-Metadata": html}
    envelope = {
        "WARC-Header-Metadata": {
            "WARC-Type": "response",
            "WARC-Date": "2024-05-06T07:08:09Z",
            "WARC-Target-URI": "http://site.example/dir/page",
        },
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
    }
    return json.dumps({"Container": {}, "Envelope": envelope}).encode()


def compact(html: dict[str, object]) -> bytes:
    """The same as ia-web-commons writes it, without white space."""
    return json.dumps(json.loads(wat(html)), ensure_ascii=False, separators=(",", ":")).encode()


def wat_record(block: bytes) -> bytes:
    return record(block, type_="metadata", content_type="application/json")


def members(*records: bytes) -> bytes:
    return b"".join(gzip.compress(item, mtime=0) for item in records)


def whole(folder: Path, data: bytes, name: str = "a.warc.gz") -> Piece:
    """The file written, as a single piece."""
    path = folder / name
    path.write_bytes(data)
    return Piece(name, str(path), 0, -1)
