"""Images over HTTP: one observation for each URL, whatever its server does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from crawl import rsl
from crawl.images.observations import Ingested, Observation, RefusedBody, now, observe, observe_not_modified
from crawl.images.parallel import ingest_threads
from crawl.units import ingest_watched
from crawl.web.client import Client, Conditions
from crawl.web.config import FetchConfig
from crawl.web.response import Refused, Response
from crawl.web.rules.headers import permission
from crawl.web.visit import visit
from crawl.wishes import Wish
from dataset import usage

_ACCEPT = "image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8,*/*;q=0.5"
_VALIDATOR_CHARS = 256


def fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | RefusedBody],
    *,
    opted_out: Container[str] = frozenset(),
    earlier: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
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
        done: is told of each observation as it is made.

    Raises:
        Whatever `ingest` raises: that is a fault of ours, not of a server.
    """
    return asyncio.run(_fetch(urls, config, ingest, opted_out, earlier, done))


def heed_licenses(
    named: Sequence[tuple[str, str, str]], config: FetchConfig, opted_out: Container[str] = frozenset()
) -> list[Refused | Wish | None]:
    """Return what RSL licenses say that pages, archives or others' answers name: for each a refusal, or what of it
    cannot be read, or None. Each license is asked for once.

    named: (the license's canonical URL, where it is named, the URL that is to be used).
    """
    return asyncio.run(_heed_licenses(named, config, opted_out)) if named else []


def apply_licenses(
    seen: Mapping[str, Observation],
    named: Sequence[tuple[str, str, str]],
    config: FetchConfig,
    opted_out: Container[str] = frozenset(),
) -> dict[str, Observation]:
    """Return the observations of accepted images whose answers name RSL licenses, as the licenses have it.

    Args:
        seen: by URL.
        named: (the license's canonical URL, where it is named, the image's URL).
    """
    observations: dict[str, Observation] = {url: seen[url] for _, _, url in named}
    spoken_of = [(license_, place, seen[url].final_url or url) for license_, place, url in named]
    for (_, _, url), said in zip(named, heed_licenses(spoken_of, config, opted_out), strict=True):
        if isinstance(said, Refused):
            observations[url] = replace(seen[url], outcome=said.outcome, detail=said.detail, wish=said.wish, image=None)
        elif observations[url].image is not None:
            observations[url] = replace(observations[url], wish=observations[url].wish or said)
    return observations


async def _heed_licenses(
    named: Sequence[tuple[str, str, str]], config: FetchConfig, opted_out: Container[str]
) -> list[Refused | Wish | None]:
    said: list[Refused | Wish | None] = [None] * len(named)
    by_license: dict[str, list[int]] = {}
    for number, (license_, _, _) in enumerate(named):
        by_license.setdefault(license_, []).append(number)
    turns = asyncio.Semaphore(config.concurrency)

    async def heed(client: Client, license_: str, numbers: Sequence[int]) -> None:
        async with turns:
            for number in numbers:
                _, place, url = named[number]
                try:
                    said[number] = await client.licenses.check([(license_, place)], url)
                except Refused as refused:
                    said[number] = refused

    async with Client(config, f"{rsl.MEDIA_TYPE}, application/xml;q=0.8, */*;q=0.5", opted_out) as client:
        client.licenses.patience_s = config.max_wait_s  # no image waits meanwhile
        await asyncio.gather(*(heed(client, license_, numbers) for license_, numbers in by_license.items()))
    return said


async def _fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | RefusedBody],
    opted_out: Container[str],
    earlier: Mapping[str, Mapping[str, Any]],
    done: Callable[[Observation], None],
) -> list[Observation]:
    observations: dict[str, Observation] = {}
    loop = asyncio.get_running_loop()

    async def record(url: str, answer: Response | Refused, attempts: int) -> None:
        observations[url] = await to_observation(url, answer, attempts)
        done(observations[url])

    async def to_observation(url: str, answer: Response | Refused, attempts: int) -> Observation:
        if isinstance(answer, Refused):
            return observe(
                url,
                RefusedBody(answer.outcome, answer.detail, answer.wish),
                origin="http",
                fetched_at=now(),
                status=answer.status,
                final_url=answer.final_url,
                attempts=attempts,
            )
        etag = _validator(answer, "ETag")
        if answer.status == 304:
            same = observe_not_modified(
                earlier[url], fetched_at=now(), final_url=answer.url, attempts=attempts, etag=etag
            )
            return replace(same, wish=answer.unread)
        usage.count(**{usage.IMAGES: len(answer.body)})
        result = await loop.run_in_executor(threads, ingest_watched, ingest, url, answer.body)
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
        return seen if seen.wish else replace(seen, wish=answer.unread)

    with ingest_threads() as threads:
        async with Client(config, _ACCEPT, opted_out) as client:
            conditions = {url: _conditions(row) for url, row in earlier.items()}
            await visit(client, urls, permission(config), record, conditions)
    return [observations[url] for url in urls]


def _validator(answer: Response, name: str) -> str | None:
    """A header that a later request may send back; None if it is absent, long or odd."""
    value = answer.headers.get(name, "")
    return value if 0 < len(value) <= _VALIDATOR_CHARS and value.isascii() and value.isprintable() else None


def _conditions(row: Mapping[str, Any]) -> Conditions:
    """The headers that make a request conditional (RFC 9110, section 13.1), for the URL whose answer brought them."""
    named = {"If-None-Match": row["etag"], "If-Modified-Since": row["last_modified"]}
    return Conditions(row["final_url"] or row["url"], {name: value for name, value in named.items() if value})
