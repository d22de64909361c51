"""Bytes are the characters that browsers read: the WHATWG's index tables, as digests, and what its decoders do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl import encodings
from crawl.encodings import LABELS, decode, encoding_of

# SHA-256, cut, of "pointer, tab, character" lines of the indexes as of 2024, without what they leave out.
SINGLE_BYTE = {
    "ibm866": "a2c8bc7bc4eadb58",
    "iso-8859-2": "09022eede44fdddb",
    "iso-8859-3": "dcf075d39394865b",
    "iso-8859-4": "987abc671152552c",
    "iso-8859-5": "57edb4c7556e938e",
    "iso-8859-6": "de98c84b74e5b114",
    "iso-8859-7": "961090c594442fa1",
    "iso-8859-8": "db3b9d5a05758123",
    "iso-8859-8-i": "db3b9d5a05758123",
    "iso-8859-10": "68e6fac79dbc1f6f",
    "iso-8859-13": "4450d6735a0f42ca",
    "iso-8859-14": "b083b0623670b5ab",
    "iso-8859-15": "ee96fc7258ef9b04",
    "iso-8859-16": "a96aa32e55fea0bd",
    "koi8-r": "b422c7ee15006c50",
    "koi8-u": "23d3e6efd5830958",
    "macintosh": "b3d91ecf96014a28",
    "windows-874": "4c8c9eba7cc22e79",
    "windows-1250": "7cada19924d794e6",
    "windows-1251": "c1012048cc1de8fc",
    "windows-1252": "a0ac58f6f5b7ba86",
    "windows-1253": "4bb7bc51403bbb86",
    "windows-1254": "48f77b486e8f297a",
    "windows-1255": "50301f0acca29743",
    "windows-1256": "f1d4cbb1d4ec7b02",
    "windows-1257": "cdff1d3215fb17db",
    "windows-1258": "48fc4e448e91a8b0",
    "x-mac-cyrillic": "9c532ece2ef0dc4e",
}


def digest(rows: Iterable[tuple[int, str]]) -> str:
    """Return the digest of those rows that have a character."""
    lines = [f"{pointer}\t{text}\n" for pointer, text in rows if "\ufffd" not in text]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("encoding", SINGLE_BYTE)
def test_the_index_of_a_single_byte_encoding(encoding: str) -> None:
    assert decode(bytes(range(0x80)), encoding) == "".join(map(chr, range(0x80)))
    assert (
        digest((byte - 0x80, decode(bytes([byte]), encoding)) for byte in range(0x80, 0x100)) == SINGLE_BYTE[encoding]
    )


def two(pointer: int, row: int, lead: int, low: int, high: int) -> bytes:
    """A pointer's two bytes, where trailing bytes have two ranges, the first of 0x3F."""
    first, last = divmod(pointer, row)
    return bytes((first + lead, last + (low if last < 0x3F else high)))


def kanji(pointer: int) -> bytes:
    first, last = divmod(pointer, 94)
    return bytes((first + 0xA1, last + 0xA1))


INDEXES: dict[str, tuple[str, int, Callable[[int], bytes], str]] = {
    "Big5": ("big5", 126 * 157, lambda at: two(at, 157, 0x81, 0x40, 0x62), "017978d98c7f81dc"),
    "EUC-KR": ("euc-kr", 126 * 190, lambda at: bytes((at // 190 + 0x81, at % 190 + 0x41)), "01087f87b7146b89"),
    "gb18030": ("gb18030", 126 * 190, lambda at: two(at, 190, 0x81, 0x40, 0x41), "801a827f87d09798"),
    "gbk": ("gbk", 126 * 190, lambda at: two(at, 190, 0x81, 0x40, 0x41), "801a827f87d09798"),
    "jis0208 in EUC-JP": ("euc-jp", 94 * 94, kanji, "50ab6b41b1393d31"),
    "jis0212": ("euc-jp", 94 * 94, lambda at: b"\x8f" + kanji(at), "90c36778415f8bd3"),
    "jis0208 in ISO-2022-JP": (
        *("iso-2022-jp", 94 * 94),
        lambda at: b"\x1b$B" + bytes(byte & 0x7F for byte in kanji(at)),
        "50ab6b41b1393d31",
    ),
}


@pytest.mark.parametrize("name", INDEXES)
def test_the_index_of_a_multi_byte_encoding(name: str) -> None:
    encoding, pointers, sequence, expected = INDEXES[name]
    rows = ((pointer, decode(sequence(pointer), encoding)) for pointer in range(pointers))
    assert (
        digest((pointer, text) for pointer, text in rows if len(text) == 1 or text[1:] in ("\u0304", "\u030c"))
        == expected
    )


def test_the_index_of_shift_jis() -> None:
    def sequence(pointer: int) -> bytes:
        lead, trail = divmod(pointer, 188)
        return bytes((lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)))

    texts = {pointer: decode(sequence(pointer), "shift_jis") for pointer in range(60 * 188)}
    private = range(8836, 10716)  # end users' own characters
    assert [texts[pointer] for pointer in private] == [chr(0xE000 + at) for at in range(len(private))]
    assert digest((pointer, text) for pointer, text in texts.items() if pointer not in private) == "28724732b7b55a6d"


@pytest.mark.parametrize(
    ("encoding", "encoded", "text"),
    [
        ("windows-1252", "818d8f909d", "\x81\x8d\x8f\x90\x9d"),
        ("windows-1255", "cad9", "\u05ba\ufffd"),
        ("koi8-u", "aebe", "ўЎ"),
        ("x-user-defined", "4180ff", "A\uf780\uf7ff"),
        ("big5", "a145a1e3a1fea241a240a242", "‧～／∕＼﹨"),
        ("big5", "88628864", "\u00ca\u0304\u00ca\u030c"),
        ("big5", "877a80ff", "㡵\ufffd\ufffd"),
        ("big5", "812281ff41", '\ufffd"\ufffdA'),
        ("gbk", "80a3a0", "€\u3000"),
        ("gb18030", "8135f437a8bc90308130e3329a35", "\ue7c7ḿ\U00010000\U0010ffff"),
        ("gb18030", "8130218130", "\ufffd0!\ufffd"),
        ("gb18030", "fe39fe39", "\ufffd"),
        ("gb18030", "8138a3a0", "\ufffd8\u3000"),
        ("gb18030", "81223cff", '\ufffd"<\ufffd'),
        ("euc-jp", "8f22", '\ufffd"'),
        ("euc-jp", "8fa2b78fa13ca1c1", "～\ufffd<～"),
        ("euc-jp", "8eb1b2e8ff8ee0", "ｱ画\ufffd\ufffd"),
        ("euc-jp", "ada1b2e8adeaa1c1b2", "①画㈱～\ufffd"),
        ("shift_jis", "80a0fdfeff874089e68160", "\x80\ufffd\ufffd\ufffd\ufffd①画～"),
        ("shift_jis", "81228160f040", '\ufffd"～\ue000'),
        ("euc-kr", "812281fe80", '\ufffd"괓\ufffd'),
        ("iso-2022-jp", "1b244232682d211b2849311b284a5c7e1b284261", "画①ｱ¥‾a"),
        ("iso-2022-jp", "1b24421b284261", "\ufffda"),  # nothing stands between the two
        ("iso-2022-jp", "0e1b2443801b244232", "\ufffd\ufffd$C\ufffd\ufffd"),
        ("iso-2022-jp", "1b2442320a32681b284a", "\ufffd画"),
        ("utf-16le", "410000d842", "A\ufffd"),
        ("utf-16be", "004100", "A\ufffd"),
        ("utf-8", "c3a9ff", "é\ufffd"),
    ],
)
def test_what_browsers_read(encoding: str, encoded: str, text: str) -> None:
    assert decode(bytes.fromhex(encoded), encoding) == text


@settings(max_examples=50)
@given(st.binary(max_size=60), st.sampled_from(sorted(LABELS)))
def test_any_bytes_are_a_text_in_every_encoding(data: bytes, encoding: str) -> None:
    decode(data, encoding).encode()


MULTI_BYTE = ("gbk", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-2022-jp")


@pytest.mark.parametrize("encoding", MULTI_BYTE)
def test_what_a_codec_stumbles_over_often_is_looked_up_and_means_the_same(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stumble is a call of Python's, which took seconds for a megabyte of errors."""
    pools = (
        bytes(range(256)),
        b"\x1b$B(J@I!0\x0e\xff",
        b"\x81\x30\x39\xfe\xff\x80\x40\x7e",
        b"<\x81\xa1\x8e\x8f\xe0\xa3\xa0",
    )
    random = Random(encoding)
    texts = [bytes(random.choice(random.choice(pools)) for _ in range(random.randrange(30))) for _ in range(500)]
    texts += [bytes(random.choices(pool, k=20)) for pool in pools for _ in range(200)]
    by_codec = [decode(data, encoding) for data in texts]
    monkeypatch.setattr(encodings, "_FEW", 0)
    assert [decode(data, encoding) for data in texts] == by_codec


@pytest.mark.parametrize("encoding", MULTI_BYTE)
def test_no_bytes_make_a_codec_stumble_more_than_some_thousand_times(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumbled = [0]
    take = encodings._Stumbles.take

    def counted(self: encodings._Stumbles) -> None:
        stumbled[0] += 1
        take(self)

    monkeypatch.setattr(encodings._Stumbles, "take", counted)
    for unit in (b"\xff", b"\x80", b"\xff<", b"\x81 ", b"\x81\xff", b"\xfe\xfe", b"\xa3\xa0", b"\xa1\xc2", b"\x8130 "):
        stumbled[0] = 0
        assert len(decode(unit * 20_000, encoding)) >= 20_000 / 2
        assert stumbled[0] < 4_000


def test_labels() -> None:
    assert encoding_of("US-ASCII ") == encoding_of("\tiso-8859-1\n") == "windows-1252"
    assert (encoding_of("gb2312"), encoding_of("Big5-HKSCS"), encoding_of("x-sjis")) == ("gbk", "big5", "shift_jis")
    assert encoding_of("base64") is encoding_of("") is encoding_of(None) is encoding_of("hz-gb-2312") is None
    assert sum(len(labels.split()) for labels in LABELS.values()) == 222  # of the standard's 228, without `replacement`
    assert all(encoding_of(label) == name for name, labels in LABELS.items() for label in labels.split())
