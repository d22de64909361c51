from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.archives import Piece, split
from crawl.extract import ExtractConfig, Extraction, extract, in_sample
from dataset.ids import pair_id
from dataset.schema import CANDIDATES

ROWS = [
    ("http://h.example/1.jpg#x", " A  kettle "),
    ("", "no address"),
    ("data:image/png;base64,", "inlined"),
    ("http://h.example/2.jpg", " "),
    ("ftp://h.example/3.jpg", "a file, of another scheme"),
    ("http://h.example/4.jpg", 'quoted "text"\nof two lines'),
]


def read(path: Path, data: bytes | None = None, **config: Any) -> Extraction:
    if data is not None:
        path.write_bytes(data)
    return extract([Piece(path.name, str(path), 0, -1)], ExtractConfig(**config))


def as_csv(delimiter: str, names: tuple[str, str] = ("URL", "TEXT")) -> bytes:
    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    lines = [delimiter.join(names), *(delimiter.join(map(quoted, row)) for row in ROWS)]
    return ("\n".join(lines) + "\n").encode()


def write_parquet(path: Path, rows: list[tuple[str, str]], **options: Any) -> Path:
    columns = {"SAMPLE_ID": list(range(len(rows))), "URL": [url for url, _ in rows], "TEXT": [text for _, text in rows]}
    pq.write_table(pa.table(columns), path, **options)
    return path


def check(found: Extraction) -> None:
    """What ROWS come to."""
    assert found.candidates.schema == CANDIDATES
    rows = found.candidates.to_pylist()
    assert [(row["url"], row["text"], row["host"], row["offset"]) for row in rows] == [
        ("http://h.example/1.jpg", "A kettle", "h.example", 0),
        ("ftp://h.example/3.jpg", "a file, of another scheme", "", 4),
        ("http://h.example/4.jpg", 'quoted "text" of two lines', "h.example", 5),
    ]
    assert rows[0]["pair_id"] == pair_id("http://h.example/1.jpg", "A kettle")
    assert {(row["text_source"], row["page_url"], row["ordinal"], row["page_status"]) for row in rows} == {
        ("table", "", 0, None)
    }
    source = found.sources.to_pylist()[0]
    names = ("type", "records", "images_seen", "candidates", "no_text", "no_url", "data_uri", "error")
    assert [source[name] for name in names] == ["table", 6, 6, 3, 1, 1, 1, None]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_csv(delimiter: str, compress: Any, tmp_path: Path) -> None:
    check(read(tmp_path / "a", compress(as_csv(delimiter))))


def test_parquet(tmp_path: Path) -> None:
    check(read(write_parquet(tmp_path / "a", ROWS)))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 7))
def test_pieces_of_a_parquet_file_hold_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, cuts: int
) -> None:
    made = [(f"http://h.example/{n}.jpg", f"text {n}") for n in range(rows)]
    path = write_parquet(tmp_path_factory.mktemp("x") / "a", made, row_group_size=group)
    size = path.stat().st_size
    found = extract(split("a", str(path), size, -(-size // cuts)), ExtractConfig())
    assert found.candidates["text"].to_pylist() == [text for _, text in made]
    assert found.candidates["offset"].to_pylist() == list(range(rows))


def test_columns_by_config(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"Image,Caption,alt\nhttp://h.example/a,one,two\n")
    assert read(path).sources["error"].to_pylist() == [
        "a has no column url or image_url among Image, Caption, alt; name yours in extract.url_columns"
    ]
    assert read(path, url_columns=("image",)).candidates["text"].to_pylist() == ["one"]
    assert read(path, url_columns=("image",), text_columns=("ALT",)).candidates["text"].to_pylist() == ["two"]
    for key in ("url_columns", "text_columns"):
        with pytest.raises(ValueError, match=f"{key} must name"):
            ExtractConfig(**{key: ()})


def test_rows_that_do_not_fit_cost_themselves(tmp_path: Path) -> None:
    found = read(tmp_path / "a", b"url,text\nhttp://h/1,a\nhttp://h/2,b,c\nhttp://h/3,\xffd\n")
    assert found.candidates["text"].to_pylist() == ["a", "\ufffdd"]
    assert found.sources["error"].to_pylist()[0].startswith("a has 1 rows with more or fewer columns")


def test_damaged_tables_say_so(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a", ROWS)
    for data in (path.read_bytes()[:-9], b"PAR1", gzip.compress(as_csv(","))[:-20]):
        assert "as a table" in read(path, data).sources["error"].to_pylist()[0]
    numbers = pa.table({"url": [[1]], "text": ["x"]})
    pq.write_table(numbers, path)
    assert "as a table" in read(path).sources["error"].to_pylist()[0]


def test_a_sample_is_of_rows_by_url(tmp_path: Path) -> None:
    made = [(f"http://h.example/{n}.jpg", f"text {n}") for n in range(400)]
    path = write_parquet(tmp_path / "a", made)
    small, large = read(path, sample=0.1), read(path, sample=0.3)
    assert 20 < small.candidates.num_rows < 60 < large.candidates.num_rows < 180
    assert set(small.candidates["url"].to_pylist()) < set(large.candidates["url"].to_pylist())
    row = small.sources.to_pylist()[0]
    assert (row["records"], row["not_sampled"]) == (400, 400 - small.candidates.num_rows)
    assert in_sample("anything", 1.0)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="sample must be a share"):
            ExtractConfig(sample=share)


def test_a_published_table(shared_data: Path) -> None:
    found = read(shared_data / "laion-sample-1000.parquet")
    assert found.candidates.num_rows == 1000
    assert found.sources["error"].to_pylist() == [None]
