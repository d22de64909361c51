"""What getting one image came to: the rows of the fetch store, before they are a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crawl.wishes import Wish

OK = "ok"


@dataclass(frozen=True, slots=True)
class Ingested:
    """An image that was accepted: what it was, and the bytes to store. Sizes are in pixels, as displayed."""

    md5: bytes | None  # of the original body; None if that is gone (an adopted image)
    sha256: bytes
    media_type: str | None  # of the original body, e.g. image/jpeg
    original_width: int
    original_height: int
    width: int  # as stored
    height: int
    pdq: bytes  # 256 bits
    pdq_quality: int  # 0..100
    mean_rgb: bytes  # three bytes
    pixel_hash: bytes  # 128 bits
    body: bytes  # to store
    data_mining: str | None = None  # what its file says, see `crawl.images.rights.Rights`
    other_constraints: str | None = None
    creator: str | None = None
    credit: str | None = None
    copyright_notice: str | None = None
    rights_url: str | None = None
    unread: Wish | None = None  # what its file asks, if that cannot be read


@dataclass(frozen=True, slots=True)
class RefusedBody:
    """A body that was not accepted: a reason of the fetch stage, and what exactly, for people."""

    outcome: str
    detail: str
    wish: Wish | None = None  # of the owner, which is heeded by the refusal


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt to get the image of a URL; the columns of `dataset.schema.OBSERVATIONS`."""

    url: str
    origin: str  # http, archive or adopted
    outcome: str  # ok, or a reason of the fetch stage
    detail: str | None
    status: int | None
    final_url: str | None
    attempts: int
    fetched_at: str  # ISO 8601, UTC; of an archive's image, the date of its record
    fetched_bytes: int | None
    image: Ingested | None  # if the outcome is ok
    etag: str | None = None  # as the response gave it, for a conditional request later
    last_modified: str | None = None
    same_as: Mapping[str, Any] | None = None  # instead of `image`: the earlier row whose image has not changed
    archive: str | None = None  # that it was taken from
    archive_checksum: str | None = None
    archive_offset: int | None = None
    wish: Wish | None = None  # of the owner: why it is refused; of an accepted image, what could not be read


def now() -> str:
    """Return this moment, ISO 8601 in UTC; to the millisecond, so that what was observed later is known to be later."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def observe(
    url: str,
    result: Ingested | RefusedBody,
    *,
    origin: str,
    fetched_at: str,
    status: int | None = None,
    final_url: str | None = None,
    attempts: int = 1,
    fetched_bytes: int | None = None,
    etag: str | None = None,
    last_modified: str | None = None,
) -> Observation:
    """Return the observation that a body, or the lack of one, gives."""
    image = result if isinstance(result, Ingested) else None
    outcome, detail = (OK, None) if isinstance(result, Ingested) else (result.outcome, result.detail)
    wish = result.unread if isinstance(result, Ingested) else result.wish
    return Observation(
        url,
        origin,
        outcome,
        detail,
        status,
        final_url,
        attempts,
        fetched_at,
        fetched_bytes,
        image,
        etag,
        last_modified,
        wish=wish,
    )


def observe_not_modified(
    earlier: Mapping[str, Any], *, fetched_at: str, final_url: str, attempts: int, etag: str | None
) -> Observation:
    """Return the observation that a server gives by 304: the image of an earlier row of OBSERVATIONS is still the
    image.

    Its status is the earlier one's, so that what is made of the images does not change either.
    """
    return Observation(
        earlier["url"],
        earlier["origin"],
        OK,
        "304: not changed",
        earlier["status"],
        final_url,
        attempts,
        fetched_at,
        earlier["fetched_bytes"],
        None,
        etag or earlier["etag"],
        earlier["last_modified"],
        earlier,
    )
