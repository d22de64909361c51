"""All pairs within a Hamming distance by faiss's binary hash index, in an environment of its own: HASHES FOLDER LIMIT.

With m hashes of b bits, m · b ≤ 256, two vectors that differ in at most m · (flips + 1) - 1 bits share one hash up to
`flips` bits: every setting below finds all pairs. IndexBinaryFlat, which compares all with all, would take an hour.
"""

import json
import resource
import sys
import time
from pathlib import Path

import faiss
import numpy as np

SETTINGS = [(16, 16, 0), (11, 23, 1), (10, 24, 1), (8, 32, 1), (8, 28, 1)]  # hashes, bits, flips
TRIED = 20_000
BATCH = 100_000


def main() -> None:
    hashes = np.load(sys.argv[1])
    folder, limit = Path(sys.argv[2]), int(sys.argv[3])
    faiss.omp_set_num_threads(1)
    built = {}
    for setting in SETTINGS:
        count, bits, flips = setting
        assert count * (flips + 1) > limit
        began, wall = time.process_time(), time.monotonic()
        index = faiss.IndexBinaryMultiHash(256, count, bits)
        index.nflip = flips
        index.add(hashes)
        added, waited = time.process_time() - began, time.monotonic() - wall
        began = time.process_time()
        index.range_search(hashes[:TRIED], limit + 1)
        seconds = time.process_time() - began
        built[setting] = (added + seconds * len(hashes) / TRIED, added, waited)
        del index
    setting = min(built, key=lambda key: built[key][0])
    count, bits, flips = setting
    began, wall = time.process_time(), time.monotonic()
    index = faiss.IndexBinaryMultiHash(256, count, bits)
    index.nflip = flips
    index.add(hashes)
    pairs = []
    for low in range(0, len(hashes), BATCH):
        limits, _, neighbours = index.range_search(hashes[low : low + BATCH], limit + 1)  # it answers what is below
        query = low + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        pairs.append(np.stack([query, neighbours])[:, query < neighbours])
    seconds, waited = time.process_time() - began, time.monotonic() - wall
    np.save(folder / "pairs.npy", np.concatenate(pairs, axis=1))
    named = {f"{m} x {b} bits, {f} flips": round(len(hashes) / total[0]) for (m, b, f), total in built.items()}
    print(
        json.dumps(
            {
                "setting": f"IndexBinaryMultiHash {count} x {bits} bits, {flips} flips",
                "tried": named,
                "seconds": seconds,
                "wall": waited,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            }
        )
    )


main()
