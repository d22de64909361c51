"""The rules of sites, robots.txt, tdmrep.json and ai.txt: asked for once, kept within a bound of bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from crawl.urls import canonical_url
from crawl.web.config import FetchConfig
from crawl.web.response import Journey, Refused, Response, backoff_s, wish_refusal
from crawl.web.rules import robots, tdm
from crawl.web.rules.licenses import Licenses
from crawl.wishes import UNREADABLE, Wish

MAX_RULES_BYTES = 32 * 2**20
"""The memory that rules may take; those that were needed longest ago are forgotten, and asked for again."""
SHARE_OF_TIMEOUT = 0.9
"""The share of `timeout_s` that a site's rules may take: an address whose site is as slow hears why it failed."""
_INLINE_BYTES = 4 * 1024  # longer files are parsed in a thread: the loop has others to serve
_INLINE_PATTERNS = 300  # more of them than this are asked there

P = ParamSpec("P")
R = TypeVar("R")

GetFile = Callable[[str, int, Journey], Awaitable[Response]]
"""Asks for a site's own file: its URL, the bytes that are wanted of it, and the time that there is for it."""
Heed = Callable[[str, float], None]
"""Is told of a URL whose host asks for so many seconds between two requests."""


@dataclass(frozen=True, slots=True)
class SiteWishes:
    """What a site asks of crawlers; what licenses say that it names stands in these."""

    ai_txt: robots.RobotsRules = robots.ALLOW_ALL
    robots: robots.RobotsRules = robots.ALLOW_ALL
    reservations: tdm.Reservations = tdm.NONE
    is_unread: bool = False  # whether the reservations could not be read
    refuses_unreadable: bool = False
    licenses: tuple[tuple[str, str], ...] = ()  # the URL of each that robots.txt names, and where

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        of_files = self.robots.size + self.reservations.size + self.ai_txt.size
        return 1_000 + of_files + sum(200 + len(url) for url, _ in self.licenses)

    async def check(self, url: str) -> Wish | None:
        """Refuse what they do not allow; answers what is asked for the URL, if that cannot be read."""
        refusal = await _call_in_thread(self.robots.special > _INLINE_PATTERNS, self.robots.refusal, url)
        if refusal is not None:
            raise wish_refusal(*refusal)
        if await _call_in_thread(len(self.reservations.rules) > _INLINE_PATTERNS, self.reservations.is_reserved, url):
            raise wish_refusal("tdm_reserved", Wish(tdm.HEADER, "1", tdm.PATH))
        if await _call_in_thread(self.ai_txt.special > _INLINE_PATTERNS, self.ai_txt.refusal, url) is not None:
            raise wish_refusal("ai_txt_disallowed", Wish("ai.txt", "Disallow", robots.AI_TXT))
        unread = await _call_in_thread(self.robots.special > _INLINE_PATTERNS, self.robots.unread, url)
        if unread is None and self.is_unread:
            unread = robots.Refusal("wish_unreadable", Wish(tdm.HEADER, f"{UNREADABLE}no rules", tdm.PATH))
        if unread is not None and self.refuses_unreadable:
            raise wish_refusal(*unread)
        return unread.wish if unread is not None else None


class SiteRules:
    """The rules of each site that is asked.

    Args:
        config: whether robots.txt and tdmrep.json are respected, and for how long they may be waited for.
        get_file: asks.
        heed: is told of Crawl-delay.
        licenses: are asked for by who uses the rules.
    """

    def __init__(self, config: FetchConfig, get_file: GetFile, heed: Heed, licenses: Licenses):
        self._config = config
        self._get_file = get_file
        self._heed = heed
        self._licenses = licenses
        self._sites: OrderedDict[str, SiteWishes] = OrderedDict()
        self._bytes = 0
        self._asked: dict[str, asyncio.Task[SiteWishes]] = {}

    async def of(self, site: str) -> SiteWishes:
        """Return the rules of a site (scheme://host[:port]).

        Raises:
            Refused: they cannot be had; they are asked for again by the next that needs them.
        """
        rules = self._sites.get(site)
        if rules is not None:
            self._sites.move_to_end(site)
            return rules
        if site not in self._asked:
            self._asked[site] = asyncio.create_task(self._get(site))
            self._asked[site].add_done_callback(lambda task: self._forget_task(site, task))
        try:
            return await asyncio.shield(self._asked[site])
        except Refused as failed:  # a new one for each URL: it takes the URL that it ends at
            raise failed.again() from failed

    async def check(self, site: str, url: str) -> Wish | None:
        """Refuse what the rules of a URL's site do not allow; answers what is asked for it, if that cannot be read.

        Raises:
            Refused: as said, or the rules cannot be had.
        """
        rules = await self.of(site)
        unread = await rules.check(url)
        if rules.licenses:
            unread = await self._licenses.check(rules.licenses, url) or unread
        return unread

    async def close(self) -> None:
        """Ask for no more."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_task(self, site: str, task: asyncio.Task[SiteWishes]) -> None:
        del self._asked[site]
        if not task.cancelled():
            task.exception()  # nobody may be left to hear it

    async def _get(self, site: str) -> SiteWishes:
        # Of its own, not that of the address which asks first: that may have little left, and others wait as well.
        journey = Journey(site, self._config.timeout_s * SHARE_OF_TIMEOUT)
        rules = SiteWishes(refuses_unreadable=self._config.unreadable_policy == "refuse")
        if self._config.respect_robots:
            robots_rules = await self._get_robots(f"{site}/robots.txt", journey)
            named = ((canonical_url(license_.url, f"{site}/"), license_.place) for license_ in robots_rules.licenses)
            rules = replace(
                rules, robots=robots_rules, licenses=tuple((url, place) for url, place in named if url is not None)
            )
        if self._config.respect_tdm:
            with suppress(Refused):  # a file that cannot be had reserves nothing; the header still can
                answer = await self._get_file(f"{site}{tdm.PATH}", tdm.MAX_BYTES, journey)
                reservations = await _call_in_thread(len(answer.body) > _INLINE_BYTES, tdm.parse, answer.body)
                is_unread = await _call_in_thread(len(answer.body) > _INLINE_BYTES, tdm.is_unreadable, answer.body)
                rules = replace(rules, reservations=reservations, is_unread=is_unread)
        if self._config.ai_txt == "always" or (self._config.ai_txt == "named" and rules.robots.names_ai_txt):
            with suppress(Refused):
                answer = await self._get_file(f"{site}{robots.AI_TXT}", robots.MAX_BYTES, journey)
                if answer.status // 100 == 2:
                    rules = replace(rules, ai_txt=await self._parse_robots(answer.body))
        self._keep(site, rules)
        return rules

    def _keep(self, site: str, rules: SiteWishes) -> None:
        self._sites[site] = rules
        self._bytes += rules.size
        while self._bytes > MAX_RULES_BYTES and len(self._sites) > 1:
            self._bytes -= self._sites.popitem(last=False)[1].size

    async def _get_robots(self, url: str, journey: Journey) -> robots.RobotsRules:
        """robots.txt by RFC 9309, section 2.3.1: absent allows everything, out of order disallows everything."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._get_file(url, robots.MAX_BYTES, journey)
                # A host that answers 429 is overloaded, not without rules; so is one that answers 5xx.
                if answer.status < 500 and answer.status != 429:
                    break
                outcome, words = "robots_disallowed", f"HTTP {answer.status}"
                failed = Refused(outcome, words, status=answer.status, may_pass=True)
            except Refused as error:
                failed = error
            if not failed.may_pass or attempt >= self._config.attempts or journey.left_s <= 0:
                words = f"robots.txt: {failed.detail}"
                raise Refused(failed.outcome, words, status=failed.status, may_pass=failed.may_pass, of_rules=True)
            await asyncio.sleep(backoff_s(attempt))
        if not answer.body:
            return robots.ALLOW_ALL
        rules = await self._parse_robots(answer.body)
        self._heed(url, rules.crawl_delay_s)
        return rules

    async def _parse_robots(self, body: bytes) -> robots.RobotsRules:
        config = self._config
        rules = await _call_in_thread(
            len(body) > _INLINE_BYTES, robots.parse, body, config.user_agent, config.also_heed
        )
        return rules.only(config.heeds)


async def _call_in_thread(is_long: bool, function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call a function, in a thread if it may take long."""
    return await asyncio.to_thread(function, *arguments, **options) if is_long else function(*arguments, **options)
