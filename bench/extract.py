"""From archives to candidates on one core: WAT against cc2dataset, WARC against MetaCLIP's loop.

Input is real where `../shared/data` holds it, or an archive that the bench writes itself; `--wat FILE` and
`--warc FILE` take others. Each is repeated to the size that makes the figures steady. MB are of the compressed file.

cc2dataset loses the rest of a file at the first image without a `url`; such records are taken out for both. Ours must
find every pair of the peer, compared as canonical URL and cleaned text, but for those that it means to read otherwise:
images inlined as `data:`, placeholders whose real URL a lazy-loading attribute names, addresses relative to the page's
`<base>`, which MetaCLIP takes as relative to the page, and texts that are there with another address of the same image,
because its `src` is a stand-in or smaller than what its `srcset` names. The last are printed, to be read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.inputs.pages import write_pages
from bench.peers.measure import measure, venv
from bench.record import print_record
from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from crawl.clean_text import clean_text
from crawl.pages.image_address import is_stand_in
from crawl.urls import as_written, canonical_url

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
WAT_BYTES, WARC_BYTES = 100 * 2**20, 50 * 2**20
PEER = Path(__file__).parent / "peers" / "extract.py"


def repeated(source: Path, target: Path, size: int) -> tuple[Path, int]:
    """Return the file as often as makes `size` bytes; (the file, how often)."""
    data = source.read_bytes()
    times = -(-size // len(data))
    with target.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return target, times


def ours(path: Path, config: ExtractConfig) -> tuple[float, set[tuple[str, str, str]]]:
    """Return CPU seconds, and the distinct (page, URL, text)."""
    began = time.process_time()
    table = extract([Piece(path.name, str(path), 0, -1)], config).candidates
    seconds = time.process_time() - began
    return seconds, set(zip(*(table[name].to_pylist() for name in ("page_url", "url", "text")), strict=True))


def missing(pairs: set[tuple[str, str, str]], wanted: list[list[str]]) -> Counter[str]:
    """Return why pairs of a peer are not among ours; white space, of which MetaCLIP removes some, does not count."""

    def squeezed(text: str) -> str:
        return "".join(clean_text(text).replace("\ufffd", "").split())

    def named(url: str) -> str:
        return url.rpartition("/")[2]

    have = {(page, url, squeezed(text)) for page, url, text in pairs}
    have_names = {(page, named(url), text) for page, url, text in have}
    have_texts = {(page, text) for page, _, text in have}
    reasons: Counter[str] = Counter()
    for page, url, text in {(canonical_url(page) or page, url, squeezed(text)) for page, url, text in wanted}:
        canonical = canonical_url(url, page) or as_written(url)
        if (page, canonical, text) in have or not text:
            continue
        if url[:5].lower() == "data:":
            reasons["inlined"] += 1
        elif is_stand_in(url) or canonical == page:  # src="#"
            reasons["placeholder"] += 1
        elif (page, named(canonical), text) in have_names:
            reasons["relative to <base>"] += 1
        elif (page, text) in have_texts:
            print("by another address:", page, url, text)
            reasons["another address"] += 1
        else:
            print("not found:", page, url, text)
            reasons["lost"] += 1
    return reasons


def compare(name: str, path: Path, config: ExtractConfig, python: Path, folder: Path) -> dict[str, Any]:
    """Return ours and a peer on one file: MB/s of both and of merely reading, and whether every pair is found."""
    result = folder / "result.json"
    ours(path, config)  # imports and first connections
    seconds, pairs = ours(path, config)
    peer = measure(python, PEER, name, str(path), str(result))["seconds"]
    reasons = missing(pairs, json.loads(result.read_text(encoding="utf-8")))
    reading = measure(python, PEER, "reading", str(path), str(result))["seconds"]
    megabytes = path.stat().st_size / 1e6
    for who, time_ in (("ours", seconds), (name, peer), ("reading alone", reading)):
        print(f"{who:<14} {megabytes / time_:>8.1f} MB/s  {time_:.2f} s")
    print(f"pairs of {name} not in ours: {dict(reasons) or 'none'}")
    return {
        "ours": round(megabytes / seconds, 1),
        "peer": round(megabytes / peer, 1),
        "unit": "MB/s and core",
        "ratio": round(peer / seconds, 2),
        "of_reading": round(reading / seconds, 2),
        "equal": not reasons["lost"],
    }


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wat", type=Path, help="a WAT file, a gzip member for each record")
    parser.add_argument("--warc", type=Path, help="a WARC file, a gzip member for each record")
    options = parser.parse_args()
    cc2dataset = venv("cc2dataset", "cc2dataset==1.5.0")
    # The newest selectolax that still has the parser which MetaCLIP calls.
    metaclip = venv("metaclip", "selectolax==0.3.34", "fastwarc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wat, warc = (
            options.wat or SHARED / "news-and-blogs.warc.wat.gz",
            options.warc or SHARED / "news-and-blogs.warc.gz",
        )
        if not (wat.exists() and warc.exists()) and not (options.wat or options.warc):
            wat, warc = write_pages(folder)
        survivors = folder / "survivors.warc.wat.gz"
        lost = measure(cc2dataset, PEER, "survivors", str(wat), str(survivors))["lost"]
        big, times = repeated(survivors, folder / "big.warc.wat.gz", WAT_BYTES)
        print(f"WAT: {wat.name} without {lost} records that cc2dataset fails at, {times} times")
        result = compare("cc2dataset", big, ExtractConfig(), cc2dataset, folder)
        big.unlink()
        big, times = repeated(warc, folder / "big.warc.gz", WARC_BYTES)
        print(f"WARC: {warc.name}, {times} times")
        config = ExtractConfig(text_sources=("alt", "title", "data-image-title"), texts_per_image="all")
        pages = compare("metaclip", big, config, metaclip, folder)
    print_record({"bench": "extract", **result, "warc": pages})


if __name__ == "__main__":
    main()
