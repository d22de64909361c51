"""What getting one image came to: the rows of the fetch store, before they are a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

OK = "ok"


@dataclass(frozen=True, slots=True)
class Ingested:
    """An image that was accepted: what it was, and the bytes to store. Sizes are in pixels, as displayed."""

    md5: bytes  # of the original body
    sha256: bytes
    media_type: str  # of the original body, e.g. image/jpeg
    original_width: int
    original_height: int
    width: int  # as stored
    height: int
    pdq: bytes  # 256 bits
    pdq_quality: int  # 0..100
    mean_rgb: bytes  # three bytes
    body: bytes  # to store


@dataclass(frozen=True, slots=True)
class Refusal:
    """A body that was not accepted: a reason of the fetch stage, and what exactly, for people."""

    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt to get the image of a URL; the columns of `dataset.schema.OBSERVATIONS`."""

    url: str
    origin: str  # http or archive
    outcome: str  # ok, or a reason of the fetch stage
    detail: str | None
    status: int | None
    final_url: str | None
    attempts: int
    fetched_at: str  # ISO 8601, UTC; of an archive's image, the date of its record
    fetched_bytes: int | None
    image: Ingested | None  # if and only if the outcome is ok


def now() -> str:
    """This moment, ISO 8601 in UTC to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def observe(
    url: str,
    result: Ingested | Refusal,
    *,
    origin: str,
    fetched_at: str,
    status: int | None = None,
    final_url: str | None = None,
    attempts: int = 1,
    fetched_bytes: int | None = None,
) -> Observation:
    """The observation that a body, or the lack of one, gives."""
    image = result if isinstance(result, Ingested) else None
    outcome, detail = (OK, None) if isinstance(result, Ingested) else (result.outcome, result.detail)
    return Observation(url, origin, outcome, detail, status, final_url, attempts, fetched_at, fetched_bytes, image)
