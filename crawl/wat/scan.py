"""The links of images in the JSON of WAT records, as columns, by compiled code.

Any decoder of JSON makes an object of each link before a column can be made of them. This one copies the few strings
that are wanted straight into Arrow's buffers, and leaves everything that is not plain (an escape, a value that is no
string, what is no JSON) to a real decoder. numba compiles it once a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import stringzilla

from crawl.pages.image_address import LAZY

MARK = b'"IMG@/src"'
"""What stands in each image's link and, as its quotation marks would be escaped there, in no string."""

PLAIN, SILENT, NAMES_OTHERS, SHOWS_LAZY, NAMES_LAZY = 1, 2, 4, 8, 16
"""States of a link, as bits: all of it could be read; it has no text; `srcset` or `data-…` may give the image another
URL; `data-src` may; any `data-…` may."""

_WIDTH, _HEIGHT = (np.frombuffer(key, np.uint8) for key in (b"width", b"height"))
_COLUMNS = tuple(np.frombuffer(key, np.uint8) for key in (b"url", b"alt", b"title", LAZY[0].encode()))
_URL, _ALT, _TITLE, _LAZY, _JSON = range(5)
_BEFORE = np.frombuffer(b'{"path":', np.uint8)  # how the link of an image begins
_INLINED = np.frombuffer(b"data:", np.uint8)
_MARK_BYTES = len(MARK)
_ODD, _NO_ROOM = -1, -2
_QUOTE, _BACKSLASH, _SPACE, _COMMA, _COLON, _BRACE = (ord(sign) for sign in '"\\ ,:}')
_D, _S, _W, _H, _P = b"dswhp"
_ZERO, _NINE, _DOT = b"09."
_MAX_DIGITS = 5
_DELETE = 0x7F  # the first byte that is no printable ASCII


def _compile(signature: str) -> Callable[[Callable[..., Any]], Any]:
    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, cache=True)(function)
        except RuntimeError:  # there is no place to keep the compiled code
            return numba.njit(signature)(function)

    return compiled


@_compile("boolean(Array(uint8, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64, int64)")
def _is(word, block, begin, end):  # type: ignore[no-untyped-def]
    if end - begin != len(word) or begin < 0:
        return False
    for number in range(len(word)):  # noqa: SIM110  (numba has no all())
        if block[begin + number] != word[number]:
            return False
    return True


@_compile("boolean(Array(uint8, 1, 'C', readonly=True), int64, int64)")
def _is_inlined(block, begin, end):  # type: ignore[no-untyped-def]
    if end - begin < len(_INLINED):
        return False
    for number in range(len(_INLINED)):  # noqa: SIM110
        if block[begin + number] | _SPACE != _INLINED[number]:  # in whatever case
            return False
    return True


@_compile("int64(Array(uint8, 1, 'C', readonly=True), int64, int64)")
def _pixels(block, begin, end):  # type: ignore[no-untyped-def]
    """The number that a width or height begins with, as `crawl.pages.places.pixels` has it; -1 if it says none."""
    number, position = 0, begin
    while position < end and _ZERO <= block[position] <= _NINE:
        number = 10 * number + block[position] - _ZERO
        position += 1
    is_number = 0 < position - begin <= _MAX_DIGITS
    return number if is_number and (position == end or block[position] == _P or block[position] == _DOT) else -1


@_compile("int64(Array(uint8, 1, 'C', readonly=True), int64)")
def _end_of_plain(block, position):  # type: ignore[no-untyped-def]
    """Where the first quotation mark, escape or control character stands; the block's end if none does."""
    while (
        position < len(block)
        and block[position] != _QUOTE
        and block[position] != _BACKSLASH
        and block[position] >= _SPACE
    ):
        position += 1
    return position


@_compile(
    "int64(Array(uint8, 1, 'C', readonly=True), int64[::1], int64, uint8[:, ::1], int32[:, ::1], int32[:, ::1],"
    " int64[::1], int64[:, ::1])"
)
def _read(block, marks, record, strings, ends, rows, used, silent):  # type: ignore[no-untyped-def]
    """Read the links at `marks` of a block; how many of them are not PLAIN, or _ODD or _NO_ROOM: then none is read.

    strings: uint8 (5, bytes), the bytes of the columns; ends: int32 (5, rows + 1), the columns' offsets; rows: int32
    (rows, 5), where a link begins, its state, its record, its width and height; used: int64 (6,), rows and bytes so
    far; silent: int64 (records, 3), links that are not among the rows, how many of them name no URL, how many an
    inlined one.
    """
    size = len(block)
    if used[0] + len(marks) > len(rows) or used[1:].max() + size > strings.shape[1] or record == len(silent):
        return _NO_ROOM
    for mark in marks:
        if not _is(_BEFORE, block, mark - len(_BEFORE), mark):
            return _ODD
    odd = 0
    row = used[0]
    spans = np.empty((_JSON + 1, 2), np.int64)
    for mark in marks:
        position = mark + _MARK_BYTES
        spans[:] = position
        state = 0
        width, height = -1, -1
        while position < size:
            if block[position] == _BRACE:
                state |= PLAIN
                break
            if position + 2 >= size or block[position] != _COMMA or block[position + 1] != _QUOTE:
                break
            key = position + 2
            end = _end_of_plain(block, key)
            if end + 3 >= size or block[end] != _QUOTE or block[end + 1] != _COLON or block[end + 2] != _QUOTE:
                break
            value = end + 3
            position = _end_of_plain(block, value)
            if position == size or block[position] != _QUOTE:
                break
            if _is(_COLUMNS[0], block, key, end):
                spans[_URL, 0], spans[_URL, 1] = value, position
            elif _is(_COLUMNS[1], block, key, end):
                spans[_ALT, 0], spans[_ALT, 1] = value, position
            elif _is(_COLUMNS[2], block, key, end):
                spans[_TITLE, 0], spans[_TITLE, 1] = value, position
            elif (block[key] == _S or block[key] == _D) and position > value:
                state |= NAMES_OTHERS if block[key] == _S else NAMES_OTHERS | NAMES_LAZY
                if _is(_COLUMNS[3], block, key, end):
                    spans[_LAZY, 0], spans[_LAZY, 1] = value, position
            elif block[key] == _W and _is(_WIDTH, block, key, end):
                width = _pixels(block, value, position)
            elif block[key] == _H and _is(_HEIGHT, block, key, end):
                height = _pixels(block, value, position)
            position += 1
        if state & PLAIN:
            begin, end = spans[_LAZY, 0], spans[_LAZY, 1]
            if begin < end and _SPACE < block[begin] < _DELETE and block[begin] | _SPACE != _D:
                state |= SHOWS_LAZY
            if spans[_ALT, 0] == spans[_ALT, 1] and spans[_TITLE, 0] == spans[_TITLE, 1]:
                state |= SILENT
                begin, end = spans[_URL, 0], spans[_URL, 1]
                is_clear = begin == end or _SPACE < block[begin] < _DELETE  # no white space is to be taken away first
                is_doubtful = begin == end or block[begin] | _SPACE == _D
                if is_clear and (not is_doubtful or not state & NAMES_OTHERS or state & SHOWS_LAZY):
                    silent[record, 0] += 1
                    if not state & NAMES_OTHERS:
                        silent[record, 1] += begin == end
                        silent[record, 2] += _is_inlined(block, begin, end)
                    continue
            if state & (SILENT | NAMES_OTHERS):
                spans[_JSON, 0], spans[_JSON, 1] = mark - len(_BEFORE), position + 1
        else:
            odd += 1
            spans[:] = position
        for column in range(len(spans)):
            out = used[column + 1]
            for number in range(spans[column, 0], spans[column, 1]):
                strings[column, out] = block[number]
                out += 1
            used[column + 1] = out
            ends[column, row + 1] = out
        rows[row, 0], rows[row, 1], rows[row, 2] = mark - len(_BEFORE), state, record
        rows[row, 3], rows[row, 4] = width, height
        row += 1
    used[0] = row
    return odd


@dataclass(frozen=True)
class ImageLinks:
    """The links of images in m records that have a text or are not understood, in their order."""

    urls: pa.Array  # string (n,), empty if a link has none; of a link that is not PLAIN, too
    alts: pa.Array  # string (n,)
    titles: pa.Array  # string (n,)
    lazy: pa.Array  # string (n,), `data-src`
    json: pa.Array  # binary (n,), of a link that may show something else, or has no text; else empty
    states: np.ndarray  # int32 (n,)
    owners: np.ndarray  # int32 (n,): the record, 0 to m
    sizes: np.ndarray  # int32 (n, 2): width and height in pixels, -1 where the tag does not say
    silent: np.ndarray  # int64 (m, 3): the other links, and how many of them have no URL, and an inlined one


class ImageLinkReader:
    """Reads the links of images record by record, while each is in the processor's cache."""

    def __init__(self) -> None:
        rows = 2**15  # room at first, with 2**23 bytes and 2**12 records
        self._strings = np.empty((_JSON + 1, 2**23), np.uint8)
        self._ends = np.zeros((_JSON + 1, rows + 1), np.int32)
        self._rows = np.empty((rows, 5), np.int32)  # begin, state, record, width, height
        self._used = np.zeros(1 + len(self._strings), np.int64)
        self._silent = np.zeros((2**12, 3), np.int64)
        self._records = 0

    def read(self, block: bytes | bytearray, begin: int) -> list[tuple[int, int]] | None:
        """Read the links of a record of JSON, whose list of links begins somewhere.

        Returns:
            Those that are not PLAIN: (number, where in the record it begins). None if a link is written in another
            form; then nothing is read.
        """
        marks = np.array(_marks(block, begin), np.int64)
        data = np.frombuffer(block, np.uint8)
        first = self._used[0]
        while (odd := _read(data, marks, self._records, *self._outputs())) == _NO_ROOM:
            self._make_room(len(block), len(marks))
        if odd == _ODD:
            return None
        self._records += 1
        if not odd:
            return []
        numbers = first + np.flatnonzero((self._rows[first : self._used[0], 1] & PLAIN) == 0)
        return list(zip(numbers.tolist(), self._rows[numbers, 0].tolist(), strict=True))

    def _outputs(self) -> tuple[np.ndarray, ...]:
        return self._strings, self._ends, self._rows, self._used, self._silent

    def _make_room(self, size: int, rows: int) -> None:
        if np.max(self._used[1:]) + size > self._strings.shape[1]:
            self._strings = _grow(self._strings, size, axis=1)
        if self._used[0] + rows > len(self._rows):
            self._ends = _grow(self._ends, rows, axis=1)
            self._rows = _grow(self._rows, rows)
        if self._records == len(self._silent):
            self._silent = np.concatenate([self._silent, np.zeros_like(self._silent)])

    def links(self) -> ImageLinks:
        """Return what was read. Nothing can be read after."""
        rows = int(self._used[0])
        columns = (
            pa.StringArray.from_buffers(rows, pa.py_buffer(ends[: rows + 1]), pa.py_buffer(strings[:size]))
            for ends, strings, size in zip(self._ends, self._strings, self._used[1:], strict=True)
        )
        urls, alts, titles, lazy, json = columns
        states, owners, sizes = self._rows[:rows, 1], self._rows[:rows, 2], self._rows[:rows, 3:]
        return ImageLinks(
            urls, alts, titles, lazy, json.view(pa.binary()), states, owners, sizes, self._silent[: self._records]
        )


def _grow(array: np.ndarray, by: int, axis: int = 0) -> np.ndarray:
    """Twice as long, and as much longer as is asked for; the rest holds anything."""
    length = array.shape[axis]
    shape = list(array.shape)
    shape[axis] = 2 * length + by
    longer = np.empty(shape, array.dtype)
    longer[(slice(None),) * axis + (slice(length),)] = array
    return longer


def _marks(block: bytes | bytearray, begin: int) -> list[int]:
    places: list[int] = []
    find = stringzilla.find
    position = find(block, MARK, begin)
    while position >= 0:
        places.append(position)
        position = find(block, MARK, position + _MARK_BYTES)
    return places
