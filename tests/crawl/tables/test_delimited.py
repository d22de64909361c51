from __future__ import annotations

import csv
import io
import re
import resource

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawl.tables import delimited, lines
from crawl.tables.columns import Columns, Losses, TableError
from crawl.tables.delimited import read_delimited
from crawl.tables.lines import MAX_LINE_BYTES, as_utf8

COLUMNS = Columns(("url",), ("text", "caption"))
Rows = list[tuple[str, str]]
MARKS = st.text('"ab ', max_size=5)


def read(data: bytes, columns: Columns = COLUMNS) -> tuple[Rows, Losses]:
    losses = Losses()
    batches = list(read_delimited(as_utf8(io.BytesIO(data).read), columns, losses))
    rows = [row for batch in batches for row in zip(batch.urls.to_pylist(), batch.texts.to_pylist(), strict=True)]
    assert [batch.first for batch in batches] == [
        sum(len(before.urls) for before in batches[:number]) for number in range(len(batches))
    ]
    return rows, losses


def written(rows: Rows, **how: object) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n", **how).writerows([("url", "text"), *rows])  # type: ignore[arg-type]
    return sink.getvalue().encode()


def addressed(texts: list[str]) -> Rows:
    return [(f"http://h.example/{number}.jpg", text) for number, text in enumerate(texts)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b'"', b"\t", b",", b"\n", b"\r", b"\x00", b"\xff", b"a", b"http://h/", b"#"])))
def test_each_line_of_a_tsv_is_a_row_or_is_counted(parts: list[bytes]) -> None:
    data = b"".join(parts)
    rows, losses = read(b"url\ttext\n" + data)
    assert len(rows) + losses.rows.total() == len([line for line in re.split(b"[\r\n]", data) if line])


@settings(max_examples=60, deadline=None)
@given(st.lists(MARKS, min_size=1, max_size=8), st.booleans(), st.sampled_from([",", "\t", ";"]))
@example(['"Sunset', 'a 5" nail', "", 'the last"'], True, ",")
def test_quotation_marks_of_texts_cost_no_row(texts: list[str], text_first: bool, delimiter: str) -> None:
    rows = addressed(texts)
    names, written = ("url", "text"), [delimiter.join(row[:: -1 if text_first else 1]) for row in rows]
    data = "\n".join([delimiter.join(names[:: -1 if text_first else 1]), *written])
    found, losses = read(data.encode())
    assert ([url for url, _ in found], losses.rows.total()) == ([url for url, _ in rows], 0)
    if delimiter == "\t":
        assert found == rows
    assert all(text.replace('"', "") == was.replace('"', "") for (_, text), (_, was) in zip(found, rows, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text('"ab,;\t\r\né ', max_size=12), max_size=6), st.sampled_from([",", ";", "\t"]), st.integers(1, 40)
)
def test_what_is_quoted_right_is_read_right(texts: list[str], delimiter: str, block_bytes: int) -> None:
    rows = addressed(texts)
    data = written(rows, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", block_bytes)
        found, losses = read(data, Columns(("url",), ("text",), quoted_tsv=True))
    line_ends = [(url, text.replace("\r\n", "\n").replace("\r", "\n")) for url, text in rows]
    assert (found, losses.rows.total()) == (line_ends, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r\n", b"a", b"http://h/1,b\n", b'"",', b',"'])), st.integers(1, 30)
)
def test_any_bytes_are_read_alike_in_blocks_of_any_size(parts: list[bytes], block_bytes: int) -> None:
    data = b"url,text\n" + b"".join(parts)
    whole = read(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", block_bytes)
        assert read(data) == whole


def test_a_quote_that_never_closes_costs_its_row_at_most() -> None:
    plain = [(f"http://h.example/{n}.jpg", f"a small boat number {n}") for n in range(3000)]
    for bad in ('"Sunset', '"Sunset, with a comma'):
        data = "text,url\n" + "".join(f"{bad if n == 10 else text},{url}\n" for n, (url, text) in enumerate(plain))
        rows, losses = read(data.encode())
        assert len(rows) + losses.rows.total() == 3000
        assert len(rows) == 3000 - bad.count(",")
    assert losses.rows == {"with more or fewer columns than its first line": 1}
    assert losses.sentence() == "has 1 rows with more or fewer columns than its first line; the others were read"


def test_a_line_of_a_caption_is_no_row() -> None:
    text = "a caption\nhttp://other.example/ of two lines,\nand a third"
    assert read(written([("http://h.example/1.jpg", text)]))[0] == [("http://h.example/1.jpg", text)]


def test_lines_that_are_too_long_cost_themselves() -> None:
    long = b'http://h/2,"' + b"x" * (3 * MAX_LINE_BYTES)
    for data in (b"http://h/1,a\n" + long + b"\nhttp://h/3,c\n", b"http://h/1,a\nhttp://h/3,c\n" + long):
        rows, losses = read(b"url,text\n" + data)
        assert (rows, losses.rows) == ([("http://h/1", "a"), ("http://h/3", "c")], {"of more than 1,048,576 bytes": 1})
    fits = b"x" * (MAX_LINE_BYTES - 20)
    assert len(read(b"url,text\nhttp://h/1," + fits + b"\n")[0][0][1]) == len(fits)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_byte_order_marks(encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    data = (mark + "url,text\r\nhttp://h/1,café\r\n").encode(encoding)
    assert read(data)[0] == [("http://h/1", "café")]
    assert read(data + b"\x00")[0][0] == ("http://h/1", "café")  # cut within a character


def test_bytes_that_are_no_text_become_the_replacement_character() -> None:
    rows, losses = read(b"url,text\nhttp://h/1,caf\xe9\nhttp://h/2,a\x00b\n")
    assert rows == [("http://h/1", "caf\ufffd"), ("http://h/2", "a\x00b")]
    assert not losses.rows


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("# of 2024\n\n url , caption ", "http://h/1,a dog"),
        ("URL;Caption", "http://h/1;a dog"),
        ("id,url,alt,caption", "7,http://h/1,x,a dog"),
        ('"url"\t"caption"', '"http://h/1"\t"a dog"'),
        ("url\tnote, or none\tcaption", "http://h/1\t\ta dog"),
    ],
)
def test_headers(header: str, row: str) -> None:
    assert read(f"{header}\n{row}\n".encode())[0] == [("http://h/1", "a dog")]


@pytest.mark.parametrize("mark", [";", ",", "|", "\t"])
def test_the_line_by_which_excel_names_the_separator_is_no_row(mark: str) -> None:
    rows = [("http://h/1;a,b|c", "one, or; two"), ("http://h/2", 'a "dog"')]
    table = written(rows, delimiter=mark, quoting=csv.QUOTE_ALL)
    for line in (f"sep={mark}\r\n", f'\ufeff"SEP={mark}"\n', f"\n# of 2024\nsep={mark}{mark}\n"):
        found, losses = read(line.encode() + table, Columns(("url",), ("text",), quoted_tsv=True))
        assert (found, losses.rows.total()) == (rows, 0)
    headless = f"sep={mark}\nhttp://h/1{mark}a dog\n".encode()
    assert read(headless, Columns(("url",), ("text",), ("url", "text")))[0] == [("http://h/1", "a dog")]
    with pytest.raises(TableError, match="has no column url among"):
        read(f"sep={mark}\n".encode())


def test_a_table_without_a_header() -> None:
    cc3m, cc12m = b'a dog\thttp://h/1\na "cat\thttp://h/2\n', b'http://h/1\ta dog\nhttp://h/2\ta "cat\n'
    expected = [("http://h/1", "a dog"), ("http://h/2", 'a "cat')]
    assert read(cc3m, Columns(("url",), ("text",), ("text", "url")))[0] == expected
    assert read(cc12m, Columns(("url",), ("text",), ("url", "text")))[0] == expected
    assert read(b"7," + b"http://h/1,a dog", Columns(("url",), ("text",), ("id", "url", "text")))[0] == expected[:1]
    assert read(b"url\ttext\n" + cc12m, Columns(("url",), ("text",), ("url", "text")))[0] == expected  # it has one
    with pytest.raises(TableError, match=r"its first line is a row .* such as \[caption, url\]"):
        read(cc3m, Columns(("url",), ("caption",)))
    with pytest.raises(TableError, match=r"has 2 columns, while extract.columns names 3"):
        read(cc3m, Columns(("url",), ("text",), ("text", "url", "id")))


def test_a_quoted_tsv_gives_no_wrong_address() -> None:
    rows, losses = read(b'url\ttext\n"http://h/1"\t"a dog"\nhttp://h/2\ta cat\n')
    assert rows == [("http://h/2", "a cat")]
    assert "extract.quoted_tsv=true" in str(losses.sentence())


def test_two_columns_of_one_name() -> None:
    assert read(b"Url,url,text\nx,http://h/1,a\n")[0] == [("http://h/1", "a")]  # as written wins
    for header in (b"url,text,text\n", b"Url,URL,text\n"):
        with pytest.raises(TableError, match=r"has 2 columns called"):
            read(header)


def test_hostile_quotes_take_no_time_or_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    class Counted:
        def match(self, data: bytes, start: int, end: int) -> re.Match[bytes] | None:
            nonlocal looked
            found = quoted.match(data, start, end)
            looked += (found.end() if found else min(end, len(data))) - start
            return found

    quoted = delimited._QUOTED
    monkeypatch.setattr(delimited, "_QUOTED", Counted())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for pattern in (b'"a\n",', b'"', b',"', b'"a\n', b'"\n', b'"",', b'""\n"', b'"x\ny"z,'):
        looked = 0
        data = b"url,text\n" + pattern * (2**16 // len(pattern))
        read(data)
        assert looked < 8 * len(data), pattern
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 2**10  # KiB
