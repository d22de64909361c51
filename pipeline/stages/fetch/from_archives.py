"""Images that need not be asked for: of the run's own archives, and of what img2dataset has downloaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from crawl.archives.payload import ArchivedResponse
from crawl.archives.records import read_responses
from crawl.images import img2dataset_import
from crawl.images.ingest import Listed
from crawl.images.observations import Ingested, Observation, RefusedBody, observe
from crawl.images.parallel import in_order
from crawl.units import ingest_watched
from crawl.web.config import FetchConfig
from crawl.web.fetch import apply_licenses
from crawl.web.response import Refused
from crawl.web.rules.headers import check, licenses
from crawl.wishes import Wish
from dataset import heartbeat
from filters.images.hashlists import HashLists
from pipeline.engine.phase import Context
from pipeline.stages.fetch.fetch_store import adopted_images, locations


def from_adopted(
    context: Context,
    urls: Sequence[str],
    config: FetchConfig,
    lists: HashLists,
    take: Callable[[bytes, Listed], Ingested | RefusedBody],
) -> dict[str, Observation]:
    """Return what img2dataset has downloaded of these URLs; of one that it has twice, the first."""
    downloaded = adopted_images(context, urls)

    def take_adopted(row: Mapping[str, Any], body: bytes | None) -> Ingested | RefusedBody:
        def list_match(body: bytes, pdq: bytes | None) -> str | None:
            return lists.match_sha256(row["sha256"]) or lists.match(body, pdq)

        with heartbeat.working_on(row["url"]):
            return img2dataset_import.ingest_download(row, body, lambda body: take(body, list_match))

    work = (
        (row["url"], row["length"], partial(take_adopted, row, body))
        for row, body in img2dataset_import.read(downloaded, config.max_body_bytes)
    )
    return {url: observe(url, result, origin="adopted", fetched_at="", final_url=url) for url, result in in_order(work)}


def from_archives(
    context: Context,
    urls: Sequence[str],
    config: FetchConfig,
    take: Callable[[bytes], Ingested | RefusedBody],
    held: pa.Table,
    opted_out: Container[str],
) -> dict[str, Observation]:
    """Yield what the run's own archives hold of these URLs; RSL licenses that an image's headers name are asked for.

    opted_out: domains that are not asked, nor those below them.
    """
    held = held.filter(pc.is_in(held.column("url"), value_set=pa.array(urls, pa.string())))
    places: dict[str, defaultdict[int, list[dict[str, Any]]]] = {}
    for row in held.to_pylist():
        places.setdefault(row["archive"], defaultdict(list))[row["offset"]].append(row)

    named: list[tuple[str, str, str]] = []

    def captured_images() -> Iterator[tuple[_Capture, int, Callable[[], Ingested | RefusedBody]]]:
        for archive, by_offset in places.items():
            for offset, response, date in read_responses(locations(context)[archive], sorted(by_offset)):
                refusal, unread = _header_refusal(config, response)
                asked = licenses(config, _values(response), by_offset[offset][0]["final_url"])
                for row in by_offset[offset]:
                    named.extend((license_, place, row["url"]) for license_, place in asked)
                    capture = _Capture(row, len(response.body), date or "", unread)
                    body = b"" if refusal else response.body
                    yield capture, len(body), partial(_take_unless_refused, take, row["url"], body, refusal)

    done: dict[str, Observation] = {}
    for (row, size, date, unread), result in in_order(captured_images()):
        seen_ = observe(
            row["url"],
            result,
            origin="archive",
            fetched_at=date,  # when the archive's crawler got it, so that two runs write the same
            status=200,
            final_url=row["final_url"],
            fetched_bytes=size,
        )
        done[row["url"]] = replace(
            seen_,
            archive=row["archive"],
            archive_checksum=row["archive_checksum"],
            archive_offset=row["offset"],
            wish=seen_.wish or unread,
        )
    return done | apply_licenses(done, [one for one in named if done[one[2]].image is not None], config, opted_out)


class _Capture(NamedTuple):
    """An image in an archive, without its body."""

    row: Mapping[str, Any]  # of ARCHIVE_IMAGES
    size: int
    date: str  # empty: the archive does not say
    unread: Wish | None


def _take_unless_refused(
    take: Callable[[bytes], Ingested | RefusedBody], url: str, body: bytes, refusal: RefusedBody | None
) -> Ingested | RefusedBody:
    return refusal or ingest_watched(take, url, body)


def _values(response: ArchivedResponse) -> Callable[[str], Sequence[str]]:
    """A captured answer's headers, by their names."""
    return lambda name: response.headers.get(name.lower(), ())


def _header_refusal(config: FetchConfig, response: ArchivedResponse) -> tuple[RefusedBody | None, Wish | None]:
    """What the headers of a captured image refuse, and what they ask that cannot be read."""
    try:
        return None, check(config, _values(response))
    except Refused as refused:
        return RefusedBody(refused.outcome, refused.detail, refused.wish), None
