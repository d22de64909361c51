"""The fetch store: what was observed, append-only, so that nothing is fetched twice.

A chunk is a Parquet file of observations and a blob with the images that they accepted. The blob is written first,
under a name that its content gives, and the Parquet names it; so a chunk exists when its Parquet does, and a writer
that was killed, or wrote too late, leaves a blob that nobody names and harms nobody. Only images that a hash list holds
are erased, where they lie.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from crawl.images.observations import OK, Ingested, Observation
from dataset.damage import DamagedError, is_whole
from dataset.ids import checksum
from dataset.schema import OBSERVATIONS
from dataset.storage import Storage
from dataset.tables import read_parquet, to_parquet

FOLDER = "fetch/store"
_IMAGE_COLUMNS = tuple(name for name in Ingested.__slots__ if name != "body")
_COLUMNS = tuple(name for name in Observation.__slots__ if name not in ("image", "same_as"))
_PLACE = ("blob", "blob_offset", "blob_length", "blob_checksum")
_DECISIVE = (OK, "hash_list_match", "robots_noai", "tdm_reserved", "domain_opted_out")


def write_chunk(storage: Storage, name: str, observations: Iterable[Observation]) -> tuple[str, ...]:
    """Write one chunk: FOLDER/NAME-CHECKSUM.blob (if an image was accepted), then FOLDER/NAME.parquet.

    Rows and images are ordered by URL; bytes that two URLs share are stored once.

    Returns:
        The names of the files written.

    Raises:
        FileExistsError: a chunk of that name is there already; it is left as it is.
    """
    parquet = f"{FOLDER}/{name}.parquet"
    if storage.exists(parquet):
        raise FileExistsError(f"{storage.url_of(parquet)} exists; a chunk is written once")
    rows = sorted(observations, key=lambda row: (row.url, row.origin, row.fetched_at))
    blob, places = _concatenate(rows)
    file = f"{FOLDER}/{name}-{checksum(blob)[:16]}.blob" if blob else None
    if file is not None:
        storage.write(file, blob)
    try:
        is_new = storage.create(parquet, to_parquet(_table(rows, places, file), OBSERVATIONS).to_pybytes())
    except OSError:  # a full disk: what nobody names is not left behind
        if file is not None:
            storage.delete([file])
        raise
    if not is_new:
        raise FileExistsError(f"{storage.url_of(parquet)} was written by another process")
    return (parquet,) if file is None else (file, parquet)


def read_chunk(storage: Storage, name: str) -> pa.Table:
    """The observations of a chunk, ordered by URL. Raises FileNotFoundError."""
    return read_parquet(storage, f"{FOLDER}/{name}.parquet")


def newest(observations: pa.Table) -> pa.Table:
    """The one observation of each URL that counts, ordered by URL.

    The latest that knows the image (it was accepted, a hash list holds it, or its owner refuses); of a URL without one,
    the latest.
    """
    decisive = pc.is_in(observations["outcome"], pa.array(_DECISIVE))
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


def read_images(storage: Storage, images: pa.Table, *, lenient: bool = False) -> list[bytes]:
    """The stored bytes of rows with `blob`, `blob_offset`, `blob_length` and, to be held against them, `blob_checksum`,
    in their order; empty where blob is null.

    lenient: damaged ones are empty, too, for who shows what there is.

    Raises:
        DamagedError: a blob is cut off, or its bytes are others.
        FileNotFoundError: a blob is gone.
    """
    answer = [b""] * len(images)
    for blob, entries in _by_blob(images):
        found = storage.read_ranges(blob, [(offset, length) for _, offset, length, _ in entries])
        for (row, offset, length, digest), data in zip(entries, found, strict=True):
            if is_whole(data, length, digest):
                answer[row] = data
            elif not lenient:
                what = f"the image at bytes {offset:,} to {offset + length:,} is not what was stored"
                raise DamagedError(storage.url, blob, what)
    return answer


def damaged(storage: Storage, images: pa.Table) -> list[bool]:
    """Which rows' stored bytes are not what was stored, or are gone."""
    answer = [False] * len(images)
    for blob, entries in _by_blob(images):
        try:
            found = storage.read_ranges(blob, [(offset, length) for _, offset, length, _ in entries])
        except FileNotFoundError:
            found = [b""] * len(entries)
        for (row, _, length, digest), data in zip(entries, found, strict=True):
            answer[row] = not is_whole(data, length, digest)
    return answer


def restore(storage: Storage, lost: pa.Table, observations: Iterable[Observation]) -> list[Observation]:
    """Put damaged images back where they lay, from new observations of the same bytes; returns the other observations.

    lost: rows of `damaged`.
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


def _by_blob(images: pa.Table) -> list[tuple[str, list[tuple[int, int, int, int | None]]]]:
    """(row, offset, length, checksum) of the images in each blob."""
    places: defaultdict[str, list[tuple[int, int, int, int | None]]] = defaultdict(list)
    digests = images["blob_checksum"].to_pylist() if "blob_checksum" in images.column_names else [None] * len(images)
    columns = (images[name].to_pylist() for name in ("blob", "blob_offset", "blob_length"))
    for row, (blob, offset, length, digest) in enumerate(zip(*columns, digests, strict=True)):
        if blob is not None:
            places[blob].append((row, offset, length, digest))
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
    columns["blob"] = [None if row.image is None else file for row in rows]
    columns["blob_offset"] = list(places)
    columns["blob_length"] = [None if row.image is None else len(row.image.body) for row in rows]
    columns["blob_checksum"] = [None if row.image is None else xxhash.xxh3_64_intdigest(row.image.body) for row in rows]
    for at, row in enumerate(rows):
        if row.same_as is not None:
            for name in (*_IMAGE_COLUMNS, *_PLACE):
                columns[name][at] = row.same_as[name]
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in OBSERVATIONS})
