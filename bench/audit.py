"""Asking a dataset: every audit, point queries and `wit explain`; ten questions beside img2dataset's own output.

The dataset is made (`bench.audit_dataset`), of `--pairs N` pairs and three times as many candidates; `--at DIR` keeps
it for another run. The peer's ten questions are asked as its users ask them: by DuckDB over its Parquet files, and of
its `_stats.json`. Our seconds are those of the same ten questions over the views.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Any

import duckdb

import dataset
from bench.audit_dataset import Size, build
from pipeline.asking.explain import explain
from pipeline.reports import audits

_HOST = r"regexp_extract({0}, '^https?://([^/:]+)', 1)"
QUESTIONS: tuple[tuple[str, str, str], ...] = (
    # What is asked, of our views, and of img2dataset's files; `{url}` is an image's address.
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
        f"SELECT {_HOST.format('url')} AS host, count(*) AS n FROM images WHERE outcome = 'ok' GROUP BY 1 "
        "ORDER BY n DESC, 1 LIMIT 50",
        f"SELECT {_HOST.format('url')} AS host, count(*) AS n FROM images WHERE status = 'success' GROUP BY 1 "
        "ORDER BY n DESC, 1 LIMIT 50",
    ),
    (
        "sizes",
        "SELECT width // 64, height // 64, count(*) FROM images WHERE outcome = 'ok' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT width // 64, height // 64, count(*) FROM images WHERE status = 'success' GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "one address",
        "SELECT sha256 FROM images WHERE url = '{url}'",
        "SELECT sha256 FROM images WHERE url = '{url}'",
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
        "text lengths",
        "SELECT length(text) // 10, count(*) FROM _pairs GROUP BY 1 ORDER BY 1",
        "SELECT length(caption) // 10, count(*) FROM images GROUP BY 1 ORDER BY 1",
    ),
    (
        "repeated texts",
        "SELECT count(*) FROM (SELECT text FROM _pairs GROUP BY text HAVING count(*) > 1)",
        "SELECT count(*) FROM (SELECT caption FROM images GROUP BY caption HAVING count(*) > 1)",
    ),
    (
        "a frequent word of the list",
        "SELECT candidate_count FROM queries WHERE query = 'music'",
        "SELECT count(*) FROM images WHERE regexp_matches(caption, '\\bmusic\\b')",
    ),
)  # fmt: skip


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
    """Every figure of a dataset that `bench.audit_dataset` made."""
    opened, wall, cpu = _timed(lambda: dataset.open(out))
    print(f"{'first view':<32} {wall:8.2f} s {cpu:8.2f} CPU-s", flush=True)
    ((url, pair_id, host),) = opened.sql(f"SELECT url, pair_id, {_HOST.format('url')} FROM pairs LIMIT 1").fetchall()
    points = {
        "pairs by pair_id": f"SELECT * FROM pairs WHERE pair_id = '{pair_id}'",
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
    """Seconds of the ten questions, ours and the peer's, and whether the answers are the same."""
    theirs = duckdb.connect()
    folder = escape(str(Path(out) / "img2dataset"))
    theirs.execute(f"CREATE VIEW images AS FROM read_parquet('{folder}/*.parquet')")
    theirs.execute(
        f"CREATE VIEW stats AS FROM read_json('{folder}/*_stats.json', "
        "columns = {count: 'BIGINT', successes: 'BIGINT'})"
    )
    seconds, equal = [0.0, 0.0], True
    for name, our_query, their_query in QUESTIONS:
        ours, wall, _ = _timed(lambda: opened.answer(our_query.format(url=url)).fetchall())  # noqa: B023
        found, their_wall, _ = _timed(lambda: theirs.execute(their_query.format(url=url)).fetchall())  # noqa: B023
        seconds = [seconds[0] + wall, seconds[1] + their_wall]
        equal &= ours == found
        print(
            f"{name:<32} {wall:8.2f} s, peer {their_wall:8.2f} s{'' if ours == found else ', another answer'}",
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
    print(
        json.dumps(
            {"bench": "audit", "pairs": given.pairs, "unit": "seconds of ten questions", "ratio": ratio, **found}
        )
    )


if __name__ == "__main__":
    main()
