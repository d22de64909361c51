"""What a HEIC or AVIF says that it holds, looked at before a decoder believes it: its items, where their bytes lie, and
the pixels that are decoded to show one (ISO/IEC 23008-12 and 14496-12, section 8.11).

A file of 40 KB can ask for minutes of decoding: frames upon frames in one item of AV1, of which one is shown, or a
picture made of the same large one time and again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dataset.images.encoded import ImageError, check_pixels, too_many

MAX_BOXES = 10_000  # at the top of a file; writers make about five
_MAX_ITEMS = 2_000  # and as many pieces of them; libavif looks for each among all others, libheif allows no more
_MAX_LISTED = {b"iinf": 2**17, b"ipma": 2**15, b"iref": 2**15}  # bytes that say what items there are; libavif's search
_MAX_SHARED = 4
"""How often a file's bytes may be named as some item's: a decoder copies them each time. Encoders store a
grid's equal tiles once (libavif does), and these are small."""
_MIN_NAMED_BYTES = 2**23  # which take half a second at most, however small the file
_MAX_WORK = 16
"""How much may be decoded to show one item, in pixels of AV1 by those that an image may have: two images of HEVC, or 16
frames of AV1, as large as an image may be, of which nothing but their size costs. They take 3 s of CPU."""
_WORK = {b"av01": 1, b"grid": 1, b"iovl": 1, b"iden": 1}
"""What a pixel costs by the kind of its item, measured: 2.3 ns in AV1, 24 ns in HEVC (8, as any other codec)."""
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6
_MAX_UNITS = 10_000  # of AV1 in an item; a still image has two, and one more for each group of tiles
_HEAD_BYTES = 256  # of a sequence header, which hold the size of its frames


@dataclass
class _Items:
    """What a `meta` box says of its items, by their numbers."""

    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # method, where, how many bytes
    pixels: dict[int, int] = field(default_factory=dict)
    made_of: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    data: tuple[int, int] = (0, 0)  # where its `idat` lies


class _Reader:
    """Reads numbers one after another; behind the end all are 0."""

    def __init__(self, body: bytes, at: int, end: int):
        self.body, self.at, self.end = body, at, end

    def number(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.body[self.at - size : min(self.at, self.end)], "big")


def check_items(body: bytes, most: int) -> None:
    """Refuse a file that names more items, more of its bytes, or more pixels, than a decoder should be given.

    most: pixels that an image may have.

    Raises:
        ImageError: it names more.
    """
    for first, last, is_file in _metas(body, 0, len(body), (b"moov", b"trak")):
        items, left = _Items(), dict(_MAX_LISTED)
        boxes = [*inner_boxes(body, first + 4, last), *_properties(body, first + 4, last)]
        for kind, start, end in boxes:
            if kind == b"iloc":
                items.places |= _places(body, start, end)
            if kind in left:
                left[kind] -= end - start
                if left[kind] < 0:
                    raise too_many(f"bytes of {kind.decode()}", _MAX_LISTED[kind])
        if is_file:
            _describe(items, body, boxes)
            _check_work(items, body, most)


def inner_boxes(body: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a part of a file: the kind of each, and where its content begins and ends.

    Raises:
        ImageError: they are too many.
    """
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        length, head = int.from_bytes(body[start : start + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(body[start + 8 : start + 16], "big"), 16
        length = length or end - start
        if length < head:
            return
        yield body[start + 4 : start + 8], start + head, min(start + length, end)
        start += length
    raise too_many("boxes", MAX_BOXES)


def _metas(body: bytes, start: int, end: int, around: Sequence[bytes]) -> Iterator[tuple[int, int, bool]]:
    """Where the content of each `meta` box begins and ends, of the file, of its `moov` and of each `trak` in that, and
    whether it is the file's, however deep a file nests its boxes.
    """
    for kind, first, last in inner_boxes(body, start, end):
        if kind == b"meta":
            yield first, last, len(around) == 2
        elif around and kind == around[0]:
            yield from _metas(body, first, last, around[1:])


def _properties(body: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for kind, first, last in inner_boxes(body, start, end):
        if kind == b"iprp":
            yield from inner_boxes(body, first, last)


def _places(body: bytes, start: int, end: int) -> dict[int, list[tuple[int, int, int]]]:
    """What an `iloc` box says (ISO/IEC 14496-12, section 8.11.3). Raises ImageError."""
    read = _Reader(body, start, end)
    version, sizes = read.number(4) >> 24, read.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    items, pieces, named = read.number(wide), 0, 0
    if items > _MAX_ITEMS:
        raise too_many("items", _MAX_ITEMS)
    places: dict[int, list[tuple[int, int, int]]] = {}
    for _ in range(items):
        item = read.number(wide)
        method = read.number(2) & 15 if version else 0
        read.number(2)
        base, of_item = read.number(base_size), read.number(2)
        pieces += of_item
        if pieces > _MAX_ITEMS:
            raise too_many("pieces of items", _MAX_ITEMS)
        for _ in range(of_item):
            read.number(index_size)
            offset = base + read.number(offset_size)
            length = read.number(length_size) or len(body)  # 0: to the end of the file
            named += length
            places.setdefault(item, []).append((method, offset, length))
    if named > max(_MAX_SHARED * len(body), _MIN_NAMED_BYTES):
        raise too_many("bytes of items", max(_MAX_SHARED * len(body), _MIN_NAMED_BYTES))
    return places


def _describe(items: _Items, body: bytes, boxes: Sequence[tuple[bytes, int, int]]) -> None:
    """Fill in what boxes say of the items but for their places."""
    sizes: list[int] = []  # of each property: the pixels of an `ispe`, 0 of others
    for kind, start, end in boxes:
        if kind == b"idat":
            items.data = start, end
        elif kind == b"iinf":
            head = 6 if body[start : start + 1] == b"\0" else 8
            for _, first, last in inner_boxes(body, start + head, end):
                read = _Reader(body, first, last)
                item = read.number(4) >> 24 == 3
                number = read.number(4 if item else 2)
                read.number(2)
                items.kinds[number] = body[read.at : read.at + 4]
        elif kind == b"iref":
            wide = 4 if body[start : start + 1] == b"\1" else 2
            for relation, first, last in inner_boxes(body, start + 4, end):
                read = _Reader(body, first, last)
                whole, count = read.number(wide), read.number(2)
                if relation == b"dimg":
                    items.made_of[whole] += [read.number(wide) for _ in range(min(count, (last - read.at) // wide))]
        elif kind == b"ipco":
            for property_, first, last in inner_boxes(body, start, end):
                read = _Reader(body, first + 4, last)
                sizes.append(read.number(4) * read.number(4) if property_ == b"ispe" else 0)
    for kind, start, end in boxes:
        if kind == b"ipma":
            _associate(items, _Reader(body, start, end), sizes)


def _associate(items: _Items, read: _Reader, sizes: Sequence[int]) -> None:
    """Fill in each item's pixels by an `ipma` box (ISO/IEC 23008-12, section 9.3)."""
    head = read.number(4)
    wide, property_ = (4 if head >> 24 else 2), (2 if head & 1 else 1)
    for _ in range(min(read.number(4), read.end - read.at)):
        item, count = read.number(wide), read.number(1)
        for _ in range(count):
            index = read.number(property_) & (0x7FFF if property_ == 2 else 0x7F)
            if 0 < index <= len(sizes):
                items.pixels[item] = max(items.pixels.get(item, 0), sizes[index - 1])


def _check_work(items: _Items, body: bytes, most: int) -> None:
    """Raise ImageError if to show one of the items costs too much."""
    done: dict[int, int] = {}

    def own(item: int) -> int:
        kind, shown = items.kinds.get(item, b""), items.pixels.get(item, 0)
        if kind != b"av01":
            return shown * _WORK.get(kind, 8)
        coded = _coded(_content(items, body, item))
        check_pixels(max(1, coded.width), max(1, coded.height), most)
        return max(1, coded.frames) * max(shown, coded.pixels) * _WORK[kind]

    for item in items.kinds:
        if _total(item, items.made_of, own, done) > _MAX_WORK * most:
            raise ImageError(
                "image_too_many_pixels",
                f"to show one of its parts costs as much as {done[item]:,} pixels of AV1, more than {_MAX_WORK} times "
                f"{most:,}",
            )


def _total(item: int, made_of: dict[int, list[int]], own: Callable[[int], int], done: dict[int, int]) -> int:
    """What it costs to show an item: its own pixels, and all that it is made of, each as often as it is named. Without
    recursion, for items may name each other thousands deep.
    """
    waiting = [item]
    while waiting:
        at = waiting[-1]
        if at not in done:
            done[at] = 0  # what leads back to itself no decoder follows
            waiting += [part for part in made_of.get(at, ()) if part not in done]
            continue
        waiting.pop()
        if not done[at]:
            done[at] = own(at) + sum(done[part] for part in made_of.get(at, ()))
    return done[item]


def _content(items: _Items, body: bytes, item: int) -> bytes:
    """An item's bytes."""
    pieces = []
    for method, offset, length in items.places.get(item, ()):
        start, end = items.data if method == 1 else (0, len(body))
        pieces.append(body[start + offset : min(start + offset + length, end)])
    return b"".join(pieces)


@dataclass
class _Coded:
    """What is coded: so many frames, each of at most so many pixels."""

    frames: int = 0
    width: int = 0  # the largest that a sequence header says
    height: int = 0
    pixels: int = 0  # the most that one frame can have: its header may say another size, of as many digits


class _Bits:
    """Reads numbers of some bits; behind the end all are 0."""

    def __init__(self, data: bytes):
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, bits: int) -> int:
        self._left -= bits
        return (self._value >> self._left if self._left >= 0 else 0) & ((1 << bits) - 1)

    def variable(self) -> None:
        """Pass over a number of unknown length (uvlc)."""
        zeros = 0
        while zeros < 32 and not self.number(1):
            zeros += 1
        self.number(zeros if zeros < 32 else 0)


def _coded(data: bytes) -> _Coded:
    """Look through the units (OBU) of an item. Raises ImageError: they are too many."""
    found, at = _Coded(), 0
    for _ in range(_MAX_UNITS):
        if at >= len(data):
            return found
        head = data[at]
        at += 2 if head & 4 else 1
        size, at = _length(data, at) if head & 2 else (len(data) - at, at)
        kind = head >> 3 & 15
        if kind == _SEQUENCE:
            _note_size(found, data[at : at + min(size, _HEAD_BYTES)])
        found.frames += kind in (_FRAME_HEADER, _FRAME)
        at += size
    raise too_many("units of AV1 in an item", _MAX_UNITS)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to eight bytes (leb128), and where what follows it begins."""
    value = 0
    for index in range(8):
        byte = data[at + index] if at + index < len(data) else 0
        value |= (byte & 127) << 7 * index
        if byte < 128:
            break
    return value, at + index + 1


def _note_size(found: _Coded, header: bytes) -> None:
    """Take the size of frames that a sequence header says into account (section 5.5.1)."""
    bits = _Bits(header)
    bits.number(4)
    is_reduced = bool(bits.number(1))
    if is_reduced:
        bits.number(5)
    else:
        _pass_operating_points(bits)
    digits = bits.number(4) + 1, bits.number(4) + 1
    width, height = bits.number(digits[0]) + 1, bits.number(digits[1]) + 1
    if width * height > found.width * found.height:
        found.width, found.height = width, height
    found.pixels = max(found.pixels, width * height if is_reduced else 1 << sum(digits))


def _pass_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.number(1):  # timing_info_present_flag
        bits.number(64)
        if bits.number(1):
            bits.variable()
        if bits.number(1):  # decoder_model_info_present_flag
            delay_bits = bits.number(5) + 1
            bits.number(42)
    has_delay = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)
        if delay_bits and bits.number(1):
            bits.number(2 * delay_bits + 1)
        if has_delay and bits.number(1):
            bits.number(4)
