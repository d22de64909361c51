"""A question for one id reads the rows that have it, and answers what it answered before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.inputs.large_dataset import Size, build
from bench.inputs.lookup_table import write_lookup
from dataset.ledger.closed import all_records
from dataset.ledger.lookup import Lookup
from dataset.query.point_queries import narrow_query
from dataset.query.views import Dataset
from pipeline.asking.explain import explain
from pipeline.stages.pack import lookup as lookup_phases


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    out: Path = tmp_path_factory.mktemp("points") / "out"
    build(str(out), Size(300))
    return str(out)


@pytest.fixture(scope="module", params=["looked up", "in every file"])
def asked(made: str, request: pytest.FixtureRequest) -> Dataset:
    """A dataset; one of before has no table of its values."""
    opened = Dataset(made)
    assert opened.lookup is not None
    if request.param == "in every file":
        opened.lookup = None
    return opened


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
    assert (narrow_query(asked.connection, text, asked._narrow_view)[0] != text) == (query in NARROWED)
    asked.sql("SHOW TABLES")  # makes every view
    wanted = asked.connection.execute(text).fetchall()
    assert asked.answer(text).fetchall() == asked.sql(text).fetchall() == wanted
    assert wanted


VALUES = {
    "url": ("_candidates", "_pairs", "_samples"),
    "page_url": ("_candidates",),
    "host": ("_candidates", "_pairs"),
    "sha256": ("_images",),
}


@pytest.mark.parametrize("rows_per_part", [lookup_phases.ROWS_PER_PART, 700])
def test_every_value_is_looked_up_where_it_stands(
    made: str, rows_per_part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_phases, "ROWS_PER_PART", rows_per_part)
    opened = Dataset(made)
    done = [commit for phase in opened._phases for commit in opened.commits(phase)]
    parts = [commit for commit in write_lookup(made, done, 1) if commit.phase == "pack.lookup"]
    assert (len(parts) > 1) == (rows_per_part == 700)
    table = Lookup(opened.storage, {commit.partition: commit.files["lookup"] for commit in parts})
    for key, behind in VALUES.items():
        for name in behind:
            at = "shard[7:11]::INTEGER AS partition" if name == "_samples" else "partition"
            value = "lower(hex(sha256))" if key == "sha256" else key
            query = f"SELECT {value} AS value, list(DISTINCT partition) FROM (SELECT *, {at} FROM {name}) GROUP BY 1"
            query = query.replace("SELECT *, partition", "SELECT *")
            for found, partitions in opened.sql(f"{query} ORDER BY 1 LIMIT 40").fetchall():
                rows = "pairs" if name == "_images" else name[1:]
                assert set(table.places(key, [found])[rows]) == set(partitions)  # type: ignore[arg-type]
    assert not any(table.places("url", ["http://nowhere.example/"]).values())
    ((gone, evidence),) = opened.sql(
        "SELECT url, evidence FROM dropped WHERE reason = 'near_duplicate_image' ORDER BY url LIMIT 1"
    ).fetchall()
    id_ = json.loads(evidence)["duplicate_of_url_id"]
    places = opened.sql(f"SELECT partition FROM _pairs WHERE url = '{gone}'").fetchall()
    assert [*table.of_ids(id_ + "0" * 16, id_ + "f" * 16)["duplicates"]] == [partition for (partition,) in places]


def test_a_story_is_the_same_with_and_without_the_table(made: str) -> None:
    asked = Dataset(made)
    kept = asked.sql("SELECT url, pair_id, page_url FROM pairs ORDER BY url LIMIT 1").fetchall()[0]
    gone = asked.sql(
        "SELECT arg_min(url, url) FROM dropped WHERE stage <> 'dedup' GROUP BY reason ORDER BY 1"
    ).fetchall()
    never = [f"{kept[0]}?never-seen", "http://nowhere.example/1.jpg"]
    for which in (*kept, kept[1][:9], *(url for (url,) in gone), *never):
        without = Dataset(made)
        without.lookup = None
        assert explain(asked, which) == explain(without, which), which


def test_what_no_question_names_is_no_name(made: str) -> None:
    asked = Dataset(made)
    asked._unread = {"_images": []}
    asked.sql("SELECT count(*) FROM pairs WHERE url = 'https://a.example/images/1.jpg'").fetchall()
    assert "_images" in asked._unread


def test_all_records_are_what_the_phases_say_and_damage_is_passed_over(made: str) -> None:
    asked = Dataset(made)
    together = all_records(asked.storage, asked.manifest)
    assert list(together) == [entry["phase"] for entry in asked.manifest["phases"]]
    assert all(asked.commits(phase) == records.every() for phase, records in together.items())
    told = asked.manifest["records"]
    assert all_records(asked.storage, {**asked.manifest, "records": {**told, "checksum": "0"}}) == {}
    assert all_records(asked.storage, {**asked.manifest, "records": {**told, "bytes": 2**40}}) == {}
