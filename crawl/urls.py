"""URLs in one canonical form, by the WHATWG URL standard (what a browser requests), and the image's URL in a tag."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import product

import can_ada

from dataset.hosts import mapped

MAX_URL_CHARS = 2_048
"""Longer URLs are refused: sitemaps.org's limit for an address, which search engines and browsers' caches share."""

LAZY = (
    *("data-src", "data-original", "data-lazy-src", "data-lazy", "data-orig-file", "data-url", "data-lazyload"),
    *("data-original-src", "data-defer-src", "data-actualsrc", "data-echo", "data-image", "data-img-src"),
    *("data-cfsrc", "data-ezsrc", "data-hi-res-src", "data-large-file", "data-full-url"),
)
"""Attributes that lazy-loading scripts, plug-ins and content networks keep an image's URL in, the commonest first."""
SRCSETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "srcset")
_ALTERNATIVES = frozenset(LAZY + SRCSETS)

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
_IMAGE_FILE = re.compile(r"[^?#]+\.(?:jpe?g|jfif|png|gif|webp|avif|bmp|tiff?)(?:[?#]|$)", re.IGNORECASE)
_WHITESPACE = " \t\r\n\f\v\x00"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_FETCHED = ("data:", "about:", "javascript:", "#")
# File names of the pixels that stand in for an image until a script loads it.
_PLACEHOLDER = re.compile(
    r"(?:.*[_.-])?(?:blank|empty|spacer|transparent|placeholder|lazy|lazyload|loading|loader|pixel|1x1|1px|trans|clear)"
    r"(?:[\d_.-][\w.-]*)?\.(?:gif|png|svg|jpe?g|webp)",
    re.IGNORECASE,
)
# One candidate of a srcset: a URL (which may hold commas, but not end in one) and a descriptor such as 480w or 2x.
_SRCSET = re.compile(r"[\s,]*(\S*[^\s,])(?:\s+([^,]*))?")
_DESCRIPTOR = re.compile(r"^(\d+(?:\.\d+)?)([wx])$")


def canonical_url(url: str, base: str | None = None) -> str | None:
    """The http(s) URL that a browser would request, without fragment, credentials and tracking parameters; idempotent.

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
    url = mapped(url)
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
        href = _without_tracking(href)
    return href if href.startswith(_HTTP) and len(href) <= MAX_URL_CHARS else None


def _without_tracking(href: str) -> str:
    path, _, query = href.partition("?")
    query = "&".join(part for part in query.split("&") if not _TRACKING.match("&" + part))
    return f"{path}?{query}" if query else path


@lru_cache(maxsize=64)
def _base(url: str) -> can_ada.URL | None:
    try:
        return can_ada.parse(url)
    except ValueError:
        return None


def as_written(url: str) -> str:
    """A URL that has no canonical form, made fit for a table: trimmed, no control characters, cut at the limit."""
    return _CONTROL.sub("", scalar_values(url[: 2 * MAX_URL_CHARS])).strip()[:MAX_URL_CHARS]


def scalar_values(text: str) -> str:
    """A text that can be encoded (Infra standard, "convert into a scalar value string"): surrogate pairs are joined,
    lone ones become U+FFFD.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def names_image(url: str) -> bool:
    """Whether a URL's path ends as an image file's does."""
    return len(url) <= MAX_URL_CHARS and _IMAGE_FILE.match(url) is not None


def image_url(attributes: Mapping[str, str | None]) -> str:
    """The URL that an `<img>` shows in the end, as written.

    It is `src`; where that is absent or a placeholder (`data:`, `blank.gif`, …), a lazy-loading attribute's URL or the
    largest of a srcset, if there is one. Empty if the tag names none.
    """
    src = (attributes.get("src") or "").strip(_WHITESPACE)
    if src and (_ALTERNATIVES.isdisjoint(attributes) or not is_placeholder(src)):
        return src
    for name in LAZY:
        value = (attributes.get(name) or "").strip(_WHITESPACE)
        if value and value[:5] not in INLINED:
            return value
    for name in SRCSETS:
        value = attributes.get(name) or ""
        if value and (largest := largest_of(value)):
            return largest
    return src


def largest_of(srcset: str) -> str:
    """The URL with the greatest width or density in a srcset, the first of equals; empty if it names none."""
    best, best_size = "", -1.0
    for match in _SRCSET.finditer(srcset):
        url, descriptor = match.groups()
        if url[:5] in INLINED:
            continue
        size = _DESCRIPTOR.match((descriptor or "1x").strip())
        value = float(size[1]) if size else 0.0
        if value > best_size:
            best, best_size = url, value
    return best


def is_placeholder(src: str) -> bool:
    """Whether an address is no image of the page's own: inlined, empty of meaning, or named as stand-ins are."""
    if src[:11].lower().startswith(_NOT_FETCHED):
        return True
    name = src[:MAX_URL_CHARS].partition("?")[0].partition("#")[0].rpartition("/")[2]
    return _PLACEHOLDER.fullmatch(name) is not None
