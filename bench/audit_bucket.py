"""Asking a dataset in a bucket: how many requests and bytes three questions take, of a real S3 server.

The server is the tests' own, on loopback, behind a proxy that counts; the dataset is made as by `bench.audit`, or taken
from `--at DIR`. Every question is asked by a process that has asked nothing before. The peer is the dataset read whole.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import dataset
from bench.audit import HOSTS
from bench.faults import faulty_proxy
from bench.inputs.large_dataset import Size, build
from bench.record import print_record
from dataset.ledger.commits import read_manifest
from dataset.ledger.committed import Committed
from dataset.store.storage import Storage
from pipeline.asking.explain import explain
from tests import s3_server

GOAL_SHARE, GOAL_REQUESTS, GOAL_RSS_BYTES = 0.05, 50, 10**9
GOAL_ROWS = 10**7
"""The candidates and samples of a dataset of which a question is to read no larger share."""


def _ask_in_new_process(url: str, question: Callable[[str], object]) -> tuple[float, float, int]:
    before, wall = time.process_time(), time.perf_counter()
    question(url)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return time.process_time() - before, time.perf_counter() - wall, rss


class _Query:
    def __init__(self, text: str):
        self.text = text

    def __call__(self, url: str) -> object:
        return dataset.open(url).answer(self.text).fetchall()


class _Explained:
    def __init__(self, which: str):
        self.which = which

    def __call__(self, url: str) -> object:
        return explain(url, self.which)


def _upload(out: str, url: str) -> int:
    """Put the files that a dataset's records name into a bucket; the bytes of its tables."""
    here, there, total = Storage(out), Storage(url), 0
    committed = Committed(here)
    names = {"manifest.json", "config.yaml", "views.sql"}
    for phase in (entry["phase"] for entry in committed.manifest["phases"]):
        for commit in committed.commits(phase):
            tables = [file for file in commit.files.values() if file.name.endswith(".parquet")]
            names |= {file.name for file in tables}
            total += sum(file.bytes for file in tables)
    names |= {info.name for info in here.list(recursive=True) if info.name.endswith("commits.parquet")}
    names |= {info.name for info in here.list() if info.name.endswith(".parquet")}
    for name in sorted(names):
        there.write(name, here.read(name))
    return total


def measure(out: str, url: str, proxy: faulty_proxy.FaultyProxy) -> list[dict[str, Any]]:
    """Return what each question takes."""
    whole = _upload(out, url)
    asked = dataset.open(out)
    ((address,),) = asked.sql("SELECT url FROM pairs LIMIT 1").fetchall()
    (host,), _ = asked.sql(HOSTS).fetchall()
    ((gone,),) = asked.sql("SELECT url FROM dropped WHERE reason = 'near_duplicate_image' LIMIT 1").fetchall()
    questions: list[tuple[str, Callable[[str], object]]] = [
        ("dropped by reason", _Query("SELECT reason, count(*) FROM dropped GROUP BY reason")),
        ("the median pair's host: pairs", _Query(f"SELECT * FROM pairs WHERE host = '{host}'")),
        ("the median pair's host: images", _Query(f"SELECT * FROM images WHERE host = '{host}'")),
        ("one pair", _Query(f"SELECT * FROM pairs WHERE url = '{address}'")),
        ("explain a URL that is kept", _Explained(address)),
        ("explain a URL that is dropped", _Explained(gone)),
        ("explain a URL never seen", _Explained(f"https://{host}/never-seen.jpg")),
    ]
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for name, question in questions:
        proxy.plan = faulty_proxy.Plan()
        with (
            mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": proxy.address}),
            ProcessPoolExecutor(1, spawn) as child,
        ):
            cpu, wall, rss = child.submit(_ask_in_new_process, url, question).result()
        plan = proxy.plan
        row = {"question": name, "requests": len(plan.asked), "share": round(plan.answered / whole, 4)}
        row |= {"bytes": plan.answered, "rss_bytes": rss, "cpu_seconds": round(cpu, 2), "seconds": round(wall, 2)}
        rows.append(row)
        print_record(row)
        if os.environ.get("SHOW_REQUESTS"):
            print("\n".join(plan.asked))
    print(f"the tables have {whole:,} bytes")
    return rows


def main() -> None:
    """Measure, and print the figures as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=300_000)
    arguments.add_argument("--at", help="a dataset that `bench.inputs.large_dataset` made")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.at or str(Path(folder) / "out")
        if not (Path(out) / "manifest.json").exists():
            build(out, Size(options.pairs), 2)
        with (
            s3_server.running(volumes=200) as bucket,
            faulty_proxy.before(os.environ["AWS_ENDPOINT_URL"]) as proxy,
        ):
            rows = measure(out, f"{bucket}/out", proxy)
        funnel = read_manifest(Storage(out))["funnel"]
        size = funnel["extract"]["input"] + funnel["pack"]["kept"]
    explained = [row for row in rows if row["question"].startswith("explain")]
    most, share = max(row["requests"] for row in explained), max(row["share"] for row in rows)
    rss = max(row["rss_bytes"] for row in rows)
    print_record(
        {
            "bench": "audit-bucket",
            "ours": share,
            "peer": 1.0,
            "unit": "of the tables' bytes, the most that a question reads",
            "ratio": round(1 / share, 1),
            "rows": size,
            "equal": most <= GOAL_REQUESTS
            and rss <= GOAL_RSS_BYTES
            and (share <= GOAL_SHARE or size < GOAL_ROWS),  # of few rows what a question must read is a larger share
            "explain_requests": most,
            "rss_bytes": rss,
            "questions": rows,
        }
    )


if __name__ == "__main__":
    main()
