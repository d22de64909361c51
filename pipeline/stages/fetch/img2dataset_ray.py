"""img2dataset's Ray distributor: URLs in shards, each a Ray task of its own that writes its chunk of the fetch store.

Its tasks return nothing but whether they went well, so what they got goes to the store, from where the partition that
asked reads it. Each process has the address guard and the limits, for each calls our engine, which installs them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crawl.images import store
from crawl.images.observations import Observation
from dataset.store.storage import Storage
from pipeline.workers.children import WorkerCrashedError
from pipeline.workers.failures import unwrap

SHARD_URLS = 1_000
"""URLs of one shard: its images, some 35 kB each, are in memory until it is written."""


@dataclass(frozen=True)
class Downloader:
    """What the distributor calls with every shard, in whatever process."""

    working_dir: str  # which relative paths of a config start at
    url: str  # of the dataset
    get: Callable[[Sequence[str]], list[Observation]]  # what can be pickled

    def __call__(self, shard: tuple[str, Sequence[str]]) -> tuple[bool, tuple[str, Sequence[str]]]:
        """Write the chunk of a name from its URLs. Raises what `get` raises, which stops the partition."""
        name, urls = shard
        if Path(self.working_dir).is_dir():
            os.chdir(self.working_dir)
        with contextlib.suppress(FileExistsError):  # Ray does a task again whose node it takes for dead
            store.write_chunk(Storage(self.url), name, self.get(urls))
        return True, shard


def distribute(
    storage: Storage, get: Callable[[Sequence[str]], list[Observation]], shards: Mapping[str, Sequence[str]]
) -> None:
    """Write the chunks of some names, each from its URLs, by Ray tasks.

    Raises:
        WorkerCrashedError: the process of a task crashed, which an image may be the cause of.
        Exception: what a task raised, or Ray itself; what the others wrote stays.
    """
    from img2dataset.distributor import ray_distributor
    from ray import exceptions

    try:
        ray_distributor(1, Downloader(str(Path.cwd()), storage.url, get), iter(shards.items()), None, 0)
    except exceptions.WorkerCrashedError as error:  # Ray's own word says nothing of whose fault it is
        raise WorkerCrashedError("the process of one of img2dataset's tasks crashed") from error
    except exceptions.RayError as error:
        raise unwrap(error) from None
