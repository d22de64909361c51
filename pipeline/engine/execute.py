"""A task done: its phase's function is called, what it answers is written, and the commit record is returned.

It runs in a child process or a Ray worker, for a debugger in the driver itself.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

import pyarrow as pa

from dataset import usage
from dataset.ids import checksum
from dataset.ledger.commits import Commit, FileRef, Ledger
from dataset.ledger.lease import LeaseFence
from dataset.store import rate_limit, web
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from pipeline.engine.phase import KEYS, LEFT_OUT, LEFT_OUT_ROLE, PHASES, Context, Result, Task


def execute(url: str, module: str, task: Task) -> Commit:
    """Do one task and commit it. A probe (`task.only`) writes nothing."""
    before = usage.so_far()
    importlib.import_module(module)  # so that the stage's phases are registered
    web.be_patient(task.hints.get("web_patience_s", web.PATIENCE_S))
    rate_limit.set_rate(task.hints.get("source_requests_per_s", 0.0))
    storage = Storage(url)
    if token := task.hints.get("lease"):
        storage.fence = LeaseFence(url, token)
    context = Context(storage, task)
    result = PHASES[task.phase].function(context)
    plain = replace(task, only=None, without={})
    if context.is_probe:
        return Commit(task.phase, task.partition, plain.fingerprint, {}, {}, {})
    if context.left_out:
        result.table(LEFT_OUT_ROLE, pa.Table.from_pylist(context.left_out, schema=LEFT_OUT), LEFT_OUT)
    PHASES[task.phase].contract.check_result(task.phase, _given_columns(result))
    files: dict[str, FileRef] = dict(result.refs)
    for role, (table, schema) in result.tables.items():
        files[role] = _write(storage, context.phase_file(role, "parquet"), to_parquet(table, schema), table.num_rows)
    for role, parquet in result.parquets.items():
        files[role] = _write(storage, context.phase_file(role, "parquet"), parquet.finish(), parquet.rows)
    for role, bucket_file in result.buckets.items():
        files[role] = _write(storage, context.phase_file(role, "arrows"), bucket_file.data, bucket_file.rows)
    for role, (name, content) in result.files.items():
        files[role] = _write(storage, name, content, 0)
    facts = dict(result.facts)
    if PHASES[task.phase].reuses:
        facts["method"] = task.method
    if task.without:
        facts["quarantined"] = [task.without[unit].as_dict() for unit in sorted(task.without)]
    commit = Commit(task.phase, task.partition, plain.fingerprint, files, result.counts, facts)
    Ledger(storage, task.phase).add(commit)
    is_first = task.phase not in _DONE
    _DONE.add(task.phase)
    return replace(commit, spent={**usage.since(before), **({"first": 1} if is_first else {})})


_DONE: set[str] = set()  # phases of which this process has done a task: its code is loaded, and so are its models


def _given_columns(result: Result) -> dict[str, pa.Schema | None]:
    """The roles of a result, and the columns of its tables. Of many files of a kind (`blob:NAME`) the kind is the role,
    and the keys of what is remembered go with it."""
    tables: dict[str, pa.Schema | None] = {role: table.schema for role, (table, _) in result.tables.items()}
    others = [*result.parquets, *result.buckets, *result.files, *(role.partition(":")[0] for role in result.refs)]
    schemas = {**tables, **dict.fromkeys(others)}
    keys = {f"{role}{KEYS}" for role in schemas}
    return {role: schema for role, schema in schemas.items() if role not in keys}


def _write(storage: Storage, name: str, data: bytes | pa.Buffer, rows: int) -> FileRef:
    storage.write(name, data)
    return FileRef(name, len(memoryview(data)), checksum(data), rows)
