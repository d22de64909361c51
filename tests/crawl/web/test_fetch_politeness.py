"""What is asked of a host at once, how far apart, and when it is left alone."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from crawl.web.fetch import fetch
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import accept, get, hostile_server

__all__ = ["hostile_server"]


def test_requests_to_one_host_are_so_many_at_once(server: HostileServer) -> None:
    urls = [f"http://{host}.test/many/{n}.jpg" for n in range(16) for host in ("images", "other")]
    fetch(urls, server.config(per_host_concurrency=2), accept)
    assert server.busiest["images.test"] == server.busiest["other.test"] == 2
    server.busiest.clear()
    fetch(urls, server.config(per_host_concurrency=8, concurrency=3), accept)
    assert server.busiest["images.test"] <= 3


@pytest.mark.parametrize(("host", "delay"), [("delay.test", 0.0), ("images.test", 0.2)])
def test_requests_to_one_host_are_so_far_apart(server: HostileServer, host: str, delay: float) -> None:
    urls = [f"http://{host}/many/{n}.jpg" for n in range(4)]
    fetch(urls, server.config(per_host_delay_s=delay), accept)
    starts = sorted(server.starts[host])[1:]  # robots.txt comes first, before the delay is known
    assert len(starts) == 5  # tdmrep.json is the second
    # As the server sees them, which may be busy for a moment with something else.
    assert all(later - earlier > 0.05 for earlier, later in pairwise(starts))
    assert starts[-1] - starts[0] > 4 * 0.15


def test_a_host_that_asks_for_a_delay_does_not_hold_up_the_others(server: HostileServer) -> None:
    urls = [f"http://{host}.test/many/{n}.jpg" for host, count in (("delay", 6), ("images", 5)) for n in range(count)]
    fetch(urls, server.config(concurrency=2), accept)
    assert max(server.starts["images.test"]) < sorted(server.starts["delay.test"])[-2]


def test_retry_after_is_waited_for(server: HostileServer) -> None:
    start = time.monotonic()
    observation = get(server, "/busy-once", attempts=2)
    assert (observation.outcome, observation.attempts) == ("ok", 2)
    assert time.monotonic() - start >= 1
    assert get(server, "/broken-once", attempts=1).outcome == "http_server_error"
    assert get(server, "/status/500", attempts=3).attempts == 3
    assert get(server, "/status/404", attempts=3).attempts == 1


def test_a_host_that_asks_for_a_long_pause_gets_it(server: HostileServer) -> None:
    urls = [f"http://images.test/busy-for-long?{n}" for n in range(40)]
    outcomes = [row.outcome for row in fetch(urls, server.config(attempts=3), accept)]
    assert set(outcomes) == {"http_server_error", "connection_failed"}
    assert server.hits["images.test/busy-for-long"] == outcomes.count("http_server_error") <= 4


def test_a_dead_host_is_given_up(server: HostileServer) -> None:
    urls = [f"http://{host}.test/fail/{n}.jpg" for n in range(300) for host in ("images", "dead")]
    urls += [f"http://other.test/many/{n}.jpg" for n in range(5)]
    rows = fetch(urls, server.config(attempts=2, respect_robots=False), accept)
    assert {row.outcome for row in rows[:600]} == {"connection_failed"}
    assert "host given up: once more 3 failures in a row" in {row.detail for row in rows}
    assert sum(server.hits[f"images.test/fail/{n}.jpg"] for n in range(300)) < 60
    assert {row.outcome for row in rows[600:]} == {"ok"}
    once = fetch(urls[:600], server.config(attempts=1, respect_robots=False), accept)
    assert "host given up: 10 failures in a row" in {row.detail for row in once}


def test_a_slow_host_does_not_hold_up_the_others(server: HostileServer) -> None:
    urls = [f"http://silent.test/{n}.jpg" for n in range(100)] + [f"http://images.test/many/{n}.jpg" for n in range(50)]
    start = time.monotonic()
    rows = fetch(urls, server.config(timeout_s=0.5, concurrency=8), accept)
    assert time.monotonic() - start < 5
    assert {row.outcome for row in rows[:100]} == {"timeout"}
    assert {row.outcome for row in rows[100:]} == {"ok"}
