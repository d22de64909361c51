"""An answer in the form that is asked for: a table for people, or data in a format of files.

A table is for reading: numbers have their thousands parted, what a terminal would obey is shown as �, and on a terminal
a wide text is cut. Every other form holds the data whole. Rows are taken from DuckDB a batch at a time.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dataset.display import clean, escaped_json, no_formula, say
from dataset.store.local_files import replacing
from pipeline.reports.format import cell

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMS = ("table", "csv", "json", "jsonl", "parquet", "markdown")
_SUFFIXES = {
    **{f".{form}": form for form in FORMS},
    ".md": "markdown",
    ".ndjson": "jsonl",
    ".pq": "parquet",
    ".txt": "table",
}
_BATCH = 10_000


class AnswerError(ValueError):
    """An answer cannot go where it is asked to go; the message is one sentence."""


def form_of(form: str | None, output: str | None) -> str:
    """Return the form that is asked for, or that a file's name ends in; else a table."""
    return form or _SUFFIXES.get(Path(output or "").suffix.lower(), "table")


def write(
    answer: DuckDBPyConnection,
    form: str,
    output: str | None = None,
    *,
    inside: str | Sequence[str] = (),
    spreadsheet: bool = False,
) -> None:
    """Write an answer to a file, or to standard output.

    Args:
        answer: a connection that has run the query.
        form: one of FORMS.
        output: the file; it is there when the whole answer is in it. None is standard output.
        inside: the folders of datasets, in which no answer is written.
        spreadsheet: in CSV, what begins as a formula is made a text.

    Raises:
        AnswerError: the file is inside the dataset, or bytes would go to a terminal.
        OSError: the file cannot be written.
    """
    if output is None:
        if form == "parquet":
            if sys.stdout.isatty():
                raise AnswerError("Parquet is no text for a terminal; --output FILE writes it to a file")
            _parquet(answer, sys.stdout.buffer)
        else:
            _texts(form, spreadsheet)(answer, sys.stdout)
        return
    if form == "parquet":
        with _file(output, inside, "wb") as file:
            _parquet(answer, file)
    else:
        with _file(output, inside, "w") as file:
            _texts(form, spreadsheet)(answer, file)


def write_text(text: str, output: str | None, *, inside: str | Sequence[str] = ()) -> None:
    """Write a text, such as a page, to a file, which is named then, or to standard output. Raises as `write`."""
    if output is None:
        sys.stdout.write(text.rstrip("\n") + "\n")
        return
    with _file(output, inside, "wb") as file:
        file.write(text.encode("utf-8", "replace"))
    say(output)


def _texts(form: str, spreadsheet: bool) -> Callable[[DuckDBPyConnection, IO[str]], None]:
    if form == "csv":
        return lambda answer, file: _csv(answer, file, spreadsheet)
    return {"table": _table, "json": _json, "jsonl": _json_lines, "markdown": _markdown}[form]


@contextmanager
def _file(output: str, inside: str | Sequence[str], mode: str) -> Iterator[IO[Any]]:
    if "://" in output:
        raise AnswerError(f"{output}: an answer is written to a file of this machine")
    path = Path(output).resolve()
    folders = [inside] if isinstance(inside, str) else inside
    if any(folder and path.is_relative_to(Path(folder).resolve()) for folder in folders):
        raise AnswerError(f"{output} is inside the dataset, which an answer does not change; name a file outside of it")
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open(mode, **text) as file:
            yield file
        return
    with replacing(path) as draft, draft.open(mode, **text) as file:
        yield file


def _names(answer: DuckDBPyConnection) -> list[str]:
    return [column[0] for column in answer.description or ()]


def _batches(answer: DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    while rows := answer.fetchmany(_BATCH):
        yield rows


def as_table(
    names: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None = None, *, styled: bool = False
) -> str:
    """Return rows as lines for people, each cut to a width if there is one; styled: with a terminal's bold letters."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    lines = [[cell(value) if width is None else cell(value).replace("\n", "�") for value in row] for row in rows]
    most = None
    if width is not None:
        columns = zip(map(clean, names), *lines, strict=True)
        most = _max_column_width([max(map(cell_len, column)) for column in columns], width - 2 * (len(names) - 1))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(names):
        number = any(isinstance(row[index], (int, float)) for row in rows[:50])
        table.add_column(
            clean(name),
            justify="right" if number else "left",
            overflow="fold" if width is None else "ellipsis",
            no_wrap=width is not None,
            max_width=most,
        )
    for line in lines:
        table.add_row(*line)
    console = Console(width=width or 100_000, highlight=False, markup=False, force_terminal=styled)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _max_column_width(needed: Sequence[int], room: int) -> int:
    """How wide a column may be, so that columns that need so much fit into the room: the narrow ones stay whole."""
    for index, width in enumerate(sorted(needed)):
        share = room // (len(needed) - index)
        if width > share:
            return max(share, 1)
        room -= width
    return max(needed, default=1)


def write_table(names: Sequence[str], rows: Sequence[Sequence[Any]], file: IO[str]) -> None:
    """Write rows for people, as wide as the terminal if it is one."""
    styled = file.isatty()
    width = shutil.get_terminal_size().columns if styled else None
    file.write(as_table(names, rows, width, styled=styled) + "\n")


def _table(answer: DuckDBPyConnection, file: IO[str]) -> None:
    write_table(_names(answer), answer.fetchall(), file)


def _csv(answer: DuckDBPyConnection, file: IO[str], spreadsheet: bool) -> None:
    """The data as they are, lists and structs as JSON; for a spreadsheet, without formulas; what a terminal would obey
    is not sent to one.
    """
    is_terminal = file.isatty()

    def cell(value: Any) -> Any:
        value = no_formula(value) if spreadsheet else value
        return clean(value) if is_terminal and isinstance(value, str) else value

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name) for name in _names(answer)])
    for rows in _batches(answer):
        writer.writerows([cell(_csv_value(value)) for value in row] for row in rows)


def _csv_value(value: Any) -> Any:
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(json_value(value), ensure_ascii=False)
    return value.hex() if isinstance(value, bytes) else value


def _objects(answer: DuckDBPyConnection) -> Iterator[str]:
    names = _names(answer)
    for rows in _batches(answer):
        for row in rows:
            values = {name: json_value(value) for name, value in zip(names, row, strict=True)}
            yield escaped_json(json.dumps(values, ensure_ascii=False))


def _json(answer: DuckDBPyConnection, file: IO[str]) -> None:
    between = "["
    for text in _objects(answer):
        file.write(between + text)
        between = ", "
    file.write("[]\n" if between == "[" else "]\n")


def _json_lines(answer: DuckDBPyConnection, file: IO[str]) -> None:
    for text in _objects(answer):
        file.write(text + "\n")


def json_value(value: Any) -> Any:
    """Return a value as JSON knows it: bytes in hex, dates as ISO 8601 writes them, null for what is no number."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return str(value)


def _markdown(answer: DuckDBPyConnection, file: IO[str]) -> None:
    def line(cells: Sequence[str]) -> str:
        shown = (text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>") for text in cells)
        return f"| {' | '.join(shown)} |\n"

    names, rows = _names(answer), answer.fetchmany(_BATCH)
    numbers = [any(isinstance(row[index], (int, float)) for row in rows[:50]) for index in range(len(names))]
    file.write(line([clean(name) for name in names]))
    file.write(f"| {' | '.join('---:' if number else '---' for number in numbers)} |\n")
    while rows:
        file.writelines(line([cell(value) for value in row]) for row in rows)
        rows = answer.fetchmany(_BATCH)


def _parquet(answer: DuckDBPyConnection, file: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    with warnings.catch_warnings():  # that the rows are copied once; they are DuckDB's own, packed
        warnings.simplefilter("ignore", UserWarning)
        reader: Any = answer.to_arrow_reader(100_000)
    with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
