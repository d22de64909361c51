"""Ten times the input takes ten times the CPU, and a worker no more memory.

    python -m bench.growth [--rows 1e6] [--images 10e3] [--keep FOLDER]      # a size of 0 leaves its part out

A table of so many rows of (URL, text), then of ten times as many, goes through extract to prebalance; an archive of
pages with about so many images, then ten times as many, through all stages to the shards (no model looks at them). Each
build is a `wit run` in child processes of its own; CPU seconds are those of the command and all that it started, memory
is the largest process's. The texts are pairs of LAION-400M's captions where ../shared/data holds them, else of made
ones; the images are textures. With `--keep FOLDER` a bench that is ended (SIGTERM, Ctrl-C) goes on where it was: the
CPU of a build is then that of all its pieces, what was done twice included. The last line is one JSON object: `ours` is
how many times the CPU grows, of the worse of both; there is no peer but the limit of 10.5.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench.match import LAION
from bench.record import print_record
from tests.pipeline import small_archive

LIMIT = 10.5
MEMORY_LIMIT = 1.15
"""How many times as large a worker may be: flat, but for noise."""
ROWS_AT_ONCE = 100_000
IMAGES_PER_PAGE = 5


def captions() -> list[str]:
    """Return captions of the web where they are there, else made ones."""
    if LAION.exists():
        return [str(text) for text in pq.read_table(LAION)["TEXT"].to_pylist()]
    return [f"{view} {word} {place}" for view in small_archive._VIEWS for word in small_archive.QUERIES
            for place in small_archive._PLACES]  # fmt: skip


def write_table(path: Path, rows: int) -> None:
    """Write a table of so many rows, each of a URL and a text of its own."""
    words = captions()
    schema = pa.schema([("url", pa.string()), ("text", pa.string())])
    unfinished = path.with_suffix(".unfinished")
    with pq.ParquetWriter(unfinished, schema) as writer:
        for first in range(0, rows, ROWS_AT_ONCE):
            numbers = range(first, min(rows, first + ROWS_AT_ONCE))
            urls = [
                f"https://cdn{n % 4999}.example{n % 97}.com/images/{n * 2654435761 % 2**32}/{n}.jpg" for n in numbers
            ]
            texts = [
                f"{words[n % len(words)]}, {words[n // len(words) % len(words)]} {n // len(words) ** 2}"
                for n in numbers
            ]
            writer.write_table(pa.table([urls, texts], schema=schema))
    unfinished.rename(path)


def measure_build(folder: Path, source: Path, overrides: Mapping[str, Any], *arguments: str) -> tuple[float, float]:
    """Return CPU seconds and the bytes of the largest process of a build, with those of its pieces that were ended."""
    kept = folder / f"{source.name}.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {"cpu_s": 0.0, "bytes": 0, "whole": False}
    if figures["whole"]:
        return figures["cpu_s"], figures["bytes"]
    config = folder / f"{source.name}.yaml"
    raw = {"name": "growth", "sources": [str(source)], "out": str(folder / f"{source.name}.out"), **overrides}
    config.write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "pipeline", "run", str(config), *arguments]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            os.kill(process.pid, signal.SIGTERM)  # if this bench is ended; a process that has ended is not told
            _, status, usage = os.wait4(process.pid, 0)  # its own, and of all that it waited for
            process.returncode = os.waitstatus_to_exitcode(status)
            figures["cpu_s"] += usage.ru_utime + usage.ru_stime
            figures["bytes"] = max(figures["bytes"], usage.ru_maxrss * 1024)
            figures["whole"] = process.returncode == 0
            kept.write_text(json.dumps(figures))
    if process.returncode:
        sys.exit((folder / "log").read_text(errors="replace")[-2000:])
    return figures["cpu_s"], figures["bytes"]


def grown(what: str, unit: str, sizes: tuple[int, int], figures: list[tuple[float, float]]) -> dict[str, float]:
    """Return how both figures grow; prints it."""
    for size, (cpu_s, memory) in zip(sizes, figures, strict=True):
        print(f"{what}: {size:,} {unit}: {cpu_s:,.1f} CPU-s, largest process {memory / 1e6:,.0f} MB", flush=True)
    (small_s, small), (large_s, large) = figures
    return {"cpu": round(large_s / small_s, 2), "memory": round(large / small, 2)}


def rows_grown(folder: Path, sizes: tuple[int, int]) -> dict[str, float]:
    """Return how a table's way from extract to prebalance grows."""
    measured = []
    for count in sizes:
        if not (source := folder / f"{count}.parquet").exists():
            write_table(source, count)
        overrides = {"run": {"small_bytes": 2**40}}
        measured.append(measure_build(folder, source, overrides, "--to", "prebalance"))
    return grown("extract to prebalance", "rows", sizes, measured)


def images_grown(folder: Path, sizes: tuple[int, int]) -> dict[str, float]:
    """Return how the whole way of an archive's images grows."""
    measured = []
    for count in sizes:
        if not (source := folder / f"{count}.warc.gz").exists():
            unfinished = small_archive.write(folder / f"unfinished-{count}.warc.gz", pages=count // IMAGES_PER_PAGE)
            unfinished.rename(source)
        overrides = {
            "text": {"languages": []},
            "match": {"queries": str(folder / "queries.txt")},
            "balance": {"cap": 10**9},
            "dedup": {"max_images_per_text": 10**6},
            "fetch": {"origins": ["archive"]},
            "image": {"nsfw_model": ""},
            "run": {"small_bytes": 2**40},
        }
        measured.append(measure_build(folder, source, overrides))
    return grown("extract to pack", "images", sizes, measured)


def main() -> None:
    """Print the figures of both, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--images", type=float, default=10e3)
    parser.add_argument("--keep", type=Path, help="a folder in which what was built is kept, to go on later")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rows, images = int(options.rows), int(options.images)
    answer = {}
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if rows:
            answer["rows"] = rows_grown(folder, (rows, 10 * rows))
        if images:
            answer["images"] = images_grown(folder, (images, 10 * images))
    worst = max(part["cpu"] for part in answer.values())
    flat = all(part["memory"] <= MEMORY_LIMIT for part in answer.values())
    figures = {"ours": worst, "peer": LIMIT, "unit": "times the CPU for ten times the input", **answer}
    print_record({"bench": "growth", **figures, "ratio": round(LIMIT / worst, 2), "equal": flat and worst <= LIMIT})


if __name__ == "__main__":
    main()
