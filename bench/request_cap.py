"""Whether `commoncrawl.max_requests_per_s` holds for a whole cluster, counted where the requests arrive.

    python -m bench.request_cap [--cap 5] [--nodes 2] [--sources 12]

Archives lie in a bucket of a real S3 server, behind a proxy of ours that notes when it is asked. Raylets of this
machine extract them at the same time, into a folder, so that nothing but sources is asked for. The last line is one
JSON object: `ours` is the most requests of any WINDOW_S, a second; there is no peer but the cap.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.chaos import NODE
from bench.faults import faulty_proxy
from bench.record import print_record
from dataset.store.storage import Storage
from tests import s3_server
from tests.pipeline import small_archive

WINDOW_S = 5.0
BURST = 1
"""Requests that a process may make at once: its first, after a while in which it asked for nothing."""


@dataclass
class Timed(faulty_proxy.Plan):
    """Lets all requests pass, and notes when each came."""

    at: list[float] = field(default_factory=list)

    def meets(self, method: str, path: str) -> str:
        """See `faulty_proxy.Plan`."""
        self.at.append(time.monotonic())
        return super().meets(method, path)


def most_in_window(at: list[float]) -> int:
    """Return the most requests that came within WINDOW_S."""
    times = sorted(at)
    return max((sum(first <= other < first + WINDOW_S for other in times) for first in times), default=0)


def extract(folder: Path, sources: list[str], address: str, cap: float) -> None:
    """Extract sources on a cluster."""
    config = folder / "config.yaml"
    raw = {"name": "cap", "sources": sources, "out": str(folder / "out"), "commoncrawl": {"max_requests_per_s": cap}}
    config.write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "pipeline", "run", str(config), "--to", "extract", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-2000:])


def main() -> None:
    """Print how often the server was asked, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cap", type=float, default=5.0, help="requests a second")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--sources", type=int, default=12)
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported: a cluster of this machine, for this run alone
    from bench.chaos import Nodes

    with (
        tempfile.TemporaryDirectory() as name,
        s3_server.running() as bucket,
        faulty_proxy.before(os.environ["AWS_ENDPOINT_URL"]) as proxy,
    ):
        sources = [f"{bucket}/crawl/{number}.warc.gz" for number in range(options.sources)]
        for number, source in enumerate(sources):
            archive = small_archive.write(Path(name) / f"{number}.warc.gz", seed=number)
            folder, _, file = source.rpartition("/")
            Storage(folder).write(file, archive.read_bytes())
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        nodes = Nodes()
        try:
            for _ in range(options.nodes):
                nodes.add()
            proxy.plan = plan = Timed()
            extract(Path(name), sources, nodes.cluster.address, options.cap)
        finally:
            nodes.end()
    most, allowed = most_in_window(plan.at), options.cap * WINDOW_S + BURST * (1 + options.nodes * NODE["num_cpus"])
    seconds = max(plan.at) - min(plan.at)
    print(f"{len(plan.at)} requests in {seconds:.1f} s; {most} in {WINDOW_S:.0f} s at most", flush=True)
    figures = {"ours": round(most / WINDOW_S, 2), "peer": options.cap, "unit": "requests a second of a whole cluster"}
    figures["ratio"] = round(options.cap * WINDOW_S / most, 2)
    print_record({"bench": "request_cap", **figures, "equal": most <= allowed, "requests": len(plan.at)})
    sys.exit(most > allowed)


if __name__ == "__main__":
    main()
