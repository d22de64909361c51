"""The encoding of a page that declares none, told from its bytes, as browsers tell it.

Only what tells itself apart is told: UTF-8 by its form, Japanese by its kana, Korean, Chinese and Cyrillic by where
their common letters stand in each encoding's table. Everything else is windows-1252, the HTML standard's default.
"""

from __future__ import annotations

import re

_SAMPLE_BYTES = 64 * 1024
_HIGH = re.compile(rb"[\x80-\xff]")
_PAIR = re.compile(rb"[\x80-\xff][\x40-\xff]")
_JIS_ESCAPE = re.compile(rb"\x1b\$[@B]")
_WIDE = re.compile(r"[^\x00-\x7f]")
_KANA = re.compile(r"[\u3041-\u3093\u30a1-\u30f6\u30fc]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_CYRILLIC = re.compile(r"[оеаинтсрі]")  # which are over half of any Russian or Ukrainian text
_RUN = re.compile(rb"[\x80-\xff]{3,}")
# Where the common hanzi stand: GB 2312's 3,755 under the lead bytes B0 to D7, Big5's 5,401 under A4 to C6.
_GB = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]")
_BIG5 = re.compile(rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]")
_WRONG_SHARE = 0.05  # of the characters above ASCII: damage, and what comes from pages of other encodings


def guess(page: bytes) -> str:
    """The Python codec that a page's bytes seem to be written in."""
    try:
        page.decode("utf-8")
    except UnicodeDecodeError:
        return _guess_legacy(page[:_SAMPLE_BYTES])
    return "iso2022_jp_ext" if page.isascii() and _JIS_ESCAPE.search(page) else "utf-8"


def _guess_legacy(sample: bytes) -> str:
    if _wrong(sample, "utf-8") < 0.5:  # other encodings hardly ever form its sequences
        return "utf-8"
    for codec in ("euc_jp", "cp932"):
        if _wrong(sample, codec) < _WRONG_SHARE and _share(_KANA, sample, codec) > 0.15:
            return codec
    if _wrong(sample, "cp949") < _WRONG_SHARE and _share(_HANGUL, sample, "cp949") > 0.8:
        return "cp949"
    pairs = len(_PAIR.findall(sample))
    for codec, common in (("gb18030", _GB), ("big5hkscs", _BIG5)):
        if _wrong(sample, codec) < _WRONG_SHARE and len(common.findall(sample)) > 0.6 * pairs:
            return codec
    if sum(map(len, _RUN.findall(sample))) < 0.6 * len(_HIGH.findall(sample)):  # accented letters come one by one
        return "cp1252"
    codec = max(("cp1251", "koi8_r", "iso8859_5", "cp866"), key=lambda name: _share(_CYRILLIC, sample, name))
    return codec if _share(_CYRILLIC, sample, codec) > 0.4 else "cp1252"


def _wrong(sample: bytes, codec: str) -> float:
    """Which share of the characters above ASCII the codec cannot read."""
    text = sample.decode(codec, "replace")
    return text.count("\ufffd") / max(1, len(_WIDE.findall(text)))


def _share(letters: re.Pattern[str], sample: bytes, codec: str) -> float:
    """Which share of the characters above ASCII are such letters."""
    text = sample.decode(codec, "replace")
    return len(letters.findall(text)) / max(1, len(_WIDE.findall(text)))
