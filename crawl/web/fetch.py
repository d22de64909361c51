"""Images over HTTP: one observation for each URL, whatever its server does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from crawl.images.observations import Ingested, Observation, Refusal, now, observe, unchanged
from crawl.images.parallel import ingest_threads
from crawl.units import watched
from crawl.web.client import Client, Conditions
from crawl.web.config import FetchConfig
from crawl.web.headers import permission
from crawl.web.response import Refused, Response
from crawl.web.visit import visit
from crawl.wishes import Wish
from dataset import spent

_ACCEPT = "image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8,*/*;q=0.5"
_VALIDATOR_CHARS = 256


def fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | Refusal],
    *,
    opted_out: Container[str] = frozenset(),
    earlier: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    licenses: Mapping[str, Sequence[tuple[str, str]]] = MappingProxyType({}),
    done: Callable[[Observation], None] = lambda observation: None,
) -> list[Observation]:
    """Fetch images; answer one observation per URL, in the order given. A URL that occurs twice is fetched once.

    Args:
        urls: canonical, absolute.
        config: limits and manners.
        ingest: accepts or refuses a body; runs in threads, so it must be safe to call from several at once.
        opted_out: domains that are not asked, nor those below them.
        earlier: URL -> the row of OBSERVATIONS by which its image is stored already; it is asked for on condition that
            it has changed.
        licenses: URL -> RSL licenses that its pages name, with the page: they are asked for first.
        done: is told of each observation as it is made.

    Raises:
        Whatever `ingest` raises: that is a fault of ours, not of a server.
    """
    return asyncio.run(_fetch(urls, config, ingest, opted_out, earlier, licenses, done))


async def _fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | Refusal],
    opted_out: Container[str],
    earlier: Mapping[str, Mapping[str, Any]],
    licenses: Mapping[str, Sequence[tuple[str, str]]],
    done: Callable[[Observation], None],
) -> list[Observation]:
    observations: dict[str, Observation] = {}
    loop = asyncio.get_running_loop()

    async def record(url: str, answer: Response | Refused, attempts: int) -> None:
        observations[url] = await observed(url, answer, attempts)
        done(observations[url])

    async def observed(url: str, answer: Response | Refused, attempts: int) -> Observation:
        if isinstance(answer, Refused):
            return observe(
                url,
                Refusal(answer.outcome, answer.detail, answer.wish),
                origin="http",
                fetched_at=now(),
                status=answer.status,
                final_url=answer.final_url,
                attempts=attempts,
            )
        etag = _validator(answer, "ETag")
        if answer.status == 304:
            same = unchanged(earlier[url], fetched_at=now(), final_url=answer.url, attempts=attempts, etag=etag)
            return replace(same, wish=answer.unread or unread.get(url))
        spent.count(**{spent.IMAGES: len(answer.body)})
        result = await loop.run_in_executor(threads, watched, ingest, url, answer.body)
        seen = observe(
            url,
            result,
            origin="http",
            fetched_at=now(),
            status=answer.status,
            final_url=answer.url,
            attempts=attempts,
            fetched_bytes=len(answer.body),
            etag=etag,
            last_modified=_validator(answer, "Last-Modified"),
        )
        return seen if seen.wish else replace(seen, wish=answer.unread or unread.get(url))

    unread: dict[str, Wish | None] = {}
    turns = asyncio.Semaphore(config.concurrency)

    async def heed_pages(client: Client, url: str) -> None:
        async with turns:
            try:
                for license_, page in licenses[url]:
                    found = await client.licenses.check([(license_, f"page {page}")], page)
                    unread[url] = unread.get(url) or found
            except Refused as refused:
                await record(url, refused, 0)

    with ingest_threads() as threads:
        async with Client(config, _ACCEPT, opted_out) as client:
            await asyncio.gather(*(heed_pages(client, url) for url in sorted(set(urls) & set(licenses))))
            left = [url for url in urls if url not in observations]
            conditions = {url: _conditions(row) for url, row in earlier.items()}
            await visit(client, left, permission(config), record, conditions)
    return [observations[url] for url in urls]


def _validator(answer: Response, name: str) -> str | None:
    """A header that a later request may send back; None if it is absent, long or odd."""
    value = answer.headers.get(name, "")
    return value if 0 < len(value) <= _VALIDATOR_CHARS and value.isascii() and value.isprintable() else None


def _conditions(row: Mapping[str, Any]) -> Conditions:
    """The headers that make a request conditional (RFC 9110, section 13.1), for the URL whose answer brought them."""
    named = {"If-None-Match": row["etag"], "If-Modified-Since": row["last_modified"]}
    return Conditions(row["final_url"] or row["url"], {name: value for name, value in named.items() if value})
