"""RSL licenses that sites, responses and pages name: each is asked for once, kept within a bound of bytes.

A license that cannot be had or read is unreadable; what it says of one address refuses that alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from crawl import rsl
from crawl.web.config import FetchConfig
from crawl.web.response import Journey, Refused, Response, backoff_s, wish_refusal
from crawl.wishes import UNREADABLE, Wish

SHARE_OF_TIMEOUT = 0.3
"""The share of `timeout_s` that one attempt at a license may take, less what it waits for its host's turn."""
MAX_BYTES = 32 * 2**20
"""The memory that licenses may take; those that were needed longest ago are forgotten, and asked for again."""
_INLINE_BYTES = 4 * 1024  # longer ones are parsed in a thread: the loop has others to serve
_INLINE_TERMS = 300  # more of them than this are asked there

GetFile = Callable[[str, int, Journey], Awaitable[Response]]
"""Asks for a file, whose bytes beyond a limit are cut: see `crawl.web.rules.site_rules`."""


class Licenses:
    """The licenses of one client."""

    def __init__(self, config: FetchConfig, get_file: GetFile):
        self._config = config
        self._get_file = get_file
        self._known: OrderedDict[str, rsl.License | str] = OrderedDict()  # by URL; a text says why it is unreadable
        self._bytes = 0
        self._asked: dict[str, asyncio.Task[rsl.License | str]] = {}
        self.patience_s = config.timeout_s
        """How long a license may wait for its host's turn, where many stand at one host."""

    async def check(self, named: Sequence[tuple[str, str]], url: str) -> Wish | None:
        """Refuse an absolute URL that a license does not allow; answers what is asked for it, if that cannot be read.

        named: the canonical URL of each license, and where it is named.

        Raises:
            Refused: a license prohibits training or asks for something in return; or one is unreadable, and the config
                takes that for a refusal.
        """
        unread: Wish | None = None
        for where, place in named[: rsl.MAX_LICENSES]:
            unread = _unreadable_wish(await self._get_license(where), where, place) or unread
            said = await self._ask_license(where, url)
            if said is not None and rsl.refuses(said):
                raise wish_refusal(rsl.outcome_of(said), Wish(rsl.SIGNAL, said, f"{place}: {where}"))
        if len(named) > rsl.MAX_LICENSES:
            words = f"{UNREADABLE}more than {rsl.MAX_LICENSES} licenses"
            unread = unread or Wish(rsl.SIGNAL, words, named[rsl.MAX_LICENSES][1])
        if unread is not None and self._config.unreadable_license == "refuse":
            raise wish_refusal("rsl_unreadable", unread)
        return unread

    def refuse_known(self, named: Sequence[tuple[str, str]], url: str) -> None:
        """Refuse as `check` does, but only by licenses that are known already, before more of an answer is read."""
        for where, place in named[: rsl.MAX_LICENSES]:
            license_ = self._known.get(where)
            if isinstance(license_, rsl.License) and len(license_.terms) <= _INLINE_TERMS:
                said = license_.terms_for(url)
                if said is not None and rsl.refuses(said):
                    raise wish_refusal(rsl.outcome_of(said), Wish(rsl.SIGNAL, said, f"{place}: {where}"))

    async def _ask_license(self, where: str, url: str) -> str | None:
        license_ = await self._get_license(where)
        if isinstance(license_, str):
            return None
        if len(license_.terms) > _INLINE_TERMS:
            return await asyncio.to_thread(license_.terms_for, url)
        return license_.terms_for(url)

    async def _get_license(self, where: str) -> rsl.License | str:
        if "http" not in self._config.origins:
            return "not asked for: fetch.origins lacks http"
        if where in self._known:
            self._known.move_to_end(where)
            return self._known[where]
        if where not in self._asked:
            self._asked[where] = asyncio.create_task(self._get(where))
            self._asked[where].add_done_callback(lambda task: self._asked.pop(where))
        return await asyncio.shield(self._asked[where])

    async def _get(self, where: str) -> rsl.License | str:
        license_, may_pass = await self._try(where)
        for attempt in range(1, self._config.attempts):
            if not may_pass:
                break
            await asyncio.sleep(backoff_s(attempt))
            license_, may_pass = await self._try(where)
        self._known[where] = license_
        self._bytes += _size(license_)
        while self._bytes > MAX_BYTES and len(self._known) > 1:
            self._bytes -= _size(self._known.popitem(last=False)[1])
        return license_

    async def _try(self, where: str) -> tuple[rsl.License | str, bool]:
        """One attempt at a license, and whether another may fare better."""
        seconds = self._config.timeout_s * SHARE_OF_TIMEOUT
        try:
            async with asyncio.timeout(seconds + self.patience_s):
                answer = await self._get_file(where, rsl.MAX_BYTES + 1, Journey(where, seconds))
                if answer.status // 100 != 2:
                    return f"HTTP {answer.status}", answer.status >= 500 or answer.status == 429
                if len(answer.body) > _INLINE_BYTES:
                    return await asyncio.to_thread(rsl.parse, answer.body), False
                return rsl.parse(answer.body), False
        except TimeoutError:
            return "timeout", True
        except Refused as error:
            return error.outcome, error.may_pass
        except rsl.UnreadableError as error:
            return str(error), False

    async def close(self) -> None:
        """Ask for no more."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unreadable_wish(license_: rsl.License | str, where: str, place: str) -> Wish | None:
    return Wish(rsl.SIGNAL, f"{UNREADABLE}{license_}", f"{place}: {where}") if isinstance(license_, str) else None


def _size(license_: rsl.License | str) -> int:
    return license_.size if isinstance(license_, rsl.License) else 200 + len(license_)
