"""`ray up ray_cluster.yaml` must find a valid file, and the file must name only what the repo has."""

from __future__ import annotations

import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import fill_node_type_min_max_workers, prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def cluster() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    fill_node_type_min_max_workers(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    with pytest.raises(Exception, match="max_worker"):
        validate_config({**prepared, "max_worker": 1})  # the check does see a misspelt key


def test_a_cluster_at_rest_costs_its_head_alone(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    workers = {name: node for name, node in types.items() if name != cluster["head_node_type"]}
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert sum(node["max_workers"] for node in workers.values()) <= cluster["max_workers"]
    assert 0 < cluster["idle_timeout_minutes"] <= 30
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0


def test_spot_machines_build_and_gpu_machines_train(cluster: dict[str, Any]) -> None:
    cpu, gpu = cluster["available_node_types"]["cpu"], cluster["available_node_types"]["gpu"]
    assert cpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "GPU" not in cpu["resources"]
    assert gpu["resources"]["GPU"] >= 1


def test_commands_name_only_files_that_are_there(cluster: dict[str, Any]) -> None:
    mounted = {remote: ROOT / local for remote, local in cluster["file_mounts"].items()}
    assert all(path.exists() for path in mounted.values())
    for command in (line for name in COMMANDS for line in cluster[name]):
        shlex.split(command)  # a shell can read it
        for name in re.findall(r"~/(openwit/\S+)", command):
            assert f"/home/{cluster['auth']['ssh_user']}/{name}" in mounted


def test_the_nodes_python_is_one_that_openwit_runs_on(cluster: dict[str, Any]) -> None:
    (version,) = re.findall(r"uv venv --python (\S+)", " ".join(cluster["setup_commands"]))
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert about["requires-python"] == ">=3.11,<3.15"
    assert version in ("3.11", "3.12")
    assert re.search(r"^ray==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_nothing_listens_for_the_world(cluster: dict[str, Any]) -> None:
    (head,) = (line for line in cluster["head_start_ray_commands"] if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head
