"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# Before anything imports numpy or torch. Several processes test at once, and threads that wait for their turn at a
# tiny model spin; a task's process has one thread too (pipeline/workers/children.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A shell starts what shall work in the background with Ctrl-C ignored, and its children with it; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all tests are imported

# A shared machine may stall for longer than hypothesis' 200 ms an example; how long it takes is not what is asserted.
# The examples are the same each time, so that half of hypothesis' hundred say nearly as much; parsers ask for more.
settings.register_profile("openwit", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("openwit")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Other people's archives, beside the checkout; a machine without them skips the tests that read them."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def one_vocabulary() -> Iterator[None]:
    """Where open_clip is imported, it reads its tokenizer's vocabulary once."""
    if "open_clip" not in sys.modules:
        yield
        return
    from tests import vocabulary

    with vocabulary.read_once():
        yield


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look through it for garbage takes a third of a second each time."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """As the process ends it takes all away: DuckDB says on standard error what of it is left."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with the longest when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
