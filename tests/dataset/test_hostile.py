"""A dataset from somebody else: opening it, asking it, and running into it run nothing and touch nothing outside it."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset.ledger.commits import Commit, FileRef, Ledger, RecordError
from dataset.query import sandbox, sql
from dataset.query.views import Dataset
from dataset.store.storage import OutsideError, Storage
from dataset.tables import to_parquet
from tests.pipeline.dataset_fixture import HandMade


@pytest.fixture
def made(tmp_path: Path) -> HandMade:
    made = HandMade(tmp_path / "out")
    made.write([{"url": "http://a.example/1.jpg", "text": "a rose"}])
    return made


def test_a_files_name_is_no_sql(made: HandMade, tmp_path: Path) -> None:
    target = tmp_path / "stolen"
    name = f"text/measure/x']); COPY (SELECT 1) TO '{target}'; --.parquet"
    made.storage.write(name, to_parquet(pa.table({"row": [1]})).to_pybytes())
    digest = Ledger(made.storage, "text.measure").close(
        [Commit("text.measure", 0, "aa", {"measures": FileRef(name, 1, "c", rows=1)})]
    )
    phase = {"phase": "text.measure", "partitions": 1, "records": "text/measure/commits.parquet"}
    phase["checksum"] = digest
    made.phases.append(phase)
    made.manifest({}, complete=True)
    with pytest.raises(RecordError, match="no file's name"):
        Dataset(made.storage.url).sql("FROM _texts")
    assert not target.exists()


@pytest.mark.parametrize(
    "column",
    ['x" FROM (SELECT 1); COPY (SELECT 1) TO \'TARGET\'; --', "x'y", 'x"y', "a b", "SELECT", "é", "a;b", "*", "x\ny"],
)  # fmt: skip
def test_a_columns_name_is_no_sql(made: HandMade, tmp_path: Path, column: str) -> None:
    target = tmp_path / "stolen"
    column = column.replace("TARGET", str(target))
    schema = pa.schema([("row", pa.uint32()), (column, pa.int64())])
    made.commit("image.custom", {"measures": (pa.table({"row": [0], column: [7]}, schema), schema)})
    made.manifest({}, complete=True)
    dataset = Dataset(made.storage.url)
    assert dataset.sql(f"SELECT {sql.identifier(column)} FROM _image_custom").fetchall() == [(7,)]
    assert not target.exists()


def test_columns_that_sql_cannot_tell_apart_are_one(made: HandMade) -> None:
    schema = pa.schema([("row", pa.uint32()), ("", pa.int64()), ("Score", pa.int64()), ("score", pa.int64())])
    made.commit("image.custom", {"measures": (pa.table([[0], [1], [2], [3]], schema=schema), schema)})
    made.manifest({}, complete=True)
    columns = Dataset(made.storage.url).sql("SELECT * FROM _image_custom").columns
    assert columns == ["partition", "row", "Score"]


def test_a_query_over_tables_opens_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(duckdb.Error, match="disabled by configuration"):
        sql.run(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')", {})


def test_a_large_answer_spills_to_the_temporary_folder_and_leaves_nothing(
    made: HandMade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spill"))
    (tmp_path / "spill").mkdir()
    connection = sandbox.connect_for_questions()
    connection.execute("SET memory_limit = '40MB'")
    connection.execute("SET threads = 1")
    sandbox.confine(connection, ())
    rows = connection.execute(
        "SELECT count(*) FROM (SELECT * FROM (SELECT i, md5(i::VARCHAR) AS m FROM range(800000) t(i)) ORDER BY m, i)"
        " WHERE m IS NOT NULL"
    ).fetchall()
    assert rows == [(800_000,)]
    connection.close()
    assert not list((tmp_path / "spill").iterdir())


@pytest.mark.parametrize("how", ["read", "open", "write", "create", "list", "exists", "delete", "delete_folder",
                                 "read_ranges", "open_output"])  # fmt: skip
@pytest.mark.parametrize("where", ["folder", "file", "below"])
def test_no_link_leads_a_store_out_of_its_root(tmp_path: Path, how: str, where: str) -> None:
    documents = tmp_path / "documents"
    (documents / "deep").mkdir(parents=True)
    (documents / "letter.txt").write_text("dear")
    (documents / "deep" / "letter.txt").write_text("dear")
    root = tmp_path / "out"
    (root / "dedup").mkdir(parents=True)
    if where == "file":
        (root / "dedup" / "decide").mkdir()
        (root / "dedup" / "decide" / "letter.txt").symlink_to(documents / "letter.txt")
    else:
        (root / "dedup" / "decide").symlink_to(documents if where == "folder" else documents / "deep" / "..")
    name = "dedup/decide/deep/letter.txt" if where == "below" else "dedup/decide/letter.txt"
    storage = Storage(str(root))
    calls = {
        "read": lambda: storage.read(name),
        "open": lambda: storage.open(name),
        "write": lambda: storage.write(name, b"x"),
        "create": lambda: storage.create(name, b"x"),
        "list": lambda: storage.list("dedup/decide"),
        "exists": lambda: storage.exists(name),
        "delete": lambda: storage.delete([name]),
        "delete_folder": lambda: storage.delete_folder(name),
        "read_ranges": lambda: storage.read_ranges(name, [(0, 1)]),
        "open_output": lambda: storage.open_output(name),
    }
    with pytest.raises(OutsideError, match="is a link that leads out of"):
        calls[how]()
    assert sorted(path.name for path in documents.iterdir()) == ["deep", "letter.txt"]
    assert (documents / "letter.txt").read_text() == (documents / "deep" / "letter.txt").read_text() == "dear"


def test_what_is_looked_through_is_the_storages_own(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / ".tmp-precious").write_text("dear")
    root = tmp_path / "out"
    (root / "a").mkdir(parents=True)
    (root / "a" / "out").symlink_to(documents)
    (root / "a" / "round").symlink_to(root)
    (root / "a" / ".tmp-half").write_text("x")
    (root / "a" / "own").write_text("x")
    (root / "a" / "same").symlink_to(root / "a" / "own")
    storage = Storage(str(root))
    assert [info.name for info in storage.list(recursive=True)] == ["a/own", "a/same"]
    assert storage.read("a/same") == b"x"
    assert storage.sweep() == 1
    storage.delete_folder("a")
    assert (documents / ".tmp-precious").exists()
    assert not (root / "a").exists()


def test_a_root_that_is_a_link_is_the_users_own_doing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    storage = Storage(str(tmp_path / "out"))
    storage.write("a/b", b"x")
    assert storage.read("a/b") == b"x"
    assert [info.name for info in storage.list(recursive=True)] == ["a/b"]


def test_a_folder_for_reading_may_be_made_of_links(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cats").symlink_to(tmp_path / "photos")
    storage = Storage(str(tmp_path / "set"), leave=True)
    assert [info.name for info in storage.list(recursive=True)] == ["cats/a.jpg"]
    assert storage.read("cats/a.jpg") == b"x"


def test_a_phases_folder_that_leads_out_ends_the_collection(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("dear")
    (tmp_path / "out" / "dedup").mkdir(parents=True)
    (tmp_path / "out" / "dedup" / "decide").symlink_to(documents)
    ledger = Ledger(Storage(str(tmp_path / "out")), "dedup.decide")
    for call in (ledger.load, lambda: ledger.collect([]), lambda: ledger.close([])):
        with pytest.raises(OutsideError):
            call()
    assert [path.name for path in documents.iterdir()] == ["letter.txt"]


def test_a_view_reads_no_file_through_a_link(made: HandMade, tmp_path: Path) -> None:
    (name,) = [info.name for info in made.storage.list("extract/candidates") if "candidates-" in info.name]
    outside = tmp_path / "outside.parquet"
    outside.write_bytes(made.storage.read(name))
    Path(made.storage.path(name)).unlink()
    (tmp_path / "out" / name).symlink_to(outside)
    with pytest.raises(OutsideError):
        Dataset(made.storage.url)


def test_partitions_and_rows_are_those_of_the_records(tmp_path: Path) -> None:
    """Files of several partitions, named in another order than their numbers', with other columns' orders."""
    from dataset.schema import CANDIDATES

    storage = Storage(str(tmp_path / "out"))
    commits = []
    for partition, mark in ((0, "z"), (1, "a"), (2, "m")):
        rows = pa.Table.from_pylist([{"url": f"{partition}-{row}", "ordinal": row} for row in range(3)], CANDIDATES)
        name = f"extract/candidates/{mark}.parquet"
        data = to_parquet(rows, CANDIDATES)
        storage.write(name, data)
        commits.append(Commit("extract.candidates", partition, mark, {"candidates": FileRef(name, data.size, "", 3)}))
    digest = Ledger(storage, "extract.candidates").close(commits)
    phase = {"phase": "extract.candidates", "records": "extract/candidates/commits.parquet", "checksum": digest}
    storage.write("manifest.json", json.dumps({"complete": False, "phases": [phase]}).encode())
    found = Dataset(storage.url).sql("SELECT url, partition, row FROM _candidates ORDER BY url").fetchall()
    assert found == [(f"{partition}-{row}", partition, row) for partition in range(3) for row in range(3)]
    assert pq.read_metadata(storage.path("extract/candidates/z.parquet")).num_rows == 3
