"""A question for one id reads the rows that have it, and answers what it answered before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.audit_dataset import Size, build
from dataset.query.points import narrowed
from dataset.query.view_tables import views
from dataset.query.views import Dataset


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    out: Path = tmp_path_factory.mktemp("points") / "out"
    build(str(out), Size(300))
    yield Dataset(str(out))


NARROWED = [
    "SELECT * FROM pairs WHERE pair_id = '{pair_id}'",
    "SELECT p.url FROM pairs AS p WHERE '{pair_id}' = P.pair_id AND text IS NOT NULL",
    "FROM candidates WHERE pair_id = '{pair_id}' ORDER BY ALL",
    "SELECT é.text FROM candidates é WHERE 'é' <> '' AND é.pair_id = '{pair_id}'",
    "SELECT * FROM dropped WHERE pair_id = '{dropped}' ORDER BY ALL",
    "SELECT * FROM images WHERE sha256 = '{sha256}'",
    "SELECT * FROM images WHERE url = '{url}'",
    "SELECT * FROM pairs WHERE host = '{host}' ORDER BY ALL",
    "SELECT * FROM images WHERE (host = split_part('{url}', '/', 3) OR url = '') AND url = '{url}'",
    "SELECT count(*) FROM images WHERE url IN (SELECT url FROM pairs WHERE pair_id = '{pair_id}')",
    "WITH found AS (SELECT * FROM scores WHERE pair_id = '{pair_id}') SELECT * FROM found",
    "SELECT (SELECT count(*) FROM pairs), count(*) FROM pairs WHERE pair_id = '{pair_id}'",
]
AS_BEFORE = [
    "SELECT * FROM images i WHERE host = 'nowhere.example' OR i.url = '{url}'",
    "SELECT count(*) FROM pairs WHERE pair_id = '{pair_id}' OR text <> ''",
    "SELECT count(*) FROM pairs WHERE pair_id = 'abcdefabcdefabcd'",
    "WITH pairs AS (SELECT '{pair_id}' AS pair_id, 1 AS mine) SELECT * FROM pairs WHERE pair_id = '{pair_id}'",
    "WITH _samples AS (SELECT 1) SELECT count(*) FROM pairs WHERE pair_id = '{pair_id}'",
    "SELECT count(*) FROM pairs WHERE NOT pair_id = '{pair_id}'",
    "SELECT count(*) FROM pairs WHERE pair_id = upper('{pair_id}')",
]


@pytest.mark.parametrize("query", [*NARROWED, *AS_BEFORE])
def test_the_answer_is_that_of_the_whole_view(asked: Dataset, query: str) -> None:
    ((pair_id, sha256, url, host),) = asked.sql(
        "SELECT pair_id, sha256, url, host FROM pairs ORDER BY url LIMIT 1"
    ).fetchall()
    ((dropped,),) = asked.sql("SELECT pair_id FROM dropped WHERE stage = 'fetch' ORDER BY url LIMIT 1").fetchall()
    text = query.format(pair_id=pair_id, sha256=sha256, url=url, host=host, dropped=dropped)
    assert (narrowed(asked.connection, text, views()) != text) == (query in NARROWED)
    wanted = asked.connection.execute(text).fetchall()
    assert asked.answer(text).fetchall() == asked.sql(text).fetchall() == wanted
    assert wanted
