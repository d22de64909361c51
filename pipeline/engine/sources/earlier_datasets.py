"""Datasets that exist already (the config's `against`): what they kept, read through their commit records.

A new crawl is compared with their pairs and images by the measures that they have; nothing of them is recomputed or
written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dataset.ledger.commits import FileRef
from dataset.ledger.committed import Committed
from dataset.ledger.damage import read_table
from dataset.store.storage import Storage, absolute
from pipeline.config import Config, ConfigError
from pipeline.engine.phase import Context
from pipeline.engine.verdicts import alive_in


@dataclass(frozen=True)
class Existing:
    """A partition of a dataset that exists."""

    dataset: int  # place in `against`
    partition: int
    url: str
    pairs: FileRef
    images: FileRef
    verdicts: tuple[FileRef, ...]
    hashes: FileRef | None  # pHash or dHash of the images, if the dataset has them

    @property
    def options(self) -> dict[str, Any]:
        """What a task's result depends on."""
        files = [self.pairs, self.images, *self.verdicts, *([self.hashes] if self.hashes else [])]
        return {"dataset": self.dataset, "checksums": [file.checksum for file in files]}

    @property
    def hints(self) -> dict[str, Any]:
        """Where a task finds it."""
        return {
            "location": self.url,
            "pairs": self.pairs,
            "images": self.images,
            "verdicts": self.verdicts,
            "hashes": self.hashes,
        }


def earlier_partitions(config: Config) -> list[Existing]:
    """Return the partitions of all datasets of `against`, in order.

    Raises:
        ConfigError: one of them is no whole dataset, is the run's own, or lacks the hash that `neardup.hash` asks for.
    """
    partitions: list[Existing] = []
    for number, url in enumerate(config.against):
        if absolute(url) == absolute(config.out):
            raise ConfigError(f"against names {url}, which is where this run writes; name other datasets")
        storage = Storage(url)
        if not storage.exists("manifest.json"):
            is_there = storage.exists("config.yaml")
            said = "has not been finished; finish it by `wit run`" if is_there else "is no dataset; is it mistyped?"
            raise ConfigError(f"against names {url}, which {said}")
        there = Committed(storage)
        if not there.manifest.get("complete"):
            raise ConfigError(f"against names {url}, which is no finished dataset; finish it by `wit run`")
        hashes: dict[int, FileRef] = {}
        if config.neardup.hash != "pdq":
            measured_by = {commit.facts["hash"] for commit in there.records("image_hashes")}
            if measured_by != {config.neardup.hash}:
                raise ConfigError(
                    f"neardup.hash is {config.neardup.hash}, which the images of {url} were never measured by; "
                    "set neardup.hash=pdq, which every dataset has"
                )
            hashes = there.files("image_hashes")
        images, verdicts = there.files("images"), there.verdicts("pairs")
        for partition, pairs in there.files("pairs").items():
            partitions.append(
                Existing(
                    number,
                    partition,
                    absolute(url),
                    pairs,
                    images[partition],
                    verdicts[partition],
                    hashes.get(partition),
                )
            )
    return partitions


def kept_pairs(context: Context, columns: Sequence[str]) -> pa.Table:
    """Return the pairs that the task's existing partition kept, with their row as first column."""
    storage, hints = _storage(context)
    table = read_table(storage, hints["pairs"], columns)
    rows = alive_in(storage, hints["pairs"], table.num_rows, hints["verdicts"])
    return table.take(pa.array(rows)).add_column(0, pa.field("row", pa.uint32()), pa.array(rows))


def kept_images(context: Context) -> tuple[pa.Table, pa.Table | None]:
    """Return the images of these pairs, as the dataset's `images` has them, and their pHash or dHash if it was
    measured.
    """
    storage, hints = _storage(context)
    urls = pc.unique(kept_pairs(context, ["url"]).column("url"))
    images = read_table(storage, hints["images"])
    hashes = read_table(storage, hints["hashes"]) if hints["hashes"] else None
    return images.filter(pc.is_in(images.column("url"), value_set=urls)), hashes


def _storage(context: Context) -> tuple[Storage, Mapping[str, Any]]:
    return Storage(context.task.hints["location"]), context.task.hints
