"""The images that an archive holds, and the redirects and revisits that lead to them, as a piece of it tells."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from crawl.urls import canonical_url
from dataset.hosts import hostname
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS

_RECORD, _PAYLOAD = "record:", "payload:"


def names_of(record_id: str, payload_digest: str) -> list[str]:
    """Return the names by which revisits that give no address refer to a capture: the record's id, and the digest of
    its payload."""
    names = []
    if record_id.strip("<> "):
        names.append(_RECORD + record_id.strip("<> "))
    if payload_digest.strip():
        names.append(_PAYLOAD + payload_digest.strip().upper())  # base32 and hex alike
    return names


def _host_of(url: str) -> str:
    """The host of a canonical URL; a name stands for its own, so that names spread over the partitions as hosts do."""
    return url if url.startswith((_RECORD, _PAYLOAD)) else hostname(url)


class HeldImages:
    """Collects what a piece of an archive says of images.

    Where a lead leads to may stand in another piece, or in another archive, so it is followed where all meet
    (`pipeline.stages.fetch.redirects`).
    """

    def __init__(self, archive: str):
        self._archive = archive
        self._images: list[tuple[str, str, int]] = []  # URL or name, media type, offset
        self._named: set[str] = set()
        self._leads: dict[str, tuple[str, bool]] = {}  # URL to URL, and whether it is a redirect; the first counts

    def image(self, uri: str, media_type: str, offset: int, names: Sequence[str] = ()) -> None:
        """Add a response whose body is an image; names: what revisits may call it by, see `names_of`."""
        url = canonical_url(uri)
        if url is not None:
            self._images.append((url, media_type, offset))
        for name in names:
            if name not in self._named:
                self._named.add(name)
                self._images.append((name, media_type, offset))

    def redirect(self, uri: str, location: str) -> None:
        """Add a response that leads elsewhere; location: absolute, or relative to it."""
        url = canonical_url(uri)
        self._lead(url, canonical_url(location, url) if location else None, is_redirect=True)

    def revisit(self, uri: str, earlier: str, names: Sequence[str] = ()) -> None:
        """Add a record without a body, which is that of an earlier capture: at an address, or else of these names."""
        url, target = canonical_url(uri), canonical_url(earlier)
        if target is not None and target != url:
            self._lead(url, target, is_redirect=False)
            return
        for name in names:  # an archive may hold it by the one and not by the other
            self._lead(url, name, is_redirect=False)
            url = name

    def _lead(self, url: str | None, target: str | None, *, is_redirect: bool) -> None:
        if url is not None and target is not None and target != url:
            self._leads.setdefault(url, (target, is_redirect))

    def images(self) -> pa.Table:
        """Return what was added of images: ARCHIVE_IMAGES, in the archive's order."""
        urls = [url for url, _, _ in self._images]
        columns = {
            "url": urls,
            "host": [_host_of(url) for url in urls],
            "final_url": urls,
            "media_type": [media_type for _, media_type, _ in self._images],
            "archive": [self._archive] * len(urls),
            "offset": [offset for _, _, offset in self._images],
            "archive_checksum": pa.nulls(len(urls), pa.string()),  # which who plans the run knows
        }
        return pa.table(columns, ARCHIVE_IMAGES)

    def leads(self) -> pa.Table:
        """Return the redirects and revisits that were added: ARCHIVE_LEADS, in the archive's order, one a URL."""
        columns = {
            "url": list(self._leads),
            "host": [_host_of(url) for url in self._leads],
            "target": [target for target, _ in self._leads.values()],
            "target_host": [_host_of(target) for target, _ in self._leads.values()],
            "is_redirect": [is_redirect for _, is_redirect in self._leads.values()],
        }
        return pa.table(columns, ARCHIVE_LEADS)
