"""Many addresses at once: by host, each kept busy up to what is polite, and nobody waits for the slow and the failing.

Few hosts are asked at a time, so that connections and rules are used while they are at hand, and the host with most
work starts first and is not what all wait for. An address that has to wait, for its host's name or turn or where a
redirect led it, keeps no place meanwhile. What fails again and again rests until all others are done (see
`crawl.web.politeness`).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from resource import RLIMIT_NOFILE, getrlimit
from types import MappingProxyType

from crawl import host_names
from crawl.web.client import Check, Client, Conditions
from crawl.web.politeness import Host
from crawl.web.response import Journey, Refused, Response, backoff_s
from dataset.ids import hash64

SLOW_S = 1.0
"""How long an address may take before it gives its place among `concurrency` to another."""
SLOW_PER_PLACE = 16
"""Such addresses at a time, for each place: a silent server costs a file and little else."""

Take = Callable[[str, "Response | Refused", int], Awaitable[None]]
"""Takes a URL, what came of it, and how many attempts it took."""


class _Address:
    """A URL, and how far the attempt at it is."""

    __slots__ = ("attempts", "is_slow", "journey", "moved_at", "url")

    def __init__(self, url: str, seconds: float):
        self.url = url
        self.attempts = 0  # that have ended
        self.journey = Journey(url, seconds)
        self.moved_at: float | None = None  # since when it waits for a turn under way, in the loop's time
        self.is_slow = False


class _Queue:
    """One host's addresses that wait."""

    __slots__ = ("host", "is_asking", "moved", "offered", "rank", "waiting")

    def __init__(self, host: Host, rank: int):
        self.host = host
        self.rank = rank  # the lowest goes first
        self.waiting: deque[_Address] = deque()
        self.moved: deque[_Address] = deque()  # under way already: they go before all others
        self.is_asking = False  # for the host's name
        self.offered: tuple[int, int] | None = None  # its precedence among the hosts that are ready, or soon will be


async def visit(
    client: Client,
    urls: Iterable[str],
    check: Check,
    take: Take,
    conditions: Mapping[str, Conditions] = MappingProxyType({}),
) -> None:
    """GET every distinct URL once, retrying what may pass, and hand each answer to `take` as it comes.

    conditions: URL -> what makes its request conditional.

    Raises:
        Whatever `take` raises, after ending what is under way.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            await _Visit(client, check, take, conditions, tasks).run(sorted(set(urls)))
    except BaseExceptionGroup as group:  # `take` failed: its error is clearer without the group
        raise group.exceptions[0] from None


class _Visit:
    """One call of `visit`."""

    def __init__(
        self,
        client: Client,
        check: Check,
        take: Take,
        conditions: Mapping[str, Conditions],
        tasks: asyncio.TaskGroup,
    ):
        self._client = client
        self._config = client.config
        self._check = check
        self._take = take
        self._conditions = conditions
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._queues: dict[str, _Queue] = {}
        self._by_rank: list[_Queue] = []
        self._ready: list[tuple[int, int]] = []  # the precedence of each host that may start a request
        self._pausing: defaultdict[str, list[_Address]] = defaultdict(list)  # site -> what waits for its pause to end
        self._resting: defaultdict[str, list[_Address]] = defaultdict(list)  # site -> what waits for all others
        self._unfinished = 0
        self._at_rest = 0  # of these
        self._active = 0
        self._slow = 0
        self._asking = 0  # names that are asked for, but for those that take long
        self._most_slow = min(SLOW_PER_PLACE * self._config.concurrency, getrlimit(RLIMIT_NOFILE)[0] // 2)

    async def run(self, urls: list[str]) -> None:
        """Visit the addresses, to the end of the last."""
        for url in self._order_addresses(urls):
            address = _Address(url, self._config.timeout_s)
            self._queue(address).waiting.append(address)
        self._unfinished = len(urls)
        for queue in self._by_rank:
            self._offer(queue)
        while self._unfinished:
            while self._ready and self._active < self._config.concurrency and self._asking < host_names.AT_ONCE:
                self._start_one()
            if self._unfinished == self._at_rest:
                self._wake()
                continue
            self._changed.clear()
            await self._changed.wait()

    def _order_addresses(self, urls: list[str]) -> list[str]:
        """Order addresses by host and site, those with most addresses first; within a site in the order of a
        hash, so that a folder of dead links is not taken for a dead site.
        """
        sites = {url: self._client.site(url) for url in urls}
        of_host = Counter(site.host.name for site in sites.values())
        of_site = Counter(site.url for site in sites.values())

        def precedence(url: str) -> tuple[int, str, int, bool, str, int, str]:
            site = sites[url]
            host = -of_host[site.host.name], site.host.name
            return *host, -of_site[site.url], site.port is not None, site.url, hash64(url), url

        return sorted(urls, key=precedence)

    def _queue(self, address: _Address) -> _Queue:
        """The queue of the host where an address is."""
        host = self._client.site(address.journey.url).host
        if host.name not in self._queues:
            self._queues[host.name] = _Queue(host, len(self._by_rank))
            self._by_rank.append(self._queues[host.name])
        return self._queues[host.name]

    # ---- who is next

    def _offer(self, queue: _Queue) -> None:
        """Put a host among those that are ready, now or when its turn comes."""
        if (
            queue.is_asking
            or not (queue.moved or queue.waiting)
            or queue.host.active >= self._client.places(queue.host)
        ):
            return
        precedence = (0 if queue.moved else 1, queue.rank)
        if queue.offered is not None and queue.offered <= precedence:
            return
        queue.offered = precedence
        wait = self._client.wait_s(queue.host)
        if wait > 0:
            self._loop.call_later(wait, self._arrive, precedence)
        else:
            self._arrive(precedence)

    def _arrive(self, precedence: tuple[int, int]) -> None:
        heapq.heappush(self._ready, precedence)
        self._changed.set()

    def _start_one(self) -> None:
        """Start an address of the first host that is ready; or set one aside that is not asked for now."""
        precedence = heapq.heappop(self._ready)
        queue = self._by_rank[precedence[1]]
        if queue.offered != precedence:
            return  # it was offered with a better one since
        queue.offered = None
        if not self._client.is_name_known(queue.host):
            queue.is_asking = True
            self._tasks.create_task(self._ask_for_name(queue))
        elif queue.host.active < self._client.places(queue.host):
            address = (queue.moved or queue.waiting).popleft()
            site, now = self._client.site(address.journey.url), self._loop.time()
            refused = site.given_up(address.journey.url)
            if address.moved_at is not None and now - address.moved_at > self._config.max_wait_s:
                refused = Refused("timeout", f"no turn at {site.url} in {self._config.max_wait_s:g} s")
            if refused is None and site.resting(address.journey.url) is not None:
                self._resting[site.url].append(address)
                self._at_rest += 1
            elif refused is None and site.pause_ends > now:
                self._pausing[site.url].append(address)
                if len(self._pausing[site.url]) == 1:
                    self._loop.call_at(site.pause_ends, self._end_pause, site.url)
            else:
                queue.host.active += 1
                self._active += 1
                self._tasks.create_task(self._go(queue, address, refused))
        self._offer(queue)

    async def _ask_for_name(self, queue: _Queue) -> None:
        """Wait for a host's name, which keeps no other waiting: then its addresses may start."""
        self._asking += 1
        answer = asyncio.ensure_future(self._client.ask_for_name(queue.host))
        await asyncio.wait([answer], timeout=host_names.SLOW_S)
        self._asking -= 1
        self._changed.set()
        await answer
        queue.is_asking = False
        self._offer(queue)

    def _end_pause(self, site: str) -> None:
        for address in reversed(self._pausing.pop(site)):
            self._put_back(address, first=True)

    def _put_back(self, address: _Address, *, first: bool = False) -> None:
        queue = self._queue(address)
        waiting = queue.waiting if address.moved_at is None else queue.moved
        (waiting.appendleft if first else waiting.append)(address)
        self._offer(queue)

    def _wake(self) -> None:
        """All others are done: what rests is asked for once more, or given up."""
        self._client.forget_failed_names()
        resting, self._resting, self._at_rest = self._resting, defaultdict(list), 0
        for name, addresses in resting.items():
            site = self._client.site(name)
            again = self._config.attempts > 1 and site.once_more()
            for address in addresses:
                refused = None if again else site.resting(address.journey.url)
                if refused is None:
                    self._put_back(address)
                else:
                    self._tasks.create_task(self._finish(address, refused))

    # ---- one address

    async def _go(self, queue: _Queue, address: _Address, refused: Refused | None) -> None:
        """Go on with an address, as far as it goes without waiting for another turn."""
        if refused is not None:
            await self._finish(address, refused)
        else:
            timer = self._loop.call_later(SLOW_S, self._is_slow, address)
            answer: Response | Refused | None
            try:
                conditions = self._conditions.get(address.url, Conditions())
                answer = await self._client.step(address.journey, self._check, conditions)
            except Refused as failed:
                answer = failed
            timer.cancel()
            if answer is None:
                address.moved_at = self._loop.time()
                self._put_back(address)
            else:
                await self._end_attempt(address, answer)
        queue.host.active -= 1
        if address.is_slow:
            address.is_slow = False
            self._slow -= 1
        else:
            self._active -= 1
        self._offer(queue)
        self._changed.set()

    def _is_slow(self, address: _Address) -> None:
        if self._slow < self._most_slow:
            address.is_slow = True
            self._slow += 1
            self._active -= 1
            self._changed.set()

    async def _end_attempt(self, address: _Address, answer: Response | Refused) -> None:
        """An attempt has come to an end: there is another, or this was the last."""
        if isinstance(answer, Refused) and answer.may_pass and self._config.attempts > 1:
            site = self._client.site(address.journey.url)
            is_over = site.host.alone is not None or site.given_up(address.journey.url) is not None
            if answer.of_rules and not is_over:  # the site rests; the address itself was not asked for
                self._restart(address)
                self._resting[site.url].append(address)
                self._at_rest += 1
                return
            if address.attempts + 1 < self._config.attempts and not is_over:
                address.attempts += 1
                self._restart(address)
                self._loop.call_later(backoff_s(address.attempts), self._put_back, address)
                return
        address.attempts += 1
        await self._finish(address, answer)

    def _restart(self, address: _Address) -> None:
        address.journey = Journey(address.url, self._config.timeout_s)
        address.moved_at = None

    async def _finish(self, address: _Address, answer: Response | Refused) -> None:
        if isinstance(answer, Refused):
            await self._take(address.url, answer.again(address.journey.url), max(1, address.attempts))
        else:
            await self._take(address.url, answer, address.attempts)
            self._client.let_go(answer)
        self._unfinished -= 1
        self._changed.set()
