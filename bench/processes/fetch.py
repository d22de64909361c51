"""Our fetch as the stage runs it: crawl.web.fetch with ingest, then the store. URLS OUT, in a process of its own.

The last line it prints is a JSON object: CPU seconds of each part, in all threads, and the sizes that were stored.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crawl.images import pixels, store
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, RefusedBody
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch
from dataset.store.storage import Storage
from filters.images.hashlists import HashLists, HashListsConfig
from filters.images.perceptual import pdq

QUALITY = 95  # img2dataset's default


def main() -> None:
    """Fetch, store, report."""
    urls = Path(sys.argv[1]).read_text(encoding="utf-8").split()
    host, _, target = urls[0].split("/")[2].partition(":")
    config = FetchConfig(
        resolve={host: f"127.0.0.1:{target}"},
        respect_robots=True,
        concurrency=64,
        per_host_concurrency=64,  # the limit per host is lifted: the web has many, the bench has one
    )
    lists = HashLists.load(HashListsConfig())
    seconds: Counter[str] = Counter()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.thread_time() - began

        return call

    pixels.decode_at = timed("decode", pixels.decode_at)
    pixels.resize = timed("resize", pixels.resize)  # called by decode_at
    pixels.encode = timed("encode", pixels.encode)
    settings = ImageConfig(quality=QUALITY)

    def take(body: bytes) -> Ingested | RefusedBody:
        return ingest(body, settings, timed("PDQ", pdq), lists.match)

    began = time.process_time()
    rows = fetch(urls, config, timed("ingest", take))
    fetched = time.process_time()
    store.write_chunk(Storage(sys.argv[2]), "bench/0", rows)
    stored = time.process_time()
    seconds["decode"] -= seconds["resize"]
    parts = {
        "network": fetched - began - seconds["ingest"],
        **{part: seconds[part] for part in ("decode", "resize", "encode", "PDQ")},
        "checksums": 2 * seconds["ingest"] - seconds.total(),
        "store": stored - fetched,
    }
    sizes = {row.url: (row.image.width, row.image.height) for row in rows if row.image is not None}
    print(json.dumps({"seconds": parts, "sizes": sizes}))


if __name__ == "__main__":
    main()
