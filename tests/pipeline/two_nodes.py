"""A run on a Ray cluster of two nodes, one of which dies in the middle.

Run as `python -m tests.pipeline.two_nodes CONFIG`, in a process of its own, because a process can know but one Ray.
Prints, as JSON, the process ids of both nodes' raylets, and whether the second one is still there at the end.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

from pipeline.build import build
from pipeline.config import load
from pipeline.workers.executor import RayExecutor

DOOMED = "WIT_TEST_DOOMED"
"""Set for the workers of the node that is to die; the config's own filter kills it when it is at work there."""


def main(path: str) -> None:
    config = load(path)
    small = {"num_cpus": 1, "object_store_memory": 100_000_000}
    bare = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    cluster = Cluster(initialize_head=True, head_node_args={**small, **bare})
    os.environ[DOOMED] = "yes"
    doomed = cluster.add_node(**small)
    executor = RayExecutor(None, cluster.address)
    raylets = [raylet(node).pid for node in (cluster.head_node, doomed)]
    build(config, executor=executor, quiet=True)
    survived = raylet(doomed).poll() is None
    executor.close()
    cluster.shutdown()
    print(json.dumps({"raylets": raylets, "survived": survived}))


def raylet(node: Any) -> Any:
    return node.all_processes[PROCESS_TYPE_RAYLET][0].process


if __name__ == "__main__":
    main(sys.argv[1])
