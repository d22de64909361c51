"""What slow hosts cost one fetch; there is no peer.

Memory, from ten thousand hosts at once, each of which sends 200 bytes a second. With `--silent`, time: the hosts take a
request and never answer, beside two hundred good ones, with the default concurrency. All hosts are one server on
loopback, in a process of its own; each takes a file of either process.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.record import print_record
from crawl.images.observations import Observation, RefusedBody
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch

HOSTS = 10_000
GOOD = 200
BODY = b"\xff\xd8\xff" + bytes(4_000)
PIECE, PAUSE_S = 100, 0.5


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send an image, slowly; of anything else, that it is not there."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"\r\nHost: silent" in head:
                await reader.read()
                return
            if b"\r\nHost: good" in head and b"robots" not in head and b"tdmrep" not in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(BODY))
                writer.write(BODY)
                continue
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
    """Return memory of this process that is in use. MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def refuse_body(body: bytes) -> RefusedBody:
    """Return what is made of a body, all of which came."""
    return RefusedBody("not_an_image", "as sent")


def memory(port: int, hosts: int) -> dict[str, Any]:
    """Fetch from all hosts at once; the figures."""
    names = [f"h{number}.test" for number in range(hosts)]
    config = FetchConfig(
        resolve=dict.fromkeys(names, f"127.0.0.1:{port}"),
        concurrency=hosts,
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
    rows = fetch([f"http://{name}/a.jpg" for name in names], config, refuse_body)
    ended.set()
    watcher.join()
    outcomes = Counter(row.outcome for row in rows)
    print(f"{hosts:,} hosts at once, {time.monotonic() - began:.0f} s wall; outcomes: {dict(outcomes)}")
    print(f"{before:.0f} MiB before, {peak:.0f} MiB at most, {(peak - before) / hosts * 1024:.0f} KiB a host")
    return {"ours": round(peak), "unit": "MiB", "equal": outcomes["not_an_image"] == hosts}


def silence(port: int, hosts: int, timeout_s: float) -> dict[str, Any]:
    """Fetch from silent and good hosts, by the defaults but for the timeout; the figures."""
    names = [f"{kind}{number}.test" for kind, count in (("silent", hosts), ("good", GOOD)) for number in range(count)]
    config = FetchConfig(resolve=dict.fromkeys(names, f"127.0.0.1:{port}"), timeout_s=timeout_s)
    ends: list[float] = []

    def count_done(row: Observation) -> None:
        if row.outcome == "not_an_image":
            ends.append(time.monotonic())

    cpu, began = time.process_time(), time.monotonic()
    rows = fetch([f"http://{name}/a.jpg" for name in names], config, refuse_body, done=count_done)
    seconds = time.monotonic() - began
    outcomes = Counter(row.outcome for row in rows)
    places = hosts * timeout_s * config.attempts / config.concurrency
    print(f"{hosts:,} silent and {GOOD} good hosts, timeout {timeout_s:g} s; outcomes: {dict(outcomes)}")
    print(
        f"{seconds:.0f} s, {time.process_time() - cpu:.0f} s of CPU; {places:.0f} s if each kept its place to the end"
    )
    print(f"the good ones were done after {max(ends, default=0.0) - began:.0f} s; {resident_mib():.0f} MiB at the end")
    return {
        "ours": round(seconds),
        "unit": "s",
        "equal": outcomes["not_an_image"] == GOOD and outcomes["timeout"] == hosts,
    }


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--silent", action="store_true", help="hosts that never answer; measures time")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds, of `--silent`")
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-m", "bench.slow_hosts", "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        figures = silence(port, options.hosts, options.timeout) if options.silent else memory(port, options.hosts)
    finally:
        server.kill()
    print_record({"bench": "slow_hosts", "peer": None, "ratio": None, **figures})


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
