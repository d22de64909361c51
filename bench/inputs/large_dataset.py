"""A dataset of any number of pairs, made of nothing but written by the real writers: for benches of asking.

Three candidates for each pair of the dataset, in partitions as large as a run's (10,000 pairs); every stage commits
verdicts and measures. Beside it the same pairs as img2dataset writes them: Parquet and `_stats.json` a shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.inputs.lookup_table import write_lookup
from bench.inputs.pieces import KEPT, once
from bench.peers.audit import like_img2dataset
from dataset.ids import PAIR_ID_SQL, checksum
from dataset.ledger.commits import (
    Commit,
    FileRef,
    Ledger,
    folder,
    new_records,
    record_table,
    write_manifest,
    write_records,
)
from dataset.query.view_script import write as write_views
from dataset.schema import (
    CANDIDATES,
    CLIP_SCORES,
    IMAGES,
    MATCHES,
    NSFW,
    PAIRS,
    QUERIES,
    QUERY_COUNTS,
    SAMPLES,
    SOURCES,
    TEXT_MEASURES,
    VERDICTS,
)
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from filters.queries.build import load as read_queries

WORDS = 20_000
PAIRS_A_PARTITION, CANDIDATES_A_PARTITION = 10_000, 50_000
FATES: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    # of a thousand candidates: reason, from, to, evidence
    "text": (
        ("text_too_short", 0, 200, """json_object('characters', h % 10, 'min_characters', 10)"""),
        ("language_not_allowed", 200, 340, """json_object('language', 'de', 'language_probability', 0.9)"""),
        ("text_is_filename", 340, 400, """json_object('is_filename', true)"""),
    ),
    "match": (("no_query_match", 400, 550, """json_object('rule', 'words')"""),),
    "dedup": (("duplicate_pair", 550, 617, """json_object('first_partition', 0, 'first_row', h % 1000)"""),),
    "prebalance": (("query_full", 617, 640, """json_object('query_id', 1, 'count', 90000, 'cap', 40000,
        'estimated_rank', 40000 + h)"""),),
    "fetch": (
        ("http_client_error", 640, 650, """json_object('origin', 'http', 'status', 404)"""),
        ("dns_failed", 650, 655, """json_object('origin', 'http')"""),
    ),
    "image": (("image_too_small", 655, 659, """json_object('width', h % 32, 'height', 40, 'min_side', 32)"""),),
    "neardup": (("near_duplicate_image", 659, 664, """json_object('duplicate_of_url_id', left(md5(url), 16),
        'pdq_hamming', h % 32, 'max_hamming', 31)"""),),
    "decontaminate": (("in_evaluation_set", 664, 665, """json_object('pdq_hamming', 3, 'max_hamming', 15)"""),),
    "balance": (("query_full", 665, 667, """json_object('query_id', 1, 'count', 21000, 'cap', 20000,
        'estimated_rank', 20000 + h)"""),),
}  # fmt: skip
_ALIVE, _KEPT = 640, 667  # from which fate on a candidate is a pair, and a sample
_CANDIDATE_STAGES, _PAIR_STAGES = ("text", "match", "dedup", "prebalance"), tuple(list(FATES)[4:])


@dataclass(frozen=True)
class Size:
    """How large a dataset is."""

    pairs: int

    @property
    def candidates(self) -> int:
        """Three for each pair that is kept."""
        return self.pairs * 3

    @property
    def pair_partitions(self) -> int:
        """The partitions of pairs: as many as a run makes."""
        return max(2, self.pairs // PAIRS_A_PARTITION)

    @property
    def candidate_partitions(self) -> int:
        """The partitions of candidates: as many as a run makes of sources of a usual size."""
        return max(2, -(-self.candidates // CANDIDATES_A_PARTITION))

    @property
    def candidates_each(self) -> int:
        """The candidates of a partition, but perhaps of the last."""
        return -(-self.candidates // self.candidate_partitions)


@cache
def _words() -> pa.Array:
    """The first words of the built-in query list, by how often Wikipedia has them."""
    queries = read_queries("builtin:en").sort_by([("source_score", "descending"), ("query_id", "ascending")])
    single = queries.filter(pc.match_substring_regex(queries.column("query"), "^[a-z]{3,}$"))
    return single.column("query").combine_chunks()[:WORDS]


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def drawn(numbers: str, size: Size) -> pa.Table:
    """Return the candidates whose numbers `n` a query gives: all columns that any table needs, ordered by n."""
    facts = (
        _connection()
        .sql(f"""
        WITH numbers AS ({numbers}), facts AS (
            SELECT n, (hash(n) % 1000)::INTEGER AS h, (n % {size.pair_partitions})::BIGINT AS pair_partition,
                   pow(3000, (hash(n + 1) % 1000000) / 1e6)::BIGINT AS site, (3 + hash(n + 2) % 7)::BIGINT AS words,
                   ((hash(n + 3) % 1000000) / 1e6)::FLOAT AS score
            FROM numbers
        ), placed AS (
            SELECT *, 'img' || site % 5 || '.site' || (site * {size.pair_partitions} + pair_partition)
                || ['.com', '.co.uk', '.de', '.github.io'][site % 4 + 1] AS host
            FROM facts
        )
        SELECT *, 'https://' || host || '/images/' || hash(n) || '.jpg' AS url FROM placed ORDER BY n
    """)
        .to_arrow_table()
    )
    ends = np.concatenate([[0], np.cumsum(facts.column("words").to_numpy())])
    of_row = np.repeat(np.arange(facts.num_rows), np.diff(ends))
    place = (np.arange(ends[-1]) - ends[of_row]).astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    place += facts.column("n").to_numpy().astype(np.uint64)[of_row] * np.uint64(0x9E3779B97F4A7C15)
    share = ((place >> np.uint64(20)) % np.uint64(1_000_003)) / 1_000_003
    ids = pa.array(
        (np.power(float(len(_words())), share) - 1).astype(np.int32)
    )  # frequent ones as often as in a language
    offsets = pa.array(ends, pa.int32())
    rows = facts.append_column("text", pc.binary_join(pa.ListArray.from_arrays(offsets, pc.take(_words(), ids)), " "))
    rows = rows.append_column("ids", pa.ListArray.from_arrays(offsets, ids))
    return (
        _connection()
        .sql(f"SELECT * EXCLUDE (ids), list_sort(list_distinct(ids)) AS query_ids, {PAIR_ID_SQL} AS pair_id FROM rows")
        .to_arrow_table()
    )


def _candidates(rows: pa.Table, size: Size) -> pa.Table:
    """The columns of CANDIDATES, and of PAIRS beside them."""
    return (
        _connection()
        .sql(f"""
        SELECT pair_id, url, text, 'alt' AS text_source, []::VARCHAR[] AS personal_data, host,
               'https://www.' || host || '/page/' || n // 3 AS page_url, 200 AS page_status,
               ['en', 'en', 'de', NULL][h % 4 + 1] AS page_language,
               false AS page_noai, NULL::BOOLEAN AS page_tdm_reserved,
               NULL::VARCHAR AS page_content_signal, NULL::VARCHAR AS page_content_usage,
               CASE WHEN h % 20 = 0 THEN 'https://creativecommons.org/licenses/by/4.0/' END AS page_license,
               (2014 + h % 11) || '-05-01T12:00:00Z' AS page_date,
               'crawl-' || lpad((n // 100000)::VARCHAR, 5, '0') || '.warc.gz' AS archive, (n // 3) * 5000 AS "offset",
               (n % 3)::INTEGER AS ordinal, query_ids, (n // {size.candidates_each})::INTEGER AS candidate_partition,
               (n % {size.candidates_each})::UINTEGER AS candidate_row
        FROM rows ORDER BY n
        """)
        .to_arrow_table()
    )


def _verdicts(rows: pa.Table, stage: str) -> pa.Table:
    """Return the verdicts of rows with a column `row`."""
    selects = " UNION ALL ".join(
        f"SELECT row, '{reason}' AS reason, ({evidence})::VARCHAR AS evidence FROM rows WHERE h >= {low} AND h < {high}"
        for reason, low, high, evidence in FATES[stage]
    )
    return _connection().sql(f"SELECT * FROM ({selects}) ORDER BY row").to_arrow_table()


def _number(rows: pa.Table) -> pa.Table:
    return rows.append_column("row", pa.array(np.arange(rows.num_rows), pa.uint32()))


class _Writer:
    """What one partition commits, phase by phase."""

    def __init__(self, out: str, partition: int):
        self.storage = Storage(out)
        self.partition = partition
        self.commits: list[Commit] = []

    def commit(self, phase: str, counts: Mapping[str, int] | None = None, **tables: tuple[pa.Table, pa.Schema]) -> None:
        """Write a phase's tables."""
        files = {}
        for role, (table, schema) in tables.items():
            for field in schema:  # what this bench has no use for
                if field.name not in table.column_names:
                    table = table.append_column(field, pa.nulls(table.num_rows, field.type))
            data = to_parquet(table, schema)
            digest = checksum(data)
            name = f"{folder(phase)}/{role}-{self.partition:05d}-{digest[:16]}.parquet"
            self.storage.write(name, data)
            files[role] = FileRef(name, data.size, digest, table.num_rows)
        self.commits.append(Commit(phase, self.partition, "bench", files, counts or {}))


def candidates(out: str, size: Size, partition: int) -> list[Commit]:
    """Return all that the stages up to prebalance commit of one partition."""
    low = partition * size.candidates_each
    high = min(size.candidates, low + size.candidates_each)
    rows = _number(drawn(f"SELECT range AS n FROM range({low}, {high})", size))
    writer = _Writer(out, partition)
    source = {**dict.fromkeys(SOURCES.names, 0), "archive": f"crawl-{low // 100_000:05d}.warc.gz", "type": "warc"}
    source |= {"start": low, "end": high, "candidates": high - low, "simplified_page": None, "error": None}
    writer.commit(
        "extract.candidates",
        candidates=(_candidates(rows, size), CANDIDATES),
        sources=(pa.Table.from_pylist([source], SOURCES), SOURCES),
    )
    measures = _connection().sql("""
        SELECT row, CASE WHEN h BETWEEN 200 AND 339 THEN 'de' ELSE 'en' END AS language, score AS language_probability,
               NULL::FLOAT AS profanity_probability, false AS is_undetermined, length(text)::INTEGER AS characters,
               words::INTEGER AS words, h BETWEEN 340 AND 399 AS is_filename, 1 AS texts_on_page,
               CASE WHEN h % 50 = 0 THEN [{'kind': 'logo', 'found': 'logo'}] ELSE [] END AS not_captions,
               []::STRUCT(entry VARCHAR, list VARCHAR, category VARCHAR)[] AS blocked_domains,
               []::STRUCT(term VARCHAR, list VARCHAR, "language" VARCHAR)[] AS blocked_terms,
               NULL::VARCHAR AS unsafe_address
        FROM rows ORDER BY row
    """)
    writer.commit("text.context", measures=(measures.to_arrow_table(), TEXT_MEASURES))
    alive = rows.filter(pc.greater_equal(rows.column("h"), 400))
    writer.commit("match.measure", measures=(alive.select(["row", "query_ids"]), MATCHES))
    for stage in _CANDIDATE_STAGES:
        writer.commit(f"{stage}.decide", verdicts=(_verdicts(rows, stage), VERDICTS))
    return writer.commits


def pairs(out: str, size: Size, partition: int) -> list[Commit]:
    """Return all that the stages from prebalance to balance commit of one partition."""
    every = f"SELECT range AS n FROM range({partition}, {size.candidates}, {size.pair_partitions})"
    rows = drawn(f"SELECT n FROM ({every}) WHERE hash(n) % 1000 >= {_ALIVE}", size).sort_by("pair_id")
    rows = _number(rows)
    writer = _Writer(out, partition)
    writer.commit("prebalance.pairs", pairs=(_candidates(rows, size).sort_by("pair_id"), PAIRS))
    outcome = " ".join(f"WHEN h >= {low} AND h < {high} THEN '{reason}'" for reason, low, high, _ in FATES["fetch"])
    images = (
        _connection()
        .sql(f"""
        SELECT row, pair_id[:8] AS url_id, host, url, 'http' AS origin, CASE {outcome} ELSE 'ok' END AS outcome,
               CASE WHEN h < 650 THEN 404 ELSE 200 END AS status, url AS final_url, 20000 + h AS fetched_bytes,
               unhex(sha256(url)) AS sha256, 'image/jpeg' AS media_type, 200 + h AS original_width,
               300 + h AS original_height,
               200 + h % 60 AS width, 256 AS height, unhex(sha256(url || 'pdq')) AS pdq, 80 AS pdq_quality,
               'fetch/store/none.blob' AS blob, row::BIGINT * 20000 AS blob_offset, 20000 AS blob_length,
               hash(url) AS blob_checksum
        FROM rows ORDER BY row
    """)
        .to_arrow_table()
    )
    writer.commit("fetch.get", images=(images, IMAGES))
    measured = rows.select(["row", "score"])
    writer.commit("image.nsfw", measures=(measured.rename_columns(NSFW.names), NSFW))
    writer.commit("image.embed", measures=(measured.rename_columns(CLIP_SCORES.names), CLIP_SCORES))
    for stage in _PAIR_STAGES:
        writer.commit(f"{stage}.decide", verdicts=(_verdicts(rows, stage), VERDICTS))
    like_img2dataset(out, partition, _connection(), rows, images)
    return writer.commits


def samples(out: str, size: Size, shard: int) -> list[Commit]:
    """Return what pack commits of one shard; its pairs are from all over the dataset."""
    shards = size.pair_partitions
    step = next(a for a in range(size.candidates * 5 // 8, 2 * size.candidates) if np.gcd(a, size.candidates) == 1)
    low, high = shard * size.candidates // shards, (shard + 1) * size.candidates // shards
    every = f"SELECT (range::HUGEINT * {step} % {size.candidates})::BIGINT AS n FROM range({low}, {high})"
    rows = drawn(f"SELECT n FROM ({every}) WHERE hash(n) % 1000 >= {_KEPT}", size).sort_by("pair_id")
    rows = _number(rows)
    table = (
        _connection()
        .sql(f"""
        SELECT 'train-' || lpad('{shard}', 5, '0') || '.tar' AS shard,
               lpad('{shard}', 5, '0') || lpad(row::VARCHAR, 6, '0') AS key,
               'train' AS split, row::BIGINT * 25600 AS "offset", 25600::BIGINT AS size,
               pair_id, url, text, 'alt' AS text_source,
               'https://www.' || host || '/page/' || n // 3 AS page_url,
               'crawl-' || lpad((n // 100000)::VARCHAR, 5, '0') || '.warc.gz' AS archive,
               (n // 3) * 5000 AS archive_offset,
               query_ids, unhex(sha256(url)) AS sha256, 200 + h % 60 AS width, 256 AS height, hash(url) AS checksum
        FROM rows ORDER BY row
    """)
        .to_arrow_table()
    )
    writer = _Writer(out, shard)
    writer.commit("pack.shard", samples=(table, SAMPLES))
    return writer.commits


def build(out: str, size: Size, workers: int = 1) -> None:
    """Make the dataset, or go on with it: the same bytes from any number of workers."""
    parts = {candidates: size.candidate_partitions, pairs: size.pair_partitions, samples: size.pair_partitions}
    work = [
        partial(once, out, f"{make.__name__}-{number:05d}", partial(make, out, size, number))
        for make, count in parts.items()
        for number in range(count)
    ]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            done = [commit for commits in pool.map(_do, work, chunksize=8) for commit in commits]
    else:
        done = [commit for each in work for commit in each()]
    storage = Storage(out)
    done += [*_queries(out, done), *write_lookup(out, done, workers)]
    phases, records = [], new_records()
    for phase in dict.fromkeys(commit.phase for commit in done):
        ledger = Ledger(storage, phase)
        commits = [commit for commit in done if commit.phase == phase]
        digest = ledger.close(commits)
        records.add(record_table(commits))
        phases.append({"phase": phase, "partitions": len(commits), "records": ledger.closed_name, "checksum": digest})
    storage.write("config.yaml", json.dumps({"name": "bench", "balance": {"cap": 20_000}}).encode())
    write_manifest(
        storage,
        {
            "format": 1,
            "complete": True,
            "name": "bench",
            "phases": phases,
            "records": write_records(storage, records.finish()),
            "funnel": _funnel(size, done),
        },
    )
    write_views(storage)
    storage.delete_folder(KEPT)


def _do(work: Any) -> list[Commit]:
    return list(work())


def _queries(out: str, done: list[Commit]) -> list[Commit]:
    """The query list with its counts, of the pairs and of the samples."""
    counts = []
    for phase, role in (("prebalance.pairs", "pairs"), ("pack.shard", "samples")):
        count_of = np.zeros(WORDS, np.int64)
        for commit in done:
            if commit.phase == phase:
                ids = pq.read_table(Path(out) / commit.files[role].name, columns=["query_ids"]).column(0)
                count_of += np.bincount(pc.list_flatten(ids).to_numpy(), minlength=WORDS)
        counts.append(count_of)
    table = pa.table(
        {
            "query_id": pa.array(range(len(_words())), pa.int32()),
            "query": _words(),
            "source": ["bench"] * len(_words()),
            "source_score": pa.array(np.linspace(1e6, 1, len(_words()))),
            "language": pa.nulls(len(_words()), pa.string()),
            "candidate_count": counts[0][: len(_words())],
            "kept_count": counts[1][: len(_words())],
        }
    )
    writer = _Writer(out, 0)
    writer.commit("match.queries", queries=(table.select(QUERIES.names), QUERIES))
    writer.commit("pack.queries", queries=(table, QUERY_COUNTS))
    return writer.commits


def _funnel(size: Size, done: list[Commit]) -> dict[str, dict[str, int]]:
    left = size.candidates
    funnel = {"extract": {"input": left, "kept": left, "dropped": 0}}
    for stage in FATES:
        dropped = sum(commit.files["verdicts"].rows for commit in done if commit.phase == f"{stage}.decide")
        funnel[stage] = {"input": left, "kept": left - dropped, "dropped": dropped}
        left -= dropped
    return {**funnel, "pack": {"input": left, "kept": left, "dropped": 0}}
