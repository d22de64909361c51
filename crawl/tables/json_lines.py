"""Rows of JSON lines, which have one object in each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from crawl.clean_text import to_arrow
from crawl.tables.columns import Columns, Losses, TableBatch, TableError, choose, names_both
from crawl.tables.lines import whole_lines

DOCUMENT = (
    "is one JSON document and no table; make JSON lines or Parquet of it, as docs/sources.md shows for RedCaps and SBU"
)
_BAD = "that are no JSON object"
_HEAD_ROWS = 100
"""Rows whose keys are looked at: writers leave out what is null."""


def is_object(line: str) -> bool:
    """Return whether a line is one JSON object, as each of JSON lines is."""
    return _object(line.encode()) is not None


def read_json_lines(read: Callable[[int], bytes], columns: Columns, losses: Losses) -> Iterator[TableBatch]:
    """Yield the rows, in batches. Raises TableError; see `crawl.tables.delimited.read_delimited`."""
    rows: _Rows | None = None
    row = 0
    for block in whole_lines(read, losses):
        if rows is None:
            rows = _Rows(block, columns)
        urls, texts = rows.read(block, losses)
        if urls:
            yield _batch(row, urls, texts)
            row += len(urls)


class _Rows:
    """Reads two keys of each object, and passes over the others."""

    def __init__(self, block: bytes, columns: Columns):
        """block: the file's first; its first objects tell the keys."""
        lines = [line for line in block.split(b"\n", _HEAD_ROWS)[:_HEAD_ROWS] if line.strip()]
        objects = [row for line in lines if (row := _object(line)) is not None]
        keys = list(dict.fromkeys(key for row in objects for key in row))
        if not names_both(keys, columns) and any(map(_holds_rows, objects)):
            raise TableError(DOCUMENT)
        self._url, self._text = (keys[number] for number in choose(keys, columns))
        kind = msgspec.defstruct(
            "Row", [("url", Any, None), ("text", Any, None)], rename={"url": self._url, "text": self._text}
        )
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, block: bytes, losses: Losses) -> tuple[list[Any], list[Any]]:
        """The two values of each of a block's objects."""
        try:
            rows = self._decoder.decode_lines(block)
            return [row.url for row in rows], [row.text for row in rows]  # type: ignore[attr-defined]
        except (ValueError, RecursionError):  # msgspec's errors are the first, too
            pass  # it is one of the lines
        objects = []
        for line in block.split(b"\n"):
            if line.strip():
                object_ = _object(line)
                if object_ is None:
                    losses.rows[_BAD] += 1
                else:
                    objects.append(object_)
        return [object_.get(self._url) for object_ in objects], [object_.get(self._text) for object_ in objects]


def _object(line: bytes) -> dict[str, Any] | None:
    """A line's object, also where it has bytes that are not UTF-8, NaN or control characters."""
    try:
        value = json.loads(line.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _holds_rows(object_: dict[str, Any]) -> bool:
    """Whether an object is no row, but holds many: a list of objects, or a list for each column."""
    lists = [value for value in object_.values() if isinstance(value, list)]
    return any(len(value) > 1 or any(isinstance(item, dict) for item in value) for value in lists)


def _batch(first: int, urls: list[Any], texts: list[Any]) -> TableBatch:
    listed = [text if isinstance(text, list) else [text] for text in texts]
    if all(len(text) == 1 for text in listed):
        return TableBatch.of_one_text(first, _strings(urls), _strings([text[0] for text in listed]))
    of = np.repeat(np.arange(len(listed)), [len(text) for text in listed])
    return TableBatch(first, _strings(urls), _strings([item for text in listed for item in text]), of)


def _strings(values: Sequence[Any]) -> pa.Array:
    """Strings as they are, numbers as they are written; nothing else is a text."""
    texts = [
        value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else None for value in values
    ]
    return to_arrow(texts)
