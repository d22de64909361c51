"""decontaminate: images that look like one of an evaluation set never reach the shards."""

from __future__ import annotations

import pyarrow as pa

from crawl.images import ImageConfig, ingest
from crawl.observations import Ingested
from dataset.schema import VERDICTS
from dataset.storage import absolute
from filters.decontaminate import INDEX, DecontaminateConfig, find, index
from filters.perceptual import pdq
from pipeline.config import options
from pipeline.phase import Context, Input, Result, Task, phase
from pipeline.plan import file_checksum
from pipeline.rows import alive_rows, decide, verdict_result
from pipeline.run import Run
from pipeline.stages.common import every, settings


@phase("decontaminate.index")
def hashes(context: Context) -> Result:
    """The hashes of one evaluation folder's images."""
    config = settings(ImageConfig, context.options["store"])

    def measure(body: bytes) -> Ingested | str:
        """As the pairs' images are measured: the same decoder, the same size."""
        result = ingest(body, config, pdq, lambda body, hash_: None)
        return result if isinstance(result, Ingested) else f"{result.outcome}: {result.detail}"

    table = index(context.task.hints["location"], measure)
    return Result(counts={"images": table.num_rows}).table("index", table, INDEX)


@phase("decontaminate.decide")
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/decontaminate.sql."""
    rows = alive_rows(context)
    images = context.table("images")
    found = find(
        images, context.concat("index", INDEX), settings(DecontaminateConfig, context.options["decontaminate"])
    )
    tables: dict[str, pa.Table] = {"images": images, "found": found}
    return verdict_result(
        rows, decide(context, "decontaminate", rows, tables, context.options["decontaminate"]).cast(VERDICTS)
    )


def run(run: Run) -> None:
    """Hash the evaluation sets, compare every partition with them."""
    config = run.config.decontaminate
    indexed = run.do(
        hashes,
        [
            Task(
                hashes.name,
                number,
                {},
                {"folder": folder, "checksum": file_checksum(folder), "store": options(run.config.store)},
                hints={"location": absolute(folder)},
            )
            for number, folder in enumerate(config.folders)
        ],
    )
    sets: dict[str, tuple[Input, ...]] = {"index": every(indexed, "index")}
    run.judge(
        "decontaminate",
        judge,
        [
            Task(
                judge.name,
                partition.number,
                {**partition.inputs("images"), **sets},
                {"decontaminate": {key: value for key, value in options(config).items() if key != "folders"}},
            )
            for partition in run.partitions
        ],
        rows=run.alive,
    )
