"""The memory of the tasks that decide about a whole dataset, measured on synthetic rows by the real functions.

`python -m bench.scale_tasks [--rows 10e6,40e6] [--index 10e6]` runs each task's function in a process of its own, at
the size that a task of its phase has in a dataset of so many pairs, and prints its rows, its peak, bytes a row, and
what that is of a task at 400 million pairs. What a bucket holds does not grow with the dataset. In the synthetic
dataset a third of the pairs share a caption with others, one image in fifty has two captions, and images look alike in
pairs or in threes.

With `--index` an index of so many samples is opened twice, as a trainer does: the first process of a machine lays it
out, the others map it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pyarrow as pa

from bench.record import print_record
from dataset.ids import checksum, mix64
from dataset.layout import INDEX_PARTS
from dataset.ledger.commits import FileRef
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import read_index
from filters.duplicates import heldout_split
from filters.duplicates.exact import TEXT_KEYS, URL_KEYS, DedupConfig, duplicates, repeated_texts
from filters.duplicates.near import EDGES, MEMBERS, NODES, NearDupConfig, clusters, members
from filters.duplicates.stars import from_both_ends, labels, large_star, larger_first, small_star
from filters.texts.repeats import SAMPLES
from filters.texts.text import TextConfig
from pipeline.engine.exchanges.exchange import ROWS_PER_BUCKET, Exchange, write_buckets
from pipeline.engine.phase import Context, Task
from pipeline.stages.pack.stage import SAMPLES_PER_PART
from pipeline.stages.text.stage import repeats as text_repeats

PAPER = 400_000_000
SIZES = (10_000_000, 40_000_000)
"""Pairs of the datasets whose tasks are measured."""
LIMIT_BYTES = 2e9
BYTES_A_SAMPLE = 24
"""The most bytes that an opened index may take in a process."""
PAIRS_PER_PARTITION = 200_000
"""The pairs of a partition, as configs/cluster.yaml has them."""
ROWS_PER_SITE = 50


def hashes(numbers: np.ndarray, width: int) -> pa.Array:
    """Return a hash of each number: fixed-size binary (n,)."""
    words = np.stack([mix64(numbers.astype(np.uint64), seed) for seed in range(width // 8)], axis=1).astype(">u8")
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(numbers), [None, pa.py_buffer(words.tobytes())])


def groups(count: int) -> pa.Table:
    """Return GROUPS of a bucket."""
    pairs = np.arange(count)
    image = np.where(pairs % 50 == 0, pairs + 1, pairs)
    caption = np.where(pairs % 3 == 0, pairs // 30 + count, pairs)
    return pa.table([pa.array(pairs), hashes(image, 32), hashes(caption, 16)], schema=heldout_split.GROUPS)


def rooted(count: int) -> pa.Table:
    """Return ROOTED of a bucket, of which one caption in fifty is connected to others."""
    return heldout_split.root_pairs(groups(count), labels(from_both_ends(bridges(count // 50))))


def in_three(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return edges between the numbers of which every three are connected: larger ends, smaller ends."""
    larger = np.arange(count)
    larger = larger[larger % 3 > 0]
    return larger, larger - 1


def alike(count: int) -> pa.Table:
    """Return so many EDGES of a bucket."""
    return pa.table(list(in_three(count * 3 // 2)), schema=EDGES)


def bridges(count: int) -> pa.Table:
    """Return so many BRIDGES of a bucket."""
    return larger_first(pa.table([hashes(end, 16) for end in in_three(count * 3 // 2)], schema=heldout_split.BRIDGES))


def nodes(count: int) -> pa.Table:
    """Return NODES that have edges."""
    number = np.arange(count)
    black = pa.FixedSizeBinaryArray.from_buffers(pa.binary(3), count, [None, pa.py_buffer(bytes(3 * count))])
    quality, sizes = pa.array(np.full(count, 100, np.int32)), pa.array(number)
    columns = [pa.array(number), *(hashes(number, width) for width in (8, 32, 16)), hashes(number // 2, 32)]
    return pa.table([*columns, quality, black, sizes, pa.nulls(count, pa.int16())], schema=NODES)


def look_alike(count: int) -> None:
    """Do neardup.clusters where every second image looks like the one before it."""
    number = np.arange(count)
    clusters(nodes(count).append_column("component", pa.array(number - number % 2)).cast(MEMBERS), NearDupConfig())


def gathered(count: int) -> None:
    """Do neardup.members for a partition, in which all images look alike in pairs."""
    number = np.arange(count)
    members(nodes(count), pa.table([number, number - number % 2], schema=EDGES))


def one_cluster(count: int, look: np.ndarray) -> pa.Table:
    """Return MEMBERS of one component, which differ in their bytes, and in their hashes as these numbers do."""
    found = nodes(count).set_column(4, NODES.field("hash"), hashes(look, 32))
    return pa.table([*found.columns, pa.array(np.zeros(count, np.int64))], schema=MEMBERS)


def one_look(count: int) -> None:
    """Do neardup.clusters where all images look alike, and differ in their bytes."""
    clusters(one_cluster(count, np.zeros(count, np.int64)), NearDupConfig())


def unlike_chain(count: int) -> None:
    """Do neardup.clusters where all images are in one cluster, and no two of them are alike: none goes."""
    clusters(one_cluster(count, np.arange(count)), NearDupConfig())


def one_hub(count: int) -> None:
    """Do pack.large_star for what so many captions are tied to."""
    ends = hashes(np.zeros(count, np.int64), 16), hashes(np.arange(1, count + 1), 16)
    large_star(pa.table(ends, schema=heldout_split.BRIDGES))


def one_image(count: int) -> pa.Table:
    """Return SHARED of one image that so many captions name, all of which stand on others, too."""
    columns = [pa.array(np.arange(count)), hashes(np.zeros(count, np.int64), 32), hashes(np.arange(count), 16)]
    return pa.table(columns, schema=heldout_split.SHARED)


def samples_of_sites(first: int, count: int, sites: int) -> pa.Table:
    """Return what `text.samples` sends of a partition, whose rows are of so many sites: of each tenth the captions end
    alike.
    """
    numbers = range(first, first + count)
    texts = [
        f"{n * 7919 % 10007} spoons in the drawer of kitchen {n // 1009}, "
        + ("wood, for the grains of rice | Our Shop" if n % sites % 10 == 0 else f"seen beside {n} grains of rice {n}")
        for n in numbers
    ]
    places = [f"www.site-{n % sites}.example" for n in numbers]
    row = np.arange(first, first + count)
    columns = [places, mix64(row.astype(np.uint64), 0), mix64(row.astype(np.uint64), 1), texts]
    home = pa.array(np.full(count, first // PAIRS_PER_PARTITION, np.int32))
    return pa.table(columns, schema=SAMPLES).append_column("home", home)


def small_sites(count: int) -> None:
    """Do text.repeats for sites of so few rows that all are looked at."""
    with tempfile.TemporaryDirectory() as name:
        storage, files = Storage(name), []
        for first in range(0, count, PAIRS_PER_PARTITION):
            part = samples_of_sites(first, min(PAIRS_PER_PARTITION, count - first), count // ROWS_PER_SITE + 1)
            data = write_buckets(part, np.zeros(part.num_rows, np.int64)).data
            storage.write(f"{first}.arrows", data)
            files.append(FileRef(f"{first}.arrows", data.size, checksum(data), part.num_rows))
            del part, data
        bucket = Exchange.of(storage, files).bucket(0)
        options = {key: getattr(TextConfig(), key) for key in text_repeats.contract.takes}
        text_repeats.function(Context(storage, Task(text_repeats.name, 0, {"samples": bucket}, options)))


def texts_on_images(count: int) -> None:
    """Do dedup.spam, where one text in ten is on as many images as are allowed."""
    number = np.arange(count)
    often = number // (10 * DedupConfig.max_images_per_text)
    text = np.where(number % 10 == 0, often, number + count)
    repeated_texts(pa.table([hashes(text, 16), hashes(number, 16)], schema=TEXT_KEYS), DedupConfig())


def named_twice(count: int) -> None:
    """Do dedup.duplicates, where every tenth (image address, text) occurs again."""
    number = np.arange(count)
    once = hashes(np.where(number % 10 == 0, number + 1, number), 16)
    columns = [once, once, pa.array(np.full(count, 60, np.int32)), pa.array(number), pa.nulls(count, pa.int16())]
    duplicates(pa.table(columns, schema=URL_KEYS), DedupConfig())


def part_of_index(count: int, first: int = 0) -> pa.Buffer:
    """Do pack.index."""
    number = np.arange(first, first + count)
    keys = pa.array([f"{row // 10_000:05d}{row % 10_000:06d}" for row in range(first, first + count)])
    shards = pa.array([f"train-{row // 10_000:05d}.tar" for row in range(first, first + count)])
    columns = [shards, keys, pa.array(["train"] * count), pa.array(number * 512),
               pa.array(number), hashes(number, 16), pa.array(number.astype(np.uint64))]  # fmt: skip
    return to_parquet(pa.table(columns, schema=SHARD_INDEX), SHARD_INDEX)


def open_index(samples: int) -> dict[str, float]:
    """Return how long a machine's first process takes to open an index of so many samples, and the next, and their
    peaks.
    """
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = name
        storage = Storage(f"{name}/out")
        for number, first in enumerate(range(0, samples, SAMPLES_PER_PART)):
            part = part_of_index(min(SAMPLES_PER_PART, samples - first), first)
            storage.write(f"{INDEX_PARTS}/{number:05d}.parquet", part)
        figures: dict[str, float] = {}
        for which in ("first", "next"):
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            figures[f"{which}_bytes"] = peak(lambda _: read_index(storage, "train"), samples, warm_up=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            figures[f"{which}_s"] = round(time.monotonic() - began, 2)
            figures[f"{which}_cpu_s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    print(
        f"an index of {samples:,} samples: the first process lays it out in {figures['first_s']:.1f} s "
        f"({figures['first_cpu_s']:.1f} CPU-s) and takes {figures['first_bytes'] / samples:.1f} B a sample; the next "
        f"maps it in {figures['next_s']:.2f} s and takes {figures['next_bytes'] / samples:.1f} B a sample",
        flush=True,
    )
    return figures


BUCKET: dict[str, tuple[int, Callable[[int], object]]] = {
    "text.repeats": (ROWS_PER_BUCKET, small_sites),
    "dedup.spam": (ROWS_PER_BUCKET, texts_on_images),
    "dedup.duplicates": (ROWS_PER_BUCKET, named_twice),
    "neardup.small_star": (ROWS_PER_BUCKET, lambda count: from_both_ends(small_star(alike(count)))),
    "neardup.large_star": (ROWS_PER_BUCKET, lambda count: large_star(from_both_ends(alike(count // 2)))),
    "neardup.members": (PAIRS_PER_PARTITION, gathered),
    "neardup.clusters": (ROWS_PER_BUCKET, look_alike),
    "pack.captions": (ROWS_PER_BUCKET, lambda count: heldout_split.shared_captions(groups(count))),
    "pack.bridges": (
        ROWS_PER_BUCKET,
        lambda count: heldout_split.bridges(heldout_split.shared_captions(groups(count))),
    ),
    "pack.small_star": (ROWS_PER_BUCKET, lambda count: from_both_ends(small_star(bridges(count)))),
    "pack.large_star": (ROWS_PER_BUCKET, lambda count: large_star(from_both_ends(bridges(count // 2)))),
    "pack.roots": (
        ROWS_PER_BUCKET,
        lambda count: heldout_split.root_pairs(groups(count), labels(from_both_ends(bridges(count // 50)))),
    ),
    "pack.members": (ROWS_PER_BUCKET, lambda count: heldout_split.members(rooted(count))),
    "pack.split": (
        ROWS_PER_BUCKET,
        lambda count: heldout_split.heldout_locators(rooted(count), heldout_split.CHOSEN.empty_table(), PAPER, 0.01, 1),
    ),
    "pack.index": (SAMPLES_PER_PART, part_of_index),
}
"""A phase -> the rows of a task, in a dataset of any size, and its function."""


CROWD: dict[str, Callable[[int], object]] = {
    "neardup.clusters": one_look,
    "neardup.clusters (none goes)": unlike_chain,
    "pack.large_star": one_hub,
    "pack.bridges": lambda count: heldout_split.bridges(one_image(count)),
    "pack.members": lambda count: heldout_split.members(one_image(count).rename_columns(heldout_split.ROOTED.names)),
}
"""A phase -> its function of rows that cannot be dealt to several tasks: they are of one cluster, image or caption."""
CROWD_ROWS = 4_000_000


def peak(function: Callable[[int], object], count: int, *, warm_up: bool = True) -> int:
    """Return the bytes that a function takes at its peak, in a process of its own."""

    def child(to: Connection) -> None:
        if warm_up:
            function(10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function(count)
        to.send(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(there,))
    process.start()
    there.close()
    most_bytes: int = here.recv()
    process.join()
    return most_bytes


def measure(rows: int) -> dict[str, dict[str, int]]:
    """Return what each phase's task takes in a dataset of so many pairs; prints it."""
    print(f"a dataset of {rows:,} pairs")
    figures = {}
    sizes = {name: (min(count, rows), min(count, PAPER), function) for name, (count, function) in BUCKET.items()}
    for name, (count, of_paper, function) in sizes.items():
        bytes_ = peak(function, count)
        a_row = bytes_ / count
        figures[name] = {
            "rows": count,
            "bytes": bytes_,
            "bytes_a_row": round(a_row),
            "at_400m": round(a_row * of_paper),
        }
        print(
            f"{name:<18} {count:>12,} rows {bytes_ / 1e6:>8,.0f} MB {a_row:>6,.0f} B a row; "
            f"a task at 400 million pairs: {a_row * of_paper / 1e9:.2f} GB",
            flush=True,
        )
    return figures


def measure_crowds(rows: int) -> dict[str, int]:
    """Return how many rows that are one's a task of at most LIMIT_BYTES has, by phase; prints it."""
    figures = {}
    for name, function in CROWD.items():
        a_row = peak(function, rows) / rows
        figures[name] = round(LIMIT_BYTES / a_row)
        print(f"{name:<28} {rows:>12,} rows of one: {a_row:>6,.0f} B a row; 2 GB have {figures[name]:,}", flush=True)
    return figures


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, SIZES)), help="pairs of the dataset, e.g. 10e6,40e6")
    parser.add_argument("--crowd", type=float, default=CROWD_ROWS, help="rows of one cluster, image or caption")
    parser.add_argument("--index", type=float, help="open an index of so many samples, and do nothing else")
    options = parser.parse_args()
    if options.index:
        found_index = open_index(int(options.index))
        whole = found_index["first_s"] * PAPER / options.index
        ours = {"bench": "scale_index", "ours": round(whole, 1), "peer": 60, "unit": "s for 400 million samples"}
        is_small = found_index["next_bytes"] / options.index <= BYTES_A_SAMPLE
        print_record({**ours, "ratio": round(60 / whole, 2), "equal": is_small and whole <= 60, **found_index})
        return
    sizes = [int(float(size)) for size in options.rows.split(",")]
    figures = {}
    for size in sizes:
        figures[size] = measure(size)
    crowds = measure_crowds(int(options.crowd))
    largest = max(figures[sizes[-1]].values(), key=lambda task: task["at_400m"])["at_400m"]
    print_record(
        {
            "bench": "scale_tasks",
            "ours": largest,
            "peer": LIMIT_BYTES,
            "unit": "bytes of the largest task at 400 million pairs",
            "ratio": round(LIMIT_BYTES / largest, 2),
            "equal": largest <= LIMIT_BYTES,
            "tasks": figures,
            "most_rows_of_one": crowds,
        }
    )


if __name__ == "__main__":
    main()
