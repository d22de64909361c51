"""Fetching from the hostile server, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import crawl.web.politeness
import crawl.web.response
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, Observation, RefusedBody
from crawl.web.fetch import fetch
from dataset.reasons import reasons
from tests.crawl.hostile_server import HostileServer, running


def accept(body: bytes) -> Ingested | RefusedBody:
    def fingerprint(pixels: np.ndarray) -> tuple[bytes, int]:
        return bytes(32), 50

    return ingest(body, ImageConfig(), fingerprint, lambda body, pdq: None)


@pytest.fixture(name="server")
def hostile_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(crawl.web.response, "BACKOFF_S", 0.05)
    monkeypatch.setattr(crawl.web.politeness, "PAUSE_S", 0.01)
    with running() as server:
        yield server


@pytest.fixture(name="server", scope="module")
def one_server() -> Iterator[HostileServer]:
    """One for all tests of a module, which imports it."""
    with running() as server:
        yield server


def get(server: HostileServer, url: str, **changes: Any) -> Observation:
    url = url if "://" in url else f"http://images.test{url}"
    (observation,) = fetch([url], server.config(**changes), accept)
    assert observation.url == url and observation.origin == "http"
    assert observation.outcome == "ok" or reasons()[observation.outcome][0] == "fetch"
    assert (observation.image is not None) == (observation.detail is None) == (observation.outcome == "ok")
    return observation
