"""fetch.adopt: what img2dataset has downloaded already, to the partitions that want its URLs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from crawl.images import img2dataset_import
from filters.images.hashlists import HashLists
from pipeline.config import Config, ConfigError
from pipeline.engine.contract import roles
from pipeline.engine.exchanges.exchange import Exchange, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import Context, Result, Task, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.inputs import Source, files
from pipeline.engine.sources.plan import file_checksum
from pipeline.stages.artifacts import HOST_LANES
from pipeline.stages.fetch import FETCH
from pipeline.stages.prebalance.stage import LANES, partition_of

_AT_ONCE = 16


@phase(
    FETCH,
    "fetch.adopt",
    version=2,
    reads=roles(lanes=LANES),
    takes=("file", "checksum", "partitions"),
    exchanges=roles("adopted"),
)
def adopt(context: Context) -> Result:
    """Give one file's images, where their URLs' pairs are."""
    images = img2dataset_import.index(context.task.hints["location"])
    return Result(
        counts={"images": images.num_rows},
        buckets={"adopted": write_buckets(images, partition_of(context, images))},
    )


def check(config: Config, lists: HashLists) -> None:
    """Check whether the config's downloads can be adopted, before any work is done. Raises ConfigError."""
    downloads = _files(config)
    if not downloads:
        return
    if lists.has_md5:
        raise ConfigError(
            "fetch.adopt cannot be held against MD5 lists, for img2dataset records no MD5 of what it got: "
            "leave fetch.adopt empty, or take the MD5 lists out of hashlists.files"
        )
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # a request to S3 is mostly waiting
            list(pool.map(lambda file: img2dataset_import.check(file.location), downloads))
    except ValueError as error:
        raise ConfigError(f"fetch.adopt: {error}") from None


def _files(config: Config) -> list[Source]:
    return files(config.fetch.adopt, "fetch.adopt")


def run(run: Run) -> Exchange:
    """Index every file."""
    lanes = {"lanes": run.artifacts.take(HOST_LANES)}
    tasks = []
    for number, file in enumerate(_files(run.config)):
        identity = {"file": file.archive, "checksum": file_checksum(file.location), "partitions": len(run.partitions)}
        tasks.append(Task(adopt.name, number, lanes, identity, hints={"location": file.location}))
    return exchange(run, run.do(adopt, tasks) if tasks else [], "adopted")
