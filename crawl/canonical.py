"""Canonical URLs for whole columns: what a regular expression knows to be canonical is not parsed.

Nine in ten of the web's image URLs are so once a page's origin or folder stands before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.clean import to_arrow
from crawl.urls import MAX_URL_CHARS, TRACKING, as_written, canonical_url, host_of, is_placeholder

# URLs that the WHATWG URL standard's parser leaves as they are. Host: lower-case labels without the double hyphen of
# Punycode, the last with a letter first, for else it may be an IPv4 address. Path and query: no character of their
# percent-encode sets, no backslash, no segment that begins with a dot, encoded or not.
_LABEL = "[a-z0-9]+(?:-[a-z0-9]+)*"
_SAFE = r"!$&'()*+,\-0-9:;=@A-Z\[\]_a-z|~"
_SEGMENT = rf"(?:(?:[{_SAFE}]|%[013-9A-Za-z]|%2[0-9A-DF-Za-df-z])[{_SAFE}.%]*)?"
_PLAIN = rf"^https?://(?:{_LABEL}\.)+[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?:/{_SEGMENT})+"
_QUERY = r"\?[!$%&()*+,./0-9:;=?@A-Z\[\]_a-z|~-]*"
_HTTP = r"^https?://"
_UNKNOWN = "\x00"  # before what is not fast to resolve: no canonical URL holds it
# Whatever crawl.urls.is_placeholder may say yes to, and little else.
_LIKE_PLACEHOLDER = (
    r"(?i)^(?:data:|about:|javascript:|#)"
    r"|(?:blank|empty|spacer|trans|placeholder|lazy|load|pixel|1x1|1px|clear)[^/?#]*\.(?:gif|png|svg|jpe?g|webp)"
)


def canonical_urls(urls: Sequence[str], bases: Sequence[str | None], of: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """The canonical form of each URL as `crawl.urls.canonical_url` has it, or it as written; and its host, or nothing.

    Args:
        urls: shape (n,), absolute or relative.
        bases: shape (m,), canonical URLs or None.
        of: which base each URL is relative to, integer of shape (n,).

    Returns:
        Two string arrays of shape (n,).
    """
    if not len(urls):
        return pa.array([], pa.string()), pa.array([], pa.string())
    array = to_arrow(urls)
    whole = pc.binary_join_element_wise(_prefixes(array, bases, of), array, "")
    is_known = _is_canonical(whole)
    others = np.flatnonzero(~is_known).tolist()
    parsed = [
        (urls[at], canonical_url(urls[at], bases[base])) for at, base in zip(others, of[others].tolist(), strict=True)
    ]
    unknown = pa.array(~is_known)
    hosts = pc.list_element(pc.split_pattern(pc.if_else(unknown, "//", whole), "/", max_splits=3), 2)
    return (
        pc.replace_with_mask(
            whole,
            unknown,
            pa.array([as_written(url) if found is None else found for url, found in parsed], pa.string()),
        ),
        pc.replace_with_mask(
            hosts, unknown, pa.array(["" if found is None else host_of(found) for _, found in parsed], pa.string())
        ),
    )


def _is_canonical(urls: pa.Array) -> np.ndarray:
    """Which URLs are beyond doubt canonical, bool of shape (n,)."""
    fits = pc.less_equal(pc.binary_length(urls), MAX_URL_CHARS)
    found = np.array(pc.and_(fits, pc.match_substring_regex(urls, _PLAIN + "$")))
    rest = np.flatnonzero(np.array(fits) & ~found)
    asking = urls.take(pa.array(rest))
    tracks = pc.match_substring_regex(asking, TRACKING, ignore_case=True)
    found[rest] = np.array(pc.and_not(pc.match_substring_regex(asking, f"{_PLAIN}{_QUERY}$"), tracks))
    return found


def _prefixes(urls: pa.Array, bases: Sequence[str | None], of: np.ndarray) -> pa.Array:
    """What stands before each URL in the whole one: nothing, or its base's scheme, origin or folder."""
    starts = [part for base in bases for part in _starts(base)]
    kinds = [np.array(pc.match_substring_regex(urls, begin)) for begin in (_HTTP, "^//", "^/", "^[^:?][^:]*$")]
    chosen = np.select(kinds, [len(starts) + 1, 3 * of, 3 * of + 1, 3 * of + 2], len(starts))
    return pa.array([*starts, _UNKNOWN, ""], pa.string()).take(pa.array(chosen))


def _starts(base: str | None) -> tuple[str, str, str]:
    """Scheme, origin and folder of a canonical URL."""
    if base is None:
        return _UNKNOWN, _UNKNOWN, _UNKNOWN
    path = base.partition("?")[0]
    origin = path[: path.index("/", 8)]
    return base[: base.index("/")], origin, path[: path.rindex("/") + 1]


def placeholders(urls: Sequence[str]) -> np.ndarray:
    """Which URLs are empty, or placeholders as `crawl.urls.is_placeholder` has it; bool of shape (n,)."""
    array = to_arrow(urls)
    length = np.array(pc.binary_length(array))
    found = np.array(pc.match_substring_regex(array, _LIKE_PLACEHOLDER))
    for at in np.flatnonzero(found | (length > MAX_URL_CHARS)):
        found[at] = is_placeholder(urls[int(at)])
    return found | (length == 0)
