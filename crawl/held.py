"""The images that an archive holds, by the URLs that lead to them: their own, redirects, and earlier captures."""

from __future__ import annotations

import pyarrow as pa

from crawl.urls import canonical_url, host_of
from dataset.schema import ARCHIVE_IMAGES

_MAX_HOPS = 5  # as many redirects as `fetch.max_redirects` follows


class HeldImages:
    """Collects what a piece of an archive says of images and makes ARCHIVE_IMAGES of it.

    A redirect or a revisit is resolved where the piece holds its target, too: crawlers write the one after the other.
    """

    def __init__(self, archive: str):
        self._archive = archive
        self._images: list[tuple[str, str, int]] = []  # URL, media type, offset
        self._leads: dict[str, tuple[str, bool]] = {}  # URL to URL, and whether it is a redirect; the first counts

    def image(self, uri: str, media_type: str, offset: int) -> None:
        """A response whose body is an image."""
        url = canonical_url(uri)
        if url is not None:
            self._images.append((url, media_type, offset))

    def redirect(self, uri: str, location: str) -> None:
        """A response that leads elsewhere; location: absolute, or relative to it."""
        self._lead(uri, canonical_url(location, canonical_url(uri)) if location else None, is_redirect=True)

    def revisit(self, uri: str, earlier: str) -> None:
        """A record without a body, which is that of an earlier capture."""
        self._lead(uri, canonical_url(earlier), is_redirect=False)

    def _lead(self, uri: str, target: str | None, *, is_redirect: bool) -> None:
        url = canonical_url(uri)
        if url is not None and target is not None and target != url:
            self._leads.setdefault(url, (target, is_redirect))

    def table(self) -> pa.Table:
        """ARCHIVE_IMAGES: the images in the archive's order, then what leads to them."""
        first = {url: (media_type, offset) for url, media_type, offset in reversed(self._images)}
        rows = [(url, url, media_type, offset) for url, media_type, offset in self._images]
        for url in self._leads:
            final, at = url, url
            for _ in range(_MAX_HOPS):
                if at in first or at not in self._leads:
                    break
                at, is_redirect = self._leads[at]
                final = at if is_redirect else final
            if url not in first and at in first:
                rows.append((url, final, *first[at]))
        columns = {
            "url": [row[0] for row in rows],
            "host": [host_of(row[0]) for row in rows],
            "final_url": [row[1] for row in rows],
            "media_type": [row[2] for row in rows],
            "archive": [self._archive] * len(rows),
            "offset": [row[3] for row in rows],
        }
        return pa.table(columns, ARCHIVE_IMAGES)
