"""What questions are asked of besides the committed tables: the config, the run's log, and the public suffixes.

A dataset may be anybody's: what cannot be read gives no rows, and much of it is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import pyarrow as pa

from dataset.store.storage import Storage
from dataset.yaml_text import YamlError, parse

SETTINGS = pa.schema([("key", pa.string()), ("value", pa.string())])
TIMINGS = pa.schema(
    [("phase", pa.string()), ("partitions", pa.int64()), ("rows", pa.int64()), ("seconds", pa.float64())]
)
"""One row for each phase that a run went through: its tasks, input rows, and seconds by the clock."""
_MOST_LOGS = 200
_MOST_LOG_BYTES = 4 * 2**20
_DEEPEST = 20


def settings(storage: Storage) -> pa.Table:
    """Return the config that a dataset keeps, SETTINGS: one row for each key, by its dotted name; lists and numbers as
    JSON."""
    try:
        return _settings(storage.read("config.yaml"))
    except OSError:
        return SETTINGS.empty_table()


@lru_cache(maxsize=4)  # a run asks for it after every stage, and 300 lines of YAML take longer to read than a view
def _settings(text: bytes) -> pa.Table:
    try:
        raw = parse(text, is_written=True)
    except YamlError:
        raw = None
    rows = sorted(_flat("", raw, 0)) if isinstance(raw, dict) else []
    return pa.Table.from_pylist([{"key": key, "value": value} for key, value in rows], SETTINGS)


def _flat(prefix: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and depth < _DEEPEST:
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item, depth + 1)
    elif value is not None:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def timings(storage: Storage) -> pa.Table:
    """Return what the phases took, TIMINGS, by the logs of the newest runs; no rows where there is none."""
    rows = []
    try:
        logs = [
            info for info in storage.list("log") if info.name.startswith("log/run-") and info.name.endswith(".jsonl")
        ]
        for info in sorted(logs, key=lambda info: info.name)[-_MOST_LOGS:]:
            if info.bytes <= _MOST_LOG_BYTES:
                rows += [row for line in storage.read(info.name).splitlines() if (row := _parse_timing(line))]
    except OSError:
        pass
    return pa.Table.from_pylist(rows, TIMINGS)


def _parse_timing(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        phase, seconds = row["phase"], float(row["seconds"])
        counts = {name: min(max(int(row[name]), 0), 2**62) for name in ("partitions", "rows")}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return {"phase": phase, **counts, "seconds": seconds} if isinstance(phase, str) else None


@cache
def public_suffixes() -> pa.Table:
    """Return the rules of the Public Suffix List (publicsuffix.org), in a column `rule`: `co.uk`, `*.ck`, `!www.ck`;
    written as hosts are in URLs.
    """
    text = (files("publicsuffixlist") / "public_suffix_list.dat").read_text("utf-8")
    rules = (line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("//"))
    return pa.table({"rule": pa.array(sorted({_to_ascii_rule(rule) for rule in rules}), pa.string())})


def _to_ascii_rule(rule: str) -> str:
    if rule.isascii():
        return rule
    mark = rule[: len(rule) - len(rule.lstrip("!*."))]
    return mark + rule[len(mark) :].encode("idna").decode()
