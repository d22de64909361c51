"""The arrays of an index of shards, made of a table of its samples, which may be anybody's: see `Arrays`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import words64
from dataset.schema import SHARD_INDEX

_MOST_BYTES = 2**60  # of a shard; no file system has larger files


class DamagedIndexError(ValueError):
    """A table of samples says of them what cannot be."""


INDEX_DAMAGE = (KeyError, pa.ArrowException, DamagedIndexError)
"""What reading a table raises that is no index."""


class Arrays(NamedTuple):
    """Some samples of an index."""

    shards: list[str]
    fixed: dict[str, np.ndarray]  # FIXED; `shard` into `shards`
    keys: pa.Array  # string (n,)


def as_now(table: pa.Table) -> pa.Table:
    """Return a part of an index with all columns; an older version wrote no checksum."""
    if "checksum" not in table.column_names:
        table = table.append_column("checksum", pa.nulls(len(table), pa.uint64()))
    return table


def arrays_of(table: pa.Table, split: str) -> Arrays:
    """Return the arrays of an index and the keys, of one split of a table. Raises DamagedIndexError: see `_check`.

    Its shards and splits may be read as dictionaries: a part of a large index has a million samples and few shards.
    """
    table = as_now(table)
    splits, split_of = _number_strings(table.column("split"), "split")
    if splits != [split] or table.column("split").null_count:  # all are, of most parts
        table = table.filter(pa.array(split_of == (splits.index(split) if split in splits else len(splits))))
    plain = [field for field in SHARD_INDEX if field.name not in ("shard", "split")]
    columns = {field.name: table.column(field.name).cast(field.type) for field in plain}
    table = pa.table({"shard": table.column("shard"), **columns})
    _check(table)
    shards, shard = _number_strings(table.column("shard"), "shard")
    fixed = {
        "shard": shard,
        "offset": table.column("offset").to_numpy(),
        "size": table.column("size").to_numpy(),
        "checksum": pc.fill_null(table.column("checksum"), 0).to_numpy(),
        "pair_id": words64(table.column("pair_id")) if len(table) else np.empty((0, 2), np.uint64),
    }
    return Arrays(shards, fixed, table.column("key").combine_chunks())


def _number_strings(column: pa.ChunkedArray, name: str) -> tuple[list[str], np.ndarray]:
    """The distinct strings of a column, in the order in which they come, and which of them each row has: int32 (n,), -1
    of none. Raises DamagedIndexError: they are no strings.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    strings = array.dictionary
    if not (pa.types.is_string(strings.type) or pa.types.is_large_string(strings.type)) or strings.null_count:
        raise DamagedIndexError(f"a {name} is no text")
    _check_utf8(strings, name)
    indices = array.indices.cast(pa.int32())
    used = pc.unique(indices.drop_null()).to_numpy()
    numbers: np.ndarray = (pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy()
    if not np.array_equal(used, np.arange(len(strings))):  # as a writer numbers them
        place = np.full(len(strings) + 1, -1, np.int32)  # -1 finds the last
        place[used] = np.arange(len(used))
        numbers = place[numbers]
    return strings.take(pa.array(used)).to_pylist(), numbers


def _check_utf8(strings: pa.Array | pa.ChunkedArray, name: str) -> None:
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        raise DamagedIndexError(f"a {name} is not UTF-8") from None


def _check(table: pa.Table) -> None:
    """Raises DamagedIndexError: the table may be somebody else's, and what reads samples by it believes it."""
    for name in ("shard", "key", "offset", "size", "pair_id"):
        if table.column(name).null_count:
            raise DamagedIndexError(f"a {name} is missing")
        if name != "shard":  # whose distinct names `_number_strings` looks at
            _check_utf8(table.column(name), name)
    for name in ("offset", "size"):
        least, most = pc.min_max(table.column(name)).as_py().values()
        if len(table) and (least < 0 or most > _MOST_BYTES):
            raise DamagedIndexError(f"it has the {name} {least if least < 0 else most:,}")
