"""Images that need not be asked for: of the run's own archives, and of what img2dataset has downloaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawl.archives.payload import Response
from crawl.archives.records import read_responses
from crawl.images import img2dataset_import
from crawl.images.ingest import Listed
from crawl.images.observations import Ingested, Observation, Refusal, observe
from crawl.units import watched
from crawl.web.config import FetchConfig
from crawl.web.headers import check
from crawl.web.response import Refused
from crawl.wishes import Wish
from dataset import heartbeat
from filters.images.hashlists import HashLists
from pipeline.engine.phase import Context
from pipeline.stages.fetch.stored import adopted_images


def from_adopted(
    context: Context,
    urls: Sequence[str],
    config: FetchConfig,
    lists: HashLists,
    take: Callable[[bytes, Listed], Ingested | Refusal],
) -> dict[str, Observation]:
    """What img2dataset has downloaded of these URLs; of one that it has twice, the first."""
    downloaded = adopted_images(context, urls)
    done: dict[str, Observation] = {}
    for row, body in img2dataset_import.read(downloaded, config.max_body_bytes):
        url, digest = row["url"], row["sha256"]

        def listed(body: bytes, pdq: bytes | None, digest: bytes = digest) -> str | None:
            return lists.match_sha256(digest) or lists.match(body, pdq)

        with heartbeat.on(url):
            result = img2dataset_import.ingested(row, body, lambda body, listed=listed: take(body, listed))  # type: ignore[misc]
        done[url] = observe(url, result, origin="adopted", fetched_at="", final_url=url)
    return done


def from_archives(
    context: Context,
    urls: Sequence[str],
    config: FetchConfig,
    take: Callable[[bytes], Ingested | Refusal],
    held: pa.Table,
) -> dict[str, Observation]:
    """What the run's own archives hold of these URLs."""
    held = held.filter(pc.is_in(held.column("url"), value_set=pa.array(urls, pa.string())))
    places: dict[str, defaultdict[int, list[dict[str, Any]]]] = {}
    for row in held.to_pylist():
        places.setdefault(row["archive"], defaultdict(list))[row["offset"]].append(row)
    done: dict[str, Observation] = {}
    for archive, by_offset in places.items():
        location = context.task.hints["locations"][archive]
        for offset, response, date in read_responses(location, sorted(by_offset)):
            refusal, unread = _permitted(config, response)
            for row in by_offset[offset]:
                url = row["url"]
                seen_ = observe(
                    url,
                    refusal or watched(take, url, response.body),
                    origin="archive",
                    fetched_at=date or "",  # when the archive's crawler got it, so that two runs write the same
                    status=200,
                    final_url=row["final_url"],
                    fetched_bytes=len(response.body),
                )
                done[url] = replace(
                    seen_,
                    archive=archive,
                    archive_checksum=row["archive_checksum"],
                    archive_offset=offset,
                    wish=seen_.wish or unread,
                )
    return done


def _permitted(config: FetchConfig, response: Response) -> tuple[Refusal | None, Wish | None]:
    """What the headers of a captured image refuse, and what they ask that cannot be read."""
    try:
        return None, check(config, lambda name: response.headers.get(name.lower(), ()))
    except Refused as refused:
        return Refusal(refused.outcome, refused.detail, refused.wish), None
