"""Fixtures of more than one file here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline.inline import tasks_in_this_process
from tests.pipeline.prebuilt import Prebuilt
from tests.pipeline.tinted import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Prebuilt:
    """Twelve pages: the fewest that have every kind of dirt."""
    return Prebuilt(tmp_path_factory.mktemp("small"), 12)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Prebuilt:
    """Twenty-four pages: every reason is given."""
    return Prebuilt(tmp_path_factory.mktemp("large"), 24)


@pytest.fixture(scope="session", autouse=True)
def _tasks_in_this_process() -> Iterator[None]:
    with tasks_in_this_process():
        yield
