"""`kubectl apply -f ray_job.yaml` must find a valid RayJob, and the image that it names can be built from the repo."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dataset.stages import names
from pipeline.arguments import parser

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(Path(__file__).with_name("ray_job_schema.json").read_text())
"""Of KubeRay's own definition of a RayJob; its `$comment` says of which."""


@pytest.fixture
def job() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "ray_job.yaml").read_text()))


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_kuberay_accepts_it(job: dict[str, Any]) -> None:
    jsonschema.validate(job, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("backofLimit",), 3),
        (("backoffLimit",), "three"),
        (("rayClusterSpec", "authOptions", "mode"), "password"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 3),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "image"), 7),
    ],
)
def test_the_schema_sees_what_is_misspelt(path: tuple[str | int, ...], value: Any, job: dict[str, Any]) -> None:
    wrong = copy.deepcopy(job)
    at: Any = wrong["spec"]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_its_command_is_one_and_its_ray_is_the_locks(job: dict[str, Any]) -> None:
    command = shlex.split(job["spec"]["entrypoint"])
    arguments = parser().parse_args(command[1:])
    assert command[0] == "wit"
    assert arguments.to == names()[-1]
    assert (ROOT / arguments.config).is_file()
    (ray,) = re.findall(r"^ray==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray


def test_the_head_works_not_and_what_is_lost_is_spot(job: dict[str, Any]) -> None:
    head, spot = groups(job)
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert spot["minReplicas"] == 0 < spot["maxReplicas"]
    types = [group["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"] for group in (head, spot)]
    assert types == ["on-demand", "spot"]
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["rayClusterSpec"]["authOptions"]["mode"] == "token"
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups(job)}) == 1


def test_every_mount_is_of_a_volume(job: dict[str, Any]) -> None:
    for group in groups(job):
        spec = group["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]} == volumes


def test_the_image_has_what_the_repo_has_and_what_the_lock_names() -> None:
    text = (ROOT / "Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - set(copied) == {"bench", "demo", "tests"}  # which are for a checkout
    assert "pip sync" in text and "requirements.lock" in text
    (version,) = re.findall(r"^FROM \S+/python:(\d+\.\d+)-", text, re.MULTILINE)
    assert f"python{version}" in text
