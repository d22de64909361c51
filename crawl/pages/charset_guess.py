"""The encoding of a page that declares none, told from its bytes and its top-level domain, as Firefox tells it.

chardetng is Firefox's detector. What it does not do is done here: UTF-8, damaged or not, is told by its form, and what
is told by signs alone, such as an English page's quotes and its £, is windows-1252, the HTML standard's default.
"""

from __future__ import annotations

import re

import chardetng_py

_SAMPLE_BYTES = 64 * 1024
_DEFAULT = "windows-1252"
_NAMES = {  # by what chardetng_py says, where that is not the standard's name
    "cp874": "windows-874",
    "iso-8859-4": _DEFAULT,  # hardly ever written, but what the few accents of a Dutch or Catalan page look like
}
_WIDE = re.compile(r"[^\x00-\x7f]")
_ASCII = re.compile(rb"(?<![\x00-\x7f])([\x00-\x7f]{8})[\x00-\x7f]+([\x00-\x7f]{8})")  # markup
# windows-1252's quotes, dashes and spaces, and its ©, £, ° and the like where no letter stands beside them.
_SIGN = re.compile(
    rb"(?<![\x80-\xff])[\x80-\x97\xa0\xab\xad\xb7\xbb](?![\x80-\xff])"
    rb"|(?<![A-Za-z\x80-\xff])[\x80-\xbf]+(?![A-Za-z\x80-\xff])"
)
_LETTER = re.compile(rb"[\xc0-\xff]|[A-Za-z][\x80-\xbf]")  # a byte that is hardly a sign in windows-1252
_TOP_LEVEL = re.compile(r"https?://[^/?#]*\.([a-z]{2,63}|xn--[a-z0-9-]{2,59})(?::\d+)?(?:[/?#]|$)")


def guess(page: bytes, url: str = "") -> str:
    """Return the encoding that a page's bytes seem to be in, by its name in the Encoding standard, lower case.

    Args:
        page: the whole of it.
        url: where it was; most pages of a country's domain are in that country's encodings.
    """
    try:
        page.decode("utf-8")
    except UnicodeDecodeError:
        return _guess_legacy(_ASCII.sub(rb"\1 \2", page)[:_SAMPLE_BYTES], _top_level(url))
    if page.isascii() and b"\x1b" in page and _detect(page[:_SAMPLE_BYTES], None) == "iso-2022-jp":
        return "iso-2022-jp"
    return "utf-8"


def _guess_legacy(sample: bytes, domain: bytes | None) -> str:
    if _is_damaged_utf8(sample):
        return "utf-8"
    encoding = _detect(sample, domain)
    if encoding == _DEFAULT:
        return encoding
    letters = _SIGN.sub(b" ", sample)
    return encoding if _LETTER.search(letters) and _detect(letters, domain) != _DEFAULT else _DEFAULT


def _detect(sample: bytes, domain: bytes | None) -> str:
    name = chardetng_py.detect(sample, tld=domain).lower()
    return _NAMES.get(name, name)


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether most characters above ASCII form UTF-8's sequences, which other encodings hardly ever do."""
    text = sample.decode("utf-8", "replace")
    return text.count("\ufffd") < 0.5 * len(_WIDE.findall(text))


def _top_level(url: str) -> bytes | None:
    """Return the top-level domain in the form that chardetng asks for."""
    match = _TOP_LEVEL.match(url.lower())
    return match[1].encode() if match else None
