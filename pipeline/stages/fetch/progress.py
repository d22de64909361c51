"""How far the fetch stage is while it works: each partition writes now and then, `wit status` reads.

These files are in `OUT/log/`, apart from everything that is checksummed; nothing but `wit status` depends on them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from dataset import heartbeat
from dataset.store.storage import Storage

FOLDER = "log/fetch"
EVERY_S = 5.0
"""Between two writes of one partition."""
_SILENT_S = 60.0  # a partition that has not written for so long is not at work
_SHOWN = 6


class Tally:
    """Counts one partition's outcomes, and writes them now and then.

    Args:
        partition: its number.
        partitions: how many there are.
        urls: how many the partition has to get.
        is_shown: whether anything is written.
    """

    def __init__(self, storage: Storage, partition: int, partitions: int, urls: int, is_shown: bool = True):
        self._storage = storage
        self._is_shown = is_shown
        self._name = f"{FOLDER}/{partition:05d}.json"
        self._facts = {"partitions": partitions, "urls": urls, "began": time.time()}
        self._outcomes: Counter[str] = Counter()
        self._next = 0.0
        self.write()

    def add(self, outcome: str) -> None:
        """Count one more URL that has come to this."""
        self._outcomes[outcome] += 1
        heartbeat.progress(self._outcomes.total(), int(self._facts["urls"]))
        if time.monotonic() >= self._next:
            self.write()

    def add_all(self, outcomes: Iterable[str]) -> None:
        """See `add`."""
        for outcome in outcomes:
            self.add(outcome)

    def finish(self) -> None:
        """Write the last counts: there will be no more, and what no archive held is none of them."""
        self._facts["urls"] = self._outcomes.total()
        self.write()

    def write(self) -> None:
        """Write the counts; a failure to is no reason to stop."""
        if not self._is_shown:
            return
        self._next = time.monotonic() + EVERY_S
        line = {**self._facts, "updated": time.time(), "outcomes": dict(sorted(self._outcomes.items()))}
        with contextlib.suppress(OSError):
            self._storage.write(self._name, json.dumps(line).encode())


def clear(storage: Storage) -> None:
    """Forget what an earlier run counted."""
    storage.delete([info.name for info in storage.list(FOLDER)])


def describe(storage: Storage, now: float) -> str | None:
    """Return the rate, what has come of the URLs, and about how long it will take, as a line; None if nothing is
    counted.

    now: in seconds since the epoch.
    """
    lines: list[dict[str, Any]] = []
    for info in storage.list(FOLDER):
        with contextlib.suppress(OSError, ValueError, RecursionError):  # being written, or gone
            lines.append(json.loads(storage.read(info.name)))
    try:
        return _in_words(lines, now) if lines else None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        return f"{FOLDER} is not as openwit writes it"


def _in_words(lines: list[dict[str, Any]], now: float) -> str:
    outcomes: Counter[str] = Counter()
    rate, urls = 0.0, 0
    for line in lines:
        done = sum(line["outcomes"].values())
        outcomes.update(line["outcomes"])
        urls += line["urls"]
        if done < line["urls"] and now - line["updated"] < _SILENT_S:
            rate += done / max(line["updated"] - line["began"], 1e-3)
    total = round(urls / len(lines) * max(line["partitions"] for line in lines))
    done = outcomes.total()
    shown = ", ".join(f"{outcome} {count:,} ({count / done:.0%})" for outcome, count in outcomes.most_common(_SHOWN))
    left = f"{rate:,.0f}/s, about {_duration((total - done) / rate)} left" if rate and total > done else "at rest"
    about = "about " if max(line["partitions"] for line in lines) > len(lines) else ""
    return f"fetch: {done:,} of {about}{total:,} URLs, {left}" + (f"; {shown}" if shown else "")


def _duration(seconds: float) -> str:
    """90 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
