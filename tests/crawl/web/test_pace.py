"""The deadline of a request counts the time that its server takes, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

import crawl.web.response
from crawl.web.config import FetchConfig
from crawl.web.response import LARGE_BYTES, LargeBodySlots, Pace, read_body

CONFIG = FetchConfig(timeout_s=10, min_bytes_per_s=0)


class Clock:
    """The running loop's time, which passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        asyncio.get_running_loop().time = lambda: self.now  # type: ignore[method-assign]

    async def pass_s(self, seconds: float) -> None:
        """So much time passes, and whoever waited for it goes on."""
        self.now += seconds
        for _ in range(10):
            await asyncio.sleep(0)


def answer(parts: AsyncIterator[bytes]) -> Any:
    content = SimpleNamespace(iter_any=lambda: parts)
    return SimpleNamespace(headers=CIMultiDict(), content_length=None, content=content)


def test_waiting_for_a_place_of_memory_takes_nothing_of_the_servers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.web.response, "LARGE_BODIES", 1)

    async def scenario() -> None:
        clock, room, more = Clock(), LargeBodySlots(), asyncio.Event()
        await room.take()

        async def parts() -> AsyncIterator[bytes]:
            yield bytes(LARGE_BYTES + 1)
            await more.wait()
            yield b"the rest"

        pace = Pace(CONFIG, 10)

        async def read() -> tuple[bytes, bool]:
            async with pace.deadline:
                return await read_body(answer(parts()), 2**20, pace, room, cut=False)

        reading = asyncio.create_task(read())
        await clock.pass_s(0)
        await clock.pass_s(1_000)
        assert not reading.done()
        room.leave()
        await clock.pass_s(0)
        await clock.pass_s(9)  # which is the server's
        assert not reading.done()
        more.set()
        await clock.pass_s(0)
        body, is_large = reading.result()
        assert (len(body), is_large, pace.stopped_s) == (LARGE_BYTES + 9, True, 1_000)

    asyncio.run(scenario())


def test_a_server_that_stalls_after_the_wait_is_still_told() -> None:
    async def scenario() -> None:
        clock = Clock()
        pace = Pace(CONFIG, 10)

        async def read() -> None:
            async with pace.deadline:
                async with pace.pause():
                    clock.now += 500
                await asyncio.Event().wait()

        reading = asyncio.create_task(read())
        await clock.pass_s(9)
        assert not reading.done()
        await clock.pass_s(2)
        assert isinstance(reading.exception(), TimeoutError)
        assert pace.is_over

    asyncio.run(scenario())
