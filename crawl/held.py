"""The images that an archive holds, and the redirects and revisits that lead to them, as a piece of it tells."""

from __future__ import annotations

import pyarrow as pa

from crawl.urls import canonical_url
from dataset.hosts import hostname
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS


class HeldImages:
    """Collects what a piece of an archive says of images.

    Where a lead leads to may stand in another piece, or in another archive, so it is followed where all meet
    (`pipeline.stages.redirects`).
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

    def images(self) -> pa.Table:
        """ARCHIVE_IMAGES, in the archive's order."""
        urls = [url for url, _, _ in self._images]
        columns = {
            "url": urls,
            "host": [hostname(url) for url in urls],
            "final_url": urls,
            "media_type": [media_type for _, media_type, _ in self._images],
            "archive": [self._archive] * len(urls),
            "offset": [offset for _, _, offset in self._images],
        }
        return pa.table(columns, ARCHIVE_IMAGES)

    def leads(self) -> pa.Table:
        """ARCHIVE_LEADS, in the archive's order, one a URL."""
        columns = {
            "url": list(self._leads),
            "host": [hostname(url) for url in self._leads],
            "target": [target for target, _ in self._leads.values()],
            "target_host": [hostname(target) for target, _ in self._leads.values()],
            "is_redirect": [is_redirect for _, is_redirect in self._leads.values()],
        }
        return pa.table(columns, ARCHIVE_LEADS)
