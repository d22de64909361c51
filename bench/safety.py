"""What safety costs, beside who does the same: personal data masked, millions of domains blocked, PDQ lists searched.

masking   texts of `bench.match`, and the lines of ../shared/data's news pages where they are. The peer is datatrove's
          PIIFormatter, which looks for e-mail and IP addresses; ours for these two, and apart from that for all kinds.
          Both must find those that are planted in one text of 50.
domains   the 4.6 million domains of UT1 that datatrove ships, and its URLFilter with them, looked up for 100,000
          addresses, one in 20 of which is on the list.
pdq       a million entries and 1,000 images, half of them within 31 bits of an entry, searched completely and one at a
          time, as they are fetched. The peer is faiss: its flat binary index, and its hash index in every setting that
          misses nothing, of which the fastest counts.

CPU time of one core each.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fastwarc.warc import ArchiveIterator, WarcRecordType
from selectolax.lexbor import LexborHTMLParser

from bench.dedup import Made, real_hashes
from bench.match import LAION, texts_to_match
from bench.peers.measure import measure, venv
from bench.record import print_record
from crawl.candidates.personal_data import KINDS, mask_texts
from filters.images.perceptual import MAX_SEARCH_HAMMING, HashIndex, words
from filters.queries.build import load
from filters.texts.domains import DomainIndex, build_index

PEERS = ("email_address", "ip_address")
NEWS = LAION.parent / "news-and-blogs.warc.gz"
ROUNDS = 3  # of which the best counts, for both
ADDRESSES, ENTRIES, IMAGES = 100_000, 1_000_000, 1_000
DATATROVE = ("datatrove==0.10.1", "tldextract==5.1.3", "fasteners", "pyahocorasick==2.2.0", "regex")
"""The newest tldextract warns of what datatrove calls, at each call, which would slow it."""
PEER = Path(__file__).parent / "peers" / "safety.py"


def fastest(do: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function answers, and the seconds of CPU of the best round."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        answer = do()
        seconds.append(time.process_time() - began)
    return answer, min(seconds)


def megabytes() -> float:
    """Return memory that is this process's own: without files that it maps (of Linux)."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(r"^Anonymous:\s+(\d+) kB", rollup, flags=re.MULTILINE)[0]) / 1e3


# --- Masking ---------------------------------------------------------------------------------------------------------


def planted(texts: list[str]) -> tuple[list[str], set[int]]:
    """Return the texts, one in 50 with an e-mail or IP address in it, and which."""
    chosen = range(0, len(texts), 50)
    with_planted = list(texts)
    for n in chosen:
        with_planted[n] += (
            f" sent by somebody.{n}@mail.example.org" if n % 100 else f" sent from 93.184.{n // 100 % 90 + 100}.34"
        )
    return with_planted, set(chosen)


def news() -> tuple[list[str], list[str | None]]:
    """Return the lines of text of the news pages, and the language that each one's page declares."""
    lines: list[str] = []
    languages: list[str | None] = []
    with NEWS.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if "html" in (record.http_content_type or ""):
                tree = LexborHTMLParser(record.reader.read().decode("utf-8", "replace"))
                tree.strip_tags(["script", "style", "noscript", "template"])
                text = tree.body.text(separator="\n") if tree.body else ""
                lines += [line.strip() for line in text.splitlines() if line.strip()]
                declared = tree.root.attributes.get("lang") if tree.root else None
                languages += [declared] * (len(lines) - len(languages))
    return lines, languages


def masking(folder: Path) -> list[dict[str, Any]]:
    """Return texts a second, and what each found."""
    captions = texts_to_match(load("builtin:en").column("query").to_pylist(), None)
    sets: dict[str, tuple[list[str], list[str | None]]] = {
        name: (texts, [None] * len(texts)) for name, texts in captions.items()
    }
    if NEWS.exists():
        sets["lines of news pages"] = news()
    python = venv("datatrove", *DATATROVE)
    results = []
    for name, (texts, languages) in sets.items():
        rows = pa.array(texts), pa.array(languages, pa.string())
        _, seconds = fastest(partial(mask_texts, *rows, kinds=PEERS))
        (_, kinds), all_kinds = fastest(partial(mask_texts, *rows))
        with_planted, there = planted(texts)
        masked = {
            row for row, item in enumerate(mask_texts(pa.array(with_planted), kinds=PEERS)[1].to_pylist()) if item
        }
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        (folder / "planted.json").write_text(json.dumps(with_planted), encoding="utf-8")
        peer = measure(python, PEER, "masking", str(folder), str(ROUNDS))
        rates = [len(texts) / each for each in (seconds, peer["seconds"], all_kinds)]
        count = {kind: sum(kind in item for item in kinds.to_pylist()) for kind in KINDS}
        print(f"masking, {name}: {len(texts):,} texts of {sum(map(len, texts)) / len(texts):.0f} characters")
        print(
            f"  ours  {rates[0]:>10,.0f} texts/s; {rates[2]:,.0f} for all kinds; texts in which each was found: {count}"
        )
        print(f"  peer  {rates[1]:>10,.0f} texts/s (datatrove); {peer['found']}")
        equal = there <= masked and there <= set(peer["planted"])
        results.append(result(f"masking, {name}", "texts/s and core", rates[0], rates[1], equal=equal))
    return results


# --- Domains ---------------------------------------------------------------------------------------------------------


def addresses(entries: list[str]) -> list[str]:
    """Return addresses of images, one in 20 of which is on a listed domain."""
    rng = random.Random(0)
    if LAION.exists():
        known = [url.split("/", 3)[2:] for url in pq.read_table(LAION)["URL"].to_pylist()]
    else:
        known = [[f"www.{word}.example", f"{word}.jpg"] for word in ("kettle", "bridge", "lamp", "castle")]
    urls = []
    for number in range(ADDRESSES):
        host, path = rng.choice(known)
        listed = rng.choice(entries) if number % 20 == 0 else f"cdn{number}.{host}"
        urls.append(f"https://{listed}/{number}/{path}")
    return urls


def domains(folder: Path) -> list[dict[str, Any]]:
    """Return addresses a second, and the memory of a worker."""
    python = venv("datatrove", *DATATROVE)
    (assets,) = (python.parent.parent / "lib").glob("python*/site-packages/datatrove/assets")
    with tarfile.open(assets / "url_filterblacklistsv0_3_0.tar.gz") as archive:
        member = archive.extractfile("domains")
        assert member is not None
        (folder / "domains.txt").write_bytes(member.read())
    entries = (folder / "domains.txt").read_text(encoding="utf-8").split()
    (folder / "urls.json").write_text(json.dumps(addresses(entries)), encoding="utf-8")
    began = time.process_time()
    index = build_index([str(folder / "domains.txt")])
    built = time.process_time() - began
    (folder / "index.arrow").write_bytes(index)
    mine = ours("domains", folder)
    peer = measure(python, PEER, "domains", str(folder), str(ROUNDS))
    rates = [ADDRESSES / each["seconds"] for each in (mine, peer)]
    print(f"domains: {len(entries):,} entries, {ADDRESSES:,} addresses")
    print(
        f"  ours  {rates[0]:>10,.0f} addresses/s, built in {built:.1f} s; {index.size / 1e6:.0f} MB once for all "
        f"workers of a machine, {mine['megabytes']:.0f} MB of each one's own; {len(mine['rows']):,} blocked"
    )
    print(
        f"  peer  {rates[1]:>10,.0f} addresses/s, built in {peer['build_seconds']:.1f} s by every worker, "
        f"{peer['megabytes']:,.0f} MB each (datatrove); {len(peer['rows']):,} blocked"
    )
    missed = sorted(set(peer["rows"]) - set(mine["rows"]))
    return [result("domains", "addresses/s and core", rates[0], rates[1], equal=not missed)]


# --- PDQ -------------------------------------------------------------------------------------------------------------


def look_alikes(folder: Path) -> list[dict[str, Any]]:
    """Return images a second against a million entries."""
    entries = Made(real_hashes()).hashes(ENTRIES + IMAGES)[0]
    images, entries = entries[:IMAGES].copy(), entries[IMAGES:]
    rng = np.random.default_rng(1)
    for row in range(0, IMAGES, 2):
        flips = np.zeros(256, np.uint8)
        flips[rng.permutation(256)[: row // 2 % (MAX_SEARCH_HAMMING + 1)]] = 1
        images[row] = entries[row] ^ np.packbits(flips)
    np.save(folder / "entries.npy", entries)
    np.save(folder / "images.npy", images)
    mine = ours("pdq", folder)
    peer = measure(venv("faiss", "faiss-cpu==1.15.1"), PEER, "pdq", str(folder), str(MAX_SEARCH_HAMMING))
    rates = [IMAGES / each["seconds"] for each in (mine, peer)]
    print(f"pdq: {ENTRIES:,} entries, {IMAGES:,} images, within {MAX_SEARCH_HAMMING} bits")
    for name, rate, each in (("ours", rates[0], mine), ("peer", rates[1], peer)):
        print(
            f"  {name}  {rate:>10,.0f} images/s, {1e3 / rate:.2f} ms each, built in {each['build_seconds']:.1f} s; "
            f"{len(each['found']):,} matches ({each['how']})"
        )
    print(f"  faiss, images/s of each index: {peer['tried']}")
    return [result("pdq", "images/s and core", rates[0], rates[1], equal=mine["found"] == peer["found"])]


# --- All -------------------------------------------------------------------------------------------------------------


def ours(part: str, folder: Path) -> dict[str, Any]:
    """Return a part of ours in a process of its own, so that its memory can be told."""
    command = [sys.executable, "-m", "bench.safety", "--ours", part, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measured(part: str, folder: Path) -> dict[str, Any]:
    """Return what `ours` answers."""
    if part == "domains":
        urls = pa.array(json.loads((folder / "urls.json").read_text(encoding="utf-8")))
        rows = pa.table({"row": pa.array(range(len(urls)), pa.uint32()), "url": urls, "page_url": [""] * len(urls)})
        before = megabytes()
        index = DomainIndex(pa.memory_map(str(folder / "index.arrow")).read_buffer())
        found_entries, seconds = fastest(lambda: index.find(rows))
        blocked = [row for row, item in enumerate(found_entries.to_pylist()) if item]
        return {"seconds": seconds, "megabytes": megabytes() - before, "rows": blocked}
    before = megabytes()
    entries, images = (_words(folder / f"{name}.npy") for name in ("entries", "images"))
    began = time.process_time()
    index_ = HashIndex(entries)
    built = time.process_time() - began
    for row in range(100):  # until the index is warm
        index_.search(images[row : row + 1], MAX_SEARCH_HAMMING)
    began = time.process_time()
    answers = [index_.search(images[row : row + 1], MAX_SEARCH_HAMMING) for row in range(len(images))]
    seconds = time.process_time() - began
    matches = [
        [row, *pair]
        for row, (_, entry, bits) in enumerate(answers)
        for pair in zip(entry.tolist(), bits.tolist(), strict=True)
    ]
    how = f"{megabytes() - before:.0f} MB"
    return {"seconds": seconds, "build_seconds": built, "how": how, "found": matches}


def _words(file: Path) -> np.ndarray:
    rows = np.load(file)
    return words(pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(rows), [None, pa.py_buffer(rows.tobytes())]))


def result(part: str, unit: str, mine: float, theirs: float, *, equal: bool) -> dict[str, Any]:
    """Return a line of the answer."""
    ratio = round(mine / theirs, 2)
    return {"part": part, "unit": unit, "ours": round(mine), "peer": round(theirs), "ratio": ratio, "equal": equal}


def main() -> None:
    """Print the figures, and as the last line one JSON object: the part whose ratio is least, then all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print_record(measured(options.ours[0], Path(options.ours[1])))
        return
    results = []
    for part in (masking, domains, look_alikes):
        with tempfile.TemporaryDirectory() as name:
            results += part(Path(name))
    least = min(results, key=lambda item: item["ratio"])
    equal = all(item["equal"] for item in results)
    print_record({"bench": "safety", **least, "equal": equal, "parts": results})


if __name__ == "__main__":
    main()
