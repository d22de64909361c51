"""Every image within 15 of 256 bits of another one: ours against faiss's binary indexes, on one thread.

The hashes are made: bits of the same means and correlations as those of real images' PDQ, half of them set as in every
PDQ hash. The real ones are 6,481 pictures of ../shared/data where that is, else crops of the photographs that
scikit-image and scikit-learn carry. One in twenty is a copy of another one, with 0 to 15 bits changed. Ours is the
stage's work: keys, exchange through files, verified edges, and the image that stands for each; faiss only lists pairs.
A peer's index that guarantees all pairs can be made in several ways; each is timed on a part of the queries, and the
fastest does the whole.

`--millions 1,10` measures ours on more than the first figure, which both do.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType
from PIL import Image
from scipy.stats import norm

from bench.peers.measure import measure, venv
from bench.record import print_record
from dataset.ledger.commits import FileRef
from dataset.store.storage import Storage
from filters.duplicates.components import least_node
from filters.duplicates.near import EDGES, NODES, NearDupConfig, chunk_keys, clusters, edges, members
from filters.duplicates.stars import from_both_ends, labels, small_star
from filters.images.perceptual import pdq
from pipeline.engine.exchanges.exchange import ROWS_PER_BUCKET, Exchange, bucket_count, bucket_of, write_buckets

CONFIG = NearDupConfig()
PLANTED = 20  # one hash in so many is a copy
CHECKED = 1_000_000_000  # comparisons by brute force: of so many fewer hashes, the more there are
PARTITION = 100_000  # images that one map task takes
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PICTURES = 2_000


def real_hashes() -> np.ndarray:
    """Return PDQ of real pictures that are good enough, each once. uint8 (n, 32)."""
    distinct = {hash_ for hash_, quality in map(pdq, _pictures()) if quality >= CONFIG.min_quality}
    return np.array([list(hash_) for hash_ in sorted(distinct)], dtype=np.uint8)


def _pictures() -> Any:
    archives = [path for path in (DATA / "openclipart.warc.gz", DATA / "gimp-help.warc.gz") if path.exists()]
    for path in archives:
        with path.open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response):
                if (record.http_content_type or "").startswith("image/"):
                    yield _pixels(record.reader.read())
    if not archives:
        python = venv("photographs", "scikit-image", "scikit-learn", "pillow", "pooch")
        with tempfile.TemporaryDirectory() as folder:
            script = Path(__file__).parent / "inputs" / "photographs.py"
            subprocess.run([str(python), str(script), folder, str(PICTURES), "laion"], check=True)
            for path in sorted(Path(folder).iterdir()):
                yield _pixels(path.read_bytes())


def _pixels(body: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(body)).convert("RGB")
    image.thumbnail((512, 512))
    return np.asarray(image)


class Made:
    """Hashes whose bits have the means and correlations of real ones: normal variables, cut at their median."""

    def __init__(self, real: np.ndarray):
        bits = np.unpackbits(real, axis=1).astype(np.float64)
        latent = np.sin(
            np.pi / 2 * np.corrcoef(bits.T)
        )  # of normal variables whose signs correlate so (Sheppard, 1899)
        value, vector = np.linalg.eigh(latent)
        mixing = vector * np.sqrt(np.clip(value, 1e-3, None))
        self._mixing = (mixing / np.linalg.norm(mixing, axis=1, keepdims=True)).astype(np.float32)
        self._mean = norm.ppf(bits.mean(0)).astype(np.float32)

    def hashes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return hashes, uint8 (count, 32), and pairs of planted copies, int64 (n, 2)."""
        rng = np.random.default_rng(0)
        hashes = np.empty((count, 32), dtype=np.uint8)
        for low in range(0, count, PARTITION):
            rows = min(PARTITION, count - low)
            latent = rng.standard_normal((rows, 256), dtype=np.float32) @ self._mixing.T + self._mean
            hashes[low : low + rows] = np.packbits(latent > np.median(latent, axis=1, keepdims=True), axis=1)
        planted = count // PLANTED
        pairs = rng.permutation(count)[: 2 * planted].reshape(planted, 2)
        for low in range(0, planted, PARTITION):
            copied, place = pairs[low : low + PARTITION].T
            rank = rng.random((len(copied), 256), dtype=np.float32).argsort(axis=1).argsort(axis=1)
            flips = rank < rng.integers(0, CONFIG.max_hamming + 1, len(copied))[:, None]
            hashes[place] = hashes[copied] ^ np.packbits(flips, axis=1)
        return hashes, pairs


def nodes_of(hashes: np.ndarray, first: int) -> pa.Table:
    """Return NODES of images that share neither bytes nor pixels."""
    count = len(hashes)
    number = np.arange(first, first + count).astype(">i8")
    digest = np.zeros((count, 4), dtype=">i8")
    digest[:, 0] = number

    def fixed(rows: np.ndarray, width: int) -> pa.Array:
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, pa.py_buffer(rows.tobytes())])

    columns = [
        pa.array(number.astype(np.int64)),
        fixed(number, 8),
        fixed(digest, 32),
        fixed(digest[:, :2], 16),
        fixed(hashes, 32),
        pa.array(np.full(count, 100), pa.int32()),
        fixed(np.zeros((count, 3), np.uint8), 3),
        pa.array(np.ones(count), pa.int64()),
        pa.nulls(count, pa.int16()),
    ]
    return pa.table(columns, schema=NODES)


def ours(hashes_path: str, folder: str) -> None:
    """Do the stage's work as its tasks do it: print figures, and write the component of every image."""
    hashes = np.load(hashes_path, mmap_mode="r")
    began, wall = time.process_time(), time.monotonic()
    buckets = bucket_count(len(hashes) * CONFIG.keys_per_image, ROWS_PER_BUCKET)
    files, store = [], Storage(folder)
    for low in range(0, len(hashes), PARTITION):
        keys = chunk_keys(nodes_of(hashes[low : low + PARTITION], low), CONFIG)
        bucket = bucket_of(keys.column("key").to_numpy(), buckets)
        written = write_buckets(keys.drop_columns(["key"]), bucket)
        store.write(f"{low}.arrows", written.data)
        files.append(FileRef(f"{low}.arrows", written.data.size, "", written.rows))
    exchange = Exchange.of(store, files)
    tables = (list(bucket.read(store)) for number in exchange.buckets for bucket in exchange.bucket(number))
    parts = [edges(pa.concat_tables(some), CONFIG) for some in tables]
    all_edges = pa.concat_tables([EDGES.empty_table(), *parts])
    connected = labels(from_both_ends(small_star(all_edges)))
    lows = list(range(0, len(hashes), PARTITION))
    places = np.searchsorted(connected.column("node").to_numpy(), [*lows, len(hashes)]).tolist()
    of_partition = zip(lows, pairwise(places), strict=True)
    parts = [
        members(nodes_of(hashes[low : low + PARTITION], low), connected.slice(first, last - first))
        for low, (first, last) in of_partition
    ]
    answer = clusters(pa.concat_tables(parts), CONFIG)
    seconds, wall = time.process_time() - began, time.monotonic() - wall
    component = np.arange(len(hashes))
    first, label = np.unique(answer.column("cluster").to_numpy(zero_copy_only=False), return_inverse=True)
    rows = answer.column("locator").to_numpy()
    least = np.full(len(first), len(hashes))
    np.minimum.at(least, label, rows)
    component[rows] = least[label]
    np.save(Path(folder) / "component.npy", component)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print_record({"seconds": seconds, "wall": wall, "megabytes": peak})


def brute_force(hashes: np.ndarray) -> np.ndarray:
    """Return all pairs within the limit of which one is among some rows. int64 (n, 2)."""
    words = hashes.view("<u8")
    pairs = []
    for row in np.random.default_rng(1).choice(len(words), CHECKED // len(words), replace=False):
        distance = np.bitwise_count(words ^ words[row]).sum(axis=1, dtype=np.int64)
        pairs += [(row, other) for other in np.flatnonzero(distance <= CONFIG.max_hamming) if other != row]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def run(count: int, generator: Made, *, with_peer: bool) -> dict[str, Any]:
    """Return the figures on one number of hashes, and print them."""
    hashes, planted = generator.hashes(count)
    checked = brute_force(hashes)
    with tempfile.TemporaryDirectory(dir="build") as folder:
        path = Path(folder) / "hashes.npy"
        np.save(path, hashes)
        del hashes
        done = subprocess.run(
            [sys.executable, "-m", "bench.dedup", "--ours", str(path), folder],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        mine: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        component = np.load(Path(folder) / "component.npy")
        recall = {
            name: float((component[pairs[:, 0]] == component[pairs[:, 1]]).mean())
            for name, pairs in (("planted", planted), ("brute force", checked))
        }
        print(
            f"{count:,} hashes, {len(planted):,} planted copies; ours: {count / mine['seconds']:,.0f} hashes/s of CPU, "
            f"{mine['seconds']:.1f} s, {mine['wall']:.1f} s wall, {mine['megabytes']:,.0f} MB; found "
            f"{recall['planted']:.2%} of the planted and {recall['brute force']:.2%} of {len(checked):,} pairs by "
            "brute force",
            flush=True,
        )
        answer = {"hashes": count, **mine, "recall": min(recall.values())}
        if with_peer:
            python = venv("faiss", "faiss-cpu==1.15.1")
            script = Path(__file__).parent / "peers" / "dedup.py"
            peer = measure(python, script, str(path), folder, str(CONFIG.max_hamming))
            a, b = np.load(Path(folder) / "pairs.npy")
            theirs = least_node(count, a, b)
            peer_recall = float((theirs[planted[:, 0]] == theirs[planted[:, 1]]).mean())
            print(f"faiss, queries/s of each setting: {peer['tried']}")
            print(
                f"peer: {count / peer['seconds']:,.0f} hashes/s of CPU by {peer['setting']}, {peer['seconds']:.1f} s, "
                f"{peer['wall']:.1f} s wall, {peer['megabytes']:,.0f} MB; found {peer_recall:.2%} of the planted"
            )
            answer |= {"peer": peer, "equal": bool((theirs == component).all()), "peer_recall": peer_recall}
    return answer


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", default="1", help="how many, e.g. 1,10")
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        ours(*options.ours)
        return
    Path("build").mkdir(exist_ok=True)
    real = real_hashes()
    print(f"statistics of {len(real):,} real hashes; one thread each", flush=True)
    generator = Made(real)
    counts = [int(float(item) * 1e6) for item in options.millions.split(",")]
    results = [run(count, generator, with_peer=number == 0) for number, count in enumerate(counts)]
    for earlier, later in pairwise(results):
        more = later["hashes"] / earlier["hashes"]
        print(f"{more:.0f} times the hashes take {later['seconds'] / earlier['seconds']:.1f} times as long")
    first = results[0]
    ours_rate, peer_rate = (first["hashes"] / seconds for seconds in (first["seconds"], first["peer"]["seconds"]))
    print_record(
        {
            "bench": "dedup",
            "ours": round(ours_rate),
            "peer": round(peer_rate),
            "unit": "hashes/s and core",
            "ratio": round(ours_rate / peer_rate, 2),
            "equal": first["equal"] and first["recall"] == first["peer_recall"] == 1,
            "sizes": [
                {name: result[name] for name in ("hashes", "seconds", "wall", "megabytes", "recall")}
                for result in results
            ],
        }
    )


if __name__ == "__main__":
    main()
