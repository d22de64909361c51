from __future__ import annotations

import gzip
import io
import time
import zlib

import pytest
from fastwarc.stream_io import BrotliWriter
from hypothesis import given
from hypothesis import strategies as st

from crawl.archives.payload import (
    ArchivedResponse,
    charset,
    decoded_body,
    is_html,
    is_image,
    media_type,
    parse_response,
)
from tests.crawl.warc_bytes import http

BODY = b"<p>" + bytes(range(256)) * 40


class Sink(io.BytesIO):
    def close(self) -> None:
        """Stays readable."""


def brotli(data: bytes) -> bytes:
    sink = Sink()
    writer = BrotliWriter(sink)
    writer.write(data)
    writer.close()
    return sink.getvalue()


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def chunked(data: bytes, size: int = 1000) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%X;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"


def response(body: bytes, **headers: str) -> ArchivedResponse:
    return ArchivedResponse(200, {name.replace("_", "-"): [value] for name, value in headers.items()}, body)


def test_duplicate_folded_and_broken_headers() -> None:
    block = (
        b"HTTP/1.0 203\nContent-Type: text/plain\nno colon here\n: no name\nX-Robots-Tag: noindex\nX-Robots-Tag: bot:\n"
        b"\tnoai\ncontent-type : Text/HTML; Charset = 'EUC-JP'\nContent-Type:\n\nbody\r\n\r\nmore"
    )
    parsed = parse_response(block)
    assert (parsed.status, parsed.body) == (203, b"body\r\n\r\nmore")
    assert parsed.header("x-robots-tag") == "noindex, bot: noai"
    assert media_type(parsed.content_type) == "text/html"
    assert charset(parsed.content_type) == "EUC-JP"


@pytest.mark.parametrize(
    ("block", "status", "body"),
    [
        (b"<html>", 200, b"<html>"),  # HTTP/0.9
        (b"HTTP/1.1 404\r\n\r\nx", 404, b"x"),
        (b"HTTP/1.1  200  OK\r\n\r\nx", 200, b"x"),
        (b"HTTP/2 204\r\nA: b", 204, b""),  # cut off in its headers
        (b"HTTP/1.1 0 No Content\r\nA: b\r\n\r\nx", 0, b"x"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404\r\nA: b\r\n\r\nx", 404, b"x"),
        (b"HTTP/1.0 200 Connection established\r\n\r\nHTTP/1.1 200\r\nA: b\r\n\r\nHTTP/1.1 500", 200, b"HTTP/1.1 500"),
        (b"HTTP/1.1 100\n\n" * 100_000, 100, b"HTTP/1.1 100\n\n" * 99_996),
        (b"HTTP/1.0 302 \r\r\nLocation: /a\r\r\n\r\r\nx", 302, b"x"),
        (b"Date: x\nContent-Type: text/html\n\nx", 200, b"x"),  # the status line was lost
        (b"Subject: a mail\n\nx", 200, b"Subject: a mail\n\nx"),
        (b"", 200, b""),
    ],
)
def test_status_lines(block: bytes, status: int, body: bytes) -> None:
    parsed = parse_response(block)
    assert (parsed.status, parsed.body) == (status, body)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
        ("identity", bytes),
        ("no-such", bytes),
    ],
)
def test_encodings_are_undone(encoding: str, encode) -> None:
    encoded = encode(BODY)
    assert decoded_body(response(encoded, content_encoding=encoding)) == BODY
    assert decoded_body(response(chunked(encoded), content_encoding=encoding, transfer_encoding="chunked")) == BODY
    assert decoded_body(response(BODY, content_encoding=encoding)) == BODY  # undone by the crawler already
    assert decoded_body(response(encoded, content_encoding=encoding), limit=7) == BODY[:7]


@pytest.mark.parametrize(
    ("body", "decoded"),
    [
        (b"5\r\nhello\r\nff\r\n world", b"hello world"),  # a size too large
        (b"5\r\nhello\r\n3\r\n world\r\n0\r\n\r\n", b"hello world\r\n0\r\n\r\n"),  # and one too small
        (b"5\r\nhello<img>", b"5\r\nhello<img>"),
        (b"Add\r\n" + b"x" * 0xADD + b"yes", b"Add\r\n" + b"x" * 0xADD + b"yes"),  # not chunked at all
        (b"5\nhello\n0\n", b"hello"),
        (b'0005;a="b"\r\nhello\r\n000\r\nETag: x\r\nX: y\r\n\r\n', b"hello"),
        (b"0\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_chunks_right_and_wrong(body: bytes, decoded: bytes) -> None:
    assert decoded_body(response(body, transfer_encoding="chunked")) == decoded


@pytest.mark.parametrize(
    ("written", "is_page"),
    [
        ("text/html charset=utf-8", True),
        ("text/html,text/html; charset=x", True),
        (" TEXT/HTML ;x", True),
        ("text/html5", False),
        ("", False),
    ],
)
def test_media_types_as_servers_write_them(written: str, is_page: bool) -> None:
    assert is_html(media_type(written), b"x") == is_page


def test_what_is_cut_or_damaged_is_decoded_to_that_point() -> None:
    encoded = gzip.compress(BODY * 30)
    part = decoded_body(response(encoded[: len(encoded) // 2], content_encoding="gzip"))
    assert len(part) > 500
    assert (BODY * 30).startswith(part)
    damaged = gzip.compress(BODY)[:-8] + b"\xff" * 8  # a wrong checksum
    assert decoded_body(response(damaged, content_encoding="gzip")) == BODY
    assert decoded_body(response(chunked(BODY)[:1500], transfer_encoding="chunked")) == BODY[:1476]
    assert decoded_body(response(BODY, transfer_encoding="chunked")) == BODY


def test_bombs_are_bounded() -> None:
    bomb = gzip.compress(gzip.compress(bytes(200_000_000), 1), 1)
    start = time.process_time()
    assert decoded_body(response(bomb, content_encoding="gzip, gzip"), limit=10_000) == bytes(10_000)
    assert len(decoded_body(response(brotli(bytes(50_000_000)), content_encoding="br"), limit=10_000)) == 10_000
    assert time.process_time() - start < 5


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip,br"]), st.booleans())
def test_any_bytes_are_a_body(data: bytes, encoding: str, is_chunked: bool) -> None:
    decoded_body(response(data, content_encoding=encoding, transfer_encoding="chunked" if is_chunked else ""))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_response(data: bytes) -> None:
    parse_response(data)
    parse_response(http(data))
    parse_response(b"HTTP/1.1 200 OK\r\n" + data)


def test_sniffing() -> None:
    assert is_html("text/html", b"")
    assert is_html("application/xhtml+xml", b"")
    assert is_html("", b"\n <!DOCTYPE html><p>")
    assert is_html("*/*", b"<HTML lang=de>")
    assert not is_html("", b"plain text")
    assert not is_html("text/plain", b"<html>")
    assert is_image("image/x-unheard-of", b"")
    assert is_image("application/octet-stream", b"\x89PNG\r\n\x1a\n")
    assert not is_image("", b"<svg")
