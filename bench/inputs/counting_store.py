"""The store of `bench.scale`: names and sizes of files, and a clock that leaves out what is not the driver's."""

from __future__ import annotations

import pickle
import resource
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dataset.ids import mix64
from dataset.store.storage import FileInfo, Storage
from pipeline.engine.exchanges import exchange
from pipeline.engine.run import Run


class Clock:
    """The process's CPU seconds without those of what stands in for workers and the store."""

    def __init__(self) -> None:
        self._off = 0.0
        self._is_off = False

    def now(self) -> float:
        """Return seconds of the driver so far."""
        return time.process_time() - self._off

    def off(self, action: Callable[[], Any]) -> Any:
        """Do what is not the driver's."""
        if self._is_off:
            return action()
        began, self._is_off = time.process_time(), True
        try:
            return action()
        finally:
            self._off += time.process_time() - began
            self._is_off = False


class Names(Storage):
    """A store that keeps the names and sizes of files, and the content of those that the driver reads."""

    def __init__(self, url: str, clock: Clock):
        super().__init__(url)
        self.clock = clock
        self.written = 0
        self._base = sqlite3.connect(f"{self.url}/names.sqlite", isolation_level=None)
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute("BEGIN")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS f (home TEXT, name TEXT, bytes INT, data BLOB, PRIMARY KEY (home, name))"
        )

    def save(self) -> None:
        """Have a process that begins later find the files of now."""
        self._base.execute("COMMIT")
        self._base.execute("BEGIN")

    def keep(self, rows: Sequence[tuple[str, int, bytes | None]]) -> None:
        """Keep files, which are there from now on."""
        self.written += len(rows)
        rows_of_files = [(*_split(name), size, data) for name, size, data in rows]
        self.clock.off(lambda: self._base.executemany("INSERT OR REPLACE INTO f VALUES (?, ?, ?, ?)", rows_of_files))

    def _ask(self, what: str, name: str) -> Any:
        return self.clock.off(
            lambda: self._base.execute(f"SELECT {what} FROM f WHERE home = ? AND name = ?", _split(name)).fetchone()
        )

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        content = self._ask("data", name)
        if content is None:
            raise FileNotFoundError(name)
        if content[0] is None:
            raise AssertionError(f"the driver reads {name}, which is a worker's")
        data: bytes = content[0]
        return data

    def open(self, name: str) -> pa.NativeFile:
        """Return a file's content."""
        return pa.BufferReader(self.read(name))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of a file, of an exchange's file its end."""
        data = self._ask("data", name)[0]
        size = self._ask("bytes", name)[0]
        end = self.clock.off(lambda: exchange_end(*map(int, data.split())))
        return [end.rjust(size - offset, b"\0")[offset - size :][:length] for offset, length in ranges]

    def write(self, name: str, data: Any) -> None:
        """Keep a file."""
        content = bytes(data)
        self.keep([(name, len(content), content)])

    def create(self, name: str, data: bytes) -> bool:
        """Keep a file if there is none."""
        if self._ask("bytes", name) is not None:
            return False
        self.write(name, data)
        return True

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Keep another content."""
        self.write(name, new)
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return self._ask("bytes", name) is not None

    def list(self, folder: str = "", *, recursive: bool = False) -> list[FileInfo]:
        """Return the files of a folder."""
        rows = self.clock.off(
            lambda: self._base.execute("SELECT name, bytes FROM f WHERE home = ? ORDER BY name", (folder,)).fetchall()
        )
        return [FileInfo(f"{folder}/{name}", size, 0) for name, size in rows]

    def delete(self, names: Iterable[str]) -> None:
        """Forget files."""
        places = [_split(name) for name in names]
        self.clock.off(lambda: self._base.executemany("DELETE FROM f WHERE home = ? AND name = ?", places))


def _split(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


def exchange_end(buckets: int, rows: int, first: int) -> bytes:
    """Return the lines of an exchange file of so many buckets with so many rows in all."""
    lines = np.zeros(buckets, exchange._LINE)
    lines["bucket"] = np.arange(first, first + buckets)
    lines["rows"] = rows // max(1, buckets)
    lines["length"] = 30 * lines["rows"] + 300
    lines["offset"] = np.concatenate([[0], np.cumsum(lines["length"])[:-1]])
    lines["checksum"] = mix64(np.arange(buckets), rows)
    tail = lines.tobytes() + bytes(500)
    return tail + exchange._END.pack(buckets, 500, xxhash.xxh3_64_intdigest(tail), exchange._SIGNATURE)


class Kept:
    """What a plan has come to, after each stage, so that one that is ended goes on behind the last.

    Its own file is replaced whole; the names of files lie in the store's.
    """

    _OF_RUN = ("phases", "funnel", "partitions", "artifacts", "did", "_closed", "_quarantined", "_left_out")
    _OF_EXECUTOR = ("seen", "_together", "_shared_out")

    def __init__(self, out: str):
        self._path = Path(out) / "kept.pickle"
        self.stages: list[str] = []
        self.seconds = 0.0
        self.rss_bytes = 0

    def restore(self, run: Run, storage: Names, executor: object) -> None:
        """Go on where it was, if it was anywhere."""
        if not self._path.exists():
            return
        (self.stages, self.seconds, self.rss_bytes), of_run, of_executor = pickle.loads(self._path.read_bytes())
        vars(run).update(of_run)
        vars(executor).update(of_executor)
        for entry in run.phases:
            run._records.add(pq.read_table(pa.BufferReader(storage.read(entry["records"]))))

    def add(self, stage: str, seconds: float, run: Run, storage: Names, executor: object) -> None:
        """Note that a stage more is done."""
        self.stages.append(stage)
        self.seconds += seconds
        self.rss_bytes = max(self.rss_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        state = (
            (self.stages, self.seconds, self.rss_bytes),
            {name: getattr(run, name) for name in self._OF_RUN},
            {name: getattr(executor, name) for name in self._OF_EXECUTOR},
        )
        storage.save()
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(state, protocol=5))
        draft.replace(self._path)
