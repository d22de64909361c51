"""Counting a Wikipedia's dumps and pageviews for a query list: parts of files, then buckets of words, as phases.

What is counted lies in a folder of work beside the list, so that a build that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataset.ledger.commits import Commit, Ledger
from dataset.ledger.damage import read_table
from dataset.stages import Stage
from dataset.store.faults import patiently
from dataset.store.storage import Storage
from filters.lines import locate
from filters.queries import ngrams
from filters.queries.build import Counted, QueriesConfig
from filters.queries.entries import COUNTS, WordCounts
from filters.queries.wikipedia import DumpPart, article, pages, plan
from pipeline.config_errors import ConfigError
from pipeline.engine.contract import roles
from pipeline.engine.exchanges.exchange import Exchange, bucket_count, bucket_of, write_buckets
from pipeline.engine.failures.containment import run_with_quarantine
from pipeline.engine.phase import Context, Phase, Result, Task, phase
from pipeline.engine.reuse import what_is_missing
from pipeline.engine.sources.inputs import Source, files
from pipeline.engine.sources.plan import checksums
from pipeline.engine.verify import Rereading
from pipeline.stages.custom_filters import load_function
from pipeline.workers.executor import Executor

log = logging.getLogger("wit")

PART_BYTES = 32 << 20
"""How much of a compressed dump a task reads: about a minute of work in some 500 MB of memory."""
BYTES_PER_BUCKET = 64 << 20
"""Compressed bytes of dumps for each bucket of words, which then has some two million of them."""
_BATCH_CHARACTERS = 4 << 20
KINDS = ("words", "bigrams")
WIKIPEDIA = Stage("wikipedia", __name__, ("wikipedia.count", "wikipedia.fold", "wikipedia.views"))


@phase(
    WIKIPEDIA,
    "wikipedia.count",
    takes=("part", "checksum", "buckets", "segmenter", "segmenter_source"),
    exchanges=roles("words", "bigrams"),
)
def count(context: Context) -> Result:
    """Give words and bigrams of a part's articles, to the bucket of their hash."""
    options = context.options
    segmenter = None
    if options["segmenter"]:
        function = options["segmenter"].rpartition(":")[2]
        segmenter = load_function("segmenter", function, options["segmenter_source"])
    counts = {kind: COUNTS.empty_table() for kind in KINDS}
    result = Result(counts={"articles": 0, "unreadable": 0})
    for texts in _batches(DumpPart(**options["part"]), result.counts):
        for kind, table in zip(KINDS, ngrams.count(texts, segmenter), strict=True):
            counts[kind] = ngrams.merge([counts[kind], table])
    for kind, table in counts.items():
        result.counts[kind] = int(pc.sum(table["score"]).as_py() or 0)
        result.buckets[kind] = write_buckets(table, bucket_of(ngrams.keys(table), options["buckets"]))
    return result


def _batches(part: DumpPart, counts: dict[str, int]) -> Iterator[list[str]]:
    """The texts of a part's articles, some megabytes at a time; counts articles, and pages that cannot be read."""
    texts, characters = [], 0
    for page in pages(part):
        try:
            text = article(page)
        except ValueError:
            counts["unreadable"] += 1
            continue
        if text is None:
            continue
        counts["articles"] += 1
        texts.append(text)
        characters += len(text)
        if characters > _BATCH_CHARACTERS:
            yield texts
            texts, characters = [], 0
    yield texts


@phase(WIKIPEDIA, "wikipedia.fold", reads=roles("counts"), takes=("min_count", "kind"), gives=roles(counts=COUNTS))
def fold(context: Context) -> Result:
    """Give one bucket's words or bigrams that are frequent enough."""
    table = ngrams.fold(context.table_list("counts"), context.options["min_count"])
    return Result().table("counts", table, COUNTS)


@phase(WIKIPEDIA, "wikipedia.views", takes=("file", "checksum", "language", "min_views"), gives=roles(views=COUNTS))
def views(context: Context) -> Result:
    """Give the views of articles in one hour's file."""
    options = context.options
    return Result().table("views", ngrams.views(options["file"], options["language"], options["min_views"]), COUNTS)


class Counting:
    """Tasks done in a folder of work, each once."""

    def __init__(self, config: QueriesConfig, work: Storage, executor: Executor):
        self.config = config
        self.work = work
        self.executor = executor

    def count_all(self) -> Counted:
        """Return what `filters.queries.build.build` needs of the config's dumps and pageviews.

        Raises:
            ConfigError: a file cannot be read, or is not what its key says.
            PhaseFailedError: a task failed.
        """
        words = bigrams = titles = None
        if self.config.dumps:
            words, bigrams = self._dumps()
        if self.config.pageviews:
            titles = self._views()
        return Counted(words, bigrams, titles)

    def files(self, key: str) -> list[Source]:
        """Return the files that `dumps` or `pageviews` names, with their checksums. Raises ConfigError."""
        return checksums(files([locate(name) for name in getattr(self.config, key)], key), self.work)

    def _do(self, phase: Phase, tasks: Sequence[Task]) -> list[Commit]:
        ledger = Ledger(self.work, phase.name)
        known = patiently(ledger.load, who=self.work.url)
        commits, missing = what_is_missing(tasks, known, Rereading(self.work).is_whole)
        done = run_with_quarantine(self.executor, self.work.url, missing, 0, lambda task, commit: None)
        commits |= {commit.partition: commit for commit in done.values()}
        ordered = [commits[task.partition] for task in tasks]
        patiently(lambda: ledger.close(ordered), who=self.work.url)
        return ordered

    def _dumps(self) -> tuple[WordCounts, WordCounts]:
        config = self.config
        segmenter = {"segmenter": config.segmenter, "segmenter_source": ""}
        if config.segmenter:
            path = Path(config.segmenter.rpartition(":")[0]).expanduser()
            try:
                segmenter["segmenter_source"] = path.read_text(encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"segmenter: {path} cannot be read: {error}") from None
            load_function("segmenter", config.segmenter.rpartition(":")[2], segmenter["segmenter_source"])
        parts: list[DumpPart] = []
        of_file = {source.location: source.checksum for source in self.files("dumps")}
        for file in of_file:
            try:
                parts += plan(file, config.language, PART_BYTES)
            except (OSError, ValueError) as error:
                raise ConfigError(f"dumps: {error}") from None
        buckets = bucket_count(sum(part.end - part.start for part in parts), BYTES_PER_BUCKET)
        counted = self._do(
            count,
            [
                Task(
                    count.name,
                    number,
                    {},
                    {"part": asdict(part), "checksum": of_file[part.file], "buckets": buckets, **segmenter},
                )
                for number, part in enumerate(parts)
            ],
        )
        articles, unreadable = (sum(commit.counts[name] for commit in counted) for name in ("articles", "unreadable"))
        log.info("%s articles counted; %s pages could not be read", f"{articles:,}", f"{unreadable:,}")
        if not articles:
            raise ConfigError(f"dumps: there is no article in {', '.join(config.dumps)}")
        return self._fold_counts(counted, "words"), self._fold_counts(counted, "bigrams")

    def _fold_counts(self, counted: Sequence[Commit], kind: str) -> WordCounts:
        least = {"min_count": self.config.min_count, "kind": kind}
        # Both kinds are partitions of one phase: even numbers are words, odd ones bigrams.
        words = Exchange.of(self.work, [commit.files[kind] for commit in counted])
        tasks = [
            Task(fold.name, 2 * bucket + KINDS.index(kind), {"counts": words.bucket(bucket)}, least)
            for bucket in words.buckets
        ]
        tables = [self._read(commit, "counts") for commit in self._do(fold, tasks)]
        total = float(sum(commit.counts[kind] for commit in counted))
        return WordCounts(pa.concat_tables([COUNTS.empty_table(), *tables]), total)

    def _views(self) -> pa.Table:
        config = self.config
        options = {"language": config.language, "min_views": config.min_hourly_views}
        done = self._do(
            views,
            [
                Task(views.name, number, {}, {"file": source.location, "checksum": source.checksum, **options})
                for number, source in enumerate(self.files("pageviews"))
            ],
        )
        return ngrams.merge([self._read(commit, "views") for commit in done])

    def _read(self, commit: Commit, role: str) -> pa.Table:
        return read_table(self.work, commit.files[role])
