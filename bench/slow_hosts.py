"""Memory of one fetch from ten thousand hosts at once, each of which sends 200 bytes a second; there is no peer.

All hosts are one server on loopback, in a process of its own; each takes a file of either process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from crawl.fetch import fetch
from crawl.fetch_config import FetchConfig
from crawl.observations import Refusal

HOSTS = 10_000
BODY = b"\xff\xd8\xff" + bytes(4_000)
PIECE, PAUSE_S = 100, 0.5


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An image, slowly; of anything else, that it is not there."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ")[1] != b"/a.jpg":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            for start in range(0, len(BODY), PIECE):
                writer.write(BODY[start : start + PIECE])
                await writer.drain()
                await asyncio.sleep(PAUSE_S)
    writer.close()


async def serve() -> None:
    """Listen at a free port, and print it."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def resident_mib() -> float:
    """Memory of this process that is in use. MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-m", "bench.slow_hosts", "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        names = [f"h{number}.test" for number in range(options.hosts)]
        config = FetchConfig(
            resolve=dict.fromkeys(names, f"127.0.0.1:{port}"),
            concurrency=options.hosts,
            timeout_s=120.0,
            min_bytes_per_s=0,
            attempts=1,
        )
        before = peak = resident_mib()
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.2):
                peak = max(peak, resident_mib())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        began = time.monotonic()
        urls = [f"http://{name}/a.jpg" for name in names]
        rows = fetch(urls, config, lambda body: Refusal("not_an_image", "as sent"))
        ended.set()
        watcher.join()
    finally:
        server.kill()
    outcomes = Counter(row.outcome for row in rows)
    print(f"{options.hosts:,} hosts at once, {time.monotonic() - began:.0f} s wall; outcomes: {dict(outcomes)}")
    print(f"{before:.0f} MiB before, {peak:.0f} MiB at most, {(peak - before) / options.hosts * 1024:.0f} KiB a host")
    whole = outcomes["not_an_image"] == options.hosts
    figures = {"ours": round(peak), "peer": None, "unit": "MiB", "ratio": None, "equal": whole}
    print(json.dumps({"bench": "slow_hosts", **figures}))


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
