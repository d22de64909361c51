"""Samples' bytes, as they lie in their shards: from a local file, a cached copy, or by ranges over the network."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dataset.store.storage import Storage
from dataset.webdataset.shards import Index
from train.data.shard_cache import Copy, ShardCache, SpoiledCopyError

OPEN_FILES = 128
"""Shards that a process keeps open."""
_READERS = 16  # requests in flight: one takes some 30 ms, mostly waiting
_ATTEMPTS = 4
_WAIT_SECONDS = 1.0


class ShardReader:
    """Random access to a dataset's samples, from any process: what a fork may not share is opened again."""

    def __init__(self, storage: Storage, index: Index, cache: ShardCache | None = None):
        self.url, self.index, self.cache = storage.url, index, cache
        self._pid: int | None = None

    def _storage(self) -> Storage:
        """The dataset's store, opened in this process: Arrow's clients do not survive a fork."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._store = Storage(self.url)
            self._open: OrderedDict[int, Copy | int] = OrderedDict()  # by shard: a copy, or a descriptor
            self._copied_anew: set[int] = set()  # shards whose copy was not what the index says
        return self._store

    def __getstate__(self) -> dict[str, object]:
        return {"url": self.url, "index": self.index, "cache": self.cache, "_pid": None}

    def __del__(self) -> None:
        if self._pid == os.getpid():
            while self._open:
                self._close(next(iter(self._open)))

    def read(self, rows: np.ndarray) -> list[bytes]:
        """Return samples' bytes, in the order asked; empty where the shard is missing, short where it is cut off.

        Raises:
            OSError: a shard is there but cannot be read, after some attempts.
            ValueError: a shard does not fit into the cache.
        """
        rows = np.asarray(rows, dtype=np.int64)
        by_shard = np.argsort(self.index.shard[rows], kind="stable")
        shards = self.index.shard[rows][by_shard]
        groups = np.split(by_shard, np.flatnonzero(np.diff(shards)) + 1) if len(rows) else []
        local = self._storage().local or self.cache is not None
        answer: list[bytes] = [b""] * len(rows)
        if local or len(groups) < 2:
            parts = [self._read_shard(rows[places]) for places in groups]
        else:
            with ThreadPoolExecutor(_READERS) as pool:
                parts = list(pool.map(lambda places: self._read_shard(rows[places]), groups))
        for places, part in zip(groups, parts, strict=True):
            for place, data in zip(places, part, strict=True):
                answer[place] = data
        return answer

    def _read_shard(self, rows: np.ndarray) -> list[bytes]:
        """The bytes of samples of one shard."""
        shard = int(self.index.shard[rows[0]])
        ranges = list(zip(self.index.offset[rows].tolist(), self.index.size[rows].tolist(), strict=True))
        for attempt in range(_ATTEMPTS):
            try:
                if not self._store.local and self.cache is None:
                    return self._store.read_ranges(self.index.path(shard), ranges)
                file = self._file(shard)
                if isinstance(file, int):
                    length = os.fstat(file).st_size  # an index may claim more, for which memory would be taken
                    return [os.pread(file, min(size, length), offset) for offset, size in ranges]
                bodies = [file.read(size, offset) for offset, size in ranges]
                if shard not in self._copied_anew and not self._are_whole(rows, bodies):
                    self._copied_anew.add(shard)  # if the shard is no better, its samples are damaged
                    raise SpoiledCopyError(f"{file.path} is not what its shard was when it was written")
                return bodies
            except FileNotFoundError:
                return [b""] * len(rows)
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise OSError(f"{self._store.url_of(self.index.path(shard))} cannot be read: {error}") from None
                if isinstance(error, SpoiledCopyError):
                    self._drop(shard)
                elif not self._store.local:
                    time.sleep(_WAIT_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _are_whole(self, rows: np.ndarray, bodies: list[bytes]) -> bool:
        return all(
            self.index.is_whole(row, data) or not self.index.checksum[row]
            for row, data in zip(rows.tolist(), bodies, strict=True)
        )

    def _file(self, shard: int) -> Copy | int:
        file = self._open.pop(shard, None)
        if file is None:
            path = self.index.path(shard)
            if self.cache is not None:
                file = self.cache.open(self._store, path, self.index.fingerprint)
            else:
                file = os.open(self._store.path(path), os.O_RDONLY)
            if len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))
        self._open[shard] = file  # the last one used is the last to be closed
        return file

    def _close(self, shard: int) -> None:
        file = self._open.pop(shard)
        if isinstance(file, int):
            os.close(file)
        else:
            file.close()

    def _drop(self, shard: int) -> None:
        copy = self._open[shard]
        if self.cache is not None and isinstance(copy, Copy):
            self.cache.drop(copy.path)
            self._close(shard)

    def announce(self, shards: Collection[int]) -> list[tuple[Storage, str, str]]:
        """Return what `ShardCache.prefetch` takes, of the shards that are read now and next; the others' copies are
        closed, so that they leave the disk when the cache removes them.
        """
        store = self._storage()
        for shard in [shard for shard in self._open if shard not in shards]:
            self._close(shard)
        return [(store, self.index.path(shard), self.index.fingerprint) for shard in shards]
