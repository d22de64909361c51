"""Give every reader inputs that nobody thought of, for some minutes; what breaks a promise is saved and named.

    python -m tests.fuzz [MINUTES] [--first N] [--readers NAME …]    from input number N on
    python -m tests.fuzz --replay FILE …                             what was saved: its name tells its reader

An input is broken that raises what its reader does not document, loses count of its rows, takes more than 10 seconds of
CPU or half a gigabyte, or ends the process. Equal numbers are equal inputs.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.readers import READERS
from tests.fuzz.seeds import made, seeds

SECONDS, KILOBYTES = 10.0, 2**19
_BATCH = 50  # inputs of one reader in turn
_KILLED_AFTER_S = 120


def wrong(reader: str, data: bytes, folder: Path) -> str | None:
    """What promise an input breaks, in words; None if none."""
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        READERS[reader](data, folder / reader)  # some write files there, some one file
    except Exception:
        return traceback.format_exc()
    seconds = time.process_time() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if seconds > SECONDS:
        return f"it took {seconds:.1f} s"
    return f"it took {grown // 1024:,} MB" if grown > KILOBYTES else None


def _work(readers: list[str], first: int, until: float, at: mmap.mmap, saved: Path) -> None:
    """Try inputs round by round; which one is being tried stands in `at`."""
    of, number = seeds(), first
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            for place, reader in enumerate(readers):
                for one in range(number, number + _BATCH):
                    at[:] = struct.pack("<QQQ", place, one, one - first + 1)
                    data = made(reader, one, of[reader])
                    if (words := wrong(reader, data, Path(folder))) is not None:
                        save(saved, reader, data, words)
            number += _BATCH


def save(folder: Path, reader: str, data: bytes, words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{reader}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"{path}: {words.strip().splitlines()[-1][:300]}\n  python -m tests.fuzz --replay {path}", flush=True)


def fuzz(minutes: float, first: int, readers: list[str], saved: Path) -> int:
    """The work in a process of its own, which an input may end; how many inputs were tried."""
    until, tried, at = time.monotonic() + 60 * minutes, 0, mmap.mmap(-1, 24)
    context = multiprocessing.get_context("fork")
    while time.monotonic() < until:
        worker = context.Process(target=_work, args=(readers, first, until, at, saved))
        worker.start()
        seen = b""
        while worker.is_alive():
            worker.join(_KILLED_AFTER_S)
            if worker.is_alive() and at[:] == seen:
                worker.kill()
            seen = at[:]
        place, number, count = struct.unpack("<QQQ", at[:])
        tried += count * len(readers)
        if worker.exitcode:
            words = f"the process ended with {worker.exitcode}"
            save(saved, readers[place], made(readers[place], number, seeds()[readers[place]]), words)
        first = number + 1
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=10)
    parser.add_argument("--first", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--replay", nargs="+", type=Path)
    parser.add_argument(
        "--saved", type=Path, default=Path("build/fuzz"), help="where inputs are saved that break something"
    )
    options = parser.parse_args()
    if options.replay:
        with tempfile.TemporaryDirectory() as folder:
            found = [wrong(path.name.partition("-")[0], path.read_bytes(), Path(folder)) for path in options.replay]
        for path, words in zip(options.replay, found, strict=True):
            print(f"{path}: {words or 'nothing is wrong'}")
        sys.exit(any(found))
    print(f"from input {options.first} on: {', '.join(options.readers)}", flush=True)
    before = set(options.saved.glob("*"))
    tried = fuzz(options.minutes, options.first, options.readers, options.saved)
    broken = set(options.saved.glob("*")) - before
    print(f"{tried:,} inputs in {options.minutes:g} minutes; {len(broken)} of them break a promise")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
