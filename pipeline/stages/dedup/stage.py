"""dedup: spam texts, repeated (URL, text), one URL with many texts. An exchange of keys; candidates become pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dataset.ids import words64
from dataset.ledger.commits import Commit
from dataset.schema import VERDICTS
from filters.duplicates import exact
from filters.duplicates.exact import REPEATED, SPAM, DedupConfig
from pipeline.config import Config, options
from pipeline.engine.contract import CANDIDATE_ROWS, roles, settings
from pipeline.engine.exchanges.exchange import ROWS_PER_BUCKET, bucket_count, bucket_of, write_buckets
from pipeline.engine.exchanges.gathering import FOLDED_FILES, READ_FILES, exchange, fold_tables
from pipeline.engine.exchanges.locators import bucket_by_partition, locators, rows_of
from pipeline.engine.phase import Context, Input, Inputs, Result, Task, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.earlier_datasets import earlier_partitions, kept_pairs
from pipeline.engine.verdicts import alive_rows, first_verdicts, verdict_result
from pipeline.stages.dedup import DEDUP

_OF_TEXTS = ("max_images_per_text", "max_share_per_text")


@phase(DEDUP, "dedup.texts", reads=CANDIDATE_ROWS, takes=("buckets",), exchanges=roles("keys"))
def texts(context: Context) -> Result:
    """Give (text, URL) keys, distinct within the partition, by text."""
    keys = exact.text_keys(alive_rows(context, ["url", "text"]))
    bucket = bucket_of(words64(keys.column("text_key"))[:, 0], context.options["buckets"])
    return Result(buckets={"keys": write_buckets(keys, bucket)})


@phase(
    DEDUP,
    "dedup.spam",
    version=2,
    reads=roles("keys"),
    takes=("max_images_per_text",),
    gives=roles(repeated=REPEATED),
)
def spam(context: Context) -> Result:
    """Give texts on more distinct images than allowed, whatever the dataset's size, and how many there are in all."""
    keys = pa.concat_tables(context.table_list("keys"))
    return Result().table("repeated", exact.repeated_texts(keys, settings(DedupConfig, context.options)), REPEATED)


@phase(
    DEDUP,
    "dedup.possible_spam",
    reads=roles(repeated=REPEATED),
    takes=("max_share_per_text",),
    gives=roles(repeated=REPEATED),
    folds={"repeated": pa.concat_tables},
)
def possible_spam(context: Context) -> Result:
    """Give of many buckets' repeated texts those that can be on more images than the dataset's size allows."""
    config = settings(DedupConfig, context.options)
    return Result().table("repeated", exact.possible_spam(context.concat("repeated", REPEATED), config), REPEATED)


def _spam(context: Context) -> pa.Table:
    """SPAM of the whole dataset."""
    config = settings(DedupConfig, {"max_share_per_text": context.options["max_share_per_text"]})
    return exact.spam(context.concat("repeated", REPEATED), config)


@phase(
    DEDUP,
    "dedup.urls",
    version=3,
    reads=CANDIDATE_ROWS | roles(repeated=REPEATED),
    takes=("buckets", "max_share_per_text"),
    exchanges=roles("keys"),
)
def urls(context: Context) -> Result:
    """Give keys of the rows whose text is no spam, by URL."""
    rows = alive_rows(context, ["url", "text"])
    rows = rows.append_column("locator", locators(context.task.partition, rows.column("row")))
    keys = exact.url_keys(rows, _spam(context))
    bucket = bucket_of(words64(keys.column("url_key"))[:, 0], context.options["buckets"])
    return Result(buckets={"keys": write_buckets(keys, bucket)})


@phase(DEDUP, "dedup.against", takes=("dataset", "checksums", "buckets"), exchanges=roles("keys"))
def against(context: Context) -> Result:
    """Give keys of the pairs that a dataset of `against` kept, by URL."""
    rows = kept_pairs(context, ["url", "text"])
    rows = rows.append_column("locator", locators(context.task.hints["partition"], rows.column("row")))
    keys = exact.url_keys(rows, SPAM.empty_table(), context.options["dataset"])
    bucket = bucket_of(words64(keys.column("url_key"))[:, 0], context.options["buckets"])
    return Result(buckets={"keys": write_buckets(keys, bucket)})


@phase(
    DEDUP,
    "dedup.duplicates",
    version=2,
    reads=roles("keys"),
    takes=("texts_per_url", "against"),
    exchanges=roles("verdicts"),
)
def duplicates(context: Context) -> Result:
    """Give which rows repeat another; verdicts return to their partition."""
    keys = pa.concat_tables(context.table_list("keys"))
    config = settings(DedupConfig, {"texts_per_url": context.options["texts_per_url"]})
    verdicts = exact.duplicates(keys, config, context.options["against"])
    return Result(buckets={"verdicts": bucket_by_partition(verdicts)})


@phase(
    DEDUP,
    "dedup.decide",
    version=2,
    reads=CANDIDATE_ROWS | roles("returned", repeated=REPEATED),
    takes=_OF_TEXTS,
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Collect the partition's verdicts."""
    rows = alive_rows(context, ["url", "text"])
    config = settings(DedupConfig, context.options)
    parts = [exact.text_spam(rows, _spam(context), config)]
    for table in context.table_list("returned"):
        rows_here = rows_of(table.column("locator"))
        returned = table.select(["reason", "evidence"]).add_column(0, "row", rows_here)
        parts.append(returned.cast(VERDICTS))
    return verdict_result(context, rows, first_verdicts(parts))


def _repeated(run: Run, counted: Sequence[Commit]) -> Inputs:
    """The repeated texts of all buckets, which every task reads; of many buckets those alone that may be spam."""
    files = [Input(commit.files["repeated"]) for commit in counted]
    if len(files) <= READ_FILES:
        return tuple(files)
    share = options(run.config.dedup, "max_share_per_text")
    parts = range(0, len(files), FOLDED_FILES)
    tasks = [
        Task(possible_spam.name, number, {"repeated": tuple(files[first : first + FOLDED_FILES])}, share)
        for number, first in enumerate(parts)
    ]
    return fold_tables(run, run.do(possible_spam, tasks), "repeated")


def check(config: Config) -> None:
    """Check whether the datasets of `against` can be compared with, before any work is done. Raises ConfigError."""
    earlier_partitions(config)


def run(run: Run) -> None:
    """Decide spam first, so that a spam text never wins over a good one; then duplicates."""
    config = run.config.dedup
    buckets = {"buckets": bucket_count(run.alive, ROWS_PER_BUCKET)}
    by_text = exchange(run, run.map(texts, buckets), "keys")
    repeated = {
        "repeated": _repeated(run, run.reduce(spam, options(config, "max_images_per_text"), {"keys": [by_text]}))
    }
    by_url = exchange(run, run.map(urls, {**buckets, **options(config, "max_share_per_text")}, shared=repeated), "keys")
    known = run.do(
        against,
        [
            Task(
                against.name,
                number,
                {},
                {**there.options, **buckets},
                hints={**there.hints, "partition": there.partition},
            )
            for number, there in enumerate(earlier_partitions(run.config))
        ],
    )
    options_ = {**options(config, "texts_per_url"), "against": list(run.config.against)}
    keys = [by_url, exchange(run, known, "keys")]
    verdicts = exchange(run, run.reduce(duplicates, options_, {"keys": keys}), "verdicts")
    returned = [{"returned": verdicts.bucket(partition.number)} for partition in run.partitions]
    run.decide(decide, options(config, *_OF_TEXTS), shared=repeated, each=returned)
