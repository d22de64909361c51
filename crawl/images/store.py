"""The fetch store: what was observed, append-only, so that nothing is fetched twice.

A chunk is a Parquet file of observations and a blob with the images that they accepted, both under a name that ends in
what their content gives. The blob is written first, and the Parquet names it; so a chunk exists when its Parquet does,
and a writer that was killed, or wrote too late, leaves a blob that nobody names and harms nobody. Only images that a
hash list holds are erased, where they lie; and only a chunk of archives that have changed since is deleted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from crawl.images.observations import OK, Ingested, Observation
from dataset.ids import checksum
from dataset.ledger.damage import DamagedError, is_whole, parse_parquet
from dataset.schema import OBSERVATIONS, WISH
from dataset.store.ranges import GAP_BYTES
from dataset.store.storage import FileInfo, Storage
from dataset.tables import to_parquet

FOLDER = "fetch/store"
_IMAGE_COLUMNS = tuple(name for name in Ingested.__slots__ if name not in ("body", "unread"))
_COLUMNS = tuple(name for name in Observation.__slots__ if name not in ("image", "same_as", "wish"))
_PLACE = ("blob", "blob_offset", "blob_length", "blob_checksum")
_READERS = 16
"""Blobs in a bucket that are read at once: what a shard needs of one is little, and an answer takes a while."""
REQUESTS_PER_IMAGE = 0.02
"""Where many images of a blob are read: for no more requests an image gaps of up to LARGE_GAP_BYTES are read."""
LARGE_GAP_BYTES = 2**20
"""What comes in about the time that a request takes."""
MORE_BYTES = 0.2
"""The share of the images' bytes that is read of gaps in any case, the smallest first."""
_CHUNK = re.compile(r"(.*?)(?:-([0-9a-f]{16}))?\.parquet")  # its name, and the checksum that older ones have not
_BLOB = re.compile(rf"{FOLDER}/(.*?)(?:-[0-9a-f]{{16}})?\.blob")
_DECISIVE = (OK, "hash_list_match", "robots_noai", "tdm_reserved", "domain_opted_out")
"""Outcomes that know the image; so do all refusals with an owner's wish. A robots.txt that could not be had is none."""


def write_chunk(
    storage: Storage, name: str, observations: Iterable[Observation], instead_of: Sequence[str] = ()
) -> tuple[str, ...]:
    """Write one chunk: FOLDER/NAME-CHECKSUM.blob (if an image was accepted), then FOLDER/NAME-CHECKSUM.parquet.

    Rows and images are ordered by URL; bytes that two URLs share are stored once.

    Args:
        instead_of: files of chunks, perhaps of this name, that are about to be discarded.

    Returns:
        The names of the files written.

    Raises:
        FileExistsError: a chunk of that name is there already; it is left as it is.
    """
    for info in chunks(storage, name.rpartition("/")[0]).get(name, []):
        if info.name not in instead_of:
            raise FileExistsError(f"{storage.url_of(info.name)} exists; a chunk is written once")
    rows = sorted(observations, key=lambda row: (row.url, row.origin, row.fetched_at))
    blob, places = _concatenate(rows)
    file = f"{FOLDER}/{name}-{checksum(blob)[:16]}.blob" if blob else None
    if file is not None:
        storage.write(file, blob)
    data = to_parquet(_table(rows, places, file), OBSERVATIONS).to_pybytes()
    parquet = f"{FOLDER}/{name}-{checksum(data)[:16]}.parquet"
    try:
        is_new = storage.create(parquet, data)
    except OSError:  # a full disk: what nobody names is not left behind
        if file is not None:
            storage.delete([file])
        raise
    if not is_new:
        raise FileExistsError(f"{storage.url_of(parquet)} was written by another process")
    return (parquet,) if file is None else (file, parquet)


def chunks(storage: Storage, folder: str = "", *, recursive: bool = False) -> dict[str, list[FileInfo]]:
    """Return the Parquet files of each chunk, by the chunk's name; one, unless two processes wrote it at once."""
    files_of_chunk: dict[str, list[FileInfo]] = {}
    for info in storage.list(f"{FOLDER}/{folder}".rstrip("/"), recursive=recursive):
        if match := _CHUNK.fullmatch(info.name.removeprefix(f"{FOLDER}/")):
            files_of_chunk.setdefault(match[1], []).append(info)
    return files_of_chunk


def read_chunk(storage: Storage, name: str) -> pa.Table:
    """Return the observations of a chunk, ordered by URL. Raises FileNotFoundError, DamagedError."""
    files = chunks(storage, name.rpartition("/")[0]).get(name)
    if not files:
        raise FileNotFoundError(f"{storage.url_of(FOLDER)}/{name} is gone")
    return read_files(storage, [info.name for info in files])


def read_files(storage: Storage, files: Sequence[str]) -> pa.Table:
    """Return the observations of some chunks' files. Raises FileNotFoundError, DamagedError: one is not what was
    written.
    """
    tables = []
    for file in files:
        data = storage.read(file)
        named = _CHUNK.fullmatch(file)
        if named is not None and named[2] and checksum(data)[:16] != named[2]:
            raise DamagedError(storage.url, file, "its bytes are not those that its name stands for")
        tables.append(parse_parquet(storage, file, pa.BufferReader(data), None))
    # An older version's chunk may lack a column.
    return pa.concat_tables([OBSERVATIONS.empty_table(), *tables], promote_options="default")


def named_by(facts: Mapping[str, Any]) -> list[str]:
    """Return the chunks that a commit of `fetch.get` was made of; none if it does not say."""
    named = facts.get("chunks")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def discard(storage: Storage, files: Sequence[str]) -> None:
    """Delete chunks' Parquet files, and their blobs unless another file of the same chunk names them."""
    for folder in {file.removeprefix(f"{FOLDER}/").rpartition("/")[0] for file in files}:
        for infos in chunks(storage, folder).values():
            gone = [info.name for info in infos if info.name in files]
            if gone:
                needed = _blobs(storage, [info.name for info in infos if info.name not in files])
                blobs = _blobs(storage, gone) - needed
                storage.delete(gone)
                storage.delete(sorted(blobs))


def _blobs(storage: Storage, files: Sequence[str]) -> set[str]:
    return set(pc.drop_null(pc.unique(read_files(storage, files).column("blob"))).to_pylist())


def newest(observations: pa.Table) -> pa.Table:
    """Return the one observation of each URL that counts, ordered by URL.

    The latest that knows the image (it was accepted, a hash list holds it, or its owner refuses; a license that could
    not be had says nothing of it); of a URL without one, the latest.
    """
    asked = pc.and_(pc.is_valid(observations["wish_signal"]), pc.not_equal(observations["outcome"], "rsl_unreadable"))
    decisive = pc.or_(pc.is_in(observations["outcome"], pa.array(_DECISIVE)), asked)
    keys = pa.table(
        {
            "url": observations["url"],
            "decisive": pc.cast(decisive, pa.uint8()),
            "fetched_at": observations["fetched_at"],
            "origin": observations["origin"],
            "blob": pc.fill_null(observations["blob"], ""),  # a total order, whatever the order of the chunks
        }
    )
    order = pc.sort_indices(
        keys,
        sort_keys=[
            ("url", "ascending"),
            ("decisive", "descending"),
            ("fetched_at", "descending"),
            ("origin", "ascending"),
            ("blob", "ascending"),
        ],
    )
    ordered = observations.take(order)
    if len(ordered) == 0:
        return ordered
    urls = ordered["url"].combine_chunks()
    first = pc.not_equal(urls[1:], urls[:-1])
    return ordered.filter(pa.concat_arrays([pa.array([True]), first]))


def read_images(storage: Storage, images: pa.Table, *, lenient: bool = False, near: bool = False) -> list[bytes]:
    """Return the stored bytes of rows with `blob`, `blob_offset`, `blob_length` and, to be held against them,
    `blob_checksum`, in their order; empty where blob is null.

    lenient: damaged ones are empty, too, for who shows what there is.
    near: they lie near one another, as all those of a blob do: gaps between them are read for few requests.

    Raises:
        DamagedError: a blob is cut off, or its bytes are others.
        FileNotFoundError: a blob is gone.
    """
    answer = [b""] * len(images)

    def read(part: tuple[str, list[_Place]]) -> list[bytes]:
        ranges = _ranges(part[1])
        return storage.read_ranges(part[0], ranges, worth_reading(ranges) if near else GAP_BYTES)

    by_blob = _group_by_blob(images)
    with ThreadPoolExecutor(1 if storage.local else _READERS) as pool:
        bodies = list(pool.map(read, by_blob))
    for (blob, entries), bodies_of_blob in zip(by_blob, bodies, strict=True):
        for (row, offset, length, digest), data in zip(entries, bodies_of_blob, strict=True):
            if is_whole(data, length, digest):
                answer[row] = data
            elif not lenient:
                what = f"the image at bytes {offset:,} to {offset + length:,} is not what was stored"
                raise DamagedError(storage.url, blob, what)
    return answer


def worth_reading(ranges: Sequence[tuple[int, int]]) -> int:
    """Return up to how many bytes between two of a blob's (offset, length) are read, and passed over, for few
    requests.
    """
    ordered = np.array(sorted(set(ranges)), np.int64).reshape(-1, 2)
    ends = np.maximum.accumulate(ordered.sum(axis=1))
    gaps = np.sort(np.maximum(ordered[1:, 0] - ends[:-1], 0))
    few = len(gaps) + 1 - max(1, int(REQUESTS_PER_IMAGE * len(ordered)))  # so many gaps leave few enough requests
    cheap = int(np.searchsorted(np.cumsum(gaps), MORE_BYTES * ordered[:, 1].sum(), side="right"))
    near = gaps[:few][gaps[:few] <= LARGE_GAP_BYTES]
    return int(max(gaps[:cheap].max(initial=GAP_BYTES), near.max(initial=0)))


def find_damaged(storage: Storage, images: pa.Table) -> list[bool]:
    """Return which rows' stored bytes are not what was stored, or are gone."""
    answer = [False] * len(images)
    for blob, entries in _group_by_blob(images):
        try:
            bodies = storage.read_ranges(blob, _ranges(entries))
        except FileNotFoundError:
            bodies = [b""] * len(entries)
        for (row, _, length, digest), data in zip(entries, bodies, strict=True):
            answer[row] = not is_whole(data, length, digest)
    return answer


def restore(storage: Storage, lost: pa.Table, observations: Iterable[Observation]) -> list[Observation]:
    """Put damaged images back where they lay, from new observations of the same bytes; returns the other observations.

    lost: rows of `find_damaged`.
    """
    rows = {row["url"]: row for row in lost.to_pylist()}
    back: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
    others = []
    for item in observations:
        row, body = rows.get(item.url), b"" if item.image is None else item.image.body
        if row is not None and body and is_whole(body, row["blob_length"], row["blob_checksum"]):
            back[row["blob"]].append((row["blob_offset"], body))
        else:
            others.append(item)
    for blob, parts in sorted(back.items()):
        try:
            data = bytearray(storage.read(blob))
        except FileNotFoundError:
            data = bytearray()
        for offset, body in parts:
            data.extend(bytes(max(0, offset + len(body) - len(data))))
            data[offset : offset + len(body)] = body
        storage.write(blob, memoryview(data))
    return others


def trim(storage: Storage, images: pa.Table) -> None:
    """Take off what lies behind the last image of each blob that the rows name: something was written behind it, or
    it was put back over another blob, which is longer.
    """
    for blob, entries in _group_by_blob(images):
        size = storage.size(blob) or 0
        if size > max(offset + length for _, offset, length, _ in entries):
            whole = _length_when_written(storage, blob)
            if whole is not None and size > whole:
                storage.write(blob, memoryview(storage.read(blob))[:whole])


def _length_when_written(storage: Storage, blob: str) -> int | None:
    """How many bytes a blob was written with, by the chunk that names all its images; None if that is gone."""
    named = _BLOB.fullmatch(blob)
    try:
        rows = read_chunk(storage, named[1]) if named is not None else OBSERVATIONS.empty_table()
    except FileNotFoundError:
        return None
    rows = rows.filter(pc.equal(rows["blob"], blob))
    length: int | None = pc.max(pc.add(rows["blob_offset"], rows["blob_length"])).as_py()
    return length


_Place = tuple[int, int, int, int | None]  # row, offset, length, checksum


def _ranges(entries: Iterable[_Place]) -> list[tuple[int, int]]:
    """(offset, length) of each; what no image can have is not looked for, and so is not what was stored."""
    return [(max(0, offset), max(0, length)) for _, offset, length, _ in entries]


def _group_by_blob(images: pa.Table) -> list[tuple[str, list[_Place]]]:
    """The images in each blob."""
    places: defaultdict[str, list[_Place]] = defaultdict(list)
    digests = images["blob_checksum"].to_pylist() if "blob_checksum" in images.column_names else [None] * len(images)
    columns = (images[name].to_pylist() for name in ("blob", "blob_offset", "blob_length"))
    for row, (blob, offset, length, digest) in enumerate(zip(*columns, digests, strict=True)):
        if blob is not None:
            places[blob].append((row, -1 if offset is None else offset, -1 if length is None else length, digest))
    return sorted(places.items())


def erase(storage: Storage, places: Iterable[tuple[str, int, int]]) -> int:
    """Overwrite images with zeros where they lie; returns how many were not zeros yet. One process at a time.

    Args:
        places: (blob, offset, length); a blob that is gone is passed over.
    """
    ranges: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for blob, offset, length in places:
        ranges[blob].append((offset, length))
    erased = 0
    for blob, parts in sorted(ranges.items()):
        try:
            whole = [any(data) for data in storage.read_ranges(blob, parts)]
        except FileNotFoundError:
            continue
        if any(whole):
            data = bytearray(storage.read(blob))
            for offset, length in parts:
                data[offset : offset + length] = bytes(length)
            storage.write(blob, memoryview(data))
            erased += sum(whole)
    return erased


def _concatenate(rows: list[Observation]) -> tuple[bytes, list[int | None]]:
    """All accepted images in one piece, and where each row's begins."""
    pieces: list[bytes] = []
    offsets: dict[bytes, int] = {}
    places: list[int | None] = []
    end = 0
    for row in rows:
        if row.image is None:
            places.append(None)
            continue
        body = row.image.body
        if body not in offsets:
            offsets[body] = end
            pieces.append(body)
            end += len(body)
        places.append(offsets[body])
    return b"".join(pieces), places


def _table(rows: list[Observation], places: list[int | None], file: str | None) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    for name in _IMAGE_COLUMNS:
        columns[name] = [None if row.image is None else getattr(row.image, name) for row in rows]
    for index, name in enumerate(WISH):
        columns[name] = [None if row.wish is None else row.wish[index] for row in rows]
    columns["blob"] = [None if row.image is None else file for row in rows]
    columns["blob_offset"] = list(places)
    columns["blob_length"] = [None if row.image is None else len(row.image.body) for row in rows]
    columns["blob_checksum"] = [None if row.image is None else xxhash.xxh3_64_intdigest(row.image.body) for row in rows]
    for index, row in enumerate(rows):
        if row.same_as is not None:
            for name in (*_IMAGE_COLUMNS, *_PLACE):
                columns[name][index] = row.same_as[name]
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in OBSERVATIONS})
