"""A polite HTTP client for servers that may be broken or hostile.

Every hop of every request passes the same gates: the address guard, the host's robots.txt, the host's turn (so many
at once, so long apart), and limits on redirects, headers, bytes and time. What a server can do to us is a `Refused`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from crawl import robots, tdm
from crawl.addresses import Guard, PrivateAddressError
from crawl.answers import Pace, Refused, Response, Room, part_of, read_body, refusal, retry_after_s
from crawl.connection import MAX_HEAD_BYTES, Connector
from crawl.fetch_config import FetchConfig
from crawl.urls import canonical_url, url_in_header
from dataset.hosts import hostname, site_of

MAX_RETRY_AFTER_S = 30.0
"""A host that asks for a longer pause is left alone for the rest of the call."""
HOST_FAILURES = 10
"""Connection failures and timeouts in a row after which a host is given up for the rest of the call."""

BACKOFF_S = 1.0
"""After the first failed attempt; doubled after each further one, up to eightfold."""

_MAX_HEADERS = 1_000
_DRAIN_BYTES = 64 * 1024  # an error page this small is read, so that its connection can be used again
_RULES_KEPT = 2_000  # sites whose rules are in memory at a time
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


Check = Callable[[CIMultiDictProxy[str]], None]
"""Looks at the headers of a 2xx answer before its body is read; raises Refused if the body is not wanted."""


class _Host:
    """What the client remembers of one host: its turns, and its failures."""

    __slots__ = ("delay_s", "failures", "given_up", "known", "next_start", "turns")

    def __init__(self, config: FetchConfig):
        self.turns = asyncio.Semaphore(config.per_host_concurrency)
        self.delay_s = config.per_host_delay_s
        self.next_start = 0.0  # in the loop's time
        self.known = False  # whether a request has come to an end, well or not
        self.failures = 0
        self.given_up: str | None = None


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a site asks of crawlers."""

    robots: robots.Rules = robots.ALLOW_ALL
    reservations: tdm.Reservations = tdm.NONE


class Client:
    """An HTTP client for one call of `fetch` or `harvest`; use it as an async context manager.

    Args:
        config: limits and manners.
        accept: the Accept header.
        opted_out: domains from which nothing is asked, nor from what is below them.
    """

    def __init__(self, config: FetchConfig, accept: str, opted_out: Container[str] = frozenset()):
        self.config = config
        self._opted_out = opted_out
        self._guard = Guard(config.resolve)
        self._room = Room()
        self._hosts: dict[str, _Host] = {}
        self._rules: dict[str, asyncio.Task[_Rules]] = {}
        # gzip only, though others are read from servers that choose them: an image is not worth another coding.
        self._headers = {"User-Agent": config.user_agent, "Accept": accept, "Accept-Encoding": "gzip"}

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=0,  # the turns limit
                resolver=self._guard,
                ttl_dns_cache=300,
                keepalive_timeout=3.0,  # a host's requests follow each other; its idle connections are only files open
                socket_factory=self._guard.socket,
            ),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # every request runs under a deadline of its own
            auto_decompress=False,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=_MAX_HEADERS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._rules.values():
            task.cancel()
        await asyncio.gather(*self._rules.values(), return_exceptions=True)
        await self._session.close()
        await self._guard.close()

    def let_go(self, answer: Response) -> None:
        """The body of an answer is no longer needed."""
        if answer.is_large:
            self._room.leave()

    def wait_s(self, host: str) -> float:
        """Seconds until the next request to a host may start."""
        state = self._hosts.get(host)
        return 0.0 if state is None else max(0.0, state.next_start - asyncio.get_running_loop().time())

    def places(self, host: str) -> int:
        """Requests to a host that are worth having under way: one, until it is known not to ask for a delay."""
        state = self._hosts.get(host)
        return self.config.per_host_concurrency if state is not None and state.known and state.delay_s == 0 else 1

    def given_up(self, host: str) -> bool:
        """Whether the host is asked for nothing more."""
        return host in self._hosts and self._hosts[host].given_up is not None

    async def get(self, url: str, check: Check, validators: Mapping[str, str] | None = None) -> Response:
        """The 2xx answer to a GET of an absolute http or https URL, after redirects.

        Args:
            check: looks at its headers.
            validators: headers that make the request conditional; then a 304 is an answer too.

        Raises:
            Refused: there is none; never anything else because of what a server does.
        """
        clock = asyncio.get_running_loop().time
        seconds = self.config.timeout_s
        status: int | None = None  # of the last response
        try:
            if not url.startswith(("http://", "https://")) or not hostname(url):
                raise Refused("connection_failed", "not an absolute http or https address")
            for _ in range(self.config.max_redirects + 1):
                host = hostname(url)
                self._check_host(host)
                if self.config.respect_robots or self.config.respect_tdm:
                    rules = await self._rules_of(url)
                    if not rules.robots.allow(url):
                        raise Refused("robots_disallowed", "robots.txt disallows it")
                    if rules.reservations.reserved(url):
                        raise Refused("tdm_reserved", f"{tdm.PATH} reserves it")
                async with self._turn(host):
                    start = clock()
                    answer = await self._request(host, url, seconds, self.config.max_body_bytes, check, validators)
                    seconds -= clock() - start
                status = answer.status
                if status // 100 == 2 or (status == 304 and validators):
                    return answer
                url = self._redirect(answer)
            raise Refused("too_many_redirects", f"more than {self.config.max_redirects}")
        except Refused as refused:
            refused.final_url = url
            if refused.status is None:
                refused.status = status
            raise

    def _redirect(self, answer: Response) -> str:
        """Where an answer that is not 2xx leads; Refused if nowhere."""
        status = answer.status
        if status in _REDIRECTS:
            location = _location(answer)
            target = canonical_url(location, answer.url) if location else None
            if target is None or not target.startswith(("http://", "https://")):
                raise Refused("too_many_redirects", f"a redirect to {location[:200]!r}", status=status)
            return target
        if status in (429, 503):
            self._pause(answer)
        outcome = {3: "too_many_redirects", 4: "http_client_error"}.get(status // 100, "http_server_error")
        raise Refused(outcome, f"HTTP {status}", status=status, may_pass=status in _TRANSIENT_STATUS)

    def _pause(self, answer: Response) -> None:
        """Heed Retry-After (RFC 9110, section 10.2.3)."""
        seconds = retry_after_s(answer.headers.get("Retry-After", ""))
        host = self._host(hostname(answer.url))
        if seconds > MAX_RETRY_AFTER_S:
            host.given_up = f"it asked to be left alone for {seconds:.0f} s"
        else:
            host.next_start = max(host.next_start, asyncio.get_running_loop().time() + seconds)

    def _host(self, host: str) -> _Host:
        if host not in self._hosts:
            self._hosts[host] = _Host(self.config)
        return self._hosts[host]

    def _check_host(self, host: str) -> None:
        try:
            self._guard.check(host)
        except PrivateAddressError as error:
            raise Refused("address_private", str(error)) from error
        domain = opted_out(host, self._opted_out)
        if domain is not None:
            raise Refused("domain_opted_out", f"{domain} is on the opt-out list")
        reason = self._host(host).given_up
        if reason is not None:
            raise Refused("connection_failed", f"host given up: {reason}")

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        """One of the host's places, not before its next start."""
        state = self._host(host)
        async with state.turns:
            now = asyncio.get_running_loop().time()
            start = max(now, state.next_start)
            state.next_start = start + state.delay_s
            await asyncio.sleep(start - now)
            yield

    async def _rules_of(self, url: str) -> _Rules:
        """The rules of the URL's site, asked for once; Refused if they cannot be had."""
        site = site_of(url)
        task = self._rules.get(site)
        if task is None:
            if len(self._rules) >= _RULES_KEPT:
                oldest = next(iter(self._rules))
                if self._rules[oldest].done():
                    del self._rules[oldest]
            task = self._rules[site] = asyncio.create_task(self._get_rules(site))
        try:
            return await asyncio.shield(task)
        except Refused as refused:  # a new one for each URL: it takes the URL that it ends at
            raise Refused(refused.outcome, refused.detail, status=refused.status) from refused

    async def _get_rules(self, site: str) -> _Rules:
        rules = _Rules()
        if self.config.respect_robots:
            rules = _Rules(await self._get_robots(f"{site}/robots.txt"))
        if self.config.respect_tdm:
            with suppress(Refused):  # a file that cannot be had reserves nothing; the header still can
                answer = await self._get_file(f"{site}{tdm.PATH}", tdm.MAX_BYTES)
                rules = replace(rules, reservations=tdm.parse(answer.body))
        return rules

    async def _get_robots(self, url: str) -> robots.Rules:
        """robots.txt by RFC 9309, section 2.3.1: absent allows everything, out of order disallows everything."""
        for attempt in range(self.config.attempts):
            try:
                answer = await self._get_file(url, robots.MAX_BYTES)
            except Refused as refused:
                if refused.may_pass and attempt + 1 < self.config.attempts:
                    await asyncio.sleep(backoff_s(attempt + 1))
                    continue
                raise Refused(refused.outcome, f"robots.txt: {refused.detail}", status=refused.status) from refused
            # A host that answers 429 is overloaded, not without rules; so is one that answers 5xx.
            if answer.status >= 500 or answer.status == 429:
                if attempt + 1 < self.config.attempts:
                    await asyncio.sleep(backoff_s(attempt + 1))
                    continue
                raise Refused("robots_disallowed", f"robots.txt: HTTP {answer.status}", status=answer.status)
            break
        rules = robots.parse(answer.body, self.config.user_agent) if answer.body else robots.ALLOW_ALL
        host = self._host(hostname(url))
        host.delay_s = max(host.delay_s, rules.crawl_delay_s)
        return rules

    async def _get_file(self, url: str, limit: int) -> Response:
        """A site's own file, whatever its status, after redirects; a longer one is cut."""
        for _ in range(robots.MAX_REDIRECTS + 1):
            host = hostname(url)
            self._check_host(host)
            async with self._turn(host):
                answer = await self._request(host, url, self.config.timeout_s, limit)
            self.let_go(answer)
            target = canonical_url(_location(answer), url) if answer.status in _REDIRECTS else None
            if target is None or not target.startswith(("http://", "https://")):
                return answer
            url = target
        return answer  # more redirects than the RFC asks to follow: as if it were absent

    async def _request(
        self,
        host: str,
        url: str,
        seconds: float,
        limit: int,
        check: Check | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request and its answer, whatever the status; without `check`, a body is cut at the limit."""
        state = self._host(host)
        status: int | None = None
        pace = Pace(self.config, max(seconds, 0.0))
        try:
            async with (
                pace.deadline,
                self._session.get(URL(url, encoded=True), allow_redirects=False, headers=headers) as answer,
            ):
                status = answer.status
                body, is_large = b"", False
                if check is not None and (status // 100 == 2 or status == 304):
                    check(answer.headers)
                    part = part_of(status, answer.headers.get("Content-Range", ""))
                    if part is not None:
                        raise Refused("connection_failed", f"206: a part alone, {part[:100]}", may_pass=True)
                if status // 100 == 2:
                    body, is_large = await read_body(answer, limit, pace, self._room, cut=check is None)
                elif (answer.content_length or limit) <= _DRAIN_BYTES:
                    await answer.read()
                state.failures = 0
                return Response(url, status, answer.reason or "", answer.headers, answer.raw_headers, body, is_large)
        except Refused as refused:
            refused.status = status
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome = refusal(error, pace.words())
            outcome.status = status
            if outcome.host_failed:
                self._failed(state)
            raise outcome from error
        finally:
            state.known = True

    def _failed(self, state: _Host) -> None:
        state.failures += 1
        if state.failures >= HOST_FAILURES and state.given_up is None:
            state.given_up = f"{HOST_FAILURES} failures in a row"


def _location(answer: Response) -> str:
    """Where an answer leads, as it is written; empty if it does not say."""
    return url_in_header(answer.headers.get("Location", "").encode("utf-8", "surrogateescape"))


def opted_out(host: str, domains: Container[str]) -> str | None:
    """The domain of a list that a host is, or is below; both as `dataset.hosts` spells them."""
    while host:
        if host in domains:
            return host
        host = host.partition(".")[2]
    return None


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the n-th failed attempt."""
    return float(min(2 ** (attempt - 1), 8)) * BACKOFF_S
