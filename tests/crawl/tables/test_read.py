from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.archives.decoding.streams import SourceFile
from crawl.archives.records import Piece, split
from crawl.candidates.config import ExtractConfig, in_sample
from crawl.candidates.extract import Extraction, extract
from crawl.tables import parquet
from crawl.tables.columns import Columns, Losses
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
    check(read(tmp_path / "a", compress(as_csv(delimiter)), quoted_tsv=True))


def test_parquet(tmp_path: Path) -> None:
    check(read(write_parquet(tmp_path / "a", ROWS)))


@settings(max_examples=12)
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


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_list_of_captions_is_several_texts(type_: pa.DataType, tmp_path: Path) -> None:
    captions = [["", " a dog ", "a brown dog", "a dog"], [], None, ["a cat"]]
    column = pa.array(captions, pa.list_(pa.string())).cast(pa.list_(type_))
    pq.write_table(pa.table({"url": [f"http://h/{n}" for n in range(4)], "text": column}), tmp_path / "a")
    first, every = read(tmp_path / "a"), read(tmp_path / "a", texts_per_image="all")
    assert first.candidates["text"].to_pylist() == ["a dog", "a cat"]
    places = [(row["text"], row["offset"], row["ordinal"]) for row in every.candidates.to_pylist()]
    assert places == [("a dog", 0, 0), ("a brown dog", 0, 1), ("a cat", 3, 0)]
    for found in (first, every):
        row = found.sources.to_pylist()[0]
        assert [row[name] for name in ("records", "images_seen", "no_text", "error")] == [4, 4, 2, None]


def test_columns_of_parquet_that_tools_write(tmp_path: Path) -> None:
    urls = ["http://h/1", "http://h/2"]
    for texts, expected in (
        (pa.array(["x", None]).dictionary_encode(), ["x"]),
        (pa.array([b"caf\xe9", b"x"]), ["caf\ufffd", "x"]),
        (pa.array([1, 2.5]), ["1", "2.5"]),
        (pa.nulls(2), []),
    ):
        pq.write_table(pa.table({"url": urls, "text": texts}), tmp_path / "a")
        found = read(tmp_path / "a")
        assert (found.candidates["text"].to_pylist(), found.sources["error"].to_pylist()) == (expected, [None])
    table = pa.table({"url": urls, "text": pa.nulls(2), "caption": ["a", "b"]})
    pq.write_table(table, tmp_path / "a")
    assert read(tmp_path / "a").candidates["text"].to_pylist() == ["a", "b"]  # a column without a value is passed over


def test_columns_that_hold_no_texts_are_a_sentence(tmp_path: Path) -> None:
    nested = pa.array([{"en": "x"}])
    for table, words in (
        (pa.table({"url": [[1]], "text": ["x"]}), "holds list<element: int64> in its column url, which is no text"),
        (
            pa.table({"url": [7], "text": ["x"]}),
            "holds int64 in its column url, which is no address; name yours in extr",
        ),
        (pa.table({"url": ["x"], "text": nested}), "holds struct<en: string> in its column text"),
        (
            pa.table([pa.array(["a"])] * 3, names=["url", "text", "text"]),
            "has 2 columns called text; rename all but one",
        ),
    ):
        pq.write_table(table, tmp_path / "a")
        (error,) = read(tmp_path / "a").sources["error"].to_pylist()
        assert error.startswith("a ")
        assert words in error


@pytest.mark.parametrize("number", ["12345", "-1", "3.5e7", "1,5"])
def test_a_number_is_no_address(number: str, tmp_path: Path) -> None:
    found = read(tmp_path / "a", f"url;text\n{number};a dog\nhttp://h/1;a cat\n".encode())
    assert found.candidates["text"].to_pylist() == ["a cat"]
    (row,) = found.sources.to_pylist()
    assert [row[name] for name in ("records", "no_url", "candidates", "error")] == [2, 1, 1, None]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6), st.integers(0, 40))
def test_rows_of_a_damaged_parquet_file_are_read_or_counted(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]], cut: int
) -> None:
    path = write_parquet(tmp_path_factory.mktemp("x") / "a", ROWS * 3, row_group_size=4)
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[int(place * len(data))] = value
    found = read(path, bytes(data[: len(data) - cut]))
    (row,) = found.sources.to_pylist()
    assert row["error"] is not None or row["type"] != "table" or row["records"] + row["damaged_records"] == 18


def test_a_row_group_that_is_damaged_costs_itself(tmp_path: Path) -> None:
    made = [(f"http://h.example/{n}.jpg", f"text {n}") for n in range(3000)]
    path = write_parquet(tmp_path / "a", made, row_group_size=1000)
    group = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + 64] = b"\xff" * 64
    found = read(path, bytes(data))
    (row,) = found.sources.to_pylist()
    assert (row["records"], row["damaged_records"]) == (2000, 1000)
    assert row["error"] == "a has 1,000 rows in row groups that cannot be read; the others were read"
    assert found.candidates["offset"].to_pylist() == [*range(1000), *range(2000, 3000)]


def test_no_bit_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    """pyarrow aborts where it is asked for a column's metadata that contradict themselves."""
    path = write_parquet(tmp_path / "a", ROWS, row_group_size=4)
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little")
    code = f"""
import io, pathlib
import pyarrow as pa
from crawl.archives.decoding.streams import SourceFile
from crawl.tables.columns import Columns, Losses, TableError
from crawl.tables.parquet import read_parquet
data = pathlib.Path({str(path)!r}).read_bytes()
for place in range(len(data) - 8 - {footer}, len(data) - 8):
    bad = bytearray(data)
    bad[place] ^= 4
    try:
        list(read_parquet(SourceFile(pa.BufferReader(bytes(bad))), 0, len(bad), Columns("", ""), Losses()))
    except (pa.ArrowException, OSError, ValueError, TableError):
        pass
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr


def test_json_lines(tmp_path: Path) -> None:
    lines = [{"id": number, "URL": url, "TEXT": text} for number, (url, text) in enumerate(ROWS)]
    data = "\n\n".join(map(json.dumps, lines)).encode()
    check(read(tmp_path / "a", data))
    check(read(tmp_path / "a", gzip.compress(data)))
    check(read(tmp_path / "a", data.decode().encode("utf-16")))


def test_json_lines_of_other_tools(tmp_path: Path) -> None:
    data = (
        b'{"url": "http://h/1", "caption": ["a dog", "a brown dog"]}\n{"caption": "no address"}\n'
        b'{"url": "http://h/2", "caption": 7, "size": NaN}\n{"url": "http://h/3", "caption": {"en": "x"}}\n'
        b'{"url": "http://h/4", "caption": "caf\xe9 \\ud800"}\n'
    )
    found = read(tmp_path / "a", data + b"[]\n" + b'{"url":' + b"[" * 99_999 + b"\n", texts_per_image="all")
    assert found.candidates["text"].to_pylist() == ["a dog", "a brown dog", "7", "caf\ufffd \ufffd"]
    (row,) = found.sources.to_pylist()
    counts = [row[name] for name in ("records", "damaged_records", "no_url", "no_text", "error")]
    assert counts == [5, 2, 1, 1, "a has 2 rows that are no JSON object; the others were read"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")), max_size=8))
def test_each_of_any_json_lines_is_read_or_counted(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    good = b'{"url": "http://h/1", "text": "x"}'
    found = read(tmp_path_factory.mktemp("x") / "a", b"\n".join([good, *lines, good, b""]))
    (row,) = found.sources.to_pylist()
    if row["type"] == "table":
        assert row["records"] + row["damaged_records"] == 2 + len([line for line in lines if line.strip()])
        assert row["candidates"] >= 2


@pytest.mark.parametrize(
    "document",
    [
        {"info": {"year": 2020}, "annotations": [{"url": "http://h/1", "caption": "x"}, {"url": "http://h/2"}]},
        {"image_urls": ["http://h/1", "http://h/2"], "captions": ["a", "b"]},
        {"info": {}, "annotations": [{"url": "http://h/1", "caption": "x"}]},
        [{"url": "http://h/1", "caption": "x"}],
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_document_says_what_to_do(document: object, indent: int | None, tmp_path: Path) -> None:
    (error,) = read(tmp_path / "a", json.dumps(document, indent=indent).encode()).sources["error"].to_pylist()
    assert error.startswith("a is one JSON document and no table; make JSON lines or Parquet of it, as docs/sources.md")


def test_columns_of_tables_without_a_header(tmp_path: Path) -> None:
    data = b"a dog\thttp://h/1\na cat\thttp://h/2\n"
    assert "in extract.columns, such as [text, url]" in str(read(tmp_path / "a", data).sources["error"].to_pylist())
    found = read(tmp_path / "a", data, columns=("text", "url"))
    assert found.candidates["text"].to_pylist() == ["a dog", "a cat"]
    with pytest.raises(ValueError, match="columns must name a column of url_columns and one of text_columns"):
        ExtractConfig(columns=("url", "note"))


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


def test_a_text_column_of_other_bytes_is_read(tmp_path: Path) -> None:
    """Parquet's readers believe that a text column is UTF-8."""
    path = write_parquet(tmp_path / "a", [("http://h.example/1.jpg", "caf#"), ("http://h.example/2.jpg", "two cats")])
    found = read(path, path.read_bytes().replace(b"caf#", b"caf\xe9"))
    assert found.candidates["text"].to_pylist() == ["caf\ufffd", "two cats"]


def test_what_is_no_address_in_a_page_is_none_in_a_table(tmp_path: Path) -> None:
    none = [
        "{{ url }}",
        "http://h.example/${name}.jpg",
        "http://h.example/%s.jpg",
        "null",
        " NaN ",
        "/undefined",
        "#top",
    ]
    inlined = 'data:image/svg+xml,<svg width="{{ width }}">'
    kept = ["http://h.example/%7Ename/1.jpg", "http://h.example/{0f8fad5b-d9cb-469f-a165-70867728950e}.jpg"]
    path = write_parquet(tmp_path / "a", [(url, "a kettle") for url in [*none, inlined, *kept]])
    found = read(path)
    assert found.candidates["offset"].to_pylist() == [len(none) + 1, len(none) + 2]
    assert [found.sources[name].to_pylist() for name in ("no_url", "data_uri")] == [[len(none)], [1]]


@pytest.mark.parametrize("keep_schema", [False, True])
def test_a_long_text_that_many_rows_share_is_written_out_in_parts(
    keep_schema: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of a few kilobytes may stand for gigabytes."""
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 2**20)
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 299 + [1], pa.int32()), pa.array(["w " * 100_000, "short"]))
    table = pa.table({"url": [f"http://h.example/{row}.jpg" for row in range(300)], "text": shared})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=keep_schema)
    source = SourceFile(pa.OSFile(str(tmp_path / "a.parquet")))
    batches = list(parquet.read_parquet(source, 0, source.size, Columns(["url"], ["text"]), Losses()))
    assert [batch.first for batch in batches][:2] == [0, len(batches[0].urls)]
    assert sum(len(batch.urls) for batch in batches) == 300 and len(batches) > 10
    assert max(batch.texts.nbytes for batch in batches) <= 2**20 + 2**16
    assert batches[-1].texts[-1].as_py() == "short"
