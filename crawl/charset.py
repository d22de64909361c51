"""From a page's bytes to UTF-8, by the order that browsers follow (HTML standard, "determining the encoding").

A byte order mark, then the transport's charset, then the page's own `<meta>` or XML declaration, then what its bytes
seem to be (`crawl.detect`).
"""

from __future__ import annotations

import codecs
import re

from crawl.detect import guess

# The Encoding standard's labels (encoding.spec.whatwg.org, "names and labels"), by the Python codec that decodes them.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859_2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859_3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859_4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859_5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859_6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
    "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859_7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso8859_8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
    "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859_10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859_13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859_14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859_15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859_16": "iso-8859-16",
    "koi8_r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8_u": "koi8-ru koi8-u",
    "mac_roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
    "iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
    "windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp_ext": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
    "windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}

# What Python's tables of JIS X 0208 map otherwise than the Encoding standard's.
_JIS = str.maketrans("\u301c\u2212\u2016\u00a2\u00a3\u00ac", "\uff5e\uff0d\u2225\uffe0\uffe1\uffe2")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
_PRESCAN_BYTES = 16 * 1024  # the standard scans 1,024 first, but restarts when the parser meets a later <meta>
_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
_META = re.compile(
    rb"""<meta[\s/][^>]{0,1024}?charset\s*=\s*["']?\s*([^\s"'/>;]{1,40})"""
    rb"""|^\s*<\?xml[^>]{0,256}?encoding\s*=\s*["']([^"'>]{1,40})""",
    re.IGNORECASE,
)


def codec_of(label: str | None) -> str | None:
    """The Python codec that decodes a WHATWG encoding label as browsers do; None for an unknown label."""
    return None if label is None else _CODECS.get(label.strip(" \t\r\n\f\"'").lower())


def to_utf8(page: bytes, declared: str | None = None, url: str = "") -> bytes:
    """A page's bytes in UTF-8, without a byte order mark. Bytes that the encoding lacks become U+FFFD in the parser.

    Args:
        page: the page as the server sent it.
        declared: the charset of the response's Content-Type, if it has one.
        url: where the page was, if that is known.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if page.startswith(mark):
            return _recode(page[len(mark) :], name)
    return _recode(page, codec_of(declared) or _own_declaration(page) or guess(page, url))


def _recode(page: bytes, codec: str) -> bytes:
    if codec == "utf-8":
        return page  # the parser replaces what is not UTF-8 by itself
    if codec in ("euc_jp", "iso2022_jp_ext"):
        return page.decode(codec, _NEC).translate(_JIS).encode("utf-8", "replace")
    return page.decode(codec, "replace").encode("utf-8", "replace")


def _nec_character(error: UnicodeError) -> tuple[str, int]:
    """A character that NEC and IBM added to JIS X 0208, such as ① and ㈱, which Python has in Shift_JIS alone."""
    assert isinstance(error, UnicodeDecodeError)
    pair = error.object[error.start : error.start + 2]
    row, cell = (byte & 0x7F for byte in pair.ljust(2))
    if not (0x21 <= row <= 0x7E and 0x21 <= cell <= 0x7E) or (pair[0] ^ pair[-1]) & 0x80:
        return "\ufffd", error.end
    # JIS X 0208:1997, annex 1: two rows of 94 stand under one lead byte.
    lead = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)
    trail = cell + (0x1F + (cell >= 0x60) if row % 2 else 0x7E)
    text = bytes((lead, trail)).decode("cp932", "replace")
    return ("\ufffd", error.end) if "\ufffd" in text else (text, error.start + 2)


_NEC = "openwit_nec"
codecs.register_error(_NEC, _nec_character)


def _own_declaration(page: bytes) -> str | None:
    match = _META.search(_COMMENT.sub(b"", page[:_PRESCAN_BYTES]))
    if match is None:
        return None
    codec = codec_of((match[1] or match[2]).decode("latin-1"))
    # A declaration that could be read as ASCII cannot be UTF-16 (HTML standard, prescan, step 15).
    return "utf-8" if codec in ("utf-16-be", "utf-16-le") else codec
