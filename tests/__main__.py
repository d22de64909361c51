"""`python -m tests [ROOM…]`: all tests, in rooms, of which several are at work at once.

A room is a process of its own, so that what its tests leave there (a Ray, a patched module) does not meet another's.
All are forked from this one, which has imported what is large: some thirty CPU-seconds, once instead of ten times.
Each line that a room prints begins with its name, and the tests that failed are named once more at the end, with the
first lines of what they said. Exit status 0 if all rooms pass.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import selectors
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Before numpy or torch is imported, as in conftest.py: threads of theirs would also not survive a fork.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataset.stages import path
from tests.rooms import ROOMS, paths

LIBRARIES = (
    "pytest",
    "pyarrow.compute",
    "pyarrow.parquet",
    "duckdb",
    "aiohttp",
    "onnx",
    "open_clip",
    "torch._dynamo",
    "rich.table",
    "sklearn.cluster",
    "boto3",
    "hypothesis",
    "crawl.wat.scan",
    "filters.texts.quantized_model",
    "pipeline.build",
    *(stage.code for stage in path()),
    "train.loop",
)
"""Slow to import, or compiled as they are (by numba, once a checkout, and by each room that is at work at once), or
imported by a build where it needs them. No Ray: it reads the environment as it is imported, which tests set."""
_LOOK_S = 0.2  # between two looks at which rooms have ended


class Room:
    """One room at work."""

    def __init__(self, name: str, arguments: Sequence[str]):
        self.name = name
        self.began = time.monotonic()
        self.failures: list[str] = []
        self._rest = b""
        self.output, theirs = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _test(arguments, theirs)
        os.close(theirs)
        os.set_blocking(self.output, False)

    def show(self) -> None:
        """Print the lines that the room has written since."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.output, 1 << 16):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in (f"{self.name}: {line.decode(errors='replace')}" for line in lines):
                    print(line, flush=True)
                    words = line.removeprefix(f"{self.name}: ")
                    if words.startswith(("FAILED ", "ERROR ")) or (words.startswith("E  ") and len(self.failures) < 20):
                        self.failures.append(line)

    def ended(self) -> bool | None:
        """Whether its tests passed, once it has ended; None before."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.show()
        code = os.waitstatus_to_exitcode(status)
        if code != 0 and not self.failures:
            self.failures.append(f"{self.name}: exit status {code}, and no test that failed was named")
        said = "passed" if code == 0 else f"failed (exit status {code})"
        seconds, cpu = time.monotonic() - self.began, usage.ru_utime + usage.ru_stime
        print(f"{self.name}: {said} in {seconds:.0f} s, {cpu:.0f} CPU-seconds", flush=True)
        return code == 0


def _test(arguments: Sequence[str], output: int) -> None:
    """Run pytest in this, the room's own process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    import pytest

    # Ray has its workers look for modules in the folder of the script first, and in this one there is a `dataset`.
    sys.argv = [pytest.__file__, *arguments]
    # Of anyio, which open_clip has imported: pytest cannot rewrite the asserts of its plugin, which we do not use.
    sys.exit(pytest.main(["-v", "-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments]))


def main(words: Sequence[str] | None = None) -> int:
    """Test the named rooms, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--processes", type=int, default=3, help="rooms at once")
    parser.add_argument(
        "--again", action="store_true", help="in the end, try what has failed once more, a room at a time"
    )
    given = parser.parse_args(words)
    if unknown := set(given.rooms) - set(ROOMS):
        parser.error(f"there is no room {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    os.chdir(Path(__file__).resolve().parent.parent)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # no room looks through these for garbage
    with tempfile.TemporaryDirectory() as caches:  # of which pytest knows what failed
        rooms = {
            name: ["-r", "fE", "-o", f"cache_dir={caches}/{name}", *paths(name)]
            for name in ROOMS
            if not given.rooms or name in given.rooms
        }
        failures = run(rooms, given.processes)
        if given.again and failures:
            show("these failed, and are tried once more while nothing else is at work:", failures)
            failures = run({name: ["--last-failed", *rooms[name]] for name in failures}, 1)
    gc.unfreeze()
    show("these failed:", failures)
    return 1 if failures else 0


def run(rooms: Mapping[str, Sequence[str]], processes: int) -> dict[str, list[str]]:
    """Test rooms, so many at once. Returns what those that did not pass said of it.

    Args:
        rooms: pytest's arguments by room.
        processes: how many rooms are at work at once.
    """
    waiting, at_work, failures = list(rooms), [], {}
    with selectors.DefaultSelector() as outputs:
        while waiting or at_work:
            while waiting and len(at_work) < processes:
                name = waiting.pop(0)
                room = Room(name, rooms[name])
                at_work.append(room)
                outputs.register(room.output, selectors.EVENT_READ, room)
            for key, _ in outputs.select(_LOOK_S):
                key.data.show()
            for room in list(at_work):
                if (passed := room.ended()) is not None:
                    outputs.unregister(room.output)
                    os.close(room.output)
                    at_work.remove(room)
                    if not passed:
                        failures[room.name] = room.failures
    return failures


def show(title: str, failures: Mapping[str, Sequence[str]]) -> None:
    """Print what failed once more: what stands above may be cut from a log."""
    if failures:
        print("\n".join([title, *(line for lines in failures.values() for line in lines)]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
