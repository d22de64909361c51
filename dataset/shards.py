"""Shards: plain WebDataset tars, the same bytes for the same samples, and the index that reads them at random.

A sample is a run of adjacent tar members that share a key (the name up to its first dot): the image (`jpg`, `webp`),
its caption (`txt`) and what is known about it (`json`). The format is that of https://github.com/webdataset/webdataset;
the tar is POSIX.1-1988 (ustar) with every field that could vary fixed.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import checksum, hash64, words64
from dataset.schema import SHARD_INDEX
from dataset.storage import Storage, is_local, open_input
from dataset.tables import read_parquet

FOLDER = "shards"
INDEX = "shards/index.parquet"
IMAGE_PARTS = ("jpg", "webp", "jpeg", "png")
"""What an image's part may be called: ours are the first two, anyone else's any of them."""

_WRITTEN_PARTS = ("jpg", "webp", "txt", "json")
_BLOCK = 512
_STREAM_BYTES = 8 * 2**20  # read at a time where a tar is read through over a network
_END = bytes(2 * _BLOCK)  # two zero blocks end an archive
_KEY = re.compile(r"[0-9a-f]{1,64}")
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")


class Entry(NamedTuple):
    """Where a sample lies in its shard: from its first header, up to the next sample's first header; in bytes."""

    key: str
    offset: int
    size: int


class DamagedSampleError(ValueError):
    """The bytes that an index names are not the sample that it names."""


def sample_size(parts: Mapping[str, bytes]) -> int:
    """How many bytes of a shard a sample takes."""
    return sum(_BLOCK + len(data) + -len(data) % _BLOCK for data in parts.values())


def shard_size(sample_bytes: int) -> int:
    """The length of a shard whose samples take that many bytes together."""
    return sample_bytes + len(_END)


def write_shard(samples: Iterable[tuple[str, Mapping[str, bytes]]], file: BinaryIO) -> list[Entry]:
    """Write samples, in the order given, as one tar.

    Args:
        samples: (key, {part: bytes}); a key is 1 to 64 of the characters 0-9a-f, a part one of jpg, webp, txt, json.
        file: a binary file at its beginning, for example an `io.BytesIO`; it is left open.
    Raises:
        ValueError: a key or a part has another name, a key occurs twice, or a sample has no part.
    """
    entries: list[Entry] = []
    seen: set[str] = set()
    offset = 0
    for key, parts in samples:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a sample's key must be 1 to 64 hexadecimal digits, not {key!r}")
        if key in seen:
            raise ValueError(f"the key {key} occurs twice in one shard")
        if not parts or not set(parts) <= set(_WRITTEN_PARTS):
            raise ValueError(f"sample {key} must have parts of {', '.join(_WRITTEN_PARTS)}, not {sorted(parts)}")
        seen.add(key)
        for part in _WRITTEN_PARTS:
            if part in parts:
                file.write(_header(f"{key}.{part}", len(parts[part])))
                file.write(parts[part])
                file.write(bytes(-len(parts[part]) % _BLOCK))
        size = sample_size(parts)
        entries.append(Entry(key, offset, size))
        offset += size
    file.write(_END)
    return entries


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, uname and gname empty, the mode 0644
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def parse_sample(data: bytes, key: str) -> dict[str, bytes]:
    """The parts of one sample: {"jpg": …, "txt": …, "json": …}.

    Raises:
        DamagedSampleError: the bytes are no tar members, are cut short, or belong to another key.
    """
    parts: dict[str, bytes] = {}
    position = 0
    while position + _BLOCK <= len(data):
        header = data[position : position + _BLOCK]
        if header[156:157] not in (b"0", b"\0"):  # long names and the like, which only others' shards have
            parts = _parse_any_tar(data, key)
            break
        try:
            name = header[:100].rstrip(b"\0").decode()
            size = int(header[124:136].rstrip(b"\0 "), 8)
        except ValueError:
            raise DamagedSampleError(f"sample {key}: no tar header at byte {position}") from None
        prefix = header[345:500].rstrip(b"\0").decode(errors="replace") if header[257:263] == b"ustar\0" else ""
        _add(
            parts, key, f"{prefix}/{name}" if prefix else name, data[position + _BLOCK : position + _BLOCK + size], size
        )
        position += _BLOCK + size + -size % _BLOCK
    if not parts:
        raise DamagedSampleError(f"sample {key}: its bytes are cut short")
    return parts


def _add(parts: dict[str, bytes], key: str, name: str, data: bytes, size: int) -> None:
    match = _MEMBER.fullmatch(name)
    if match is None or match[1] != key:
        raise DamagedSampleError(f"sample {key}: found {name[:100]!r} in its place")
    if len(data) != size:
        raise DamagedSampleError(f"sample {key}: {name} is cut short")
    parts[match[2].lower()] = data


def _parse_any_tar(data: bytes, key: str) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    _add(parts, key, member.name, content.read(), member.size)
    except tarfile.TarError as error:
        raise DamagedSampleError(f"sample {key}: {error}") from None
    return parts


@dataclass(frozen=True)
class Index:
    """The samples of a split, in the order of its index file, as arrays of shape (n,)."""

    split: str
    shards: tuple[str, ...]  # file names below `folder`
    shard: np.ndarray  # int32, into `shards`
    keys: pa.ChunkedArray
    offset: np.ndarray  # int64, bytes
    size: np.ndarray  # int64, bytes
    pair_id: np.ndarray  # uint64 of shape (n, 2), big-endian halves
    fingerprint: str  # of exactly these samples, in this order
    folder: str = FOLDER  # where the shards lie, below the dataset's root

    def __len__(self) -> int:
        return len(self.offset)

    def key(self, row: int) -> str:
        """A sample's key in its shard."""
        key: str = self.keys[row].as_py()
        return key

    def path(self, shard: int) -> str:
        """Where a shard lies, below the dataset's root."""
        return f"{self.folder}/{self.shards[shard]}" if self.folder else self.shards[shard]

    def name(self, row: int) -> str:
        """A sample's name for people: shard/key."""
        return f"{self.shards[self.shard[row]]}/{self.key(row)}"


def read_index(storage: Storage, split: str) -> Index:
    """The samples of one split (train or heldout) of the dataset at a storage.

    Raises:
        FileNotFoundError: the dataset has no `shards/index.parquet`.
    """
    return to_index(read_parquet(storage, INDEX, SHARD_INDEX.names), split)


def to_index(table: pa.Table, split: str, folder: str = FOLDER) -> Index:
    """One split of an index table (columns SHARD_INDEX) as arrays; its shards lie in a folder of the dataset."""
    table = table.filter(pc.equal(table.column("split"), split)).cast(SHARD_INDEX)
    shard = table.column("shard").dictionary_encode().unify_dictionaries()
    shards = tuple(shard.chunk(0).dictionary.to_pylist()) if shard.num_chunks else ()
    codes = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in shard.chunks)])
    arrays = {
        "shard": codes.astype(np.int32),
        "offset": table.column("offset").to_numpy(),
        "size": table.column("size").to_numpy(),
        "pair_id": words64(table.column("pair_id")) if len(table) else np.empty((0, 2), np.uint64),
    }
    contents = [np.ascontiguousarray(array).data.cast("B") if len(array) else b"" for array in arrays.values()]
    fingerprint = checksum("".join([*shards, *map(checksum, contents)]).encode())
    keys = table.column("key")
    return Index(split=split, shards=shards, keys=keys, fingerprint=fingerprint, folder=folder, **arrays)


def read_sample(storage: Storage, index: Index, row: int) -> dict[str, bytes]:
    """One sample's parts, by random access.

    Raises:
        DamagedSampleError: the shard does not hold that sample there.
        FileNotFoundError, OSError: the shard cannot be read.
    """
    return read_samples(storage, index, [row])[0]


def read_samples(storage: Storage, index: Index, rows: Sequence[int] | np.ndarray) -> list[dict[str, bytes]]:
    """Several samples' parts, in the order asked, by few reads of each shard. Raises as `read_sample` does."""
    raw = read_raw_samples(storage, index, rows)
    return [parse_sample(data, index.key(int(row))) for data, row in zip(raw, rows, strict=True)]


def read_raw_samples(storage: Storage, index: Index, rows: Sequence[int] | np.ndarray) -> list[bytes]:
    """Several samples' bytes as they lie in their shards, for `parse_sample`. Raises FileNotFoundError, OSError."""
    rows = np.asarray(rows, dtype=np.int64)
    answer: list[bytes] = [b""] * len(rows)
    for shard in np.unique(index.shard[rows]):
        places = np.flatnonzero(index.shard[rows] == shard)
        ranges = [(int(index.offset[row]), int(index.size[row])) for row in rows[places]]
        for place, data in zip(places, storage.read_ranges(index.path(shard), ranges), strict=True):
            answer[place] = data
    return answer


def build_index(url: str, split: str = "train") -> pa.Table:
    """The index (columns SHARD_INDEX) of anyone's WebDataset tar, by one pass over it.

    A sample without a `pair_id` in its json gets one made of the shard's name and its key. Of a tar that is cut off,
    the samples before the cut are listed, and standard error says so.

    Raises:
        FileNotFoundError: there is no such file.
        tarfile.TarError: it is not a tar.
    """
    shard = url.rstrip("/").rsplit("/", 1)[-1]
    starts: list[tuple[str, int]] = []
    pair_ids: list[bytes] = []
    end = 0
    # A stream's members are not sought, which over a network would take a request each.
    mode: Literal["r:", "r|"] = "r:" if is_local(url) else "r|"
    with open_input(url) as file, tarfile.open(fileobj=file, mode=mode, bufsize=_STREAM_BYTES) as archive:
        length = file.size()
        try:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                if not member.isfile() or match is None:
                    continue
                if member.offset_data + member.size > length:
                    if starts and starts[-1][0] == match[1]:
                        end = starts.pop()[1]
                        pair_ids.pop()
                    raise tarfile.ReadError
                if not starts or starts[-1][0] != match[1]:
                    starts.append((match[1], member.offset))
                    pair_ids.append(b"".join(hash64(shard, match[1], half).to_bytes(8, "big") for half in (0, 1)))
                if match[2].lower() == "json" and (content := archive.extractfile(member)) is not None:
                    pair_ids[-1] = _pair_id(content.read()) or pair_ids[-1]
                end = member.offset_data + member.size + -member.size % _BLOCK
        except tarfile.TarError:
            print(f"{url} is cut off after {len(starts)} samples", file=sys.stderr, flush=True)
    offsets = [offset for _, offset in starts]
    return pa.table(
        {
            "shard": [shard] * len(starts),
            "key": [key for key, _ in starts],
            "split": [split] * len(starts),
            "offset": offsets,
            "size": [after - offset for offset, after in zip(offsets, [*offsets[1:], end], strict=False)],
            "pair_id": pair_ids,
        },
        schema=SHARD_INDEX,
    )


def _pair_id(data: bytes) -> bytes | None:
    try:
        pair_id = bytes.fromhex(json.loads(data)["pair_id"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return pair_id if len(pair_id) == 16 else None
