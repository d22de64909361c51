"""The SQL of docs/sources.md makes tables of the documents that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest

from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract

DOCS = Path(__file__).parents[3] / "docs" / "sources.md"
ROWS = [{"url": "http://h/1", "caption": 'a "dog"'}, {"url": "http://h/2", "caption": "a cat, too"}]


def test_documents_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {"image_urls": [row["url"] for row in ROWS], "captions": [row["caption"] for row in ROWS]}
    for name, document in (
        ("redcaps.json", {"info": {"year": 2020}, "annotations": ROWS}),
        ("sbu-captions-all.json", columns),
        ("array.json", ROWS),
    ):
        Path(name).write_text(json.dumps(document))
    (sql,) = re.findall(r"```sql\n(COPY .*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    duckdb.sql(sql)
    for name in ("redcaps", "sbu", "array"):
        found = extract([Piece(name, f"{name}.parquet", 0, -1)], ExtractConfig())
        assert found.candidates["text"].to_pylist() == [row["caption"] for row in ROWS]
