"""A polite HTTP client for servers that may be broken or hostile.

Every hop of every address passes the same gates: the ports that may be asked, the address guard, the site's rules, the
host's turn (so many at once, so long apart), and limits on redirects, headers, bytes and time. What a server can do to
us is a `Refused`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from crawl.archives.payload import part_of
from crawl.urls import canonical_url, url_in_header
from crawl.web.address_guard import REFUSED_PORTS, Guard, PrivateAddressError
from crawl.web.config import FetchConfig
from crawl.web.connection import MAX_HEAD_BYTES, Connector
from crawl.web.contact import Contact, NoContactError
from crawl.web.politeness import Host, Site
from crawl.web.response import Journey, LargeBodySlots, Pace, Refused, Response, read_body, refusal, retry_after_s
from crawl.web.rules import robots
from crawl.web.rules.headers import licenses
from crawl.web.rules.licenses import Licenses
from crawl.web.rules.site_rules import SiteRules
from crawl.wishes import Wish
from dataset.hosts import hostname, site_of

MAX_RETRY_AFTER_S = 30.0
"""A host that asks for a longer pause is left alone for the rest of the call."""

_MAX_HEADERS = 1_000
_DRAIN_BYTES = 64 * 1024  # an error page this small is read, so that its connection can be used again
_DRAIN_S = 1.0  # if it comes this fast; a new connection takes no longer
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


Check = Callable[[CIMultiDictProxy[str]], Wish | None]
"""Looks at the headers of a 2xx answer before its body is read; answers what its owner asks, if that cannot be read.
Raises Refused if the body is not wanted."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Headers that make a request conditional, and the URL whose answer they came with: no other is sent them."""

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


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
        self._contact = Contact(config.user_agent, self._guard)
        self._room = LargeBodySlots()
        self._hosts: dict[str, Host] = {}
        self._sites: dict[str, Site] = {}
        self._site_of = lru_cache(maxsize=4_096)(self._find_site)  # an address is looked up at each of its steps
        self.licenses = Licenses(config, self._get_file)
        self._rules = SiteRules(config, self._get_file, self._heed, self.licenses)
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
        await self._rules.close()
        await self.licenses.close()
        await self._session.close()
        await self._guard.close()

    def let_go(self, answer: Response) -> None:
        """Give back the place of a body that is no longer needed."""
        if answer.is_large:
            self._room.leave()

    def is_name_known(self, host: Host) -> bool:
        """Return whether nobody has to be asked for the addresses of a host."""
        return not host.name or self._guard.is_known(host.name)

    async def ask_for_name(self, host: Host) -> None:
        """Have a host's addresses at hand, or that there are none."""
        with suppress(OSError):  # whoever connects is told
            await self._guard.resolve(host.name)

    def forget_failed_names(self) -> None:
        """Let names be asked for again that may resolve another time."""
        self._guard.forget_failures()

    def wait_s(self, host: Host) -> float:
        """Return the seconds until the next request to a host may start."""
        return max(0.0, host.next_start - asyncio.get_running_loop().time())

    def places(self, host: Host) -> int:
        """Return the number of requests to a host that are worth having under way: one, until it is known not to ask
        for a delay.
        """
        return self.config.per_host_concurrency if host.known and host.delay_s == 0 else 1

    def site(self, url: str) -> Site:
        """Return what is remembered of a URL's site; what is no URL belongs to a site without a name."""
        return self._site_of(url)

    def _find_site(self, url: str) -> Site:
        name = hostname(url)
        site = site_of(url) if name else ""
        if name not in self._hosts:
            self._hosts[name] = Host(name, self.config)
        if site not in self._sites:
            self._sites[site] = Site(site, self._hosts[name])
        return self._sites[site]

    async def step(self, journey: Journey, check: Check, conditions: Conditions) -> Response | None:
        """Go on with an attempt at an address: the 2xx answer, or None if it has to wait for a turn where it is now,
        which the caller sees to, so that it keeps nobody waiting.

        Args:
            check: looks at an answer's headers.
            conditions: by which the request may be conditional; then a 304 is an answer too.

        Raises:
            Refused: there is none; never anything else because of what a server does.
            NoContactError: a redirect leads to a host that is not asked by a config that does not say who asks.
        """
        url = journey.url
        try:
            site = self.site(url)
            self._check(site)
            if journey.redirects:  # who calls has looked at the address itself
                self._contact.check(site.host.name)
            if await self._heed_rules(journey, site):
                return None
            headers = conditions.headers if url == conditions.url else None
            async with self._turn(site.host):
                answer = await self._request(site, url, journey, self.config.max_body_bytes, check, headers)
            if answer.status // 100 == 2 or (answer.status == 304 and headers):
                unread = await self._heed_links(answer) or answer.unread or journey.unread
                return replace(answer, unread=unread)
            journey.url = self._redirect(answer)
            journey.redirects += 1
            if journey.redirects > self.config.max_redirects:
                raise Refused("too_many_redirects", f"more than {self.config.max_redirects}")
            return None
        except Refused as refused:
            refused.final_url = journey.url
            if refused.status is None:
                refused.status = journey.status
            raise

    async def _heed_rules(self, journey: Journey, site: Site) -> bool:
        """Refuse what the site's rules do not allow; whether it is not the host's turn now that they are known."""
        if not (self.config.respect_robots or self.config.respect_tdm or self.config.ai_txt == "always"):
            return False
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            async with asyncio.timeout(max(journey.left_s, 0.0)):
                journey.unread = await self._rules.check(site.url, journey.url) or journey.unread
        except TimeoutError:
            late = Refused("timeout", f"no answer in the rest of {self.config.timeout_s:g} s", may_pass=True)
            longest = self.site(journey.longest)
            if longest is not site:
                longest.fails(journey.longest, late, clock())
            raise late from None
        except Refused as refused:
            if refused.of_rules and refused.may_pass:
                site.rest(refused)
            raise
        finally:
            took = clock() - start
            journey.left_s -= took
            journey.hops.append((journey.url, took))
        return self.wait_s(site.host) > 0

    async def _heed_links(self, answer: Response) -> Wish | None:
        """Refuse what a license that the answer names does not allow; what is asked by one, if that cannot be read."""
        named = self._named_licenses(answer.headers, answer.url)
        try:
            return await self.licenses.check(named, answer.url) if named else None
        except BaseException:
            self.let_go(answer)
            raise

    def _named_licenses(self, headers: CIMultiDictProxy[str], url: str) -> list[tuple[str, str]]:
        return licenses(self.config, lambda name: headers.getall(name, ()), url)

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
        host = self.site(answer.url).host
        if seconds > MAX_RETRY_AFTER_S:
            host.alone = f"it asked to be left alone for {seconds:.0f} s"
        else:
            host.next_start = max(host.next_start, asyncio.get_running_loop().time() + seconds)

    def _heed(self, url: str, delay_s: float) -> None:
        host = self.site(url).host
        host.delay_s = max(host.delay_s, delay_s)

    def _check(self, site: Site) -> None:
        name = site.host.name
        if not name:
            raise Refused("connection_failed", "not an absolute http or https address")
        if site.port in REFUSED_PORTS:
            raise Refused("port_not_allowed", f"port {site.port} is another protocol's")
        try:
            self._guard.check(name)
        except PrivateAddressError as error:
            raise Refused("address_private", str(error)) from error
        domain = opted_out(name, self._opted_out)
        if domain is not None:
            raise Refused("domain_opted_out", f"{domain} is on the opt-out list")
        if site.host.alone is not None:
            raise Refused("connection_failed", f"host given up: {site.host.alone}")

    @asynccontextmanager
    async def _turn(self, host: Host) -> AsyncIterator[None]:
        """One of the host's places, not before its next start."""
        async with host.turns:
            now = asyncio.get_running_loop().time()
            start = max(now, host.next_start)
            host.next_start = start + host.delay_s
            await asyncio.sleep(start - now)
            yield

    async def _get_file(self, url: str, limit: int, journey: Journey) -> Response:
        """A site's own file, whatever its status, after redirects; a longer one is cut."""
        for _ in range(robots.MAX_REDIRECTS + 1):
            site = self.site(url)
            journey.url = url
            self._check(site)
            try:  # it may be another's, to which a redirect or a license led
                self._contact.check(site.host.name)
            except NoContactError as error:
                raise Refused("connection_failed", f"not asked: {error}") from error
            async with self._turn(site.host):
                answer = await self._request(site, url, journey, limit)
            self.let_go(answer)
            target = canonical_url(_location(answer), url) if answer.status in _REDIRECTS else None
            if target is None or not target.startswith(("http://", "https://")):
                return answer
            url = target
        return answer  # more redirects than the RFC asks to follow: as if it were absent

    async def _request(
        self,
        site: Site,
        url: str,
        journey: Journey,
        limit: int,
        check: Check | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request and its answer, whatever the status; without `check`, a body is cut at the limit."""
        status: int | None = None
        clock = asyncio.get_running_loop().time
        start = clock()
        pace = Pace(self.config, max(journey.left_s, 0.0))
        try:
            async with (
                pace.deadline,
                self._session.get(URL(url, encoded=True), allow_redirects=False, headers=headers) as answer,
            ):
                journey.status = status = answer.status
                body, is_large, unread = b"", False, None
                if check is not None and (status // 100 == 2 or status == 304):
                    unread = check(answer.headers)
                    self.licenses.refuse_known(self._named_licenses(answer.headers, url), url)
                    part = part_of(status, answer.headers.get("Content-Range", ""))
                    if part is not None:
                        raise Refused("connection_failed", f"206: a part alone, {part[:100]}", may_pass=True)
                if status // 100 == 2:
                    body, is_large = await read_body(answer, limit, pace, self._room, cut=check is None)
                else:
                    await _drain(answer)
                site.answers(url)
                words = answer.reason or ""
                return Response(url, status, words, answer.headers, answer.raw_headers, body, is_large, unread)
        except Refused as refused:
            refused.status = status
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failed = refusal(error, pace.words())
            failed.status = status
            journey.hops.append((url, clock() - start - pace.stopped_s))
            if failed.site_failed:
                # That there was no time left speaks against the site that took it.
                guilty = journey.longest if failed.outcome == "timeout" and pace.is_over else url
                self.site(guilty).fails(guilty, failed, clock())
            raise failed from error
        finally:
            site.host.known = True
            took = clock() - start - pace.stopped_s
            journey.left_s -= took
            journey.hops.append((url, took))


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read what nobody needs, if that frees its connection; its status counts, however it goes on."""
    if answer.content_length is not None and answer.content_length <= _DRAIN_BYTES:
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_DRAIN_S):
                await answer.read()


def _location(answer: Response) -> str:
    """Where an answer leads, as it is written; empty if it does not say."""
    return url_in_header(answer.headers.get("Location", "").encode("utf-8", "surrogateescape"))


def opted_out(host: str, domains: Container[str]) -> str | None:
    """Return the domain of a list that a host is, or is below; both as `dataset.hosts` spells them."""
    while host:
        if host in domains:
            return host
        host = host.partition(".")[2]
    return None
