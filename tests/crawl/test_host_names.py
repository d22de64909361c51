"""Names: asked for once at a time, in bounded numbers, and nobody waits for long."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from crawl import host_names
from crawl.host_names import Names


class Servers:
    """Name servers: those of `silent…` answer nothing until `answer` is set."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.at_once = self.most = 0
        self.answer = threading.Event()
        self._lock = threading.Lock()

    def look_up(self, host: str) -> list[str]:
        with self._lock:
            self.asked[host] += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        if host.startswith("silent"):
            self.answer.wait(60)
        with self._lock:
            self.at_once -= 1
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return ["192.0.2.1"]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.setattr(host_names, "SLOW_S", 0.02)
    monkeypatch.setattr(host_names, "ANSWER_S", 0.2)
    made = Servers()
    yield made
    made.answer.set()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_name_is_asked_for_once_however_many_want_it(servers: Servers) -> None:
    async def test() -> None:
        known = Names(servers.look_up)
        assert await asyncio.gather(*(known.addresses("a") for _ in range(50))) == [["192.0.2.1"]] * 50
        for _ in range(3):
            with pytest.raises(socket.gaierror, match="no such name"):
                await known.addresses("none")
        assert known.is_known("none")
        known.forget_failures()
        assert known.is_known("none")  # that there is none will not pass
        assert servers.asked == {"a": 1, "none": 1}

    run(test)


def test_who_waits_for_a_silent_server_is_told_and_its_late_answer_is_kept(servers: Servers) -> None:
    async def test() -> None:
        known = Names(servers.look_up)
        with pytest.raises(socket.gaierror, match="no name server has answered") as failed:
            await known.addresses("silent")
        assert failed.value.errno == socket.EAI_AGAIN
        known.forget_failures()
        again = asyncio.ensure_future(known.addresses("silent"))
        await asyncio.sleep(0)
        servers.answer.set()
        assert await again == ["192.0.2.1"]
        assert servers.asked == {"silent": 1}

    run(test)


def test_silent_servers_take_bounded_places_and_give_way_to_others(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_names, "AT_ONCE", 4)
    monkeypatch.setattr(host_names, "SLOW_AT_ONCE", 40)

    async def test() -> None:
        known = Names(servers.look_up)
        silent = [asyncio.ensure_future(known.addresses(f"silent{n}")) for n in range(36)]
        await asyncio.sleep(0)
        assert await known.addresses("good") == ["192.0.2.1"]
        assert servers.at_once > 30  # it waited for none of them
        silent += [asyncio.ensure_future(known.addresses(f"silent{n}")) for n in range(36, 100)]
        told = await asyncio.wait(silent, timeout=0.6)
        assert len(told[0]) == 44  # the others wait for a place
        servers.answer.set()
        assert servers.most == 44
        assert await asyncio.gather(*silent[44:]) == [["192.0.2.1"]] * 56
        assert [type(one.exception()) for one in silent[:44]] == [socket.gaierror] * 44
        assert await known.addresses("late") == ["192.0.2.1"]

    run(test)
