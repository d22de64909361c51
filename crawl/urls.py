"""URLs in one canonical form, by the WHATWG URL standard (what a browser requests)."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

import can_ada

from dataset.hosts import map_host

MAX_URL_CHARS = 2_048
"""Longer URLs are refused: sitemaps.org's limit for an address, which search engines and browsers' caches share."""

# What mail and advertising tools add to an address to know where a visitor comes from: the parameters that Firefox and
# Brave strip, and Google Analytics' campaign parameters.
TRACKING = (
    r"[?&](?:utm_[a-z0-9_]+|fbclid|gclid|gclsrc|gbraid|wbraid|dclid|msclkid|yclid|twclid|ttclid|igshid|mc_cid|mc_eid"
    r"|mkt_tok|oly_anon_id|oly_enc_id|_hsenc|_hsmi|__hstc|__hsfp|__hssc|hsctatracking|vero_id|_openstat|wickedid"
    r"|s_cid|ml_subscriber|ml_subscriber_hash)(?:=|&|$)"
)
"""A tracking parameter in a URL, as a regular expression that ignores case."""
_TRACKING = re.compile(TRACKING, re.IGNORECASE)
INLINED = frozenset("".join(letters) + ":" for letters in product(*zip("data", "DATA", strict=True)))
"""The first five characters of URLs that hold their image themselves."""
_HTTP = ("http://", "https://")
_WHITESPACE = " \t\r\n\f\v\x00"
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def canonical_url(url: str, base: str | None = None) -> str | None:
    """Return the http(s) URL that a browser would request, without fragment, credentials and tracking parameters;
    idempotent.

    Lone surrogates become U+FFFD, control characters and surrounding white space are stripped, the host is lower case
    and IDNA-encoded, default ports and dot segments are gone, the rest is percent-encoded. Other parameters stay: they
    may choose the image.

    Args:
        url: absolute, or relative to `base`.
        base: an absolute URL.

    Returns:
        None if it does not parse, is neither http nor https, or exceeds MAX_URL_CHARS (before or after).
    """
    if len(url) > MAX_URL_CHARS:
        url = url.strip(_WHITESPACE)
        if len(url) > MAX_URL_CHARS:
            return None
    if not url.isascii():
        url = scalar_values(url)
    url = map_host(url)
    try:
        # An absolute URL does not depend on its base, and parsing it alone is ten times as fast.
        if base is None or url.startswith(_HTTP):
            parsed = can_ada.parse(url)
        else:
            root = _base(base)
            parsed = can_ada.parse(url) if root is None else root + url
    except ValueError:
        return None
    href: str = parsed.href
    if "#" in href or "@" in href:
        if parsed.has_hash():
            parsed.hash = ""
        if parsed.has_credentials():
            parsed.username = parsed.password = ""
        href = parsed.href
    if "?" in href and _TRACKING.search(href):
        href = _strip_tracking(href)
    return href if href.startswith(_HTTP) and len(href) <= MAX_URL_CHARS else None


def _strip_tracking(href: str) -> str:
    path, _, query = href.partition("?")
    query = "&".join(part for part in query.split("&") if not _TRACKING.match("&" + part))
    return f"{path}?{query}" if query else path


@lru_cache(maxsize=64)
def _base(url: str) -> can_ada.URL | None:
    try:
        return can_ada.parse(url)
    except ValueError:
        return None


def url_in_header(value: bytes) -> str:
    """Return a URL as an HTTP header has it: bytes beyond ASCII stand for themselves, as in browsers, whatever they
    encode.
    """
    if value.isascii():
        return value.decode("ascii")
    return _BEYOND_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), value).decode("ascii")


def as_written(url: str) -> str:
    """Return a URL that has no canonical form, made fit for a table: trimmed, no control characters, cut at the
    limit.
    """
    return _CONTROL.sub("", scalar_values(url[: 2 * MAX_URL_CHARS])).strip()[:MAX_URL_CHARS]


def scalar_values(text: str) -> str:
    """Return a text that can be encoded (Infra standard, "convert into a scalar value string"): surrogate pairs are
    joined, lone ones become U+FFFD.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
