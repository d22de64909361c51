"""img2dataset's Ray distributor gets what its engine gets in one process, and refuses what that refuses.

On a real Ray: tests/pipeline/test_cluster.py."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray import exceptions

import dataset
from crawl.web.config import FetchConfig
from dataset.ledger.commits import Commit
from dataset.store.faults import fault
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import Config, ConfigError, to_builtins
from pipeline.config import build as make_config
from pipeline.engine.phase import Task
from pipeline.stages.fetch import img2dataset_ray
from pipeline.workers.children import WorkerCrashedError
from pipeline.workers.executor import InlineExecutor, Show, nobody
from pipeline.workers.failures import Failure
from pipeline.workers.ray_worker import IN_WORKER
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server
from tests.crawl.web.test_img2dataset_engine import KEPT
from tests.pipeline import pages

__all__ = ["one_server"]


def in_a_task(error: Exception) -> Exception:
    """An exception as Ray has it from a task that raised it."""
    wrapped: Exception = exceptions.RayTaskError("f", "its trace", error)
    return wrapped


OUTCOMES = {
    "http://images.test/ok.jpg": "ok",
    "http://images.test/octets": "ok",
    "http://images.test/noai": "robots_noai",
    "http://images.test/status/404": "http_client_error",
    "http://images.test/to/metadata": "address_private",
    "http://images.test/to/loopback": "address_private",
    "http://images.test/to/opted-out": "domain_opted_out",
}


def config(server: HostileServer, folder: Path, distributor: str, workers: int = 1) -> Config:
    tags = "".join(f'<img src="{url}" alt="the kettle at number {n}">' for n, url in enumerate(OUTCOMES))
    archive = folder / "page.warc.gz"
    if not archive.exists():
        pages.write(archive, [("http://page.test/", f'<html lang="en">{tags}')])
    (folder / "queries.txt").write_text("kettle\n")
    (folder / "listed.txt").write_text("opted-out.test\n")
    fetch = {
        **to_builtins(server.config(**KEPT).__dict__),
        "origins": ["http"],
        "opted_out_domains": str(folder / "listed.txt"),
        "distributor": distributor,
    }
    return make_config(
        {
            "sources": [str(archive)],
            "out": str(folder / distributor),
            "match": {"queries": str(folder / "queries.txt")},
            "fetch": fetch,
            "run": {"workers": workers},
        }
    )


class Noting(InlineExecutor):
    """Keeps the tasks that it was given."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        self.tasks += tasks
        return super().run(url, tasks, show)


def images(out: str) -> list[tuple[Any, ...]]:
    query = "SELECT url, outcome, status, sha256, width, height FROM images ORDER BY url"
    return dataset.open(out).sql(query).fetchall()


def chunks(out: str) -> int:
    return len(list(Path(out, "fetch", "store").rglob("*.parquet")))


def test_shards_give_the_rows_of_one_process(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import img2dataset.distributor

    def here(processes: int, downloader: Any, shards: Any, subjob: object, retries: int) -> None:
        for shard in shards:
            assert downloader(shard) == (True, shard)

    monkeypatch.setattr(img2dataset.distributor, "ray_distributor", here)
    monkeypatch.setattr(img2dataset_ray, "SHARD_URLS", 3)
    for distributor, count in (("none", 1), ("ray", 3)):
        made = config(server, tmp_path, distributor)
        executor = Noting()
        build(made, to="fetch", executor=executor, quiet=True)
        assert chunks(made.out) == count
        # A child of a worker would start a Ray of its own for the shards, with all of the node's CPUs.
        in_worker = {task.hints[IN_WORKER] for task in executor.tasks if task.phase == "fetch.get"}
        assert in_worker == {distributor == "ray"}
    assert {url: outcome for url, outcome, *_ in images(f"{tmp_path}/ray")} == OUTCOMES
    assert images(f"{tmp_path}/ray") == images(f"{tmp_path}/none")
    asked = server.hits.total()
    made = config(server, tmp_path, "ray")
    build(made, to="fetch", executor=InlineExecutor(), quiet=True)
    assert server.hits.total() == asked


@pytest.mark.parametrize(
    ("raised", "kind", "of_environment"),
    [
        (exceptions.WorkerCrashedError(), WorkerCrashedError, False),  # an image may crash a decoder
        (exceptions.NodeDiedError("gone"), exceptions.NodeDiedError, True),
        (in_a_task(in_a_task(OSError(errno.ENOSPC, "full"))), OSError, True),
        (in_a_task(ValueError("of one image")), ValueError, False),
    ],
)
def test_what_a_task_fails_of_is_told_from_what_ray_fails_of(
    raised: Exception, kind: type, of_environment: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a partition that fails like this is bisected, or waited for; see `pipeline.engine.failures.containment`."""
    import img2dataset.distributor

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(img2dataset.distributor, "ray_distributor", fail)
    with pytest.raises(kind) as caught:
        img2dataset_ray.distribute(Storage(str(tmp_path)), lambda urls: [], {})
    assert not isinstance(caught.value, exceptions.RayTaskError)
    assert (fault(caught.value) is not None) == of_environment


def test_where_it_cannot_be_had(server: HostileServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="distributor ray is img2dataset's"):
        FetchConfig(distributor="ray")
    with pytest.raises(ValueError, match="distributor must be none or ray, not 'spark'"):
        FetchConfig(distributor="spark")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"distributor is ray, which run.workers: 0 does without"):
        build(config(server, tmp_path, "ray", workers=0), quiet=True)
