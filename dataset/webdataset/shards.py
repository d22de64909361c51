"""Shards: plain WebDataset tars, the same bytes for the same samples, and the index that reads them at random.

A sample is a run of adjacent tar members that share a key (the name up to its first dot): the image (`jpg`, `webp`),
its caption (`txt`) and what is known about it (`json`). The format is that of https://github.com/webdataset/webdataset;
the tar is POSIX.1-1988 (ustar) with every field that could vary fixed.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from dataset.ids import checksum, hash64
from dataset.layout import INDEX_PARTS
from dataset.ledger.damage import is_whole
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage, is_local, open_input
from dataset.tables import concat
from dataset.webdataset.index_arrays import INDEX_DAMAGE, arrays_of, as_now
from dataset.webdataset.index_parts import FIXED, MAPPED_SAMPLES, Mapped, index_files, read_parts, sample_count
from dataset.webdataset.tar import DamagedTarError, by_offset, members

FOLDER = "shards"
IMAGE_PARTS = ("jpg", "webp", "jpeg", "png", "avif", "heic", "heif", "gif", "bmp")
"""What an image's part may be called: ours are the first two, anyone else's any of them."""

_WRITTEN_PARTS = ("jpg", "webp", "txt", "json")
_BLOCK = 512
_MOST_JSON = 2**24  # bytes of a sample's json; a longer one is not looked into for a pair_id
_END = bytes(2 * _BLOCK)  # two zero blocks end an archive
_KEY = re.compile(r"[0-9a-f]{1,64}")
_MEMBER = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's base_plus_ext
_META = re.compile(r"__[^/]*__($|/)")  # and its skip_meta


class Entry(NamedTuple):
    """Where a sample lies in its shard: from its first header, up to the next sample's first header; in bytes."""

    key: str
    offset: int
    size: int
    checksum: int  # XXH3 of these bytes


class DamagedSampleError(ValueError):
    """The bytes that an index names are not the sample that it names."""


def sample_size(parts: Mapping[str, bytes]) -> int:
    """Return how many bytes of a shard a sample takes."""
    return sum(_BLOCK + len(data) + -len(data) % _BLOCK for data in parts.values())


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
        digest = xxhash.xxh3_64()
        for part in _WRITTEN_PARTS:
            if part in parts:
                data = parts[part]
                for piece in (_header(f"{key}.{part}", len(data)), data, bytes(-len(data) % _BLOCK)):
                    file.write(piece)
                    digest.update(piece)
        size = sample_size(parts)
        entries.append(Entry(key, offset, size, digest.intdigest()))
        offset += size
    file.write(_END)
    return entries


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, uname and gname empty, the mode 0644
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def key_and_part(name: str) -> tuple[str, str] | None:
    """Return a member's key and part as webdataset tells them; None for a name that is of no sample.

    webdataset passes over names without a dot, and `__name__` and all below it. Hidden files (`.DS_Store`, `._a.jpg`)
    are of no sample either.
    """
    match = _MEMBER.match(name)
    if match is None or _META.match(name) or match[1].endswith("/"):
        return None
    return match[1], match[2].lower()


def parse_sample(data: bytes, key: str) -> dict[str, bytes]:
    """Return the parts of one sample: {"jpg": …, "txt": …, "json": …}.

    Raises:
        DamagedSampleError: the bytes are no tar members, are cut short, or belong to another key; a part is there twice
            or is a sparse file.
    """
    parts: dict[str, bytes] = {}
    try:
        for member in members(lambda offset, size: data[offset : offset + size], len(data), checked=False):
            named = key_and_part(member.name)
            if named is None or member.kind == "other":
                continue
            if named[0] != key:
                raise DamagedSampleError(f"sample {key}: found {member.name[:100]!r} in its place")
            if member.kind == "sparse":
                raise DamagedSampleError(f"sample {key}: {member.name[:100]!r} is a sparse file, which is not read")
            if named[1] in parts:
                raise DamagedSampleError(
                    f"sample {key}: {member.name[:100]!r} is there twice; two samples of one key follow each other"
                )
            parts[named[1]] = data[member.data : member.data + member.size]
    except DamagedTarError as error:
        raise DamagedSampleError(f"sample {key}: its bytes are damaged or cut short: {error}") from None
    if not parts:
        raise DamagedSampleError(f"sample {key}: its bytes are cut short")
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
    checksum: np.ndarray  # uint64, XXH3 of the sample's bytes; 0 where nobody knows it: of anyone else's tars
    pair_id: np.ndarray  # uint64 of shape (n, 2), big-endian halves
    fingerprint: str  # of exactly these samples, in this order
    folder: str = FOLDER  # where the shards lie, below the dataset's root

    def __len__(self) -> int:
        return len(self.offset)

    def key(self, row: int) -> str:
        """Return a sample's key in its shard."""
        key: str = self.keys[row].as_py()
        return key

    def path(self, shard: int) -> str:
        """Return where a shard lies, below the dataset's root."""
        return f"{self.folder}/{self.shards[shard]}" if self.folder else self.shards[shard]

    def name(self, row: int) -> str:
        """Return a sample's name for people: shard/key."""
        return f"{self.shards[self.shard[row]]}/{self.key(row)}"

    def is_whole(self, row: int, data: bytes) -> bool:
        """Return whether bytes are those that were written for a sample, as far as the index knows them."""
        return is_whole(data, self.size[row], self.checksum[row])

    def sample(self, row: int, data: bytes) -> dict[str, bytes]:
        """Return the parts of a sample, of the bytes that lie in its shard where it should.

        Raises:
            DamagedSampleError: they are not what was written; see also `parse_sample`.
        """
        if not data:
            raise DamagedSampleError(f"sample {self.key(row)}: its shard is missing, or cut off before it")
        if self.checksum[row] and not self.is_whole(row, data):
            start, size = int(self.offset[row]), int(self.size[row])
            what = "are not what was written" if len(data) == size else f"are cut short after {len(data):,}"
            place = f"bytes {start:,} to {start + size:,} of {self.path(self.shard[row])}"
            raise DamagedSampleError(f"sample {self.key(row)}: {place} {what}")
        return parse_sample(data, self.key(row))


def read_index(storage: Storage, split: str) -> Index:
    """Return the samples of one split (train or heldout) of the dataset at a storage.

    A large one is mapped, see `dataset.webdataset.index_parts`.

    Raises:
        FileNotFoundError: the dataset has no index of its shards.
        ValueError: it is not as openwit writes it.
    """
    files = index_files(storage)
    try:
        if sample_count(storage, files) > MAPPED_SAMPLES:
            return _mapped_index(storage, files, split)
        return to_index(concat(map(as_now, read_parts(storage, files)), SHARD_INDEX), split)
    except INDEX_DAMAGE as error:
        where = files[0] if len(files) == 1 else INDEX_PARTS
        raise ValueError(
            f"{storage.url_of(where)} is no index of shards as openwit writes it ({error.args[0]}); name the tars "
            "themselves, or fetch the dataset again"
        ) from None


def to_index(table: pa.Table, split: str, folder: str = FOLDER) -> Index:
    """Return one split of an index table (columns SHARD_INDEX) as arrays; its shards lie in a folder of the dataset.

    Raises:
        DamagedIndexError: a value is missing, an offset or a size is negative or beyond all files, or a name is not
            UTF-8.
    """
    shards, arrays, keys = arrays_of(table, split)
    contents = {name: np.ascontiguousarray(arrays[name]).data.cast("B") if len(keys) else b"" for name in _TELLING}
    sums = {name: checksum(content) for name, content in contents.items()}
    return Index(
        split=split,
        shards=tuple(shards),
        keys=pa.chunked_array([keys]),
        fingerprint=_fingerprint(shards, sums),
        folder=folder,
        **arrays,
    )


_TELLING = ("shard", "offset", "size", "pair_id")
"""The arrays that tell one index from another."""


def _fingerprint(shards: Iterable[str], sums: Mapping[str, str]) -> str:
    return checksum("".join([*shards, *(sums[name] for name in _TELLING)]).encode())


def _mapped_index(storage: Storage, files: Sequence[str], split: str) -> Index:
    """`to_index` of all parts, mapped."""
    mapped = Mapped(storage, files, split, arrays_of)
    shards = tuple(mapped.layout["shards"])
    arrays: dict[str, Any] = {name: mapped.array(name) for name in FIXED}
    return Index(
        split=split,
        shards=shards,
        keys=mapped.keys(),
        fingerprint=_fingerprint(shards, mapped.layout["checksums"]),
        **arrays,
    )


def read_sample(storage: Storage, index: Index, row: int) -> dict[str, bytes]:
    """Return one sample's parts, by random access.

    Raises:
        DamagedSampleError: the shard does not hold that sample there.
        FileNotFoundError, OSError: the shard cannot be read.
    """
    return read_samples(storage, index, [row])[0]


def read_samples(storage: Storage, index: Index, rows: Sequence[int] | np.ndarray) -> list[dict[str, bytes]]:
    """Return several samples' parts, in the order asked, by few reads of each shard. Raises as `read_sample` does."""
    raw = read_raw_samples(storage, index, rows)
    return [index.sample(int(row), data) for data, row in zip(raw, rows, strict=True)]


def read_raw_samples(storage: Storage, index: Index, rows: Sequence[int] | np.ndarray) -> list[bytes]:
    """Return several samples' bytes as they lie in their shards, for `Index.sample`. Raises FileNotFoundError,
    OSError.
    """
    rows = np.asarray(rows, dtype=np.int64)
    answer: list[bytes] = [b""] * len(rows)
    for shard in np.unique(index.shard[rows]):
        places = np.flatnonzero(index.shard[rows] == shard)
        ranges = [(int(index.offset[row]), int(index.size[row])) for row in rows[places]]
        for place, data in zip(places, storage.read_ranges(index.path(shard), ranges), strict=True):
            answer[place] = data
    return answer


def build_index(url: str, split: str = "train") -> tuple[pa.Table, str]:
    """Return the index (columns SHARD_INDEX) of anyone's WebDataset tar, by one pass over it; and a sentence that says
    what of the tar cannot be read, empty if all can.

    A sample without a `pair_id` in its json gets one made of the shard's name and its key. Of a tar that is damaged or
    cut off, the whole samples before that place are listed.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedTarError: it is not a tar.
    """
    shard = url.rstrip("/").rsplit("/", 1)[-1]
    keys: list[str] = []
    ranges: list[tuple[int, int]] = []
    pair_ids: list[bytes] = []
    damage = ""
    with open_input(url) as file:
        read = by_offset(file, is_local(url))
        try:
            for member in members(read, file.size()):
                named = key_and_part(member.name)
                if named is None or member.kind == "other":
                    continue
                key, part = named
                if not keys or keys[-1] != key:
                    keys.append(key)
                    ranges.append((member.offset, 0))
                    pair_ids.append(b"".join(hash64(shard, key, half).to_bytes(8, "big") for half in (0, 1)))
                ranges[-1] = ranges[-1][0], member.end - ranges[-1][0]
                if part == "json" and member.size <= _MOST_JSON:
                    pair_ids[-1] = _pair_id(read(member.data, member.size)) or pair_ids[-1]
        except DamagedTarError as error:
            if error.position == 0:
                raise
            if keys and (key_and_part(error.name) or ("", ""))[0] == keys[-1]:  # it lacks a part
                for columns in (keys, ranges, pair_ids):
                    columns.pop()
            damage = f"{url} is damaged at byte {error.position}: {error}; the samples before it ({len(keys)}) are used"
    return pa.table(
        {
            "shard": [shard] * len(keys),
            "key": keys,
            "split": [split] * len(keys),
            "offset": [offset for offset, _ in ranges],
            "size": [size for _, size in ranges],
            "pair_id": pair_ids,
            "checksum": pa.nulls(len(keys), pa.uint64()),  # nobody has said what the bytes were
        },
        schema=SHARD_INDEX,
    ), damage


def _pair_id(data: bytes) -> bytes | None:
    try:
        pair_id = bytes.fromhex(json.loads(data)["pair_id"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return pair_id if len(pair_id) == 16 else None
