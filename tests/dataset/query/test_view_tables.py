"""What stands for a column that an older version did not write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataset.hosts import hostname
from dataset.ledger.commits import FileRef
from dataset.query.sql import literal
from dataset.query.view_tables import CommittedTable
from dataset.store.storage import Storage

URLS = [
    "http://a.example/1.jpg",
    "https://a.example.:8080/x?b=http://c/",
    "http://[2001:db8::1]:80/",
    "https://1.2.3.4/",
]


def test_a_file_without_hosts_has_those_of_its_addresses(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": URLS}), tmp_path / "old.parquet")
    schema = pa.schema([("url", pa.string()), ("host", pa.string()), ("width", pa.int32())])
    table = CommittedTable("_images", ((0, FileRef("old.parquet", 1, "", 4)),), schema, numbered=False)
    committed: Any = SimpleNamespace(
        storage=Storage(str(tmp_path)), schema=lambda file: pq.read_schema(tmp_path / file.name)
    )
    select = table.select(committed, f"[{literal(str(tmp_path / 'old.parquet'))}]")
    assert duckdb.sql(select).fetchall() == [(url, hostname(url), None) for url in URLS]
