"""The number of workers, and the death of a node, change nothing but the time; img2dataset's tasks run on one CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dataset
from dataset.ledger.commits import Commit
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.engine.phase import Task
from pipeline.workers.executor import InlineExecutor, RayExecutor
from pipeline.workers.ray_worker import Board
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server
from tests.pipeline import small_archive
from tests.pipeline.patient_ray import PATIENT
from tests.pipeline.stages.fetch.test_img2dataset_ray import OUTCOMES, config, images
from tests.pipeline.tinted import World
from tests.pipeline.two_nodes import DOOMED

__all__ = ["one_server"]

REPO = Path(__file__).resolve().parents[2]

ASKED_OFTEN = {"RAY_health_check_period_ms": "250", "RAY_health_check_timeout_ms": "120000"}
"""A node is dead after forty questions without an answer, which the port of a dead one refuses at once: ten seconds. By
Ray's own three seconds a question that were two minutes in which all wait."""

FILTER = f"""
import os, signal, time
from pathlib import Path

def deadly(rows):
    raylet = os.environ.get("RAY_RAYLET_PID", "none")
    with Path(os.environ["WIT_TEST_STARTS"]).open("a") as starts:
        starts.write(raylet + "\\n")
    if os.environ.get("{DOOMED}"):
        os.kill(int(raylet), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)  # time enough for the other node to get its share
    return {{"survivors": [1] * rows.num_rows}}
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A config of many partitions, with a filter of one's own in the middle."""
    folder = tmp_path_factory.mktemp("archive")
    archive = small_archive.write(folder / "small.warc.gz", pages=12)
    (folder / "deadly.py").write_text(FILTER)
    own = {"name": "dead", "stage": "text", "drop_when": "survivors < 1", "measure": f"{folder / 'deadly.py'}:deadly"}
    run = {"piece_bytes": 2**16, "pairs_per_partition": 30}
    return small_archive.config(archive, "", filters=[own], balance={"cap": 3}, run=run)


@pytest.fixture(scope="module")
def inline(raw: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inline")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WIT_TEST_STARTS", str(folder / "starts"))
        build(make_config(raw, out=str(folder / "out")), quiet=True)
    return folder / "out"


def contents(out: Path) -> dict[str, bytes]:
    """Every file whose bytes must not vary."""
    names = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("log/")}


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_changes_no_byte(raw: dict[str, object], inline: Path, tmp_path: Path) -> None:
    for attempt in range(3):  # a cluster that did not start, or that gave one node nothing to do, proves nothing
        folder = tmp_path / str(attempt)
        folder.mkdir()
        config, starts = folder / "config.yaml", folder / "starts"
        config.write_text(yaml.safe_dump({**raw, "out": str(folder / "out")}))
        env = {**os.environ, **PATIENT, **ASKED_OFTEN, "RAY_AUTH_MODE": "disabled", "WIT_TEST_STARTS": str(starts)}
        command = [sys.executable, "-m", "tests.pipeline.two_nodes", str(config)]
        done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=900)
        if done.returncode and "timed out during startup" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr[-3000:]
        cluster = json.loads(done.stdout.splitlines()[-1])
        nodes = [int(pid) for pid in starts.read_text().split()]
        if set(nodes) == set(cluster["raylets"]):
            break
    else:
        pytest.skip("Ray started no cluster of two working nodes within its own limit of 30 s, three times")
    out = folder / "out"
    assert not cluster["survived"]
    assert contents(out) == contents(inline)
    partitions = len(list((inline / "text" / "custom").glob("measures-*")))
    assert len(nodes) > partitions  # both were at work, and what the dead one had begun was begun again
    assert not list(out.rglob(".tmp-*"))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """A Ray of our own, as if this machine had a GPU: to start one takes ten CPU-seconds."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in PATIENT.items():
            patched.setenv(name, value)
        patched.setenv("WIT_TEST_STARTS", str(tmp_path_factory.mktemp("two") / "starts"))
        executor = RayExecutor(2, None)
        assert executor._options is not None
        executor._options["num_gpus"] = 1
        executor._start()
        yield executor
        executor.close()


@pytest.mark.slow
def test_workers_change_no_byte(raw: dict[str, object], inline: Path, two_workers: RayExecutor, tmp_path: Path) -> None:
    build(make_config(raw, out=str(tmp_path / "out")), executor=two_workers, quiet=True)
    assert contents(tmp_path / "out") == contents(inline)


@pytest.mark.slow
def test_img2datasets_tasks_run_inside_of_a_task_on_one_cpu(
    server: HostileServer, two_workers: RayExecutor, tmp_path: Path
) -> None:
    import ray

    made = config(server, tmp_path, "ray")
    build(made, to="prebalance", executor=InlineExecutor(), quiet=True)
    other: Any = ray.remote(num_cpus=1)(Board).remote()  # has the other CPU, and does nothing
    assert ray.get(other.working_tasks.remote()) == []
    build(made, to="fetch", executor=two_workers, quiet=True)
    assert ray.available_resources().get("CPU", 0) <= 1
    ray.kill(other)
    assert {url: outcome for url, outcome, *_ in images(made.out)} == OUTCOMES


@pytest.mark.slow
def test_a_model_gets_its_share_of_a_gpu_from_ray(world: World, two_workers: RayExecutor, tmp_path: Path) -> None:
    from tests.pipeline import gpu_phase  # which registers a stage of its own

    tasks = [Task(gpu_phase.which.name, number, {}, {}) for number in range(2)]
    (tmp_path / "out").mkdir()
    given = [answer for _, answer in RayExecutor(None, None, gpus=0.5).run(str(tmp_path / "out"), tasks)]
    assert [isinstance(answer, Commit) and answer.facts["gpus"] for answer in given] == [[0], [0]]
    with pytest.raises(ConfigError, match=r"run.gpus_per_model_task is 2, but Ray has 1 GPUs"):
        list(RayExecutor(None, None, gpus=2).run(str(tmp_path / "out"), tasks))
    executor = RayExecutor(None, None, gpus=0.5)
    build(make_config(world.config(tmp_path / "ray")), executor=executor, to="image", quiet=True)
    build(make_config(world.config(tmp_path / "inline")), to="image", quiet=True)
    scores = "SELECT url, nsfw_probability FROM images ORDER BY url"
    here, there = (dataset.open(str(tmp_path / name)).sql(scores).fetchall() for name in ("inline", "ray"))
    assert here == there and len(here) == 16
