"""Images over HTTP: one observation for each URL, whatever its server does.

Work is ordered by host, not by URL: few hosts at a time, each kept busy up to what is polite, so that connections
and robots.txt are used while they are at hand, and the host with most work starts first and is not what all wait for.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from multidict import CIMultiDictProxy

from crawl import robots, tdm
from crawl.answers import Refused, Response
from crawl.fetch_config import FetchConfig
from crawl.http import Check, Client, backoff_s
from crawl.observations import Ingested, Observation, Refusal, now, observe, unchanged
from dataset.hosts import hostname
from dataset.ids import hash64

_ACCEPT = "image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8,*/*;q=0.5"
_VALIDATOR_CHARS = 256
_INGEST_THREADS = 2  # decoding is C and drops the GIL; two keep up with a process that fetches

Visit = Callable[[str, "Response | Refused", int], Awaitable[None]]
"""Takes a URL, what came of it, and how many attempts it took."""


def fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | Refusal],
    *,
    opted_out: Container[str] = frozenset(),
    earlier: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    done: Callable[[Observation], None] = lambda observation: None,
) -> list[Observation]:
    """Fetch images; answer one observation per URL, in the order given. A URL that occurs twice is fetched once.

    Args:
        urls: canonical, absolute.
        config: limits and manners.
        ingest: accepts or refuses a body; runs in threads, so it must be safe to call from two at once.
        opted_out: domains that are not asked, nor those below them.
        earlier: URL -> the row of OBSERVATIONS by which its image is stored already; it is asked for on condition that
            it has changed.
        done: is told of each observation as it is made.

    Raises:
        Whatever `ingest` raises: that is a fault of ours, not of a server.
    """
    return asyncio.run(_fetch(urls, config, ingest, opted_out, earlier, done))


async def _fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | Refusal],
    opted_out: Container[str],
    earlier: Mapping[str, Mapping[str, Any]],
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
                Refusal(answer.outcome, answer.detail),
                origin="http",
                fetched_at=now(),
                status=answer.status,
                final_url=answer.final_url,
                attempts=attempts,
            )
        etag = _validator(answer, "ETag")
        if answer.status == 304:
            return unchanged(earlier[url], fetched_at=now(), final_url=answer.url, attempts=attempts, etag=etag)
        result = await loop.run_in_executor(threads, ingest, answer.body)
        return observe(
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

    with ThreadPoolExecutor(_INGEST_THREADS, thread_name_prefix="ingest") as threads:
        async with Client(config, _ACCEPT, opted_out) as client:
            await visit(
                client, urls, _permission(config), record, {url: _conditions(row) for url, row in earlier.items()}
            )
    return [observations[url] for url in urls]


def _permission(config: FetchConfig) -> Check:
    """Refuses what a response's headers ask not to be used."""

    def check(headers: CIMultiDictProxy[str]) -> None:
        if config.respect_noai:
            directive = robots.refusal(headers.getall("X-Robots-Tag", ()), config.user_agent)
            if directive is not None:
                raise Refused("robots_noai", f"X-Robots-Tag: {directive}")
        if config.respect_tdm and headers.get(tdm.HEADER, "").strip() == "1":
            raise Refused("tdm_reserved", f"{tdm.HEADER}: 1")

    return check


def _validator(answer: Response, name: str) -> str | None:
    """A header that a later request may send back; None if it is absent, long or odd."""
    value = answer.headers.get(name, "")
    return value if 0 < len(value) <= _VALIDATOR_CHARS and value.isascii() and value.isprintable() else None


def _conditions(row: Mapping[str, Any]) -> dict[str, str]:
    """The headers that make a request conditional (RFC 9110, section 13.1)."""
    named = {"If-None-Match": row["etag"], "If-Modified-Since": row["last_modified"]}
    return {name: value for name, value in named.items() if value}


class _Queue:
    """One host's URLs that wait, and how many of them are under way."""

    __slots__ = ("active", "host", "offered", "rank", "waiting")

    def __init__(self, host: str):
        self.host = host
        self.waiting: deque[tuple[str, int]] = deque()  # (URL, attempts so far)
        self.active = 0
        self.offered = False  # whether the host stands among those ready, or a timer will put it there
        self.rank = 0


async def visit(
    client: Client,
    urls: Iterable[str],
    check: Check,
    take: Visit,
    conditions: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """GET every distinct URL once, retrying what may pass, and hand each answer to `take` as it comes.

    conditions: URL -> headers that make its request conditional.

    Raises:
        Whatever `take` raises, after ending what is under way.
    """
    config = client.config
    loop = asyncio.get_running_loop()
    queues: dict[str, _Queue] = {}
    # Within a host in the order of a hash: a folder of dead links is not taken for a dead host.
    for url in sorted(set(urls), key=lambda url: (hash64(url), url)):
        host = hostname(url)
        if host not in queues:
            queues[host] = _Queue(host)
        queues[host].waiting.append((url, 0))
    ranked = sorted(queues.values(), key=lambda queue: (-len(queue.waiting), queue.host))
    ready: list[int] = []  # ranks of hosts that may start a request, least first
    changed = asyncio.Event()
    unfinished = sum(len(queue.waiting) for queue in ranked)
    active = 0

    def offer(queue: _Queue) -> None:
        if queue.offered or not queue.waiting or queue.active >= client.places(queue.host):
            return
        queue.offered = True
        wait = client.wait_s(queue.host)
        if wait > 0:
            loop.call_later(wait, arrive, queue)
        else:
            arrive(queue)

    def arrive(queue: _Queue) -> None:
        heapq.heappush(ready, queue.rank)
        changed.set()

    def requeue(queue: _Queue, url: str, attempts: int) -> None:
        queue.waiting.append((url, attempts))
        offer(queue)

    async def one(queue: _Queue, url: str, attempts: int) -> None:
        nonlocal active, unfinished
        answer: Response | Refused
        try:
            answer = await client.get(url, check, conditions.get(url))
        except Refused as refused:
            answer = refused
        attempts += 1
        may_pass = isinstance(answer, Refused) and answer.may_pass and not client.given_up(queue.host)
        if may_pass and attempts < config.attempts:
            loop.call_later(backoff_s(attempts), requeue, queue, url, attempts)
        else:
            await take(url, answer, attempts)
            if not isinstance(answer, Refused):
                client.let_go(answer)
            unfinished -= 1
        queue.active -= 1
        active -= 1
        offer(queue)
        changed.set()

    for rank, queue in enumerate(ranked):
        queue.rank = rank
        offer(queue)
    try:
        async with asyncio.TaskGroup() as tasks:
            while unfinished:
                while ready and active < config.concurrency:
                    queue = ranked[heapq.heappop(ready)]
                    queue.offered = False
                    url, attempts = queue.waiting.popleft()
                    queue.active += 1
                    active += 1
                    tasks.create_task(one(queue, url, attempts))
                    offer(queue)
                changed.clear()
                await changed.wait()
    except BaseExceptionGroup as group:  # `take` failed: its error is clearer without the group
        raise group.exceptions[0] from None
