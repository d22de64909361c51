"""The query of a URL in the encoding of the page that names it (URL standard, "percent-encode after encoding").

A page in windows-1251 that names `/p?q=мир` means `/p?q=%EC%E8%F0`; the path is in UTF-8 whatever the page's encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.encodings import decode

_AS_IT_IS = "!$%&()*+,/:;=?@[\\]^`{|}~"  # what the special-query percent-encode set leaves, besides letters and digits
_FOREIGN_QUERY = r"^[^?#]*\?[^#]*[^\x00-\x7f#]"  # RE2
_QUERY = re.compile(r"([^?#]*\?)([^#]*)(.*)", re.DOTALL)
_UTF8 = frozenset({"utf-8", "utf-16be", "utf-16le"})  # a page in UTF-16 encodes its queries in UTF-8
# The leading and trailing bytes that encoders use: Big5's has none of HKSCS, Shift_JIS's none of NEC's copies of IBM's
# characters and no private ones.
_PAIRS = {
    "gbk": (range(0x81, 0xFF), [*range(0x40, 0x7F), *range(0x80, 0xFF)]),
    "gb18030": (range(0x81, 0xFF), [*range(0x40, 0x7F), *range(0x80, 0xFF)]),
    "big5": (range(0xA1, 0xFF), [*range(0x40, 0x7F), *range(0xA1, 0xFF)]),
    "euc-kr": (range(0x81, 0xFF), range(0x41, 0xFF)),
    "euc-jp": ([*range(0xA1, 0xFF), 0x8E], range(0xA1, 0xFF)),
    "shift_jis": ([*range(0x81, 0xA0), *range(0xE0, 0xED), 0xFA, 0xFB, 0xFC], [*range(0x40, 0x7F), *range(0x80, 0xFD)]),
}
_JAPANESE = {"\u00a5": b"\\", "\u203e": b"~"}
_PRIVATE = (
    "a6d9e78da6dae78ea6dbe78fa6dce790a6dde791a6dee792a6dfe793a6ece794a6ede795"
    "a6f3e796fe59e81efe61e826fe66e82bfe67e82cfe6de832fe7ee843fe90e854fea0e864"
)
_PRIVATE_OF_2005 = {  # characters of GB 18030's edition of 2005, where the index has others by now
    chr(int(pair[4:], 16)): bytes.fromhex(pair[:4]) for pair in re.findall(".{8}", _PRIVATE)
}
_BESIDES = {
    "gbk": {**_PRIVATE_OF_2005, "\u20ac": b"\x80"},
    "gb18030": _PRIVATE_OF_2005,
    "euc-jp": _JAPANESE | {"\u2212": b"\xa1\xdd"},
    "shift_jis": _JAPANESE | {"\u2212": b"\x81\x7c"},
}
_KANA = (
    "。「」、・ヲァィゥェォャュョッーアイウエオカキクケコサシスセ"
    "ソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン゛゜"
)
_FULL_WIDTH = dict(zip(range(0xFF61, 0xFFA0), _KANA, strict=True))  # ISO-2022-JP has no other kana
_LAST_OF_EQUALS = frozenset("═╞╡╪十卅")  # of which Big5's index has two


def with_queries_encoded(urls: pa.Array, encodings: list[str], page: np.ndarray) -> pa.Array:
    """Return URLs as written whose queries have characters beyond ASCII, with these percent-encoded; the others as they
    are.

    Args:
        urls: string (n,).
        encodings: of each page, its encoding by its name in the Encoding standard.
        page: int (n,), the page that each URL stands on.
    """
    others = np.array([encoding not in _UTF8 for encoding in encodings], bool)
    rows = np.flatnonzero(others[page]) if others.any() else others[:0]
    if not len(rows):
        return urls
    rows = rows[np.array(pc.match_substring_regex(urls.take(pa.array(rows)), _FOREIGN_QUERY), bool)]
    if not len(rows):
        return urls
    mask = np.zeros(len(urls), bool)
    mask[rows] = True
    written = urls.filter(pa.array(mask)).to_pylist()
    encoded = [with_query_encoded(url, encodings[page[row]]) for url, row in zip(written, rows, strict=True)]
    return pc.replace_with_mask(urls, pa.array(mask), pa.array(encoded, pa.string()))


def with_query_encoded(url: str, encoding: str) -> str:
    """Return a URL as written on a page of an encoding, with its query percent-encoded."""
    match = _QUERY.fullmatch(url)
    if match is None or match[2].isascii() or encoding in _UTF8:
        return url
    return match[1] + quote(_encode(re.sub("[\t\n\r]", "", match[2]), encoding), _AS_IT_IS) + match[3]


def _encode(text: str, encoding: str) -> bytes:
    if encoding == "iso-2022-jp":
        return _iso_2022_jp(text)
    characters = _characters(encoding)
    return b"".join(
        character.encode() if character < "\x80" else characters.get(character) or _html_reference(character, encoding)
        for character in text
    )


def _html_reference(character: str, encoding: str) -> bytes:
    """The HTML reference of a character that an encoding does not have."""
    if encoding == "gb18030" and character != "\ue5e5":
        return b"\x81\x35\xf4\x37" if character == "\ue7c7" else character.encode("gb18030")
    return quote(f"&#{ord(character)};", "").encode()


@cache
def _characters(encoding: str) -> dict[str, bytes]:
    """The bytes that the standard's encoder has for each character beyond ASCII: of several, the first."""
    encoded: dict[str, bytes] = {}
    for sequence in _sequences(encoding):
        character = decode(sequence, encoding)
        if character not in encoded or (encoding == "big5" and character in _LAST_OF_EQUALS):
            encoded[character] = sequence
    encoded.pop("\ufffd", None)
    return encoded | _BESIDES.get(encoding, {})


def _sequences(encoding: str) -> Iterator[bytes]:
    """All that an encoder may give out beyond ASCII, in the order of the standard's indexes."""
    if encoding in _PAIRS:
        leads, trails = _PAIRS[encoding]
        yield from (bytes(pair) for pair in product(leads, trails))
    if encoding not in _PAIRS or encoding == "shift_jis":
        yield from (bytes([byte]) for byte in range(0x80, 0x100))


def _iso_2022_jp(text: str) -> bytes:
    parts, state = [], b"(B"
    for character in text.translate(_FULL_WIDTH):
        if character in "\x0e\x0f\x1b":
            wanted, written = b"(B" if state == b"$B" else state, _html_reference("\ufffd", "")
        elif character < "\x80":
            wanted = b"(J" if state == b"(J" and character not in "\\~" else b"(B"
            written = character.encode()
        elif character in "\u00a5\u203e":
            wanted, written = b"(J", b"\\" if character == "\u00a5" else b"~"
        elif (pair := _characters("euc-jp").get(character)) is not None:
            wanted, written = b"$B", bytes(byte & 0x7F for byte in pair)
        else:
            wanted, written = b"(B" if state == b"$B" else state, _html_reference(character, "")
        parts += [b"\x1b" + wanted, written] if wanted != state else [written]
        state = wanted
    return b"".join(parts if state == b"(B" else [*parts, b"\x1b(B"])
