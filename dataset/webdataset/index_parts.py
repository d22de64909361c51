"""The index of a dataset's shards: a folder of Parquet parts, read into memory or, if it is large, mapped.

A part is written by a task of its own, so that none has all samples. Older versions wrote one file. What is larger
than MAPPED_SAMPLES is laid out once on each machine as the arrays of `dataset.webdataset.shards.Index`, in a file of
the temporary folder that all processes map: they share its pages, and none has a copy of its own. That file has 63
bytes a sample of ours; a process needs no memory for them but what it looks at.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dataset.ids import checksum
from dataset.layout import INDEX, INDEX_PARTS
from dataset.ledger.damage import name_damage
from dataset.store.local_files import lock_folder, replacing
from dataset.store.mapped import delete_unused
from dataset.store.scratch import own_folder
from dataset.store.storage import Storage
from dataset.tables import read_parquet
from dataset.webdataset.index_arrays import Arrays

_READERS = min(8, os.cpu_count() or 1)
"""Parts that are read at once; each takes 0.3 GB meanwhile."""
MAPPED_SAMPLES = 1_000_000
"""An index of more samples is mapped; one of fewer takes a process 63 MB at most."""
_LAYOUT = 1  # raised with the layout of the mapped file
FIXED = {"shard": "<i4", "offset": "<i8", "size": "<i8", "checksum": "<u8", "pair_id": "<u8"}
"""The arrays of an index that have one length for every sample; `pair_id` has two words."""


def index_files(storage: Storage) -> list[str]:
    """Return the files of a dataset's index, in the samples' order. Raises FileNotFoundError: it has none."""
    parts = [info.name for info in storage.list(INDEX_PARTS) if info.name.endswith(".parquet")]
    if not parts and not storage.exists(INDEX):
        raise FileNotFoundError(f"{storage.url} has no {INDEX_PARTS}")
    return parts or [INDEX]


def has_index(storage: Storage) -> bool:
    """Return whether a dataset has an index of its shards."""
    return bool(storage.list(INDEX_PARTS)) or storage.exists(INDEX)


def sample_count(storage: Storage, files: Sequence[str]) -> int:
    """Return how many samples the files of an index have. Raises DamagedError."""
    with ThreadPoolExecutor(_READERS) as pool:
        return sum(pool.map(lambda name: _rows(storage, name), files))


def _rows(storage: Storage, name: str) -> int:
    with storage.open(name) as file, name_damage(storage, name):
        return int(pq.ParquetFile(file).metadata.num_rows)


def read_parts(storage: Storage, files: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the parts of an index, one at a time. Raises DamagedError."""
    for name in files:
        yield read_parquet(storage, name)


class Mapped:
    """The arrays of one split's index, in a file that the processes of a machine share.

    Args:
        storage: the dataset.
        files: of its index.
        split: the split.
        arrays: makes, of a part of the index, the arrays of its samples of the split; see `Arrays`.
    """

    def __init__(self, storage: Storage, files: Sequence[str], split: str, arrays: Callable[[pa.Table, str], Arrays]):
        infos = [(info.name, info.bytes, info.mtime_ns) for info in storage.list(INDEX_PARTS)]
        identity = json.dumps([_LAYOUT, storage.url, split, list(files), infos or _stat(storage)])
        folder = own_folder()
        self._path = folder / f"index-{checksum(identity.encode())}"
        with lock_folder(folder):  # one process of a machine lays it out; the others wait, and map it
            if not self._path.exists():
                delete_unused(folder)
                self._lay_out(storage, files, split, arrays)
        os.utime(self._path)  # in use
        raw = np.memmap(self._path, np.uint8, "r")
        end = int(raw[-8:].view("<u8")[0])
        self.layout: Mapping[str, Any] = json.loads(raw[end:-8].tobytes())
        self._raw = raw

    def array(self, name: str) -> np.ndarray:
        """Return one of FIXED."""
        start, length = self.layout["places"][name]
        array: np.ndarray = self._raw[start : start + length].view(FIXED[name])
        return array.reshape(-1, 2) if name == "pair_id" else array

    def keys(self) -> pa.ChunkedArray:
        """Return the keys, large_string (n,)."""
        buffers = [pa.py_buffer(self._raw[slice(*_span(self.layout["places"][name]))]) for name in ("ends", "keys")]
        return pa.chunked_array([pa.Array.from_buffers(pa.large_string(), self.layout["samples"], [None, *buffers])])

    def _lay_out(
        self, storage: Storage, files: Sequence[str], split: str, arrays: Callable[[pa.Table, str], Arrays]
    ) -> None:
        """Write the file; what is not known before its end, how many samples and keys there are, stands behind.

        Some threads read parts while those before them are written.
        """
        most = sample_count(storage, files)
        widths = {name: np.dtype(kind).itemsize * (2 if name == "pair_id" else 1) for name, kind in FIXED.items()}
        starts, place = {}, 0
        for name, width in {**widths, "ends": 8}.items():
            starts[name] = place
            place += width * (most + (name == "ends"))
        starts["keys"] = place
        shards: dict[str, int] = {}
        sums = {name: xxhash.xxh3_128() for name in FIXED}

        def part(name: str) -> Arrays:
            return arrays(read_parquet(storage, name, dictionaries=("shard", "split")), split)

        with replacing(self._path) as draft, draft.open("wb", 0) as file, ThreadPoolExecutor(_READERS) as pool:
            _write_at(file, starts["ends"], np.zeros(1, "<i8"))
            count = letters = 0
            for names, columns, keys in _map_ahead(pool, part, files):
                numbers = np.array([shards.setdefault(name, len(shards)) for name in names], "<i4")
                lengths = np.cumsum(keys_lengths(keys), dtype="<i8") + letters
                for name, width in widths.items():
                    column = numbers[columns[name]] if name == "shard" else columns[name]
                    column = np.ascontiguousarray(column, FIXED[name])
                    _write_at(file, starts[name] + width * count, column)
                    sums[name].update(_bytes(column))
                _write_at(file, starts["ends"] + 8 * (count + 1), lengths)
                _write_at(file, starts["keys"] + letters, _letters(keys))
                count += len(keys)
                letters = int(lengths[-1]) if len(lengths) else letters
            places = {name: (starts[name], width * count) for name, width in widths.items()}
            places |= {"ends": (starts["ends"], 8 * (count + 1)), "keys": (starts["keys"], letters)}
            digests = {name: digest.hexdigest() for name, digest in sums.items()}
            layout = {"samples": count, "shards": list(shards), "places": places, "checksums": digests}
            end = starts["keys"] + letters
            _write_at(file, end, np.frombuffer(json.dumps(layout).encode(), np.uint8))
            _write_at(file, file.tell(), np.array([end], "<u8"))


def _map_ahead(pool: ThreadPoolExecutor, function: Callable[[str], Arrays], items: Sequence[str]) -> Iterator[Arrays]:
    """What a function makes of items, in their order, while as many more are at work as there are readers."""
    waiting: deque[Future[Arrays]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > _READERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _stat(storage: Storage) -> list[Any]:
    folder = INDEX.rpartition("/")[0]
    return [(info.name, info.bytes, info.mtime_ns) for info in storage.list(folder) if info.name == INDEX]


def _span(place: Sequence[int]) -> tuple[int, int]:
    return place[0], place[0] + place[1]


def _bytes(data: np.ndarray) -> memoryview:
    return data.data.cast("B") if data.size else memoryview(b"")


def _write_at(file: IO[bytes], place: int, data: np.ndarray) -> None:
    file.seek(place)
    left = _bytes(data)
    while len(left):  # Linux writes 2 GiB at once at most
        left = left[file.write(left) :]


def keys_lengths(keys: pa.Array) -> np.ndarray:
    """Return bytes of each key. int64 (n,)."""
    return np.diff(np.frombuffer(keys.buffers()[1], "<i4", len(keys) + 1, 4 * keys.offset)).astype(np.int64)


def _letters(keys: pa.Array) -> np.ndarray:
    if not len(keys):
        return np.zeros(0, np.uint8)
    offsets = np.frombuffer(keys.buffers()[1], "<i4", len(keys) + 1, 4 * keys.offset)
    return np.frombuffer(keys.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
