"""Asking a dataset: every audit, point queries and `wit explain`; ten questions beside img2dataset's own output.

The dataset is made (`bench.inputs.large_dataset`), of `--pairs N` pairs and three times as many candidates; `--at DIR`
keeps it for another run, and `--only` measures a part. Of a question for one value is said, too, which share of the
rows its answer is, and which share of the bytes of the dataset's tables it reads; hosts are asked for by that of the
median pair (half of the pairs are on no larger ones) and by the largest. The peer's ten questions are asked as its
users ask them: by DuckDB over its Parquet files, and of its `_stats.json`. Ours are the same over the views. What is
compared is CPU-seconds, which other work on the machine does not change; both sides use all its cores.
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
PARTS = ("points", "audits", "peer")
HOSTS = """
    WITH hosts AS (SELECT host, count(*) AS n FROM _pairs GROUP BY host),
         placed AS (SELECT *, sum(n) OVER (ORDER BY n, host) AS up_to, sum(n) OVER () AS of_all FROM hosts)
    SELECT arg_min(host, up_to) FILTER (WHERE 2 * up_to >= of_all) FROM placed
    UNION ALL
    SELECT arg_max(host, up_to) FROM placed
"""
"""The host of the pair in the middle where pairs are ordered by how many their host has, and the largest."""


def _measure_cpu_s(act: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    answer = act()
    return answer, time.perf_counter() - wall, time.process_time() - cpu


def _bytes_read() -> int:
    """Return how many bytes the process has read of files so far, from memory or disk."""
    return int(Path("/proc/self/io").read_text().split()[1])


def _ask_question(name: str, act: Callable[[], Any]) -> tuple[Any, float]:
    """Return a question's answer and the seconds of CPU that it takes, which are printed beside those of the clock."""
    answer, wall, cpu = _measure_cpu_s(act)
    print(f"{name:<40} {wall:8.2f} s {cpu:8.2f} CPU-s", flush=True)
    return answer, cpu


def measure(out: str, only: str = "") -> dict[str, Any]:
    """Return every figure of a dataset that `bench.inputs.large_dataset` made, or those of one of PARTS."""
    opened, _ = _ask_question("open", lambda: dataset.open(out))
    _ask_question("first view", lambda: opened.answer("FROM funnel").fetchall())
    figures: dict[str, Any] = {}
    if only in ("", "points"):
        figures["points"] = _points(opened, out)
    if only in ("", "audits"):
        slowest = 0.0
        for name in audits.list_audits():
            audit = audits.find(name)
            work = lambda audit=audit: opened.answer(audit.text, audit.values()).fetchall()  # noqa: E731
            slowest = max(slowest, _ask_question(f"audit {name}", work)[1])
        figures["slowest_audit_cpu_seconds"] = round(slowest, 2)
    if only in ("", "peer"):
        ours, peer, equal = _compare_with_peer(opened, out)
        figures |= {"ours": ours, "peer": peer, "ratio": round(peer / ours, 2), "equal": equal}
    return {**figures, "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}


def _points(opened: dataset.Dataset, out: str) -> list[dict[str, Any]]:
    """Return what questions for one value take; each is asked of the dataset newly opened."""
    committed = [commit for entry in opened.manifest["phases"] for commit in opened.commits(entry["phase"])]
    tables = [file for commit in committed for file in commit.files.values() if file.name.endswith(".parquet")]
    whole = sum(file.bytes for file in tables)
    rows_of = {
        view: sum(file.rows for file in opened.files(table).values())
        for view, table in (("candidates", "candidates"), ("pairs", "samples"))
    }
    ((url, pair_id, host),) = opened.sql("SELECT url, pair_id, host FROM pairs LIMIT 1").fetchall()
    ((gone,),) = opened.sql("SELECT url FROM dropped WHERE reason = 'near_duplicate_image' LIMIT 1").fetchall()
    hosts = opened.sql(HOSTS).fetchall()
    asked = [
        (f"{view} by {column}", view, f"SELECT * FROM {view} WHERE {column} = '{value}'")
        for view in ("pairs", "candidates", "images", "dropped")
        for column, value in (("pair_id", pair_id), ("url", url))
        if view != "images" or column == "url"
    ]
    for which, of in zip(("the median pair's host", "the largest host"), hosts, strict=True):
        asked += [
            (f"{which}: {view}{limit}", view, query.format(f"{view} WHERE host = '{of[0]}'"))
            for view in ("pairs", "candidates", "images")
            for limit, query in (("", "SELECT * FROM {}"), (", 20", "SELECT * FROM {} LIMIT 20"))
        ]
        asked.append((f"{which}: candidates, count", "", f"SELECT count(*) FROM candidates WHERE host = '{of[0]}'"))
        asked.append(
            (
                f"{which}: dropped, by reason",
                "",
                f"SELECT reason, count(*) FROM dropped WHERE host = '{of[0]}' GROUP BY 1",
            )
        )
    acts: list[tuple[str, str, Callable[[dataset.Dataset], Any]]] = [
        (name, view, lambda anew, query=query: anew.answer(query).fetchall()) for name, view, query in asked
    ]
    explained = {"kept": url, "pair_id": pair_id, "dropped": gone, "never seen": f"http://{host}/never-seen.jpg"}
    acts += [
        (f"explain, {name}", "", lambda anew, which=which: explain(anew, which)) for name, which in explained.items()
    ]
    figures = []
    for name, view, act in acts:
        anew, before = dataset.open(out), _bytes_read()
        answer, cpu = _ask_question(name, lambda act=act, anew=anew: act(anew))  # type: ignore[misc]
        row: dict[str, Any] = {"question": name, "cpu_seconds": round(cpu, 2)}
        row["share_of_bytes"] = round((_bytes_read() - before) / whole, 5)
        if view in rows_of:
            row |= {"rows": len(answer), "share_of_rows": float(f"{len(answer) / rows_of[view]:.2g}")}
        print(f"{'':<40} {row}", flush=True)
        figures.append(row)
    return figures


def _compare_with_peer(opened: dataset.Dataset, out: str) -> tuple[float, float, bool]:
    """Return the CPU-seconds of the ten questions, ours and the peer's, and whether the answers are the same."""
    theirs = duckdb.connect()
    folder = escape(str(Path(out) / "img2dataset"))
    theirs.execute(f"CREATE VIEW images AS FROM read_parquet('{folder}/*.parquet')")
    theirs.execute(
        f"CREATE VIEW stats AS FROM read_json('{folder}/*_stats.json', "
        "columns = {count: 'BIGINT', successes: 'BIGINT'})"
    )
    theirs.register("words", opened.sql("SELECT query FROM queries").to_arrow_table())
    ((url, sha256),) = opened.sql("SELECT url, sha256 FROM pairs LIMIT 1").fetchall()
    seconds, equal = [0.0, 0.0], True
    for name, *queries in QUESTIONS:
        our_query, their_query = (query.format(url=url, sha256=sha256) for query in queries)
        ours, wall, cpu = _measure_cpu_s(lambda: opened.answer(our_query).fetchall())  # noqa: B023
        answers, their_wall, their_cpu = _measure_cpu_s(
            lambda: theirs.execute(their_query.format(url=url, sha256=sha256)).fetchall()  # noqa: B023
        )
        seconds = [seconds[0] + cpu, seconds[1] + their_cpu]
        equal &= ours == answers
        print(
            f"{name:<32} {wall:8.2f} s {cpu:8.2f} CPU-s, peer {their_wall:8.2f} s {their_cpu:8.2f} CPU-s"
            f"{'' if ours == answers else ', another answer'}",
            flush=True,
        )
    return round(seconds[0], 3), round(seconds[1], 3), equal


def main() -> None:
    """Measure, and print the figures as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=10_000_000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--at", help="where the dataset is kept; made there if it is not there yet")
    arguments.add_argument("--only", choices=PARTS, default="", help="a part of the figures")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.at or folder
        if not (Path(out) / "manifest.json").exists():
            build(out, Size(options.pairs), options.workers)
        figures = measure(out, options.only)
    print_record({"bench": "audit", "pairs": options.pairs, "unit": "CPU-seconds of ten questions", **figures})


if __name__ == "__main__":
    main()
