"""A build on a Ray cluster of this machine, whose nodes are killed and added at random, and whose head is lost once.

    python -m bench.chaos [--events 8] [--seed 0] [--archive FILE]

Every node is a raylet of its own, with its own workers; the head takes no task. At even shares of the work a random
node is killed with all its processes, or one is added; in the middle the head goes, and with it the command that drives
the build, as on a machine that is taken away. Then a cluster is started anew, and the same command goes on. The dataset
must be that of an undisturbed run in child processes, byte for byte, and no task whose record was committed may be done
again. A line for each event; the last is one JSON object: `ours` is the events that were survived, of `events`; there
is no peer.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.matrix import Matrix, contents, differences
from bench.record import print_record
from dataset.ledger.commits import Ledger
from dataset.store.storage import Storage

RUN = [sys.executable, "-m", "pipeline", "run"]
SMALL = ["--set", "run.pairs_per_partition=250", "--set", "run.piece_bytes=250000"]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
MOST_NODES = 3
TIMEOUT_S = 1800


class Nodes:
    """A cluster that comes and goes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
        self.workers: list[Any] = []

    def add(self) -> None:
        """Start a node more."""
        self.workers.append(self.cluster.add_node(**NODE))

    def kill(self, number: int) -> None:
        """Send SIGKILL to all processes of a node."""
        self.cluster.remove_node(self.workers.pop(number), allow_graceful=False)

    def end(self) -> None:
        """Send SIGKILL to all processes of all nodes."""
        self.workers.clear()
        for node in self.cluster.list_all_nodes():
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def committed(out: Path) -> int:
    """Return the tasks whose records are there."""
    storage = Storage(str(out))
    folders = {path.parent for name in ("commits.parquet", "commits") for path in out.glob(f"*/*/{name}")}
    return sum(_records(Ledger(storage, f"{folder.parent.name}.{folder.name}")) for folder in sorted(folders))


def _records(ledger: Ledger) -> int:
    for _ in range(10):
        with suppress(FileNotFoundError):  # the build has put the records of a phase together meanwhile
            return len(ledger.load())
    raise TimeoutError("the records of a phase are never there when they are looked for")


def tasks_done(lines: list[str]) -> int:
    """Return how many tasks a run says that it did."""
    matches = [re.search(r": ([\d,]+) tasks, ", line) for line in lines]
    return next((int(match[1].replace(",", "")) for match in matches if match), 0)


class Build:
    """The command that drives the build, while it runs."""

    def __init__(self, command: list[str], log: Path):
        self.log = log
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def until(self, is_reached: Callable[[], bool]) -> bool:
        """Wait until something is; False if the build ended before."""
        end = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            if is_reached():
                return True
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"the build does not go on; it said: {self.said_lines[-1:]}")
            time.sleep(0.5)
        return False

    @property
    def said_lines(self) -> list[str]:
        """Its lines so far."""
        return self.log.read_text(errors="replace").splitlines()

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def disturb(matrix: Matrix, total: int, events: int, rng: random.Random) -> tuple[int, int, str]:
    """Build while nodes come and go; (events that there were, committed tasks done again, what is wrong)."""
    out, nodes = matrix.folder / "out", Nodes()
    command = [*RUN, *matrix.arguments(str(out), 120.0), *SMALL]
    met = lost = 0

    def go(number: int) -> Build:
        for _ in range(2):
            nodes.add()
        return Build([*command, "--address", nodes.cluster.address], matrix.folder / f"log{number}")

    build = go(0)
    try:
        for event in range(1, events + 1):
            share = total * event // (events + 1)
            if not build.until(lambda share=share: committed(out) >= share):  # type: ignore[misc]
                break
            met += 1
            if event == (events + 1) // 2:
                build.kill()
                nodes.end()
                lost = committed(out)
                nodes = Nodes()
                build = go(event)
                what = "the head is killed, and the command with it; both are started anew"
            elif nodes.workers and (len(nodes.workers) >= MOST_NODES or rng.random() < 0.6):
                nodes.kill(rng.randrange(len(nodes.workers)))
                what = f"a node is killed; {len(nodes.workers)} are left"
                if not nodes.workers:
                    nodes.add()
                    what += ", one is added"
            else:
                nodes.add()
                what = f"a node is added; there are {len(nodes.workers)}"
            print(f"after {share:,} of {total:,} tasks: {what}", flush=True)
        build.until(lambda: False)
    finally:
        if build.process.poll() is None:
            build.kill()
        nodes.end()
    if build.process.returncode:
        return met, 0, f"the build ended with {build.process.returncode}: {build.said_lines[-1:]}"
    again = tasks_done(build.said_lines) - (total - lost) if lost else 0
    return met, again, differences(matrix.reference, contents(str(out)))


def main() -> None:
    """Print a line for each event, and as the last one a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archive", type=Path, help="a WARC that holds its images; one is made by default")
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported: a cluster of this machine, for this run alone
    with tempfile.TemporaryDirectory() as name:
        matrix = Matrix(Path(name), options.archive and options.archive.absolute(), "")
        out = matrix.folder / "reference"
        whole = subprocess.run(
            [*RUN, *matrix.arguments(str(out), 60.0), *SMALL], capture_output=True, text=True, check=True
        )
        matrix.reference = contents(str(out))
        total = tasks_done((whole.stdout + whole.stderr).splitlines())
        print(f"{total:,} tasks, {len(matrix.reference):,} files", flush=True)
        began = time.monotonic()
        met, again, wrong = disturb(matrix, total, options.events, random.Random(options.seed))
        print(f"{met} events in {time.monotonic() - began:.0f} s: {wrong or 'same bytes'}", flush=True)
    is_right = not wrong and again <= 0 and met == options.events
    ours = met if is_right else 0
    figures = {"ours": ours, "peer": None, "unit": "events survived", "ratio": ours / max(1, options.events)}
    print_record({"bench": "chaos", **figures, "equal": is_right, "tasks": total, "done_again": again})
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
