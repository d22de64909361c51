"""A polite HTTP client for servers that may be broken or hostile.

Every hop of every request passes the same gates: the address guard, the host's robots.txt, the host's turn (so many
at once, so long apart), and limits on redirects, headers, bytes and time. What a server can do to us is a `Refused`.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from crawl import robots
from crawl.addresses import Guard, PrivateAddressError, endpoint
from crawl.urls import canonical_url

MAX_RETRY_AFTER_S = 30.0
"""A host that asks for a longer pause is left alone for the rest of the call."""
HOST_FAILURES = 10
"""Connection failures and timeouts in a row after which a host is given up for the rest of the call."""

BACKOFF_S = 1.0
"""After the first failed attempt; doubled after each further one, up to eightfold."""

_MAX_HEADERS = 128
_MAX_HEADER_BYTES = 64 * 1024  # content security policies of real sites exceed the usual 8 KiB
_DRAIN_BYTES = 64 * 1024  # an error page this small is read, so that its connection can be used again
_RULES_KEPT = 2_000  # robots.txt in memory at a time
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class FetchConfig:
    """How images are got. Outcomes are recorded; a later run asks again only for what `retry` says."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    origins: tuple[Literal["archive", "http"], ...] = ("archive", "http")
    """Where bytes may come from, in the order of trying."""
    user_agent: str = "openwit/0.1 (+https://openwit.example/crawler; crawler@openwit.example)"
    """Who asks: the product token that robots.txt may address, then where to complain. Set your own contact."""
    resolve: dict[str, str] = field(default_factory=dict)
    """host → `ip` or `ip:port` to connect to instead, like `curl --resolve`; such a host may be private."""
    respect_robots: bool = True
    """Whether robots.txt is asked for and obeyed."""
    respect_noai: bool = True
    """Whether an `X-Robots-Tag` of noai, noimageai or noindex refuses the image."""
    max_body_bytes: int = 20 * 2**20
    """Of one body, decompressed."""
    max_redirects: int = 5
    """Of one address."""
    timeout_s: float = 20.0
    """For one attempt at one address, from the first connection to the last byte, redirects included."""
    attempts: int = 2
    """In one run, at an address whose failure may pass."""
    concurrency: int = 64
    """Requests in flight in one process."""
    per_host_concurrency: int = 4
    """Requests in flight to one host."""
    per_host_delay_s: float = 0.0
    """Between the starts of two requests to one host; a longer Crawl-delay of its robots.txt wins."""
    retry: Literal["none", "transient"] = "none"
    """Which failures of earlier runs are tried again: none, or those that may have passed."""

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin not in ("archive", "http"):
                raise ValueError(f"origins must be of archive and http, not {origin!r}")
        if not self.origins or len(set(self.origins)) != len(self.origins):
            raise ValueError(f"origins must name archive, http or both, once each, not {list(self.origins)}")
        if not robots.product_token(self.user_agent) or not self.user_agent.isprintable():
            raise ValueError(f"user_agent must begin with a name and be one line, not {self.user_agent!r}")
        for host, target in self.resolve.items():
            try:
                endpoint(target)
            except ValueError as error:
                raise ValueError(f"resolve must map {host} to ip or ip:port, not {target!r}") from error
        for key in ("max_body_bytes", "attempts", "concurrency", "per_host_concurrency"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("max_redirects", "per_host_delay_s"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be 0 or more, not {getattr(self, key)}")
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s must be above 0, not {self.timeout_s}")
        if self.retry not in ("none", "transient"):
            raise ValueError(f"retry must be none or transient, not {self.retry!r}")


class Refused(Exception):  # noqa: N818 (an outcome, not an error)
    """A URL gave no body, and why: an outcome of the fetch stage, and a detail for people."""

    def __init__(
        self,
        outcome: str,
        detail: str,
        *,
        status: int | None = None,
        may_pass: bool = False,
        host_failed: bool = False,
    ):
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail.encode("utf-8", "backslashreplace").decode()  # headers may hold what UTF-8 cannot
        self.status = status
        self.may_pass = may_pass  # whether another attempt in the same run may fare better
        self.host_failed = host_failed  # whether it speaks against the host, not only against the URL
        self.final_url: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read to its end; `body` is empty unless the status is 2xx."""

    url: str
    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


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


class Client:
    """An HTTP client for one call of `fetch` or `harvest`; use it as an async context manager.

    Args:
        config: limits and manners.
        accept: the Accept header.
    """

    def __init__(self, config: FetchConfig, accept: str):
        self.config = config
        self._guard = Guard(config.resolve)
        self._hosts: dict[str, _Host] = {}
        self._rules: dict[str, asyncio.Task[robots.Rules]] = {}
        # gzip only: zlib can be told to stop at a size. Nobody's brotli or zstd needs to be trusted for an image.
        self._headers = {"User-Agent": config.user_agent, "Accept": accept, "Accept-Encoding": "gzip"}

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
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
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
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

    async def get(self, url: str, check: Check) -> Response:
        """The 2xx answer to a GET of an absolute http or https URL, after redirects.

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
                if self.config.respect_robots:
                    rules = await self._rules_of(url)
                    if not rules.allow(url):
                        raise Refused("robots_disallowed", "robots.txt disallows it")
                async with self._turn(host):
                    start = clock()
                    answer = await self._request(host, url, seconds, self.config.max_body_bytes, check)
                    seconds -= clock() - start
                status = answer.status
                if status // 100 == 2:
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
            location = answer.headers.get("Location", "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
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
        seconds = _retry_after_s(answer.headers.get("Retry-After", ""))
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

    async def _rules_of(self, url: str) -> robots.Rules:
        """The rules of the URL's site, asked for once; Refused if they cannot be had."""
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
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

    async def _get_rules(self, site: str) -> robots.Rules:
        """robots.txt by RFC 9309, section 2.3.1: absent allows everything, out of order disallows everything."""
        url = f"{site}/robots.txt"
        for attempt in range(self.config.attempts):
            try:
                answer = await self._get_robots(url)
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

    async def _get_robots(self, url: str) -> Response:
        for _ in range(robots.MAX_REDIRECTS + 1):
            host = hostname(url)
            self._check_host(host)
            async with self._turn(host):
                answer = await self._request(host, url, self.config.timeout_s, robots.MAX_BYTES, None)
            target = canonical_url(answer.headers.get("Location", ""), url) if answer.status in _REDIRECTS else None
            if target is None or not target.startswith(("http://", "https://")):
                return answer
            url = target
        return answer  # more redirects than the RFC asks to follow: as if it were absent

    async def _request(self, host: str, url: str, seconds: float, limit: int, check: Check | None) -> Response:
        """One request and its answer, whatever the status; without `check`, a body is cut at the limit."""
        state = self._host(host)
        status: int | None = None
        try:
            async with (
                asyncio.timeout(max(seconds, 0.0)),
                self._session.get(URL(url, encoded=True), allow_redirects=False) as answer,
            ):
                status = answer.status
                body = b""
                if status // 100 == 2:
                    if check is not None:
                        check(answer.headers)
                    body = await _read(answer, limit, cut=check is None)
                elif (answer.content_length or limit) <= _DRAIN_BYTES:
                    await answer.read()
                state.failures = 0
                return Response(url, status, answer.reason or "", answer.headers, answer.raw_headers, body)
        except Refused as refused:
            refused.status = status
            raise
        except (aiohttp.ClientError, OSError, zlib.error, ValueError) as error:
            outcome = _refused(error, self.config.timeout_s)
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


def hostname(url: str) -> str:
    """The host of an absolute URL, lower case, without port; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the n-th failed attempt."""
    return float(min(2 ** (attempt - 1), 8)) * BACKOFF_S


def _refused(error: Exception, timeout_s: float) -> Refused:
    """What an error of the connection means."""
    match error:
        case TimeoutError():
            return Refused("timeout", f"no whole answer in {timeout_s:g} s", may_pass=True, host_failed=True)
        case aiohttp.ClientConnectorError(os_error=PrivateAddressError() as cause):
            return Refused("address_private", str(cause))
        case aiohttp.ClientConnectorDNSError(os_error=cause):
            may_pass = cause.errno == socket.EAI_AGAIN
            return Refused("dns_failed", _words(cause), may_pass=may_pass, host_failed=True)
        case aiohttp.ClientSSLError():
            return Refused("connection_failed", f"TLS: {_words(error)}", host_failed=True)
        case aiohttp.ClientConnectorError(os_error=cause):
            return Refused("connection_failed", _words(cause), may_pass=True, host_failed=True)
        case aiohttp.ClientConnectionError() | OSError():
            return Refused("connection_failed", _words(error), may_pass=True, host_failed=True)
        case aiohttp.ClientPayloadError():
            return Refused("connection_failed", f"the body broke off: {_words(error)}", may_pass=True)
        case aiohttp.ClientResponseError(message=message):
            return Refused("connection_failed", f"not HTTP: {' '.join(message.split())[:200]}")
        case zlib.error():
            return Refused("connection_failed", f"the body is not the gzip that it says: {_words(error)}")
    return Refused("connection_failed", f"not an address to ask at: {_words(error)}")


async def _read(answer: aiohttp.ClientResponse, limit: int, *, cut: bool) -> bytes:
    """The body, decompressed; of a longer one the first `limit` bytes if `cut`, else Refused."""
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise Refused("connection_failed", f"unknown Content-Encoding {coding[:40]!r}")
    too_large = Refused("body_too_large", f"more than {limit} bytes")
    inflate: Any = None if coding in ("identity", "") else zlib.decompressobj(32 + zlib.MAX_WBITS)
    if inflate is None and not cut and (answer.content_length or 0) > limit:
        raise too_large
    pieces: list[bytes] = []
    length = 0
    async for chunk in answer.content.iter_any():
        pieces.append(chunk if inflate is None else inflate.decompress(chunk, limit + 1 - length))
        length += len(pieces[-1])
        if length > limit:
            if cut:
                return b"".join(pieces)[:limit]
            raise too_large
    if inflate is not None and length and not inflate.eof:
        raise Refused("connection_failed", "the body's gzip ends too early", may_pass=True)
    return b"".join(pieces)


def _retry_after_s(header: str) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 if it is neither."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def _words(error: BaseException) -> str:
    """An error in at most 200 characters; its class if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
