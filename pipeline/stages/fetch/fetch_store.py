"""fetch: what the fetch store has of a partition's URLs already, less what its source has otherwise by now.

What came over the network is an observation, and stays. What was taken from an archive, or from another's downloads, is
a function of these: it counts as long as they are what they were. A chunk of nothing else is made anew as a whole when
a part of it no longer counts, so that a changed archive gives what a fresh run would give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images import img2dataset_import, store
from crawl.images.observations import OK
from dataset.ledger.damage import DamagedError
from dataset.schema import ARCHIVE_IMAGES, OBSERVATIONS
from dataset.store.secrets import public
from dataset.store.storage import Storage
from dataset.tables import read_parquet
from pipeline.engine.phase import Context
from pipeline.engine.sources import cache

_OF_SOURCE = {"archive_checksum": "archive_checksum", "archive_offset": "offset", "final_url": "final_url"}


@dataclass(frozen=True)
class Stored:
    """What the store has of the wanted URLs."""

    rows: pa.Table  # OBSERVATIONS
    older: pa.Table  # OBSERVATIONS of the same URLs that no longer count
    chunks: list[str]  # which they are from
    outdated: list[str]  # files of chunks that are to be made anew, and are not among these


def look(context: Context, wanted: Sequence[str], held: pa.Table) -> Stored:
    """Return all observations of the wanted URLs that the store has and that still count.

    Under the same route a URL is in a chunk of its own partition; chunks made under another route are all looked
    through.

    held: see `held_images`.
    """
    asked = pa.array(wanted, pa.string())
    prefix, route = f"{_home(context)}-", context.options["route"]
    downloaded = adopted_images(context, wanted)
    rows, older, chunks, outdated = [OBSERVATIONS.empty_table()], [OBSERVATIONS.empty_table()], [], []
    for name, infos in sorted(store.chunks(context.storage, context.options["folder"]).items()):
        base, files = name.rpartition("/")[2], [info.name for info in infos]
        is_own = base.startswith(prefix)
        if not is_own and (base.startswith(route) or not _has_any(context.storage.url, files, asked)):
            continue
        table = store.read_files(context.storage, files)
        table = table.filter(pc.is_in(table.column("url"), value_set=asked))
        if not len(table):
            continue
        is_old = _is_outdated(context, table, held, downloaded)
        is_derived = pc.all(pc.not_equal(table.column("origin"), "http")).as_py()
        if is_derived and is_own and pc.any(is_old).as_py():
            outdated += files
            continue
        rows.append(table.filter(pc.invert(is_old)))
        older.append(table.filter(is_old))
        chunks.append(name)
    return Stored(pa.concat_tables(rows), pa.concat_tables(older), chunks, outdated)


LOCATIONS = "log/locations.json"
"""Where the run's archives can be read, by their names: a file, for there are tens of thousands of them. An address
with credentials stands in no file; the tasks carry it."""


def keep_locations(storage: Storage, located: Mapping[str, str]) -> dict[str, Any]:
    """Write where the run's archives are; answers the hints by which `locations` knows them.

    located: name of an archive -> where it can be read.
    """
    shown = {name: location for name, location in located.items() if public(location) == location}
    if cache.read(storage, LOCATIONS) != shown:
        cache.write(storage, LOCATIONS, shown)
    hidden = {name: location for name, location in located.items() if name not in shown}
    return {"locations": cache.checksum_of(shown), "hidden_locations": hidden}


def locations(context: Context) -> dict[str, str]:
    """Return the run's archives by their names, and where they can be read."""
    hints = context.task.hints
    return {**_locations(context.storage, hints["locations"]), **hints["hidden_locations"]}


@lru_cache(maxsize=1)
def _locations(storage: Storage, checksum: str) -> dict[str, str]:
    table = cache.read(storage, LOCATIONS)
    if cache.checksum_of(table) != checksum:
        raise DamagedError(storage.url, LOCATIONS, "it is not what this run wrote; run the same command again")
    return table


def _is_outdated(context: Context, rows: pa.Table, held: pa.Table, downloaded: pa.Table) -> pa.Array:
    """Which observations were made of archives, or downloads, that have something else of the URL by now.

    An archive that the run no longer reads says nothing; what was taken from it stays.
    """
    indices = pc.index_in(rows.column("url"), value_set=held.column("url").combine_chunks())
    now = held.take(indices.combine_chunks() if isinstance(indices, pa.ChunkedArray) else indices)
    is_same = pa.array(np.ones(len(rows), dtype=bool))
    for name, other in _OF_SOURCE.items():
        is_same = pc.and_(is_same, pc.fill_null(pc.equal(rows.column(name), now.column(other)), False))
    is_read = pc.is_in(rows.column("archive"), value_set=pa.array(sorted(locations(context)), pa.string()))
    otherwise = pc.if_else(pc.is_valid(indices), pc.invert(is_same), is_read)
    # What a hash list held once does not come back; older versions did not say where it was from.
    is_refused = pc.and_(
        pc.equal(rows.column("outcome"), "hash_list_match"), pc.is_null(rows.column("archive_checksum"))
    )
    of_archive = pc.and_(pc.equal(rows.column("origin"), "archive"), pc.invert(is_refused))
    indices = pc.index_in(rows.column("url"), value_set=downloaded.column("url").combine_chunks())
    digest = downloaded.column("sha256").take(
        indices.combine_chunks() if isinstance(indices, pa.ChunkedArray) else indices
    )
    differs = pc.fill_null(pc.not_equal(rows.column("sha256"), digest), False)
    of_download = pc.and_(pc.equal(rows.column("origin"), "adopted"), pc.equal(rows.column("outcome"), OK))
    looked = "archive" in context.options["fetch"]["origins"]
    return pc.or_(
        pc.and_(of_archive, otherwise) if looked else pa.array(np.zeros(len(rows), dtype=bool)),
        pc.and_(of_download, differs),
    )


def held_images(context: Context) -> pa.Table:
    """Return the one image of each URL that the run's archives hold, as ARCHIVE_IMAGES; also where redirects in them
    lead.
    """
    return pa.concat_tables([context.table("archive_images"), context.concat("redirected", ARCHIVE_IMAGES)])


def adopted_images(context: Context, urls: Sequence[str]) -> pa.Table:
    """Return what img2dataset has downloaded of these URLs, as ADOPTED; of one that it has twice, the first."""
    images = context.concat("adopted", img2dataset_import.ADOPTED)
    images = images.filter(pc.is_in(images.column("url"), value_set=pa.array(urls, pa.string())))
    _, first = np.unique(images.column("url").to_numpy(zero_copy_only=False).astype(str), return_index=True)
    return images.take(pa.array(first))


def chunk_key(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what of an observation decides what a chunk made after it is called."""
    return None if row is None else {name: row[name] for name in ("url", "outcome", "fetched_at")}


def chunk_name(context: Context, need: Sequence[str], have: Sequence[object]) -> str:
    """Return the name of a chunk: the same URLs asked for again, knowing the same of them, make the same chunk."""
    digest = hashlib.md5(repr((need, have)).encode(), usedforsecurity=False).hexdigest()
    return f"{context.options['folder']}/{_home(context)}-{digest}"


def _home(context: Context) -> str:
    """How the names of this partition's chunks begin; a URL's partition is a function of the route."""
    return f"{context.options['route']}-{context.task.partition:05d}"


def _has_any(url: str, files: Sequence[str], asked: pa.Array) -> bool:
    return any(pc.any(pc.is_in(_urls(url, file), value_set=asked)).as_py() for file in files)


@lru_cache(maxsize=100_000)
def _urls(url: str, file: str) -> pa.ChunkedArray:
    """The URLs of a chunk of the store; chunks never change."""
    return read_parquet(Storage(url), file, ["url"]).column("url")
