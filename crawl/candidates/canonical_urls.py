"""Canonical URLs for whole columns: what a regular expression knows to be canonical is not parsed.

Nine in ten of the web's image URLs are so once a page's origin or folder stands before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.clean_text import to_arrow
from crawl.urls import MAX_URL_CHARS, TRACKING, as_written, canonical_url
from dataset.hosts import hostname

# URLs that the WHATWG URL standard's parser leaves as they are. Host: lower-case labels without the double hyphen of
# Punycode, the last with a letter first, for else it may be an IPv4 address. Path and query: no character of their
# percent-encode sets, no backslash, no segment that begins with a dot, encoded or not.
_LABEL = "[a-z0-9]+(?:-[a-z0-9]+)*"
_SAFE = r"!$&'()*+,\-0-9:;=@A-Z\[\]_a-z|~"
_SEGMENT = rf"(?:(?:[{_SAFE}]|%[013-9A-Za-z]|%2[0-9A-DF-Za-df-z])[{_SAFE}.%]*)?"
_PLAIN = rf"^https?://(?:{_LABEL}\.)+[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?:/{_SEGMENT})+"
_QUERY = r"\?[!$%&()*+,./0-9:;=?@A-Z\[\]_a-z|~-]*"
_UNKNOWN = "\x00"  # before what is not fast to resolve: no canonical URL holds it


def canonical_urls(
    urls: Sequence[str] | pa.Array, bases: Sequence[str | None], of: np.ndarray
) -> tuple[pa.Array, pa.Array]:
    """Return the canonical form of each URL as `crawl.urls.canonical_url` has it, or it as written; and its host, as
    `dataset.hosts` has it, or nothing.

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
    whole = _make_absolute(array, bases, of)
    is_known = _is_canonical(whole)
    others = np.flatnonzero(~is_known)
    parsed = [
        (url, canonical_url(url, bases[base]))
        for url, base in zip(array.take(pa.array(others)).to_pylist(), of[others].tolist(), strict=True)
    ]
    unknown = pa.array(~is_known)
    hosts = pc.list_element(pc.split_pattern(pc.if_else(unknown, "//", whole), "/", max_splits=3), 2)
    return (
        pc.replace_with_mask(
            whole,
            unknown,
            pa.array([as_written(url) if canonical is None else canonical for url, canonical in parsed], pa.string()),
        ),
        pc.replace_with_mask(
            hosts,
            unknown,
            pa.array(["" if canonical is None else hostname(canonical) for _, canonical in parsed], pa.string()),
        ),
    )


def _is_canonical(urls: pa.Array) -> np.ndarray:
    """Which URLs are beyond doubt canonical, bool of shape (n,)."""
    fits = pc.less_equal(pc.binary_length(urls), MAX_URL_CHARS)
    is_plain = np.array(pc.and_(fits, pc.match_substring_regex(urls, _PLAIN + "$")))
    rest = np.flatnonzero(np.array(fits) & ~is_plain)
    asking = urls.take(pa.array(rest))
    tracks = pc.match_substring_regex(asking, TRACKING, ignore_case=True)
    is_plain[rest] = np.array(pc.and_not(pc.match_substring_regex(asking, f"{_PLAIN}{_QUERY}$"), tracks))
    return is_plain


def _make_absolute(urls: pa.Array, bases: Sequence[str | None], of: np.ndarray) -> pa.Array:
    """URLs with what stands before a relative one in the whole: its base's scheme, origin or folder."""
    is_whole = np.array(pc.or_(pc.starts_with(urls, "http://"), pc.starts_with(urls, "https://")))
    others = np.flatnonzero(~is_whole)
    if not len(others):
        return urls
    parts = urls.take(pa.array(others))
    used, of = np.unique(of[others], return_inverse=True)
    starts = [part for base in used.tolist() for part in _starts(bases[base])]
    kinds = [
        np.array(pc.starts_with(parts, "//")),
        np.array(pc.starts_with(parts, "/")),
        np.array(pc.match_substring_regex(parts, "^[^:?][^:]*$")),
    ]
    chosen = np.select(kinds, [3 * of, 3 * of + 1, 3 * of + 2], len(starts))
    before = pa.array([*starts, _UNKNOWN], pa.string()).take(pa.array(chosen))
    return pc.replace_with_mask(urls, pa.array(~is_whole), pc.binary_join_element_wise(before, parts, ""))


def _starts(base: str | None) -> tuple[str, str, str]:
    """Scheme, origin and folder of a canonical URL."""
    if base is None:
        return _UNKNOWN, _UNKNOWN, _UNKNOWN
    path = base.partition("?")[0]
    origin = path[: path.index("/", 8)]
    return base[: base.index("/")], origin, path[: path.rindex("/") + 1]


def is_inlined(urls: pa.Array) -> np.ndarray:
    """Return which URLs hold their image themselves, bool of shape (n,)."""
    return np.array(pc.starts_with(urls, "data:", ignore_case=True), bool)
