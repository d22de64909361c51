"""A run on a Ray cluster of two nodes, one of which is killed in the middle.

Run as `python -m tests.pipeline.two_nodes CONFIG`, in a process of its own, because a process can know but one Ray. Prints, as JSON, how many
nodes lived before and after.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipeline.build import build
from pipeline.config import load
from pipeline.executor import RayExecutor

PHASE = "text.custom"
"""The node is killed once a partition of this phase is committed, and others are at work."""


def main(path: str) -> None:
    config = load(path)
    small = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    worker = cluster.add_node(**small)
    executor = RayExecutor(None, cluster.address)
    before = living()
    commits = Path(config.out) / PHASE.replace(".", "/") / "commits"

    def kill() -> None:
        while not list(commits.glob("*.json")):
            time.sleep(0.02)
        cluster.remove_node(worker, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    build(config, executor=executor, quiet=True)
    killer.join(60)
    after = living()
    executor.close()
    cluster.shutdown()
    print(json.dumps({"before": before, "after": after}))


def living() -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes())


if __name__ == "__main__":
    main(sys.argv[1])
