"""The bodies that an archive has at some offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crawl.archives.records import read_responses


def read_bodies(location: str, offsets: Sequence[int]) -> Iterator[tuple[int, bytes, str | None]]:
    """`read_responses`, of each the body alone: (offset, body, the record's date)."""
    return ((offset, response.body, date) for offset, response, date in read_responses(location, offsets))
