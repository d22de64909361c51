import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from crawl.images.ingest import ImageConfig
from crawl.images.observations import Observation
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch as own_fetch
from crawl.web.img2dataset_engine import fetch
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import accept, one_server

__all__ = ["one_server"]

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset's dependency would ask the network for its newest version
KEPT: dict[str, Any] = {
    "engine": "img2dataset",
    "respect_robots": False,
    "respect_tdm": False,
    "concurrency": 4,
    "min_bytes_per_s": 0,
}


def config(server: HostileServer, **changes: Any) -> FetchConfig:
    return server.config(**{**KEPT, **changes})


def get(server: HostileServer, url: str, **changes: Any) -> Observation:
    url = url if "://" in url else f"http://images.test{url}"
    (observation,) = fetch([url], config(server, **changes), accept, opted_out=frozenset({"opted-out.test"}))
    return observation


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/ok.jpg", "ok"),
        ("/octets", "ok"),
        ("/status/404", "http_client_error"),
        ("/status/503", "http_server_error"),
        ("/html.jpg", "not_an_image"),
        ("/empty", "not_an_image"),
        ("/vector.svg", "not_an_image"),
        ("/animated.gif", "image_animated"),
        ("/bomb.png", "image_too_many_pixels"),
        ("/half.jpg", "image_truncated"),
        ("/noai", "robots_noai"),
        ("/signal", "content_signal_refused"),
        ("/usage", "content_usage_refused"),
        ("/endless", "body_too_large"),
        ("/cut", "connection_failed"),
        ("/reset", "connection_failed"),
        ("/garbage", "connection_failed"),
        ("/many-headers", "connection_failed"),
        ("/long-header", "connection_failed"),
        ("/to/image", "ok"),
        ("/to/self", "too_many_redirects"),
        ("/to/metadata", "address_private"),
        ("/to/loopback", "address_private"),
        ("/to/loopback6", "address_private"),
        ("/to/private", "address_private"),
        ("/to/mapped", "address_private"),
        ("/to/file", "too_many_redirects"),
        ("/to/opted-out", "domain_opted_out"),
        ("http://dead.test/a.jpg", "connection_failed"),
        ("ftp://images.test/a.jpg", "connection_failed"),
        ("nonsense", "connection_failed"),
    ],
)
def test_every_answer_has_its_outcome(server: HostileServer, path: str, outcome: str) -> None:
    observation = get(server, path if path != "nonsense" else "nonsense://")
    assert observation.outcome == outcome, observation.detail
    assert server.secrets == 0


@pytest.mark.parametrize("path", ["/trickle", "http://silent.test/a.jpg"])
def test_a_server_that_is_slow_is_left(server: HostileServer, path: str) -> None:
    start = time.monotonic()
    assert get(server, path, timeout_s=0.5).outcome == "timeout"
    assert time.monotonic() - start < 5


def test_redirects_are_followed_up_to_a_limit(server: HostileServer) -> None:
    assert get(server, "/to/image", max_redirects=1).outcome == "ok"
    assert get(server, "/to/image", max_redirects=0).outcome == "too_many_redirects"


def test_names_that_point_inside_and_names_that_point_nowhere(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inside(host: str, port: int, **options: Any) -> list[Any]:
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    assert get(server, f"http://rebind.example:{server.secret_port}/a.jpg").outcome == "address_private"
    assert get(server, "http://nowhere.example/a.jpg").outcome == "dns_failed"
    assert get(server, "http://images.test:6379/a.jpg").outcome == "port_not_allowed"
    assert server.secrets == 0


def test_both_engines_make_the_same_of_the_same_images(server: HostileServer) -> None:
    urls = [f"http://{host}.test/many/{n}.jpg" for n in range(8) for host in ("images", "other")]
    seen: list[str] = []
    theirs = fetch([*urls, urls[0]], config(server), accept, done=lambda item: seen.append(item.url))
    ours = own_fetch([*urls, urls[0]], server.config(), accept)
    assert [(row.url, row.outcome, row.image) for row in theirs] == [(row.url, row.outcome, row.image) for row in ours]
    assert sorted(seen) == sorted(urls)


def test_who_asks_is_named_by_the_product_token(server: HostileServer) -> None:
    get(server, "/ok.jpg", user_agent="examplebot/2 (+https://example.org)")
    assert any("compatible; examplebot;" in agent for agent in server.agents)


def test_the_config_that_the_docs_give_is_one_that_it_can_keep() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/fetch.md").read_text(encoding="utf-8"), re.DOTALL)
    sections = {name: keys for block in blocks for name, keys in yaml.safe_load(block).items()}
    assert FetchConfig(**sections["fetch"]).engine == "img2dataset"
    assert ImageConfig(**sections["store"]) == ImageConfig()  # what it says are the defaults


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("respect_robots", True),
        ("respect_tdm", True),
        ("per_host_concurrency", 1),
        ("per_host_delay_s", 1.0),
        ("min_bytes_per_s", 10),
        ("refresh_before", "2026-01-31"),
    ],
)
def test_what_it_cannot_keep_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"engine img2dataset cannot keep .*{key} to .*or use engine openwit"):
        FetchConfig(**{**KEPT, key: value})
