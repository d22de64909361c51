"""`wit queries build`: makes a query list from the sources that a config names, and says where it is from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from dataset.config_check import checked_config
from dataset.ids import checksum
from dataset.store.storage import Storage, absolute, filesystem
from dataset.tables import to_parquet
from filters.lines import locate
from filters.queries.build import QUERY_LIST, Counted, QueriesConfig, build
from pipeline.config import to_builtins
from pipeline.config_errors import ConfigError
from pipeline.config_files import read_yaml, with_overrides
from pipeline.engine.progress import working_dir
from pipeline.engine.sources.inputs import files
from pipeline.engine.sources.plan import file_checksum
from pipeline.query_list.count import Counting
from pipeline.workers.executor import Executor, RayExecutor
from pipeline.workers.local import LocalExecutor

ENCODINGS = {
    "query_id": "DELTA_BINARY_PACKED",
    "query": "DELTA_LENGTH_BYTE_ARRAY",
    "source_score": "BYTE_STREAM_SPLIT",
    "count": "DELTA_BINARY_PACKED",
}
"""Half a million queries take half the space that they would in dictionaries."""


def build_list(
    path: str, overrides: Sequence[str], out: str | None, workers: int | None = None, address: str | None = None
) -> None:
    """Build, print what each source gave, write the list as Parquet and its provenance beside it as JSON.

    Raises:
        ConfigError: in one sentence, what is wrong and how to mend it.
        PhaseFailedError: a dump or a file of pageviews could not be counted.
    """
    raw = with_overrides(read_yaml(path), overrides)
    target = out or raw.pop("out", None)
    raw.pop("out", None)
    if not target:
        raise ConfigError(f"{path} names no `out`, and no --out was given: where shall the list go?")
    folder, _, name = absolute(str(target)).rpartition("/")
    stem = name.removesuffix(".parquet")
    try:
        config = checked_config(QueriesConfig, raw)
        inputs = _inputs(config)
        counted = _count_sources(config, Storage(f"{folder}/{stem}.work"), workers, address)
        queries, summary = build(config, counted)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    data = to_parquet(queries, QUERY_LIST, ENCODINGS)
    storage = Storage(folder)
    storage.write(name, data)
    provenance = {
        "queries": queries.num_rows,
        "checksum": checksum(data),
        "sources": summary.to_pylist(),
        "inputs": inputs,
        "config": to_builtins(asdict(config)),
    }
    storage.write(f"{stem}.json", (json.dumps(provenance, indent=1, ensure_ascii=False) + "\n").encode())
    _print(summary)
    print(f"{target}: {queries.num_rows:,} queries")


def _count_sources(config: QueriesConfig, work: Storage, workers: int | None, address: str | None) -> Counted:
    if not config.dumps and not config.pageviews:
        return Counted()
    executor: Executor = LocalExecutor(1)
    if workers != 0:
        executor = RayExecutor(workers, address, working_dir=working_dir())
    try:
        return Counting(config, work, executor).count_all()
    finally:
        executor.close()


def _inputs(config: QueriesConfig) -> list[dict[str, Any]]:
    """Every file that the list is made of: its name, length, date and checksum (XXH3, 128 bits)."""
    answer = []
    for key, pattern in config.files():
        for source in files([locate(pattern)], key):
            filesystem_, path = filesystem(source.location)
            changed = filesystem_.get_file_info(path).mtime
            answer.append(
                {
                    "key": key,
                    "file": pattern if pattern.startswith("package:") else source.archive,
                    "bytes": source.size,
                    "modified": changed.astimezone(UTC).strftime("%Y-%m-%d") if isinstance(changed, datetime) else None,
                    "checksum": file_checksum(source.location),
                }
            )
    return answer


def _print(summary: pa.Table) -> None:
    table = Table(box=None, header_style="bold")
    for column in summary.column_names:
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in summary.to_pylist():
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(highlight=False, markup=False).print(table)
