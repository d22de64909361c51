"""Rows of a CSV, whose values may stand in quotation marks, or of a TSV, where one line is one row.

The tab-separated files of this field quote nothing, and captions begin with quotation marks that mean themselves. In a
CSV such a mark is told from a quote by what follows: a quote ends, within 64 KiB, where its value ends, and the lines
that it spans are not rows themselves. A mark that is no quote stays in its text and costs no other row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from crawl.tables.columns import Columns, Losses, TableBatch, TableError, choose, names_both
from crawl.tables.lines import whole_lines

_MAX_QUOTED_BYTES = 2**16
_MAX_ROW_BYTES = 2**20
_ROW_SHARE = 0.9  # of lines that are rows: some are broken, and a line of a caption may look like one
_DELIMITERS = ("\t", ",", ";")
# Excel's own line, before the first of the table: sep=; names the character that stands between values.
_SEPARATOR = re.compile(r'\s*"?sep=([!#-/:-@\[-`{-~\t ])"?\1*\s*', re.IGNORECASE)
_ADDRESS = re.compile(rb"[\s\"]*(?:https?:)?//", re.IGNORECASE)
_WRITTEN_ADDRESS = re.compile("(?:https?:)?//", re.IGNORECASE)
# What a quote encloses, up to the mark that ends it: two marks stand for one.
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')
_LINES = re.compile(rb"[^\n]+")
_NO_ROWS = pa.table([pa.array([], pa.binary())] * 2, ["url", "text"])
_QUOTED_ADDRESS = "whose address stands in quotation marks, which extract.quoted_tsv=true reads"
_BAD_WIDTH = "with more or fewer columns than its first line"


def read_delimited(read: Callable[[int], bytes], columns: Columns, losses: Losses) -> Iterator[TableBatch]:
    """Yield the rows, in batches.

    Args:
        read: up to so many bytes of the file in UTF-8, empty at its end.
        columns: how they are called.
        losses: is filled in on the way.

    Raises:
        TableError: it has no such columns.
    """
    blocks = whole_lines(read, losses)
    line, rest = _read_first_line(blocks)
    named = _SEPARATOR.fullmatch(line.decode("utf-8", "replace"))
    if named:
        line, rest = _read_first_line(chain([rest], blocks))
    delimiters = (named[1],) if named else _DELIMITERS
    delimiter, names, is_header = _layout(line.decode("utf-8", "replace"), columns, delimiters)
    chosen = choose(names, columns)
    blocks = chain([rest] if is_header else [line + b"\n" + rest], blocks)
    is_quoted = delimiter != "\t" or columns.quoted_tsv or (is_header and line.lstrip().startswith(b'"'))
    if is_quoted:
        blocks = quoted_rows(blocks, delimiter.encode(), len(names), chosen[0])
    row = 0
    for block in blocks:
        table = _parse_block(block, delimiter, len(names), chosen, is_quoted=is_quoted, losses=losses)
        urls, texts = (table.column(number).combine_chunks().cast(pa.string()) for number in range(2))
        if not is_quoted:
            urls, texts = _drop_quoted(urls, texts, losses)
        if len(urls):
            yield TableBatch.of_one_text(row, urls, texts)
            row += len(urls)


def _read_first_line(blocks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """The first line that is neither empty nor a comment, and what follows it in its block."""
    for block in blocks:
        while block:
            line, rest = _cut(block)
            if line.strip() and not line.lstrip().startswith(b"#"):
                return line, rest
            block = rest
    return b"", b""


def _cut(block: bytes) -> tuple[bytes, bytes]:
    line, _, rest = block.partition(b"\n")
    return line, rest


def _layout(line: str, columns: Columns, delimiters: Sequence[str]) -> tuple[str, Sequence[str], bool]:
    """The delimiter, the names of the columns, and whether the first line is the header that has them.

    delimiters: those that it may be, the preferred first.
    """
    split = {delimiter: _cells(line, delimiter) for delimiter in delimiters}
    for delimiter, cells in split.items():
        if names_both(cells, columns) and (not columns.order or len(cells) == len(columns.order)):
            return delimiter, cells, True
    fitting = [delimiter for delimiter, cells in split.items() if len(cells) == len(columns.order)]
    if columns.order and fitting:
        return fitting[0], columns.order, False
    delimiter = next((one for one in delimiters if one in line), delimiters[-1])
    cells = split[delimiter]
    if columns.order:
        raise TableError(f"has {len(cells)} columns, while extract.columns names {len(columns.order)}")
    if any(_WRITTEN_ADDRESS.match(cell.strip()) for cell in cells):
        raise TableError(
            "has no header: its first line is a row already; name its columns, in their order, in extract.columns, "
            f"such as [{', '.join(_guess_columns(cells, columns))}]"
        )
    return delimiter, cells, True


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(iter(csv.reader([line], delimiter=delimiter)), [])
    except csv.Error:
        return line.split(delimiter)


def _guess_columns(cells: Sequence[str], columns: Columns) -> list[str]:
    """Names for the cells of a row: the first address, and the longest of the others as the text."""
    url = next(number for number, cell in enumerate(cells) if _WRITTEN_ADDRESS.match(cell.strip()))
    others = [number for number in range(len(cells)) if number != url]
    text = max(others, key=lambda number: len(cells[number]), default=-1)
    names = {url: columns.url[0], text: columns.text[0]}
    return [names.get(number, f"column_{number + 1}") for number in range(len(cells))]


def _parse_block(
    block: bytes, delimiter: str, width: int, chosen: tuple[int, int], *, is_quoted: bool, losses: Losses
) -> pa.Table:
    """The two columns of the rows of a block of whole rows; rows of another width are counted."""

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        losses.rows[_BAD_WIDTH] += 1
        return "skip"

    if _LINES.search(block) is None:
        return _NO_ROWS
    names = [str(number) for number in range(width)]
    wanted = [names[number] for number in chosen]
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(block) + 1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if is_quoted else False,
                newlines_in_values=is_quoted,
                invalid_row_handler=skip,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(dict.fromkeys(wanted)),
                column_types=dict.fromkeys(wanted, pa.binary()),
                strings_can_be_null=False,
            ),
        ).select(wanted)
    except pa.ArrowException:
        losses.rows["that cannot be parsed"] += len(_LINES.findall(block))
        return _NO_ROWS


def _drop_quoted(urls: pa.Array, texts: pa.Array, losses: Losses) -> tuple[pa.Array, pa.Array]:
    """Rows whose address is one; in quotation marks it is none, and so are other values of its file."""
    quoted = pc.starts_with(urls, '"')
    count = pc.sum(quoted).as_py() or 0
    if not count:
        return urls, texts
    losses.rows[_QUOTED_ADDRESS] += count
    kept = pc.invert(quoted)
    return urls.filter(kept), texts.filter(kept)


def quoted_rows(blocks: Iterator[bytes], delimiter: bytes, width: int, url: int) -> Iterator[bytes]:
    """Yield blocks of whole lines as blocks of whole rows, in which every quote is closed.

    Args:
        blocks: of a text in UTF-8.
        delimiter: one byte.
        width: columns of a row.
        url: the column of addresses.
    """
    quotes = _Quotes(delimiter, width, url)
    held = b""
    for block in blocks:
        data = held + block
        clean, position = quotes.close_quotes(data, is_end=False)
        held = data[position:]
        yield clean
    yield quotes.close_quotes(held, is_end=True)[0]


class _Quotes:
    def __init__(self, delimiter: bytes, width: int, url: int):
        self._delimiter = delimiter
        self._width = width
        self._url = url
        edge = rb"[\n" + re.escape(delimiter) + rb"]"
        # What needs no thought: all but marks, marks inside of a value, and quotes that end on their line where their
        # value does.
        self._plain = re.compile(
            rb'(?:[^"]++|(?<=' + edge.replace(b"[", b"[^") + rb')"|"[^"\n]*+(?:""[^"\n]*+)*+"(?=' + edge + rb"))*+"
        )
        self._edge = re.compile(edge)

    def close_quotes(self, data: bytes, *, is_end: bool) -> tuple[bytes, int]:
        """Whole rows from the beginning of one on, with every quote closed, and where the first begins that is left.

        Args:
            data: rows; what is left of them is to stand before those that follow.
            is_end: whether none follow.
        """
        done: list[bytes] = []  # whole rows
        parts: list[bytes] = []  # of the row that is being read
        position = row = 0  # how far it is read, and where it begins
        while True:
            match = self._plain.match(data, position)
            stop = match.end() if match else position
            line_end = data.rfind(b"\n", position, stop) + 1
            if line_end:
                done += [*parts, data[position:line_end]]
                parts, position, row = [], line_end, line_end
            if stop == len(data):
                break
            parts.append(data[position:stop])
            quoted = _QUOTED.match(data, stop, stop + _MAX_QUOTED_BYTES)
            end = quoted.end() if quoted else min(len(data), stop + _MAX_QUOTED_BYTES)
            if end == len(data) and not is_end:
                break  # how it goes on is not known yet
            if quoted is None or self._is_none(data, row, stop, end):
                edge = self._edge.search(data, stop)
                position = edge.start() if edge else len(data)
                parts.append(b'"' + data[stop:position].replace(b'"', b'""') + b'"')
            else:
                parts.append(data[stop:end])
                position = end
        if is_end:
            return b"".join([*done, *parts, data[position:]]), len(data)
        return b"".join(done), row

    def _is_none(self, data: bytes, row: int, start: int, end: int) -> bool:
        """Whether a mark is no quote, though a mark that could end it follows."""
        if data.find(b"\n", start, end) < 0:
            return False  # it costs no other line
        if end < len(data) and not self._edge.match(data, end):
            return True
        if end - row > _MAX_ROW_BYTES:
            return True
        first, last = data.rfind(b"\n", row, start) + 1, data.find(b"\n", end)
        lines = data[max(first, row) : last if last >= 0 else len(data)].split(b"\n")
        return sum(map(self._is_row, lines)) >= _ROW_SHARE * len(lines)

    def _is_row(self, line: bytes) -> bool:
        cells = line.split(self._delimiter)
        return len(cells) == self._width and _ADDRESS.match(cells[self._url]) is not None
