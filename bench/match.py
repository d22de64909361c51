"""Matching texts against the built-in list's half million queries, by MetaCLIP's rule: ours against pyahocorasick, on
one core, on captions and on sentences.

The captions are a thousand of LAION-400M where ../shared/data holds them, each many times, else the list's own queries
drawn into captions of about 8. The sentences are WordNet's glosses, where WordNet is (`make queries-en` fetches it).
`--texts FILE` takes one text a line instead.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.peers.measure import measure, venv
from bench.record import print_record
from filters.queries.build import load
from filters.queries.match import Matcher

TEXTS = 200_000
ROUNDS = 3  # of which the best counts, for both: a machine has other work to do
ROOT = Path(__file__).resolve().parent.parent
LAION = ROOT.parent / "shared" / "data" / "laion-sample-1000.parquet"
WORDNETS = (ROOT / "build" / "queries" / "usr" / "share" / "wordnet", Path("/usr/share/wordnet"))


def texts_to_match(queries: list[str], file: Path | None) -> dict[str, list[str]]:
    """Return sets of texts, by a name that says what they are."""
    if file:
        return {file.name: file.read_text(encoding="utf-8").splitlines()}
    sets = {}
    if LAION.exists():
        sample = pq.read_table(LAION)["TEXT"].to_pylist()
        sets["LAION-400M's alt texts"] = sample * (TEXTS // len(sample))
    else:
        rng = random.Random(0)
        sets["made captions"] = [" ".join(rng.choice(queries) for _ in range(rng.randint(3, 13))) for _ in range(TEXTS)]
    for folder in WORDNETS:
        if folder.is_dir():
            lines = [line for file in sorted(folder.glob("data.*")) for line in file.read_text().splitlines()]
            sets["WordNet's glosses"] = [line.partition(" | ")[2].strip() for line in lines if " | " in line]
            break
    return sets


def main() -> None:
    """Print the figures, and as the last line one JSON object: the ratio of the set on which it is least."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="one text a line")
    options = parser.parse_args()
    queries = load("builtin:en").column("query").to_pylist()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    matcher = Matcher(pa.array(queries), "metaclip")
    built = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    data = matcher.to_arrow()
    print(f"{len(queries):,} queries; CPU time of one core, build apart")
    print(f"ours built in {built:.1f} s with {peak / 1e3:.0f} MB; a machine's workers share {data.size / 1e6:.0f} MB")
    results = []
    for name, texts in texts_to_match(queries, options.texts).items():
        results.append(compare(name, texts, queries, Matcher.from_arrow(data)))
    least = min(results, key=lambda result: result["ratio"])
    equal = all(result["equal"] for result in results)
    print_record({"bench": "match", "unit": "texts/s and core", **least, "equal": equal, "sets": results})


def compare(name: str, texts: list[str], queries: list[str], matcher: Matcher) -> dict[str, object]:
    """Return texts a second, ours and the peer's, and whether they found the same."""
    array = pa.array(texts)
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        query_ids = matcher.match(array)
        seconds.append(time.process_time() - began)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("queries.json", "texts.json", "result.json")]
        paths[0].write_text(json.dumps(queries), encoding="utf-8")
        paths[1].write_text(json.dumps(texts), encoding="utf-8")
        python = venv("pyahocorasick", "pyahocorasick==2.2.0")
        peer = measure(python, Path(__file__).parent / "peers" / "match.py", *map(str, paths), str(ROUNDS))
        equal = json.loads(paths[2].read_text(encoding="utf-8")) == query_ids.to_pylist()
    ours, theirs = len(texts) / min(seconds), len(texts) / peer["seconds"]
    print(f"{name}: {len(texts):,} texts of {sum(map(len, texts)) / len(texts):.0f} characters")
    print(f"  ours  {ours:>12,.0f} texts/s")
    print(
        f"  peer  {theirs:>12,.0f} texts/s, built in {peer['build_seconds']:.1f} s, "
        f"{peer['megabytes']:,.0f} MB each worker (pyahocorasick)"
    )
    return {"texts": name, "ours": round(ours), "peer": round(theirs), "ratio": round(ours / theirs, 2), "equal": equal}


if __name__ == "__main__":
    main()
