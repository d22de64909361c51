"""Files of hashes, in the forms in which NCMEC, IWF, StopNCII, Project VIC and ThreatExchange hand them on.

lines       a hexadecimal hash a line, what follows it on the line passed over (of a PDQ, its quality); named .md5,
            .sha256 or .pdq
CSV         with a header; columns named md5, sha256 or pdq, or one of hashes beside one of algorithms
JSON        an array, an OData answer (`value`: Project VIC's VICS 1.3 and 2.0), a page of ThreatExchange's Graph API
            (`data`) or of StopNCII's (`hashRecords`), or an object a line
XML         an answer of NCMEC's Hash Sharing API; see `filters.images.ncmec`

gzip is known by its content. Hashes of other kinds (SHA-1, PhotoDNA) are passed over, but a file in which there is
nothing else is an error, and so is whatever is not understood: a list that was not applied must not pass for one that
was.

ThreatExchange, StopNCII and NCMEC answer with updates: of an entry that several of their pages have, the newest counts,
be it in another file, and one that is taken back counts no more.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from dataset.store.storage import open_input
from filters.images.ncmec import read_updates

BYTES = {"md5": 16, "sha256": 32, "pdq": 32}
_TYPES = ("algorithm", "algo", "type", "hashtype", "signaltype", "indicatortype")
_VALUES = ("value", "hash", "hashvalue", "digest", "indicator", "rawindicator", "signal", "signalvalue")
_OTHERS = {"quality": ("quality", "pdqquality"), "distance": ("distance", "threshold", "maxdistance"),
           "category": ("category",), "deleted": ("shoulddelete", "deleted", "hashstatus")}  # fmt: skip
_TAKEN_BACK = ("true", "1", "withdrawn", "deleted")  # the last two are states of StopNCII's
_UPDATES = {"data": ("id", "lastupdated"), "hashrecords": ("hashvalue", "lastmodtimestamp")}
"""Where a service's answer has its entries: what names an entry, and when it was changed."""
_PEEKED = 512  # bytes, in which a file's first sign stands
_HEADER = re.compile(r"[\s,;]*")


@dataclass(frozen=True)
class Entries:
    """Hashes of one kind.

    digests: S16 (md5) or S32 (sha256, pdq), (n,).
    distances: int64 (n,), bits within which the list's owner wants a PDQ to match; -1 where it does not say.
    """

    kind: str
    digests: np.ndarray
    distances: np.ndarray


def read_hashes(files: Sequence[str], categories: tuple[int, ...], min_pdq_quality: int) -> Iterator[Entries]:
    """Yield the hashes of some files.

    Args:
        files: paths or URLs.
        categories: those of VICS that count; an entry of no category counts always.
        min_pdq_quality: PDQs of a lower quality are passed over; one without counts always.

    Raises:
        FileNotFoundError, OSError: one cannot be read.
        ValueError: one is not understood; the message shows no entry.
    """
    updates = []
    for file in files:
        table = _read(file)
        _check(file, table)
        if "origin" in table.column_names:
            updates.append(table)
        else:
            yield from _entries(table, categories, min_pdq_quality)
    if updates:
        yield from _entries(_newest(updates), categories, min_pdq_quality)


def _read(file: str) -> pa.Table:
    """A file's entries: a column for each of BYTES that it has, and of _OTHERS; origin and time if they are updates."""
    with open_input(file) as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        source: IO[bytes] = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        try:
            if source.read(_PEEKED).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
                source.seek(0)
                return _updates_table(read_updates(file, source))
            source.seek(0)
            data = source.read()
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ValueError(f"{file} is damaged: its gzip ends too early or is none") from None
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    if text[:1] in ("{", "["):
        return _read_json(file, text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return pa.table({})
    return _read_csv(file, lines) if _columns(_cells(lines[0])) else _read_lines(file, lines)


def _updates_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    types = {name: pa.float64() if name == "time" else pa.string() for name in columns}
    return pa.table({name: pa.chunked_array([values], types[name]) for name, values in columns.items()})


def _newest(tables: Sequence[pa.Table]) -> pa.Table:
    """The newest update of each entry; the last one of those that have the same time."""
    table = pa.concat_tables(tables, promote_options="default")
    table = table.append_column("place", pa.array(range(table.num_rows), pa.int64()))
    table = table.sort_by([("origin", "ascending"), ("time", "ascending"), ("place", "ascending")])
    origin = table["origin"].combine_chunks()
    last = np.ones(len(origin), bool)
    last[:-1] = pc.not_equal(origin[1:], origin[:-1]).to_numpy(zero_copy_only=False)
    return table.filter(pa.array(last))


def _normal(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_lower(pc.utf8_trim_whitespace(column))


def _present(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(values, ""), False)


def _check(file: str, table: pa.Table) -> None:
    """Raise ValueError if a hash is not one of its kind, or no entry has one."""
    known = np.zeros(table.num_rows, bool)
    for kind, size in BYTES.items():
        if kind not in table.column_names:
            continue
        values = _normal(table[kind])
        present = _present(values)
        right = pc.fill_null(pc.match_substring_regex(values, f"^[0-9a-f]{{{2 * size}}}$"), False)
        wrong = pc.index(pc.and_not(present, right), True).as_py()
        if wrong >= 0:
            raise ValueError(f"{file}: entry {wrong + 1} is no {kind} hash of {2 * size} hexadecimal digits")
        known |= present.to_numpy()
    if table.num_rows and not (known | _is_deleted(table)).any():
        raise ValueError(f"{file} holds no hash of the kinds {', '.join(BYTES)}")


def _is_deleted(table: pa.Table) -> np.ndarray:
    if "deleted" not in table.column_names:
        return np.zeros(table.num_rows, bool)
    answer: np.ndarray = pc.is_in(_normal(table["deleted"]), pa.array(_TAKEN_BACK)).to_numpy()
    return answer


def _entries(table: pa.Table, categories: tuple[int, ...], min_pdq_quality: int) -> Iterator[Entries]:
    kept = ~_is_deleted(table)
    if "category" in table.column_names:
        allowed = pc.is_in(_number(table["category"]), pa.array(categories, pa.float64()))
        kept &= pc.or_(allowed, pc.is_null(_number(table["category"]))).to_numpy()
    for kind, size in BYTES.items():
        if kind not in table.column_names:
            continue
        values = _normal(table[kind])
        mask = kept & _present(values).to_numpy()
        if kind == "pdq" and "quality" in table.column_names:
            mask &= ~pc.fill_null(pc.less(_number(table["quality"]), min_pdq_quality), False).to_numpy()
        digests = bytes.fromhex("".join(values.filter(pa.array(mask)).to_pylist()))
        distances = np.full(int(mask.sum()), -1, np.int64)
        if kind == "pdq" and "distance" in table.column_names:
            distances = pc.fill_null(_number(table["distance"]), -1).to_numpy()[mask].astype(np.int64)
        yield Entries(kind, np.frombuffer(digests, f"S{size}"), distances)


def _number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers, null where there is none."""
    is_number = pc.match_substring_regex(column, r"^\s*\d+(\.\d+)?\s*$")
    return pc.if_else(is_number, pc.utf8_trim_whitespace(column), None).cast(pa.float64())


def _name(text: str) -> str:
    """`md5` of `MD5`, `HASH_MD5` or `md-5`, `pdq` of `ImagePDQ`."""
    return re.sub(r"^(?:hash|image)(?=md5|sha|pdq)", "", re.sub(r"[^a-z0-9]", "", text.lower()))


def _columns(header: list[str]) -> dict[str, int]:
    """What the columns of a header are: kinds of hashes, type and value, and what else counts; empty if it is none."""
    names = [_name(cell) for cell in header]
    place_of = {name: index for index, name in enumerate(names) if name in BYTES}
    if not place_of:
        place_of = {
            role: next(index for index, name in enumerate(names) if name in known)
            for role, known in (("type", _TYPES), ("value", _VALUES))
            if set(names) & set(known)
        }
    if not place_of.keys() & {*BYTES, "value"}:
        return {}
    others = ((role, index) for role, known in _OTHERS.items() for index, name in enumerate(names) if name in known)
    return {**place_of, **dict(others)}


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in re.split(r"[,;\t]|\s+", line.strip())]


def _read_csv(file: str, lines: list[str]) -> pa.Table:
    delimiter = next((sign for sign in "\t;," if sign in lines[0]), ",")
    text = "\n".join([*lines, ""]).encode()

    def refuse(row: csv.InvalidRow) -> str:
        return "error"

    try:
        table = csv.read_csv(
            io.BytesIO(text),
            read_options=csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(
                column_types={f"f{index}": pa.string() for index in range(lines[0].count(delimiter) + 1)},
            ),
        )
    except pa.ArrowInvalid:
        raise ValueError(f"{file}: a line has more or fewer columns than the first") from None
    header = [column[0].as_py() or "" for column in table.columns]
    columns = {role: table.column(index).slice(1) for role, index in _columns(header).items()}
    hashes = [columns[role] for role in (*BYTES, "value") if role in columns]
    if not hashes:
        raise ValueError(f"{file}: its first line names no column of hashes")
    empty = pc.index(pc.max_element_wise(*[pc.utf8_length(column) for column in hashes]), 0).as_py()
    if empty >= 0:
        raise ValueError(f"{file}: entry {empty + 1} has no hash")
    return _split_by_kind(file, columns)


def _read_lines(file: str, lines: list[str]) -> pa.Table:
    """Read lines without a header: the first word of each, and of a PDQ its quality behind it."""
    cells = pc.split_pattern_regex(pa.array(lines), r"[\s,;]+", max_splits=2)
    first = pc.list_element(cells, 0)
    kind = _kind(file, first[0].as_py())
    columns = {kind: pa.chunked_array([pc.utf8_trim(first, '"')])}
    if kind == "pdq":
        longer = pc.greater(pc.list_value_length(cells), 1)
        padded = pc.if_else(longer, cells, pa.scalar(["", ""]))
        columns["quality"] = pa.chunked_array([pc.list_element(padded, 1)])
    return pa.table(columns)


def _read_json(file: str, text: str) -> pa.Table:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        try:
            raw = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise ValueError(f"{file} is neither JSON nor a JSON object a line") from None
    place = ""
    if isinstance(raw, dict):
        places = {_name(key): value for key, value in raw.items() if isinstance(value, list)}
        place = next((key for key in ("value", *_UPDATES) if key in places), "")
        raw = places[place] if place else [raw]
    records = [{_name(key): value for key, value in record.items()} for record in raw if isinstance(record, dict)]
    if len(records) < len(raw):
        raise ValueError(f"{file}: an entry is no JSON object")
    names = sorted({name for record in records for name in record})
    place_of = _columns(names)
    if records and not place_of:
        raise ValueError(f"{file} holds no hash of the kinds {', '.join(BYTES)}")
    columns = {
        role: pa.chunked_array([[_text(record.get(names[position])) for record in records]])
        for role, position in place_of.items()
    }
    table = _split_by_kind(file, {role: column.cast(pa.string()) for role, column in columns.items()})
    if place not in _UPDATES or not records:
        return table
    name, changed = _UPDATES[place]
    origins = [f"{place} {record.get(name) or f'{file} {number}'}" for number, record in enumerate(records)]
    times = [_seconds(record.get(changed)) for record in records]
    return table.append_column("origin", pa.array(origins)).append_column("time", pa.array(times, pa.float64()))


def _seconds(when: Any) -> float:
    """A time in seconds since 1970, as a number or by ISO 8601; 0 if it is neither."""
    try:
        return float(when)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        written = datetime.fromisoformat(str(when))
        return (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _split_by_kind(file: str, columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """A table with a column for each kind; where a column names the kind, each hash in its own."""
    if "value" in columns:
        values, types = columns.pop("value"), columns.pop("type", None)
        if types is None and len(values):
            columns[_kind(file, values[0].as_py() or "")] = values
        elif types is not None:
            names = pa.array([_name(name or "") for name in types.to_pylist()], pa.string())
            for kind in BYTES:
                columns[kind] = pc.if_else(pc.equal(names, kind), values, None)
    return pa.table(columns)


def _kind(file: str, entry: str) -> str:
    """The kind of a list that does not say."""
    for suffix in PurePosixPath(file).suffixes:
        if suffix.lower().removeprefix(".") in BYTES:
            return suffix.lower().removeprefix(".")
    if len(entry) == 2 * BYTES["md5"]:
        return "md5"
    raise ValueError(
        f"{file}: name it .md5, .sha256 or .pdq, or give it a header that says so; 64 digits may be either"
    )
