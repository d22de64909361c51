"""The encodings of the web (WHATWG's Encoding standard): their labels, and bytes to text as browsers read them.

Python's codecs do the work. Where their tables differ from the standard's, which tests hold digests of, corrections
stand here: characters that a codec lacks, and those that it maps otherwise.
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
from functools import cache
from itertools import chain
from operator import itemgetter

LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "ibm866": "866 cp866 csibm866 ibm866",
    "iso-8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso-8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso-8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso-8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso-8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
    "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso-8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso-8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 "
    "iso_8859-8 iso_8859-8:1988 visual",
    "iso-8859-8-i": "csiso88598i iso-8859-8-i logical",
    "iso-8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso-8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso-8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso-8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso-8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "macintosh": "csmacintosh mac macintosh x-mac-roman",
    "windows-874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "windows-1250": "cp1250 windows-1250 x-cp1250",
    "windows-1251": "cp1251 windows-1251 x-cp1251",
    "windows-1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
    "iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252",
    "windows-1253": "cp1253 windows-1253 x-cp1253",
    "windows-1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
    "windows-1254 x-cp1254",
    "windows-1255": "cp1255 windows-1255 x-cp1255",
    "windows-1256": "cp1256 windows-1256 x-cp1256",
    "windows-1257": "cp1257 windows-1257 x-cp1257",
    "windows-1258": "cp1258 windows-1258 x-cp1258",
    "x-mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gbk": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk",
    "gb18030": "gb18030",
    "big5": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso-2022-jp": "csiso2022jp iso-2022-jp",
    "shift_jis": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "euc-kr": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
    "windows-949",
    "utf-16be": "unicodefffe utf-16be",
    "utf-16le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "x-user-defined": "x-user-defined",
}
"""Each encoding's labels. Those of `replacement`, of which browsers show nothing, count as unknown."""
_BY_LABEL = {label: name for name, labels in LABELS.items() for label in labels.split()}
_MULTI_BYTE = {  # the codec, and what it reads or stumbles over at once, by the standard's decoders
    "gb18030": (
        "gb18030",
        rb"[\x81-\xfe](?:[\x30-\x39][\x81-\xfe][\x30-\x39]|[\x30-\x39][\x81-\xfe]?\Z|[\x80-\xff])?|[\x80\xff]",
    ),
    "big5": ("big5hkscs", rb"[\x81-\xfe][\x80-\xff]?|[\x80\xff]"),
    "euc-jp": ("euc_jp", rb"\x8f[\xa1-\xfe][\x80-\xff]?|[\x8e\x8f\xa1-\xfe][\x80-\xff]?|[\x80-\xff]"),
    "shift_jis": ("cp932", rb"[\x81-\x9f\xe0-\xfc][\x80-\xff]?|[\x80-\xff]"),
    "euc-kr": ("cp949", rb"[\x81-\xfe][\x80-\xff]?|[\x80\xff]"),
}
_SAME_DECODER = {"gbk": "gb18030", "iso-8859-8-i": "iso-8859-8"}
_CODECS = {
    "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "windows-874": "cp874",
    "utf-16be": "utf_16_be",
    "utf-16le": "utf_16_le",
}


def _pairs(text: str) -> dict[bytes, str]:
    """`a145‧…`: hexadecimal digits, and the character that they are."""
    pairs = re.findall(r"((?:[0-9a-f]{2})+)([^0-9a-f]+)", text)
    return {bytes.fromhex(digits): character for digits, character in pairs}


_LACKING = {  # what a codec has no character for
    "gb18030": _pairs("80€"),
    "big5": _pairs(  # HKSCS-2008, and what Big5's index has from ETEN and Microsoft
        "877a㡵877b𡵓877c𣚞877d𦀡877e㻬87a1𥣞87a2㫵87a3竼87a4龗87a5𤅡87a6𨤍87a7𣇪87a8𠪊87a9𣉞87aa䌊87ab蒄87ac龖87ad鐯87ae䤰87af蘓87b0墖"
        "87b1靊87b2鈘87b3秐87b4稲87b5晠87b6権87b7袝87b8瑌87b9篅87ba枂87bb稬87bc剏87bd遆87be㓦87bf珄87c0𥶹87c1瓆87c2鿇87c3垳87c4䤯87c5呌"
        "87c6䄱87c7𣚎87c8堘87c9穲87ca𧭥87cb讏87cc䚮87cd𦺈87ce䆁87cf𥶙87d0箮87d1𢒼87d2鿈87d3𢓁87d4𢓉87d5𢓌87d6鿉87d7蔄87d8𣖻87d9䂴87da鿊"
        "87db䓡87dc𪷿87dd拁87de灮87df鿋8e69箸8e6f簆8e7e糎8eab緒8eb4縝8ecd者8ed0耨8f57菁8f69蒨8f6e萏8fcb覦8fcc覩8ffe起906d都907a銹90dc靜"
        "90f1響91bf鼖9244蔃92af兙92b0兛92b1兝92b2兞92c8鍮92d1瑹9447浧94ca禛95d9邗9644靝96ed瀞96fc嬨9b76爁9b78矗9b7b纇9bc6駖9bde釔9bec惞"
        "9bf6澶9c42輶9c53侻9c62營9c68鄄9c6b鷰9c77菏9cbc尐9cbd秣9cd0婧9d57輋9d5a筑9dc4拐9ea9恢9eef痹9efd汊9f60鬮9f66鼗9fcb僭9fd8弌a063蠏"
        "a077拎a0d5瑨a0df煢a0e4牐a3c0␀a3c1␁a3c2␂a3c3␃a3c4␄a3c5␅a3c6␆a3c7␇a3c8␈a3c9␉a3ca␊a3cb␋a3cc␌a3cd␍a3ce␎a3cf␏a3d0␐"
        "a3d1␑a3d2␒a3d3␓a3d4␔a3d5␕a3d6␖a3d7␗a3d8␘a3d9␙a3da␚a3db␛a3dc␜a3dd␝a3de␞a3df␟a3e0␡a3e1€c6cf廴c6d3无c6d5癶c6d7隶"
        "c6de〃c6df仝fa5f倩fa66偽fabd包fac5卄fad5卿fb48嘅fbb8婷fbf3幵fbf9廐fc4f彘fc6c悤fcb9撐fce2晴fcf1杞fdb7沜fdb8渝fdbb港fdf1煮fe52猪"
        "fe6f瑜feaa瓩fedd砉"
    ),
}
_OTHERWISE = {  # what a codec has another character for
    "koi8-u": _pairs("aeўbeЎ"),
    "windows-1255": _pairs("ca\u05ba"),
    "gb18030": _pairs(
        "a3a0\u3000a6d9︐a6da︒a6db︑a6dc︓a6dd︔a6de︕a6df︖a6ec︗a6ed︘a6f3︙a8bcḿfe59龴fe61龵fe66龶fe67龷fe6d龸fe7e龹"
        "fe90龺fea0龻8135f437\ue7c7"
    ),
    "big5": _pairs("a145‧a14e﹑a1c2¯a1e3～a1f2⊕a1f3⊙a241∕a242﹨a244￥a246￠a247￡"),
    "euc-jp": _pairs("a1c1～a1c2∥a1dd－a1f1￠a1f2￡a2cc￢8fa2b7～"),
    "shift_jis": _pairs("a0\ufffdfd\ufffdfe\ufffdff\ufffd"),
}


def encoding_of(label: str | None) -> str | None:
    """Return the encoding that a label names ("get an encoding"), lower case; None for an unknown label."""
    return None if label is None else _BY_LABEL.get(label.strip(" \t\r\n\f").lower())


def decode(data: bytes, encoding: str) -> str:
    """Decode bytes as text, by the standard's decoder of an encoding; what it has no character for is U+FFFD."""
    encoding = _SAME_DECODER.get(encoding, encoding)
    if encoding in _MULTI_BYTE:
        return _decode_multi_byte(data, encoding)
    if encoding == "iso-2022-jp":
        return _decode_iso_2022_jp(data)
    if encoding in ("utf-8", "utf-16be", "utf-16le"):
        return data.decode(_CODECS.get(encoding, encoding), "replace")
    return codecs.charmap_decode(data, "replace", _table(encoding))[0]


@cache
def _table(encoding: str) -> str:
    """The characters of a single-byte encoding's bytes; U+FFFE stands for none, as charmap_decode has it."""
    if encoding == "x-user-defined":
        return "".join(map(chr, chain(range(0x80), range(0xF780, 0xF800))))
    codec = _CODECS.get(encoding, encoding.replace("windows-", "cp"))
    otherwise = _OTHERWISE.get(encoding, {})
    return "".join(otherwise.get(bytes([byte])) or _single(byte, codec) for byte in range(256))


def _single(byte: int, codec: str) -> str:
    character = bytes([byte]).decode(codec, "replace")
    # Where Microsoft's tables have nothing, browsers read the control characters that ISO 8859 has there.
    return character if character != "\ufffd" else chr(byte) if byte < 0xA0 else "\ufffe"


@cache
def _decode_sequence(encoding: str) -> re.Pattern[bytes]:
    """Decode from a position on, up to and with the first sequence that the codec maps otherwise than the standard."""
    one_of = b"|".join(map(re.escape, _OTHERWISE[encoding]))
    return re.compile(rb"(?:[\x00-\x7f]++|(?!%b)(?:%b))*+(%b)" % (one_of, _MULTI_BYTE[encoding][1], one_of), re.DOTALL)


_FEW = 1_000  # characters that a codec does not find; each is looked up by a call
_KEPT = 2**16  # sequences
_TRAIL = {"gb18030": rb"[\x40-\x7e]", "big5": rb"[\x40-\x7e]", "shift_jis": rb"[\x40-\x7e]", "euc-kr": rb"[\x41-\x7a]"}
"""The ASCII bytes that may end a character of two bytes."""


class _TooManyError(Exception):
    """A codec has stumbled more than `_FEW` times."""


class _Stumbles(threading.local):
    """How often a codec may stumble yet, in this thread."""

    left = _FEW

    def take(self) -> None:
        """Count one. Raises _TooManyError."""
        self.left -= 1
        if self.left < 0:
            raise _TooManyError


_stumbles = _Stumbles()


class _Sequences(dict[bytes, str]):
    """What a codec makes of each sequence, asked once."""

    def __init__(self, encoding: str):
        self._encoding = encoding

    def __missing__(self, sequence: bytes) -> str:
        text = _decode_by_codec(sequence, self._encoding)
        if len(self) < _KEPT and len(sequence) <= 4:
            self[sequence] = text
        return text


@cache
def _sequences(encoding: str) -> tuple[re.Pattern[bytes], _Sequences]:
    """A pattern of what is read or stumbled over at once, and what that means."""
    pattern = _MULTI_BYTE[encoding][1]
    if encoding in _TRAIL:
        lead = re.match(rb"\[[^]]*\]", pattern)
        assert lead is not None
        pattern = rb"%b%b|%b" % (lead[0], _TRAIL[encoding], pattern)
    return re.compile(rb"[\x00-\x7f]++|" + pattern, re.DOTALL), _Sequences(encoding)


def _decode_multi_byte(data: bytes, encoding: str) -> str:
    """Decode by the codec, which reads a megabyte in milliseconds but stumbles slowly; or sequence by sequence."""
    _stumbles.left = _FEW
    try:
        return _decode_by_codec(data, encoding)
    except _TooManyError:
        _stumbles.left = sys.maxsize
        pattern, known = _sequences(encoding)
        return "".join(map(known.__getitem__, map(itemgetter(0), pattern.finditer(data))))


def _decode_by_codec(data: bytes, encoding: str) -> str:
    codec, errors = _MULTI_BYTE[encoding][0], f"openwit {encoding}"
    otherwise = _OTHERWISE.get(encoding, {})
    parts, position = [], 0
    if any(sequence in data for sequence in otherwise):
        while match := _decode_sequence(encoding).match(data, position):
            _stumbles.take()
            before = (
                data[position : match.start(1)] + b"\0"
            )  # which ends it as what follows does: not in half a character
            parts += [before.decode(codec, errors)[:-1], otherwise[match[1]]]
            position = match.end()
    return "".join([*parts, data[position:].decode(codec, errors)])


def _stumble(encoding: str) -> None:
    """Register what to do where a codec finds no character: look among those that it lacks, else U+FFFD.

    An ASCII byte is never swallowed with what stands before it: it may end a tag or an attribute.
    """
    lacking = _LACKING.get(encoding, {})
    token = re.compile(_MULTI_BYTE[encoding][1], re.DOTALL)

    def handle(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        _stumbles.take()
        data, start = error.object, error.start
        for length in (2, 1):
            sequence = data[start : start + length]
            if sequence in lacking:
                return lacking[sequence], start + len(sequence)
        match = token.match(data, start)
        assert match is not None
        if encoding == "euc-jp" and len(match[0]) == 2 and (character := _nec_character(match[0])):
            return character, match.end()
        return "\ufffd", match.end()

    codecs.register_error(f"openwit {encoding}", handle)


for _encoding in _MULTI_BYTE:
    _stumble(_encoding)


def _nec_character(pair: bytes) -> str:
    """A character that NEC and IBM added to JIS X 0208, such as ① and ㈱, which Python has in Shift_JIS alone."""
    row, cell = (byte & 0x7F for byte in pair)
    if not (0x21 <= row <= 0x7E and 0x21 <= cell <= 0x7E and pair[0] >= 0xA1):
        return ""
    # JIS X 0208:1997, annex 1: two rows of 94 stand under one lead byte.
    lead = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)
    trail = cell + (0x1F + (cell >= 0x60) if row % 2 else 0x7E)
    character = bytes((lead, trail)).decode("cp932", "replace")
    return "" if "\ufffd" in character else character


_ESCAPE = re.compile(rb"\x1b(?:\([BJI]|\$[@B])")
_ASCII, _ROMAN, _KATAKANA, _KANJI = b"(B", b"(J", b"(I", b"$B"
_RUNS = {  # what is read at once in each of ISO-2022-JP's states; any other byte is an error
    _ASCII: re.compile(rb"[^\x1b]+"),
    _ROMAN: re.compile(rb"[^\x1b]+"),
    _KATAKANA: re.compile(rb"[^\x1b]+"),
    _KANJI: re.compile(rb"(?:[\x21-\x7e]{2})+"),
}
_KATAKANA_TABLE = "".join(chr(0xFF61 + byte - 0x21) if 0x21 <= byte <= 0x5F else "\ufffe" for byte in range(256))
_NO_SHIFTS = bytes(0xFF if byte in b"\x0e\x0f" else byte for byte in range(256))  # which are errors
_TO_EUC = bytes(byte | 0x80 for byte in range(256))


def _decode_iso_2022_jp(data: bytes) -> str:
    parts: list[str] = []
    state, at, is_fresh = _ASCII, 0, False  # is_fresh: an escape sequence was read, and nothing since
    while at < len(data):
        if run := _RUNS[state].match(data, at):
            parts.append(_run(run[0], state))
            at, is_fresh = run.end(), False
        elif escape := _ESCAPE.match(data, at):
            if is_fresh:
                parts.append("\ufffd")
            state = _KANJI if escape[0][1:] == b"$@" else escape[0][1:]
            at, is_fresh = escape.end(), True
        else:
            parts.append("\ufffd")
            # Half a kanji takes along what it does not form one with, unless that may begin an escape sequence.
            is_half = state == _KANJI and 0x21 <= data[at] <= 0x7E and data[at + 1 : at + 2] not in (b"", b"\x1b")
            at, is_fresh = at + 1 + is_half, False
    return "".join(parts)


def _run(run: bytes, state: bytes) -> str:
    if state == _KANJI:
        return _decode_multi_byte(run.translate(_TO_EUC), "euc-jp")
    if state == _KATAKANA:
        return codecs.charmap_decode(run, "replace", _KATAKANA_TABLE)[0]
    text = run.translate(_NO_SHIFTS).decode("ascii", "replace")
    return text.translate({0x5C: "\u00a5", 0x7E: "\u203e"}) if state == _ROMAN else text
