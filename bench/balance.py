"""Balancing 10 and 100 million matches of pairs and queries at t = 20,000, on two cores within 8 GB: cutoffs from
counts and from the hashes near them, against the plain way, DuckDB ranking every query's matches in one window.

The matches are drawn by Zipf's law over 500,000 queries, about four to a pair. `--matches N ...` takes other numbers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.peers.measure import measure, venv
from bench.record import print_record
from dataset.ids import mix64
from filters.queries import balance

CAP, QUERIES, CORES = 20_000, 500_000, 2
MATCHES_PER_FILE, MATCHES_PER_PAIR = 2_000_000, 4
HASHES_PER_BUCKET = 8_000_000


def main() -> None:
    """Print the figures, and as the last line one JSON object: of the most matches that the peer can balance, and of
    the most that we were asked to.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matches", type=int, nargs="+", default=[10_000_000, 100_000_000])
    options = parser.parse_args()
    python = venv("duckdb", "duckdb>=1.4")
    line: dict[str, Any] = {"bench": "balance"}
    grew: list[str] = []
    for matches in options.matches:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = range(-(-matches // MATCHES_PER_FILE))
            with Workers() as makers:
                total = sum(makers.do(make, [(folder, number) for number in files]))
            with Workers() as workers:
                kept, ours = ours_in(folder, workers)
            print(f"{total:,} matches, {QUERIES:,} queries, t = {CAP:,}: {kept[0]:,} pairs kept")
            show("ours", ours)
            peer = measure(python, Path(__file__).parent / "peers" / "balance.py", str(folder), str(CAP), str(CORES))
            show("peer", peer)
        grew.append(f"{ours['cpu_seconds'] / total * 1e6:.3f}")
        line["largest"] = {"matches": total, **{key: round(value, 2) for key, value in ours.items()}}
        if peer["failed"]:
            print(f"  the peer failed: {peer['failed']}")
            continue
        rates = {who: round(total / figures["cpu_seconds"]) for who, figures in (("ours", ours), ("peer", peer))}
        line |= {
            **rates,
            "unit": "matches/s and core",
            "ratio": round(rates["ours"] / rates["peer"], 2),
            "equal": kept == [peer["kept"], peer["xor"]] and line.get("equal", True),
            "matches": total,
        }
    print(f"ours, microseconds of CPU a match: {', '.join(grew)}")
    print_record(line)


def show(who: str, figures: dict[str, Any]) -> None:
    """Print what one of the two took."""
    print(
        f"  {who}  {figures['cpu_seconds']:>8.1f} s CPU  {figures['seconds']:>8.1f} s on {CORES} cores  "
        f"{figures['gigabytes']:>6.2f} GB",
        flush=True,
    )


def make(folder: Path, number: int) -> int:
    """Write one partition, hash and query_ids; returns its matches."""
    rng = np.random.default_rng(number)
    pairs = MATCHES_PER_FILE // MATCHES_PER_PAIR
    row = rng.integers(0, pairs, MATCHES_PER_FILE)
    query = (QUERIES ** rng.random(MATCHES_PER_FILE)).astype(np.int64) - 1  # log-uniform: rank k as often as 1/k
    row, query = np.divmod(np.unique(row * QUERIES + query), QUERIES)
    ids = pa.ListArray.from_arrays(
        pa.array(np.searchsorted(row, np.arange(pairs + 1)), pa.int32()), pa.array(query, pa.int32())
    )
    hashes = mix64(np.arange(pairs, dtype=np.uint64) + np.uint64(number * pairs), 0)
    pq.write_table(pa.table({"hash": hashes, "query_ids": ids}), folder / f"{number:05d}.parquet")
    return len(query)


def ours_in(folder: Path, workers: Workers) -> tuple[list[int], dict[str, float]]:
    """Return what is kept (pairs, and the exclusive or of their hashes), and what it took."""
    began, cpu_before = time.perf_counter(), time.process_time()
    files = sorted(folder.glob("*.parquet"))
    counts = workers.do(count, [(file,) for file in files])
    total = pa.concat_tables(counts).group_by("query_id", use_threads=False).aggregate([("count", "sum")])
    total = total.rename_columns(["query_id", "count"]).select(balance.COUNTS.names).sort_by("query_id")
    windows = balance.windows(total, CAP)
    bucket = balance.bucket_of_query(windows, HASHES_PER_BUCKET)
    near = workers.do(collect, [(file, windows, bucket) for file in files])
    cut = [
        ([table[number] for table in near], windows.filter(pa.array(bucket == number)))
        for number in np.unique(bucket).tolist()
    ]
    known = pa.concat_tables([balance.CUTOFFS.empty_table(), *workers.do(cutoffs, cut)])
    decided = workers.do(decide, [(file, known) for file in files])
    kept = [sum(pairs for pairs, _ in decided), reduce(xor, (parity for _, parity in decided))]
    return kept, {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu_before + workers.cpu_seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 + CORES * workers.gigabytes,
    }


def count(file: Path) -> pa.Table:
    """Return COUNTS of a partition."""
    return balance.counts(pq.read_table(file)["query_ids"])


def collect(file: Path, windows: pa.Table, bucket: np.ndarray) -> dict[int, pa.Table]:
    """Return a partition's hashes near the cutoffs, by bucket."""
    rows = pq.read_table(file)
    hashes = balance.collect(rows["query_ids"], rows["hash"].to_numpy(), windows)
    indices = np.searchsorted(windows["query_id"].to_numpy(), hashes["query_id"].to_numpy())
    return {int(number): hashes.filter(pa.array(bucket[indices] == number)) for number in np.unique(bucket)}


def cutoffs(near: Sequence[pa.Table], windows: pa.Table) -> pa.Table:
    """Return CUTOFFS of a bucket."""
    return balance.cutoffs(pa.concat_tables(near), windows)


def decide(file: Path, cutoffs: pa.Table) -> tuple[int, int]:
    """Return pairs kept of a partition, and the exclusive or of their hashes."""
    rows = pq.read_table(file)
    rows = rows.add_column(0, "row", pa.array(range(len(rows)), pa.uint32()))
    dropped = balance.decide(rows, cutoffs)["row"].combine_chunks()
    has_query = pc.greater(pc.list_value_length(rows["query_ids"]), 0)
    stays = pc.and_(has_query, pc.invert(pc.is_in(rows["row"], value_set=dropped)))
    hashes = rows["hash"].filter(stays).to_numpy()
    return len(hashes), int(np.bitwise_xor.reduce(hashes))


class Workers:
    """CORES processes, started before anything is measured, as a run's are."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn"))
        self.cpu_seconds = 0.0
        self.gigabytes = 0.0  # the most that one has taken

    def __enter__(self) -> Self:
        list(self._pool.map(time.sleep, [1.0] * CORES))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def do(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answers of calls, in order."""
        answers = []
        for future in [self._pool.submit(_measure, function, call) for call in calls]:
            answer, seconds, gigabytes = future.result()
            answers.append(answer)
            self.cpu_seconds += seconds
            self.gigabytes = max(self.gigabytes, gigabytes)
        return answers


def _measure(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float, float]:
    began = time.process_time()
    answer = function(*arguments)
    return answer, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
