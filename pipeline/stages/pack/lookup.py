"""pack: which partitions have a URL, a page, a host or an image, by a hash of it; see `dataset.ledger.lookup`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.hosts import HOST_SQL
from dataset.ids import words64
from dataset.ledger.commits import Commit, FileRef
from dataset.ledger.lookup import ENCODINGS, FIRST_HASHES, HASH_BITS, first_hashes, part_of
from dataset.query import sql
from dataset.schema import CANDIDATES, IMAGES, LOOKUP, PAIRS, SAMPLES, VERDICTS
from dataset.tables import ROW_GROUP_ROWS, GrowingParquet
from pipeline.engine.contract import roles
from pipeline.engine.exchanges.exchange import Buckets, bucket_count, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import Context, Input, Inputs, Result, Task, all_files, phase
from pipeline.engine.run import Run
from pipeline.stages.artifacts import CANDIDATE_FILES, IMAGES_TABLE
from pipeline.stages.pack import PACK

FEW_FILES = 32
"""The most files of candidates, pairs and samples of which each is asked, which takes no longer."""
ROWS_PER_PART = 4_000_000
"""The rows of a part of the table; a task that writes one takes a gigabyte, and the part 16 MB."""
_URL_ID = pa.binary(8)
_DUPLICATE_OF = r'"duplicate_of_url_id": ?"(?P<id>[0-9a-f]{16})"'


@phase(
    PACK,
    "pack.candidate_keys",
    reads=roles(rows=CANDIDATES),
    takes=("parts",),
    exchanges=roles(keys=LOOKUP),
)
def candidate_keys(context: Context) -> Result:
    """Give what a partition's candidates are asked for by: image, page and host."""
    rows = context.table("rows", ["pair_id", "page_url", "host"])
    partition = context.task.partition
    tables = [_lookup_rows(_ids(rows["pair_id"]), "url", "candidates", partition)]
    tables += [_lookup_rows(_texts(rows[key]), key, "candidates", partition) for key in ("page_url", "host")]
    return _result(context, tables)


@phase(
    PACK,
    "pack.pair_keys",
    reads=roles(rows=PAIRS, verdicts=VERDICTS, images=IMAGES),
    takes=("parts",),
    exchanges=roles(keys=LOOKUP),
)
def pair_keys(context: Context) -> Result:
    """Give what a partition's pairs are asked for by: image, host, bytes; and the images that stand for some of
    them.
    """
    rows, partition = context.table("rows", ["pair_id", "host"]), context.task.partition
    evidence = [table["evidence"] for table in context.table_list("verdicts", ["evidence"])]
    kept_for = pc.extract_regex(pa.chunked_array(evidence, pa.string()), _DUPLICATE_OF).drop_null()
    digits = pc.struct_field(kept_for, "id").to_pylist()
    tables = [
        _lookup_rows(_ids(rows["pair_id"]), "url", "pairs", partition),
        _lookup_rows(_texts(rows["host"]), "host", "pairs", partition),
        _lookup_rows(_ids(context.table("images", ["sha256"])["sha256"].drop_null()), "sha256", "pairs", partition),
        _lookup_rows(_ids(pa.array([bytes.fromhex(one) for one in digits], _URL_ID)), "url", "duplicates", partition),
    ]
    return _result(context, tables)


@phase(
    PACK,
    "pack.sample_keys",
    reads=roles(samples=SAMPLES),
    takes=("parts", "first_shard"),
    exchanges=roles(keys=LOOKUP),
)
def sample_keys(context: Context) -> Result:
    """Give what the samples of some shards are asked for by: image and host."""
    tables = []
    for shard, rows in enumerate(context.each("samples", ["pair_id", "url"]), context.options["first_shard"]):
        hosts = sql.run(f"SELECT DISTINCT {HOST_SQL} AS host FROM samples", {"samples": rows})  # noqa: S608
        tables += [
            _lookup_rows(_ids(rows["pair_id"]), "url", "samples", shard),
            _lookup_rows(_texts(hosts["host"]), "host", "samples", shard),
        ]
    return _result(context, tables)


@phase(PACK, "pack.lookup", reads=roles(keys=LOOKUP), gives=roles(lookup=LOOKUP))
def lookup(context: Context) -> Result:
    """Give a part of the table: by hash, then candidates, pairs, samples, and these by partition."""
    rows = context.concat("keys", LOOKUP)
    rows = rows.take(pa.array(np.argsort(rows["hash"].to_numpy(), kind="stable")))
    parquet = GrowingParquet(LOOKUP, ENCODINGS)
    parquet.add(rows)
    parquet.describe({FIRST_HASHES: first_hashes(rows["hash"].to_numpy(), ROW_GROUP_ROWS)})
    result = Result(counts={"rows": rows.num_rows})
    result.parquets["lookup"] = parquet
    return result


def tasks(
    candidates: Sequence[FileRef], pairs: Sequence[Mapping[str, Inputs]], packed: Sequence[Commit], together: int
) -> tuple[list[Task], list[Task], list[Task], int]:
    """Return what there is to do before the parts are written, and how many parts there are.

    Args:
        candidates: their files, by partition.
        pairs: of each partition what `pair_keys` reads.
        packed: the commits of the shards.
        together: so many shards one task reads.
    """
    rows = 3 * sum(file.rows for file in candidates) + 2 * sum(one.files["samples"].rows for one in packed)
    rows += 3 * sum(item.file.rows for one in pairs for item in one["rows"] if isinstance(item, Input))
    count = bucket_count(rows, ROWS_PER_PART)
    parts = {"parts": count}
    return (
        [Task(candidate_keys.name, number, {"rows": (Input(file),)}, parts) for number, file in enumerate(candidates)],
        [Task(pair_keys.name, number, inputs, parts) for number, inputs in enumerate(pairs)],
        [
            Task(
                sample_keys.name,
                number,
                {"samples": all_files(packed[first : first + together], "samples")},
                {**parts, "first_shard": first},
            )
            for number, first in enumerate(range(0, len(packed), together))
        ],
        count,
    )


def run(run: Run, packed: Sequence[Commit], together: int) -> None:
    """Write the table, unless the files are few. See `tasks`."""
    candidates = run.artifacts.take(CANDIDATE_FILES)
    if len(candidates) + len(run.partitions) + len(packed) <= FEW_FILES:
        return
    pairs = [partition.inputs(IMAGES_TABLE) for partition in run.partitions]
    *work, parts = tasks(candidates, pairs, packed, together)
    phases = (candidate_keys, pair_keys, sample_keys)
    exchanges = [exchange(run, run.do(each, some), "keys") for each, some in zip(phases, work, strict=True)]
    run.reduce(lookup, {}, {"keys": exchanges}, range(parts))


def _ids(ids: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The hashes that ids of 8 bytes and more begin with."""
    return (words64(ids)[:, 0] >> np.uint64(64 - HASH_BITS)) if len(ids) else np.zeros(0, np.uint64)


def _texts(texts: pa.ChunkedArray) -> np.ndarray:
    """The hashes of texts; the empty one, which stands for none, has none."""
    hashes = sql.run(
        "SELECT (md5_number(text) & 18446744073709551615)::UBIGINT AS hash "
        "FROM (SELECT DISTINCT text FROM texts WHERE text <> '')",
        {"texts": pa.table({"text": texts})},
    )
    return np.asarray(hashes["hash"].to_numpy()).byteswap() >> np.uint64(64 - HASH_BITS)  # DuckDB's are little-endian


def _lookup_rows(hashes: np.ndarray, key: str, rows: str, partition: int) -> pa.Table:
    """The rows of LOOKUP of what a partition has."""
    hashes = np.unique(hashes)
    return pa.table(
        [
            pa.array(hashes.astype(np.int64)),
            pa.repeat(key, len(hashes)),
            pa.repeat(rows, len(hashes)),
            pa.repeat(pa.scalar(partition, pa.int32()), len(hashes)),
        ],
        schema=LOOKUP,
    )


def _result(context: Context, tables: Sequence[pa.Table]) -> Result:
    rows = pa.concat_tables(tables)
    return Result(buckets={"keys": _split_by_part(rows, context.options["parts"])})


def _split_by_part(rows: pa.Table, parts: int) -> Buckets:
    return write_buckets(rows, part_of(rows["hash"].to_numpy(), parts))
