from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.archives.decoding import content_encoding
from crawl.archives.decoding.content_encoding import (
    MAX_BEHIND_BYTES,
    MAX_LAYERS,
    MAX_MEMBERS,
    ContentDecoder,
    decode_body,
)
from tests.crawl.archives.test_payload import brotli, raw_deflate

ENCODE = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli,
    "zstd": zstandard.compress,
    "raw": raw_deflate,
}
MANY = 1 << 24


def in_pieces(data: bytes, header: str, piece_bytes: int, limit: int = MANY) -> tuple[bytes, ContentDecoder]:
    """Fed as a connection would; stops where the decoder says that nothing more counts."""
    decoder = ContentDecoder(header, limit)
    parts = []
    for at in range(0, len(data), piece_bytes):
        parts.append(decoder.feed(data[at : at + piece_bytes]))
        if decoder.is_done:
            break
    return b"".join([*parts, decoder.finish()]), decoder


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=300).map(lambda data: data * 40),
    names=st.lists(st.sampled_from(sorted(ENCODE)), max_size=MAX_LAYERS),
    piece_bytes=st.integers(1, 5000),
)
def test_any_codings_in_any_pieces_give_the_body(body: bytes, names: list[str], piece_bytes: int) -> None:
    coded = body
    for name in names:
        coded = ENCODE[name](coded)
    header = ", ".join("deflate" if name == "raw" else name for name in names)
    assert decode_body(coded, header, MANY) == body
    whole, decoder = in_pieces(coded, header, piece_bytes)
    assert (whole, decoder.damage, decoder.is_too_large) == (body, None, False)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br"]), st.integers(1, 50))
def test_any_bytes_decode_alike_whole_and_in_pieces(data: bytes, header: str, piece_bytes: int) -> None:
    assert in_pieces(data, header, piece_bytes)[0] == decode_body(data, header, MANY)


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("gzip", ["gzip"]),
        ("X-GZip;q=1.0 , 'br'", ["gzip", "br"]),
        ("none", []),
        ("UTF-8, binary, aws-chunked, image/jpeg, identity, *", []),
        (",, ,", []),
        ("", []),
    ],
)
def test_names_that_are_no_codings_mean_nothing(header: str, meant: list[str]) -> None:
    assert content_encoding.codings(header) == meant
    assert meant or decode_body(b"body", header, 10) == b"body"


def test_a_coding_that_the_body_does_not_have_is_passed_over() -> None:
    body = b"\xff\xd8\xff an image" * 1000
    for header in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "deflate, gzip, br"):
        assert in_pieces(body, header, 1000)[0] == body
    assert in_pieces(gzip.compress(body), "gzip, gzip", 1000)[0] == body


def test_more_than_the_limit_is_too_large_and_the_limit_is_not() -> None:
    body = bytes(100_000)
    for header, coded in (
        ("", body),
        ("gzip", gzip.compress(body)),
        ("br", brotli(body)),
        ("zstd", zstandard.compress(body)),
    ):
        whole, decoder = in_pieces(coded, header, 4096, limit=100_000)
        assert (whole, decoder.is_too_large) == (body, False)
        cut, decoder = in_pieces(coded, header, 4096, limit=99_999)
        assert (len(cut), decoder.is_too_large, decoder.is_done) == (99_999, True, True)
    bomb = gzip.compress(gzip.compress(bytes(200_000_000), 1), 1)
    cut, decoder = in_pieces(bomb, "gzip, gzip", MANY, limit=10_000)
    assert (cut, decoder.is_too_large) == (bytes(10_000), True)


def test_members_follow_each_other_and_padding_and_what_is_none_is_left() -> None:
    coded = gzip.compress(b"one ") + bytes(5) + gzip.compress(b"two ") + gzip.compress(b"three") + b"not gzip"
    for piece_bytes in (1, 7, 1000):
        whole, decoder = in_pieces(coded, "gzip", piece_bytes)
        assert (whole, decoder.damage) == (b"one two three", None)
    assert decode_body(zlib.compress(b"one") + zlib.compress(b"two"), "deflate", 100) == b"one"


def test_a_cut_or_damaged_body_gives_what_stands_before() -> None:
    body = bytes(range(256)) * 400
    coded = gzip.compress(body)
    cut, decoder = in_pieces(coded[: len(coded) // 2], "gzip", 100)
    assert body.startswith(cut)
    assert cut
    assert decoder.damage == "the coded body is cut off"
    whole, decoder = in_pieces(coded[:-8] + b"\xff" * 8, "gzip", 100)  # a wrong checksum
    assert (whole, decoder.damage, decoder.is_done) == (body, "the coded body is damaged", True)


def test_many_codings_are_an_attack() -> None:
    whole, decoder = in_pieces(b"body", ", ".join(["deflate"] * 32_000), 10)
    assert (whole, decoder.is_done) == (b"", True)
    assert decoder.damage == f"Content-Encoding names 32000 codings, more than {MAX_LAYERS}"


def test_what_stands_behind_the_end_is_not_waited_for() -> None:
    for header, coded in (("gzip", gzip.compress(b"body")), ("deflate", zlib.compress(b"body"))):
        decoder = ContentDecoder(header, MANY)
        assert decoder.feed(coded + bytes(MAX_BEHIND_BYTES)) == b"body"
        assert not decoder.is_done
        decoder.feed(b"\x00")
        assert decoder.is_done


def test_a_coded_body_larger_than_the_body_may_be_is_not_read_on() -> None:
    empty_blocks = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 100_000  # deflate's stored blocks of no byte
    whole, decoder = in_pieces(empty_blocks, "gzip", 10_000, limit=1000)
    assert (whole, decoder.is_done) == (b"", True)
    assert decoder.damage == "the coded body is larger than the body may be"


def test_work_grows_with_the_bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work = 0

    def counted(inflater: object, data: bytes, limit: int) -> tuple[bytes, bool]:
        nonlocal work
        work += len(data)  # which zlib copies, as what is unused
        return inflate(inflater, data, limit)

    inflate = content_encoding.inflate
    monkeypatch.setattr(content_encoding, "inflate", counted)
    per_byte = []
    for count in (MAX_MEMBERS, 8 * MAX_MEMBERS, 64 * MAX_MEMBERS):
        data, work = gzip.compress(b"") * count, 0
        assert decode_body(data, "gzip", MANY) == b""
        per_byte.append(work / len(data))
    assert per_byte[2] < per_byte[1] < per_byte[0]


@pytest.mark.parametrize("sign", [";", " ", '"', ",", "'; "])
def test_a_long_content_encoding_without_a_name_takes_linear_time(sign: str) -> None:
    assert content_encoding.codings(sign * 2_000_000) == []  # in the square of its length it takes hours
