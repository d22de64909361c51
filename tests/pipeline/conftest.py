"""Fixtures of more than one file here."""

from __future__ import annotations

import pytest

from tests.pipeline.tinted import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("models"))
