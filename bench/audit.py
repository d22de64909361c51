"""Asking a dataset: every audit, point queries and `wit explain`; ten questions beside img2dataset's own output.

The dataset is made (`bench.inputs.large_dataset`), of `--pairs N` pairs and three times as many candidates; `--at DIR`
keeps it for another run. The peer's ten questions are asked as its users ask them: by DuckDB over its Parquet files,
and of its `_stats.json`. Ours are the same over the views. What is compared is CPU-seconds, which other work on the
machine does not change; both sides use all its cores.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Any

import duckdb

import dataset
from bench.inputs.large_dataset import Size, build
from bench.record import print_record
from pipeline.asking.explain import explain
from pipeline.reports import audits

_COUNTED = (
    "SELECT query, count(*) AS n FROM "
    "(SELECT unnest(list_distinct(string_split(caption, ' '))) AS query FROM images) GROUP BY query"
)
QUESTIONS: tuple[tuple[str, str, str], ...] = (
    # What is asked, of our views, and of img2dataset's files; `{url}` and `{sha256}` are an image's.
    (
        "how many were got",
        "SELECT input, kept FROM funnel WHERE stage = 'fetch'",
        "SELECT sum(count)::BIGINT, sum(successes)::BIGINT FROM stats",
    ),
    (
        "failures by cause",
        "SELECT count(*) FROM images WHERE outcome <> 'ok' GROUP BY outcome ORDER BY 1",
        "SELECT count(*) FROM images WHERE status <> 'success' GROUP BY error_message ORDER BY 1",
    ),
    (
        "hosts",
        "SELECT host, count(*) AS n FROM images WHERE outcome = 'ok' GROUP BY 1 ORDER BY n DESC, 1 LIMIT 50",
        "SELECT regexp_extract(url, '^https?://([^/:]+)', 1) AS host, count(*) AS n FROM images "
        "WHERE status = 'success' GROUP BY 1 ORDER BY n DESC, 1 LIMIT 50",
    ),
    (
        "sizes",
        "SELECT width // 64, height // 64, count(*) FROM images WHERE outcome = 'ok' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT width // 64, height // 64, count(*) FROM images WHERE status = 'success' GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "where an image comes from",
        "SELECT text FROM pairs WHERE url = '{url}'",
        "SELECT caption FROM images WHERE url = '{url}'",
    ),
    (
        "who else has it",
        "SELECT url FROM images WHERE sha256 = '{sha256}' ORDER BY 1",
        "SELECT url FROM images WHERE sha256 = '{sha256}' ORDER BY 1",
    ),
    (
        "repeated images",
        "SELECT count(*) FROM (SELECT sha256 FROM images WHERE outcome = 'ok' GROUP BY 1 HAVING count(*) > 1)",
        "SELECT count(*) FROM (SELECT sha256 FROM images WHERE status = 'success' GROUP BY 1 HAVING count(*) > 1)",
    ),
    (
        "a concept",
        "SELECT count(*) FROM _pairs WHERE contains(text, 'music')",
        "SELECT count(*) FROM images WHERE contains(caption, 'music')",
    ),
    (
        "which concepts are missing",
        "SELECT query FROM queries WHERE coalesce(candidate_count, 0) < 100 ORDER BY query",
        f"SELECT query FROM words LEFT JOIN ({_COUNTED}) USING (query) WHERE coalesce(n, 0) < 100 ORDER BY query",
    ),
    (
        "what another cap would change",
        "SELECT sum(least(candidate_count, 5000))::BIGINT FROM queries",
        f"SELECT sum(least(n, 5000))::BIGINT FROM words JOIN ({_COUNTED}) USING (query)",
    ),
)  # fmt: skip
"""Those that an auditor begins with; img2dataset's users have counts of failures, and captions to count words in."""


def _timed(act: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    answer = act()
    return answer, time.perf_counter() - wall, time.process_time() - cpu


def _asked(name: str, act: Callable[[], Any]) -> float:
    """The seconds of CPU that a question takes, which are printed beside those of the clock."""
    _, wall, cpu = _timed(act)
    print(f"{name:<32} {wall:8.2f} s {cpu:8.2f} CPU-s", flush=True)
    return cpu


def measure(out: str) -> dict[str, Any]:
    """Return every figure of a dataset that `bench.inputs.large_dataset` made."""
    opened, wall, cpu = _timed(lambda: dataset.open(out))
    print(f"{'first view':<32} {wall:8.2f} s {cpu:8.2f} CPU-s", flush=True)
    ((url, pair_id, host),) = opened.sql("SELECT url, pair_id, host FROM pairs LIMIT 1").fetchall()
    points = {
        "pairs by pair_id": f"SELECT * FROM pairs WHERE pair_id = '{pair_id}'",
        "candidates by pair_id": f"SELECT * FROM candidates WHERE pair_id = '{pair_id}'",
        "images by host": f"SELECT * FROM images WHERE host = '{host}'",
        "candidates by URL": f"SELECT * FROM candidates WHERE url = '{url}'",
        "candidates by host": f"SELECT * FROM candidates WHERE host = '{host}'",
        "dropped by URL": f"SELECT * FROM dropped WHERE url = '{url}'",
    }
    for name, query in points.items():
        _asked(name, lambda query=query: opened.answer(query).fetchall())  # type: ignore[misc]
    for which in (url, pair_id, f"http://{host}/never-seen.jpg"):
        _asked(f"explain {which}"[:32], lambda which=which: explain(opened, which))  # type: ignore[misc]
    slowest = 0.0
    for name in audits.available():
        audit = audits.find(name)
        work = lambda audit=audit: opened.answer(audit.text, audit.values()).fetchall()  # noqa: E731
        slowest = max(slowest, _asked(f"audit {name}", work))
    ours, peer, equal = _beside_peer(opened, out, url)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "ours": ours,
        "peer": peer,
        "equal": equal,
        "slowest_audit_cpu_seconds": round(slowest, 2),
        "peak_gib": peak,
    }


def _beside_peer(opened: dataset.Dataset, out: str, url: str) -> tuple[float, float, bool]:
    """CPU-seconds of the ten questions, ours and the peer's, and whether the answers are the same."""
    theirs = duckdb.connect()
    folder = escape(str(Path(out) / "img2dataset"))
    theirs.execute(f"CREATE VIEW images AS FROM read_parquet('{folder}/*.parquet')")
    theirs.execute(
        f"CREATE VIEW stats AS FROM read_json('{folder}/*_stats.json', "
        "columns = {count: 'BIGINT', successes: 'BIGINT'})"
    )
    theirs.register("words", opened.sql("SELECT query FROM queries").to_arrow_table())
    ((sha256,),) = opened.sql(f"SELECT sha256 FROM images WHERE url = '{url}'").fetchall()
    seconds, equal = [0.0, 0.0], True
    for name, *queries in QUESTIONS:
        our_query, their_query = (query.format(url=url, sha256=sha256) for query in queries)
        ours, wall, cpu = _timed(lambda: opened.answer(our_query).fetchall())  # noqa: B023
        found, their_wall, their_cpu = _timed(
            lambda: theirs.execute(their_query.format(url=url, sha256=sha256)).fetchall()  # noqa: B023
        )
        seconds = [seconds[0] + cpu, seconds[1] + their_cpu]
        equal &= ours == found
        print(
            f"{name:<32} {wall:8.2f} s {cpu:8.2f} CPU-s, peer {their_wall:8.2f} s {their_cpu:8.2f} CPU-s"
            f"{'' if ours == found else ', another answer'}",
            flush=True,
        )
    return round(seconds[0], 3), round(seconds[1], 3), equal


def main() -> None:
    """Measure, and print the figures as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=10_000_000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--at", help="where the dataset is kept; made there if it is not there yet")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = given.at or folder
        if not (Path(out) / "manifest.json").exists():
            build(out, Size(given.pairs), given.workers)
        found = measure(out)
    ratio = round(found["peer"] / found["ours"], 2)
    print_record(
        {"bench": "audit", "pairs": given.pairs, "unit": "CPU-seconds of ten questions", "ratio": ratio, **found}
    )


if __name__ == "__main__":
    main()
