"""Strangers' pages: what their links do at somebody else's site, and what of it the good addresses feel."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import crawl.host_names
import crawl.web.politeness
import crawl.web.response
import crawl.web.visit
from crawl.images import observations
from crawl.images.observations import Observation, RefusedBody
from crawl.web.address_guard import REFUSED_PORTS
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch
from tests.crawl.raw_server import LENGTH, Asked, answer, serving

RULES = ("/robots.txt", "/.well-known/tdmrep.json")
MISSING = answer(b"Content-Length: 0", status=b"HTTP/1.1 404 Not Found", body=b"")
IMAGE = answer(LENGTH)


def moved(target: str) -> bytes:
    lines = (b"Content-Length: 0", b"Location: " + target.encode())
    return answer(*lines, status=b"HTTP/1.1 302 Found", body=b"")


class World:
    """A loopback server of many hosts, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: Callable[[str, str], bytes] = lambda host, path: IMAGE
        self.rules: Callable[[str, str], bytes] = lambda host, path: MISSING
        self.is_silent: Callable[[str], bool] = lambda host: False
        self.waiting, self.most_waiting = set[int](), 0
        self.ended = threading.Event()
        self.port = 0

    def reply(self, asked: Asked, opened: socket.socket) -> bool:
        self.asked.append(asked)
        if self.is_silent(asked.host):  # until who asks hangs up: an answer that comes late would be one
            self.waiting.add(threading.get_ident())
            self.most_waiting = max(self.most_waiting, len(self.waiting))
            with suppress(OSError):
                opened.settimeout(60.0)
                opened.recv(1)
            self.waiting.discard(threading.get_ident())
            return False
        opened.sendall((self.rules if asked.path in RULES else self.answers)(asked.host, asked.path))
        return True

    def images(self, host: str | None = None) -> Counter[str]:
        """How often each host, or each path of one, was asked for something else than its rules."""
        asked = [one for one in self.asked if one.path not in RULES]
        return Counter(one.path if host else one.host for one in asked if host in (None, one.host))

    def stall(self, seconds: float = 60.0) -> None:
        self.ended.wait(seconds)

    def fetch(self, urls: list[str], hosts: tuple[str, ...] = (), **changes: Any) -> dict[str, Observation]:
        names = {url.split("/")[2].split(":")[0] for url in urls if "://" in url} | set(hosts)
        named = dict.fromkeys(names, f"127.0.0.1:{self.port}")
        options: dict[str, Any] = {"timeout_s": 5.0, "attempts": 2, "resolve": {**named, **changes.pop("resolve", {})}}
        earlier = changes.pop("earlier", {})
        config = FetchConfig(**{**options, **changes})
        rows = fetch(urls, config, lambda body: RefusedBody("taken", str(len(body))), earlier=earlier)
        return {row.url: row for row in rows}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(crawl.web.response, "BACKOFF_S", 0.02)
    monkeypatch.setattr(crawl.web.politeness, "PAUSE_S", 0.002)
    one = World()
    with ExitStack() as stack:
        one.port = stack.enter_context(serving(one.reply))
        yield one
        one.ended.set()


def outcomes(rows: dict[str, Observation], urls: list[str]) -> Counter[str]:
    return Counter(rows[url].outcome for url in urls)


@pytest.mark.parametrize("respect", [True, False])
def test_links_to_closed_ports_of_a_site_cost_it_nothing(world: World, respect: bool) -> None:
    good = [f"http://victim.test:{world.port}/images/{n}.jpg" for n in range(40)]
    ports = [port for port in range(200, 320) if port not in REFUSED_PORTS]
    bad = [f"http://victim.test:{port}/images/{port}.jpg" for port in ports]
    resolve = {"victim.test": "127.0.0.1"}
    rows = world.fetch(good + bad, resolve=resolve, respect_robots=respect, respect_tdm=respect)
    assert outcomes(rows, good) == {"taken": 40}
    assert outcomes(rows, bad) == {"connection_failed": len(bad)}


def test_of_a_host_s_silent_ports_few_are_waited_for(world: World) -> None:
    good = [f"http://victim.test:{world.port}/images/{n}.jpg" for n in range(40)]
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(30)]
        bad = [f"http://victim.test:{one.getsockname()[1]}/a.jpg" for one in silent]
        rows = world.fetch(good + bad, resolve={"victim.test": "127.0.0.1"}, timeout_s=0.8)
    assert outcomes(rows, good) == {"taken": 40}
    assert outcomes(rows, bad)["timeout"] < 16
    assert outcomes(rows, bad)["timeout"] + outcomes(rows, bad)["connection_failed"] == 30


def test_redirectors_that_stall_are_to_blame_themselves(world: World) -> None:
    def answers(host: str, path: str) -> bytes:
        if host.startswith("r"):
            world.stall(0.9)
            return moved(f"http://victim.test/late{path}")
        if path.startswith("/late"):
            world.stall(1.3)  # less than its time; both together are so much more that no busy machine is in time
        return IMAGE

    world.answers = answers
    good = [f"http://victim.test/images/{n}.jpg" for n in range(60)]
    bad = [f"http://r{n}.test/{n}.jpg" for n in range(30)]
    rows = world.fetch(good + bad, timeout_s=1.4, respect_robots=False, respect_tdm=False, attempts=1)
    assert outcomes(rows, good) == {"taken": 60}
    assert outcomes(rows, bad) == {"timeout": 30}


@pytest.mark.parametrize("respect", [True, False])
def test_a_folder_that_stalls_is_left_alone_and_not_the_site(
    world: World, monkeypatch: pytest.MonkeyPatch, respect: bool
) -> None:
    def answers(host: str, path: str) -> bytes:
        if path.startswith("/slow"):
            world.stall(1.2)
        return IMAGE

    world.answers = answers
    good = [f"http://victim.test/images/{n}.jpg" for n in range(40)]
    bad = [f"http://victim.test/slow/{n}.php" for n in range(100)]
    rows = world.fetch(good + bad, timeout_s=0.6, respect_robots=respect, respect_tdm=respect)
    assert outcomes(rows, good) == {"taken": 40}
    assert sum(count for path, count in world.images("victim.test").items() if path.startswith("/slow")) < 30
    assert set(outcomes(rows, bad)) == {"timeout", "connection_failed"}


def test_a_site_that_was_out_of_order_is_asked_once_more_at_the_end(world: World) -> None:
    broken = [2]  # robots.txt fails as often

    def rules(host: str, path: str) -> bytes:
        if host == "back.test" and path == "/robots.txt" and broken[0]:
            broken[0] -= 1
            return answer(b"Content-Length: 0", status=b"HTTP/1.1 503 Service Unavailable", body=b"")
        return MISSING

    world.rules = rules
    back = [f"http://back.test/{n}.jpg" for n in range(20)]
    other = [f"http://other.test/{n}.jpg" for n in range(5)]
    rows = world.fetch(back + other)
    assert outcomes(rows, back + other) == {"taken": 25}
    asked = [one.host for one in world.asked if one.path.endswith(".jpg")]
    assert asked[:5] == ["other.test"] * 5
    broken[0] = 9
    rows = world.fetch(back)
    assert outcomes(rows, back) == {"robots_disallowed": 20}
    assert rows[back[0]].status == 503


def test_what_a_redirect_leads_to_is_asked_once_more_too(world: World) -> None:
    broken = [2]

    def rules(host: str, path: str) -> bytes:
        if host == "back.test" and path == "/robots.txt" and broken[0]:
            broken[0] -= 1
            return answer(b"Content-Length: 0", status=b"HTTP/1.1 503 Service Unavailable", body=b"")
        return MISSING

    world.rules = rules
    world.answers = lambda host, path: moved(f"http://back.test{path}") if host == "front.test" else IMAGE
    urls = [f"http://front.test/{n}.jpg" for n in range(6)]
    assert outcomes(world.fetch(urls, ("back.test",)), urls) == {"taken": 6}
    broken[0] = 99
    assert outcomes(world.fetch(urls, ("back.test",)), urls) == {"robots_disallowed": 6}


def test_an_address_has_its_time_for_all_of_its_way(world: World) -> None:
    def slowly(host: str, path: str) -> bytes:
        world.stall(0.2)
        return MISSING

    def answers(host: str, path: str) -> bytes:
        number = int(host.removeprefix("h").removesuffix(".test"))
        return moved(f"http://h{number + 1}.test/") if number < 5 else IMAGE

    world.answers, world.rules = answers, slowly
    hosts = tuple(f"h{n}.test" for n in range(6))
    rows = world.fetch(["http://h0.test/"], hosts, timeout_s=0.6, attempts=1)
    assert rows["http://h0.test/"].outcome == "timeout"
    assert len(world.asked) < 7  # of eighteen
    rows = world.fetch(["http://h0.test/"], hosts, timeout_s=20.0, attempts=1)
    assert rows["http://h0.test/"].outcome == "taken"


def test_a_redirect_that_waits_for_its_turn_keeps_nobody_waiting(world: World) -> None:
    world.rules = lambda host, path: (
        answer(b"Content-Length: 29", body=b"User-agent: *\nCrawl-delay: .2")
        if (host, path) == ("slow.test", "/robots.txt")
        else MISSING
    )
    world.answers = lambda host, path: moved(f"http://slow.test{path}{host}") if host.startswith("r") else IMAGE
    urls = [f"http://r{n}.test/{n}" for n in range(6)]
    good = [f"http://z{n}.test/{n}.jpg" for n in range(20)]
    rows = world.fetch(urls + good, ("slow.test",), concurrency=2)
    assert outcomes(rows, urls + good) == {"taken": 26}
    order = [one.host for one in world.asked if one.host == "slow.test" or one.path.endswith(".jpg")]
    assert order[-3:] == ["slow.test"] * 3  # the good ones were done long before the last turn there
    rows = world.fetch(urls, ("slow.test",), max_wait_s=0.3)
    assert set(outcomes(rows, urls)) == {"taken", "timeout"}


def test_validators_are_sent_to_nobody_but_who_gave_them(world: World) -> None:
    unchanged = answer(b'ETag: "1"', status=b"HTTP/1.1 304 Not Modified", body=b"")

    answers = {
        ("a.test", "/x"): moved("http://stranger.test/x"),
        ("stranger.test", "/x"): unchanged,
        ("b.test", "/x"): moved("http://own.test/x"),
        ("own.test", "/x"): unchanged,
    }
    earlier = {
        f"http://{host}.test/x": {
            **dict.fromkeys(observations.Observation.__slots__),
            "url": f"http://{host}.test/x",
            "final_url": final_url,
            "origin": "http",
            "outcome": "ok",
            "etag": '"1"',
            "last_modified": None,
            "status": 200,
            "fetched_bytes": 1,
        }
        for host, final_url in (("a", "http://a.test/x"), ("b", "http://own.test/x"))
    }
    world.answers = lambda host, path: answers[host, path]
    hosts = ("stranger.test", "own.test")
    rows = world.fetch(list(earlier), hosts, earlier=earlier, respect_robots=False, respect_tdm=False)
    assert [asked.host for asked in world.asked if b"If-None-Match" in asked.head] == ["a.test", "own.test"]
    assert (rows["http://a.test/x"].outcome, rows["http://a.test/x"].status) == ("too_many_redirects", 304)
    assert rows["http://b.test/x"].outcome == "ok"


def test_silent_name_servers_keep_no_good_host_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver waits for a name server that does not answer, each time in a thread."""
    monkeypatch.setattr(crawl.host_names, "SLOW_S", 0.05)
    monkeypatch.setattr(crawl.host_names, "ANSWER_S", 0.5)
    asked: Counter[str] = Counter()

    def getaddrinfo(host: str, port: int | None, **options: Any) -> list[Any]:
        asked[host] += 1
        if host.startswith("silent"):
            world.stall()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    silent = [f"http://silent{n}.example/{n}.jpg" for n in range(400)]  # more than are asked at once
    known = [f"http://z{n}.example/{n}.jpg" for n in range(20)]  # its name server answers
    order: list[tuple[str, str]] = []
    config = FetchConfig(user_agent="openwit/1 (+mailto:bot@site.test)")
    rows = fetch(
        [*silent, *known],
        config,
        lambda body: RefusedBody("taken", ""),
        done=lambda row: order.append((row.url, row.detail or "")),
    )
    assert {row.outcome for row in rows} == {"dns_failed"}
    assert {url for url, _ in order[:20]} == set(known)  # before any of the silent ones
    assert {detail.partition(" in ")[0] for url, detail in order[20:]} == {
        "robots.txt: [Errno -3] no name server has answered"
    }
    assert max(asked.values()) == 1  # also when it was wanted once more, for it was still asked for


@pytest.mark.parametrize("port", [22, 25, 6000, 6379, 11211])
def test_ports_of_other_protocols_are_not_asked(world: World, port: int) -> None:
    world.answers = lambda host, path: moved(f"http://b.test:{port}/x")
    rows = world.fetch([f"http://b.test:{port}/x", "http://a.test/x"], respect_robots=False, respect_tdm=False)
    assert {row.outcome for row in rows.values()} == {"port_not_allowed"}
    assert world.images() == {"a.test": 1}


def test_silent_hosts_cost_files_and_not_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.web.visit, "SLOW_S", 0.02)
    world.is_silent = lambda host: host.startswith("silent")
    silent = [f"http://silent{n}.test/{n}.jpg" for n in range(60)]
    good = [f"http://z{n}.test/{n}.jpg" for n in range(20)]
    rows = world.fetch(silent + good, concurrency=4, timeout_s=1.2)
    assert outcomes(rows, good) == {"taken": 20}
    assert outcomes(rows, silent) == {"timeout": 60}
    assert 4 < world.most_waiting <= 4 + 16 * 4
    asked = Counter(one.host for one in world.asked if one.host.startswith("silent"))
    # robots.txt, and once more when all others were done; and where a busy loop looks at the address's time before it
    # looks at that of its rules, which ends sooner, the address is tried once more as any other is.
    assert min(asked.values()) == 2 and max(asked.values()) <= 3
