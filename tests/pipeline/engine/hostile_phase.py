"""A phase that meets something hostile, and stages that do, for test_budgets: in children, where no test can patch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataset import heartbeat
from dataset.stages import Stage
from pipeline.engine.phase import Context, Result, phase

TEST = Stage("test", __name__, ("test.hostile", "test.around"))

HOSTILE = "WIT_TEST_HOSTILE"
"""Where a stage meets what, and in which text: `page slow a word`."""


class OddError(Exception):
    """One that does not survive being pickled."""

    def __init__(self, first: str, second: str):
        super().__init__(f"{first}{second}")


def burn() -> None:
    """A regex that would take years, and holds the interpreter's lock meanwhile."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def burn_elsewhere() -> None:
    """Work of years in a thread that a library has begun, for which this one waits."""
    library = threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 10**9), daemon=True)
    library.start()
    library.join()


def swell() -> list[bytearray]:
    """More memory than a test allows, a piece at a time, and held: that takes less CPU time than a test allows."""
    held = []
    for _ in range(12):
        held.append(bytearray(os.urandom(1)) * 20_000_000)
        time.sleep(0.01)
    time.sleep(5)
    return held


def odd() -> None:
    raise OddError("host", "ile")


def plain() -> None:
    raise ValueError("hostile")


MEETINGS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "slow regex": burn,
    "slow threads": burn_elsewhere,
    "much memory": swell,
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "raise": plain,
    "raise oddly": odd,
    "sleep": lambda: time.sleep(1.3),
}


@phase(TEST, "test.hostile", takes=("kind", "at"))
def meet(context: Context) -> Result:
    """Goes through its units, and at one of them meets what the options say."""
    heartbeat.place("row ")
    for unit in context.units(20):
        heartbeat.at(unit, unit)
        heartbeat.progress(unit, 20)
        if unit == context.options["at"]:
            MEETINGS[context.options["kind"]]()
    return Result(counts={"units": 20}, facts={"pid": os.getpid()})


@phase(TEST, "test.around", takes=("word",))
def around(context: Context) -> Result:
    """What the process sees of the world."""
    return Result(facts={"folder": str(Path.cwd()), "word": os.environ["WIT_TEST_WORD"]})


def poison(patch: pytest.MonkeyPatch, where: str, kind: str, word: str) -> None:
    """Have a stage meet something hostile in every text that holds a word."""
    patch.setenv(HOSTILE, f"{where} {kind} {word}")


def _meet(where: str, text: str) -> None:
    place, kind, word = os.environ.get(HOSTILE, "nowhere nothing nothing").split(" ", 2)
    if place == where and word in text:
        {"slow": burn, "large": swell}[kind]()


def _poisoned() -> None:
    import crawl.candidates.archive_reader
    import pipeline.stages.text.stage

    parse, measure = crawl.candidates.archive_reader.parse_page, pipeline.stages.text.stage.measure_text

    def parse_page(html: Any, *arguments: Any, **more: Any) -> Any:
        _meet("page", bytes(html).decode("utf-8", "replace") if not isinstance(html, str) else html)
        return parse(html, *arguments, **more)

    def measure_text(rows: Any, *arguments: Any) -> Any:
        _meet("text", "\n".join(rows["text"].to_pylist()))
        return measure(rows, *arguments)

    crawl.candidates.archive_reader.parse_page, pipeline.stages.text.stage.measure_text = parse_page, measure_text


if __name__ in sys.argv:  # this process is a zygote, which has been told to import it
    _poisoned()
