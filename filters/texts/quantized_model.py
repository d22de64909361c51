"""A quantized fastText classifier, such as lid.176.ftz, asked about many texts by compiled code.

fastText's own library takes one string a call, unpacks each row of its matrix anew, and fills a table for 30 million
words when it opens a model of 7,000. This reads the same file (fastText 0.9.2: `fasttext.cc`, `dictionary.cc`,
`quantmatrix.cc`, `loss.cc`) and does the same sums in the same order. For other kinds of models `read` returns None,
and the library is asked.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa

_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3  # fastText's loss_name and model_name
_CENTROIDS = 256  # that a byte tells apart
_LEAST_SLOTS = 2**14
_MOST_LABELS, _MOST_BUCKETS = 2**14, 2**26
_END = b"</s>"  # the word that stands for the end of a line
_LABEL = np.frombuffer(b"__label__", np.uint8)
_FNV_START, _FNV_FACTOR = 2166136261, 16777619  # Fowler, Noll and Vo's hash, 32 bits


def compile_cached(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function, once a machine where there is a place to keep it."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, cache=True)(function)
        except RuntimeError:
            return numba.njit(signature)(function)

    return compile_function


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """What a file holds, unpacked. Ids of words come before ids of sequences of characters."""

    labels: pa.StringArray
    rows: np.ndarray  # float32 (ids, dimension)
    kept: np.ndarray  # int32 (buckets,): the row of each hash of characters, -1 where it was pruned
    words: np.ndarray  # uint8: the words and labels, one behind the other
    word_ends: np.ndarray  # int64 (words and labels + 1,)
    slots: np.ndarray  # int32: word numbers by hash, -1 where none is
    parts: np.ndarray  # int32: the rows of each word of the model
    part_ends: np.ndarray  # int64 (words + 1,)
    output: np.ndarray  # float32 (labels, dimension)
    left: np.ndarray  # int32: the tree of labels; a leaf's is -1
    right: np.ndarray
    lengths: tuple[int, int]  # of the sequences of characters

    def guesses(self, texts: pa.StringArray, most: int, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the most probable labels of each text, the best first.

        Args:
            texts: without nulls; a line each, without a line's end.
            most: how many labels of a text are told.
            least: the probability below which none is.

        Returns:
            offsets, int32 (n + 1,); numbers of labels, int16, and their probabilities, float32, of all texts in a row.
        """
        array = texts.cast(pa.large_string())
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
        content = np.frombuffer(data if data is not None else b"", np.uint8)
        numbers = np.empty((len(array), most), np.int16)
        scores = np.empty((len(array), most), np.float32)
        counts = _classify(
            *(content, ends, self.rows, self.kept, self.words, self.word_ends, self.slots, self.parts, self.part_ends),
            *(self.output, self.left, self.right, *self.lengths, np.float32(least), numbers, scores),
        )
        is_told = np.arange(most) < counts[:, None]
        return np.append(0, np.cumsum(counts)).astype(np.int32), numbers[is_told], scores[is_told]


def read(path: str | Path) -> QuantizedModel | None:
    """Return a model out of its file; None if it is of another kind, or none at all."""
    try:
        return _Reader(Path(path).read_bytes()).model()
    except (struct.error, ValueError, IndexError):
        return None


class _Reader:
    """The file from front to back. Raises ValueError, IndexError or struct.error where it holds something else."""

    def __init__(self, content: bytes):
        self._content, self._at = content, 0

    def model(self) -> QuantizedModel:
        magic, version, dimension, *_ = self._take("<3i")
        _, _, _, _, n_grams, loss, kind, buckets, shortest, longest, _, _ = self._take("<11id")
        if (magic, version, n_grams, loss, kind) != (_MAGIC, _VERSION, 1, _HIERARCHICAL_SOFTMAX, _SUPERVISED):
            raise ValueError
        size, words, labels, _, pruned = self._take("<3i2q")
        if size != words + labels or pruned < 0 or not 1 < labels < _MOST_LABELS or not 0 < shortest <= longest < 8:
            raise ValueError
        if not 0 < buckets <= _MOST_BUCKETS:
            raise ValueError
        names, counts = self._entries(size)
        if names[0] != _END:
            raise ValueError
        pairs = self._array(np.int32, 2 * pruned).reshape(-1, 2)
        kept = np.full(buckets, -1, np.int32)
        kept[pairs[:, 0]] = words + pairs[:, 1]
        rows = self._read_quantized(dimension)
        (is_output_quantized, many, wide) = self._take("<?2q")
        if is_output_quantized or (many, wide) != (labels, dimension):
            raise ValueError
        output = self._array(np.float32, labels * dimension).reshape(labels, dimension)
        if max(words - 1, kept.max(initial=-1)) >= len(rows) or pairs.min(initial=0) < 0:
            raise ValueError
        left, right = _tree(counts[words:])
        content = np.frombuffer(b"".join(names), np.uint8)
        ends = np.append(0, np.cumsum([len(name) for name in names]))
        slots = _slots(content, ends, 2 ** (2 * max(size, _LEAST_SLOTS // 4)).bit_length())
        parts, part_ends = _parts(content, ends, words, kept, shortest, longest)
        label_names = [name.decode().removeprefix(_LABEL.tobytes().decode()) for name in names[words:]]
        return QuantizedModel(
            *(
                pa.array(label_names, pa.string()),
                rows,
                kept,
                content,
                ends,
                slots,
                parts,
                part_ends,
                output,
                left,
                right,
            ),
            (shortest, longest),
        )

    def _entries(self, size: int) -> tuple[list[bytes], list[int]]:
        names, counts = [], []
        for _ in range(size):
            end = self._content.index(b"\0", self._at)
            names.append(self._content[self._at : end])
            self._at = end + 1
            counts.append(self._take("<qb")[0])
        return names, counts

    def _read_quantized(self, dimension: int) -> np.ndarray:
        """The rows of a product quantizer (Jégou et al. 2011), each times its norm. float32 (ids, dimension)"""
        is_quantized, has_norms, many, wide, size = self._take("<??2qi")
        if not is_quantized or wide != dimension:
            raise ValueError
        codes = self._array(np.uint8, size).reshape(many, -1)
        centroids = self._centroids(dimension)
        rows = np.concatenate([centroids[part, codes[:, part]] for part in range(codes.shape[1])], axis=1)
        if has_norms:
            norms = self._array(np.uint8, many)
            rows *= self._centroids(1)[0, norms]
        return np.ascontiguousarray(rows)

    def _centroids(self, dimension: int) -> np.ndarray:
        whole, parts, wide, last = self._take("<4i")
        if (whole, parts * wide, last) != (dimension, dimension, wide):
            raise ValueError
        return self._array(np.float32, dimension * _CENTROIDS).reshape(parts, _CENTROIDS, wide)

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _array(self, type_: Any, count: int) -> np.ndarray:
        array = np.frombuffer(self._content, type_, count, self._at) if count else np.empty(0, type_)
        self._at += array.nbytes
        return array


def _tree(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Huffman's tree of labels, which are sorted by count, most first. Children of each node: int32 (2n - 1,) twice."""
    leaves = len(counts)
    weights = [*counts, *[10**15] * (leaves - 1)]
    left, right = np.full((2, 2 * leaves - 1), -1, np.int32)
    leaf, node = leaves - 1, leaves
    for inner_node in range(leaves, 2 * leaves - 1):
        for side in (left, right):
            if leaf >= 0 and weights[leaf] < weights[node]:
                side[inner_node], leaf = leaf, leaf - 1
            else:
                side[inner_node], node = node, node + 1
        weights[inner_node] = weights[left[inner_node]] + weights[right[inner_node]]
    return left, right


_BYTES = "Array(uint8, 1, 'C', readonly=True)"
_LONGS = "Array(int64, 1, 'C', readonly=True)"
_INTS = "Array(int32, 1, 'C', readonly=True)"
_FLOATS = "Array(float32, 2, 'C', readonly=True)"


@numba.njit
def _hash(content, begin, end):  # type: ignore[no-untyped-def]
    value = np.uint32(_FNV_START)
    for index in range(begin, end):
        value = np.uint32((value ^ np.uint32(np.int8(content[index]))) * np.uint32(_FNV_FACTOR))
    return value


@compile_cached(f"int32[::1]({_BYTES}, {_LONGS}, int64)")
def _slots(content, ends, size):  # type: ignore[no-untyped-def]
    slots = np.full(size, -1, np.int32)
    for number in range(len(ends) - 1):
        position = _hash(content, ends[number], ends[number + 1]) & (size - 1)
        while slots[position] >= 0:
            position = (position + 1) & (size - 1)
        slots[position] = number
    return slots


@numba.njit
def _word_number(content, begin, end, words, word_ends, slots):  # type: ignore[no-untyped-def]
    """The number of a word, -1 if it is in no list."""
    position = _hash(content, begin, end) & (len(slots) - 1)
    while slots[position] >= 0:
        first, behind = word_ends[slots[position]], word_ends[slots[position] + 1]
        if behind - first == end - begin:
            number = 0
            while number < end - begin and words[first + number] == content[begin + number]:
                number += 1
            if number == end - begin:
                return slots[position]
        position = (position + 1) & (len(slots) - 1)
    return -1


@numba.njit
def _characters(content, begin, end, kept, shortest, longest, ids, count):  # type: ignore[no-untyped-def]
    """Write the rows of a word's sequences of characters behind `count` others; how many there are then.

    The word is taken between < and >.
    """
    last = end - begin + 1
    for first in range(last + 1):
        if 0 < first < last and content[begin + first - 1] & 0xC0 == 0x80:
            continue  # inside of a character
        value = np.uint32(_FNV_START)
        position = first
        length = 1
        while position <= last and length <= longest:
            while True:
                byte = (
                    np.uint8(60)
                    if position == 0
                    else np.uint8(62)
                    if position == last
                    else content[begin + position - 1]
                )
                value = np.uint32((value ^ np.uint32(np.int8(byte))) * np.uint32(_FNV_FACTOR))
                position += 1
                if position >= last or content[begin + position - 1] & 0xC0 != 0x80:
                    break
            if length >= shortest and not (length == 1 and (first == 0 or position > last)):
                row = kept[value % np.uint32(len(kept))]
                if row >= 0:
                    ids[count] = row
                    count += 1
            length += 1
    return count


@compile_cached(f"Tuple((int32[::1], int64[::1]))({_BYTES}, {_LONGS}, int64, {_INTS}, int64, int64)")
def _parts(content, ends, words, kept, shortest, longest):  # type: ignore[no-untyped-def]
    room = words
    for number in range(words):
        room += (ends[number + 1] - ends[number] + 2) * (longest - shortest + 1)
    ids = np.empty(room, np.int32)
    found_ends = np.zeros(words + 1, np.int64)
    count = 0
    for number in range(words):
        ids[count] = number
        count += 1
        begin, end = ends[number], ends[number + 1]
        if number:  # the first word is the end of a line, whose characters are none
            count = _characters(content, begin, end, kept, shortest, longest, ids, count)
        found_ends[number + 1] = count
    return ids[:count].copy(), found_ends


@numba.njit
def _is_label(content, begin, end):  # type: ignore[no-untyped-def]
    if end - begin < len(_LABEL):
        return False
    for number in range(len(_LABEL)):  # noqa: SIM110  (numba has no all())
        if content[begin + number] != _LABEL[number]:
            return False
    return True


@numba.njit
def _log(share):  # type: ignore[no-untyped-def]
    """fastText's logarithm, which is that of 0 too."""
    return np.float32(math.log(np.float64(share) + 1e-5))


@numba.njit
def _predict_labels(hidden, output, left, right, least, numbers, scores, waiting):  # type: ignore[no-untyped-def]
    """The labels of a text and the logarithms of their probabilities, by hierarchical softmax, depth first.

    waiting: room for nodes that are looked at later.
    """
    bound = _log(least)
    count = 0
    waiting[0, 0], waiting[0, 1] = len(left) - 1, 0
    top = 1
    while top:
        top -= 1
        node, score = int(waiting[top, 0]), waiting[top, 1]
        if score < bound or (count == len(numbers) and score < scores[count - 1]):
            continue
        if left[node] < 0:
            position = min(count, len(numbers) - 1)
            while position and scores[position - 1] < score:
                numbers[position], scores[position] = numbers[position - 1], scores[position - 1]
                position -= 1
            numbers[position], scores[position] = node, score
            count = min(count + 1, len(numbers))
            continue
        product = np.float32(0)
        row = node - len(output)
        for column in range(len(hidden)):
            product += output[row, column] * hidden[column]
        share = np.float32(1.0 / np.float64(np.float32(1) + math.exp(-product)))
        waiting[top, 0], waiting[top, 1] = right[node], score + _log(share)
        waiting[top + 1, 0] = left[node]
        waiting[top + 1, 1] = score + _log(np.float32(1.0 - np.float64(share)))
        top += 2
    return count


@compile_cached(
    f"int64[::1]({_BYTES}, {_LONGS}, {_FLOATS}, {_INTS}, {_BYTES}, {_LONGS}, {_INTS}, {_INTS}, {_LONGS}, {_FLOATS}, "
    f"{_INTS}, {_INTS}, int64, int64, float32, int16[:, ::1], float32[:, ::1])"
)
def _classify(  # type: ignore[no-untyped-def]
    content, ends, rows, kept, words, word_ends, slots, parts, part_ends, output, left, right, shortest, longest, least,
    numbers, scores,
):  # fmt: skip
    """Fill numbers and scores (n, most) with the best labels of each text; how many there are of each."""
    counts = np.zeros(len(ends) - 1, np.int64)
    hidden = np.empty(rows.shape[1], np.float32)
    ids = np.empty(1024, np.int32)
    waiting = np.empty((len(left) + 1, 2), np.float32)
    for text in range(len(ends) - 1):
        hidden[:] = 0
        total = 0
        begin, stop = ends[text], ends[text + 1]
        is_open = True
        while is_open:
            while begin < stop and (content[begin] == 32 or content[begin] == 0 or 9 <= content[begin] <= 13):
                begin += 1
            end = begin
            while end < stop and not (content[end] == 32 or content[end] == 0 or 9 <= content[end] <= 13):
                end += 1
            number = _word_number(content, begin, end, words, word_ends, slots) if end > begin else 0
            if number == 0:  # the end of the line, or the word that stands for it
                is_open = False
            if 0 <= number < len(part_ends) - 1:
                for index in range(part_ends[number], part_ends[number + 1]):
                    for column in range(len(hidden)):
                        hidden[column] += rows[parts[index], column]
                total += part_ends[number + 1] - part_ends[number]
            elif number < 0 and not _is_label(content, begin, end):
                if (end - begin + 2) * (longest - shortest + 1) > len(ids):
                    ids = np.empty(2 * (end - begin + 2) * (longest - shortest + 1), np.int32)
                many = _characters(content, begin, end, kept, shortest, longest, ids, 0)
                for index in range(many):
                    for column in range(len(hidden)):
                        hidden[column] += rows[ids[index], column]
                total += many
            begin = end
        share = np.float32(1.0 / total)
        for column in range(len(hidden)):
            hidden[column] *= share
        counts[text] = _predict_labels(hidden, output, left, right, least, numbers[text], scores[text], waiting)
        for place in range(counts[text]):
            scores[text, place] = math.exp(scores[text, place])
    return counts
