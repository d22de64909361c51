"""Archives as records at byte offsets: planned in pieces, read from any piece, read at random.

WARC 1.1, 1.0 and before, which is what WAT files are, too, and ARC (see `crawl.archives.arc`). A record's offset is
where its first byte, compressed if it is, lies in the file. Only a WARC whose records are compressed one by one (see
`crawl.archives.containers`) can be entered in the middle; any other file is read by its first piece alone, and where
one compressed stream holds all its records, offsets count the decompressed bytes.

Nothing that a file holds is an error: what can be read is read, and what is lost is counted in `Reading`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from crawl.archives.arc import ArcRecord, is_arc, read_arc, read_arc_at
from crawl.archives.containers import FIRST_LINE_BYTES, MAX_READ_AGAIN_BYTES, Container, Members, open_container
from crawl.archives.decoding.gzip_members import MemberRecord
from crawl.archives.decoding.streams import SourceFile
from crawl.archives.lenient_records import FoundRecord
from crawl.archives.open_source import MEMBER, open_source
from crawl.archives.overlong_records import read_block
from crawl.archives.payload import MAX_BODY_BYTES, ArchivedResponse, decoded_body, parse_response
from crawl.urls import url_in_header
from dataset.store.storage import filesystem
from dataset.store.web import is_web

MAX_PIECES = 2**16
"""The most pieces of one file: its size may be a stranger's claim, and a plan is held in memory."""

_PER_DAMAGE = 2**12
"""How many bytes are read again at each damage, about."""
_TYPES = frozenset({"response", "resource", "metadata", "revisit"})


@dataclass(frozen=True)
class Piece:
    """A byte range of an archive; it has the records that begin in it."""

    archive: str  # as the config names it
    location: str  # where `crawl.archives.open_source.open_source` finds it
    start: int
    end: int  # exclusive; -1 for the file's end


@dataclass(slots=True, eq=False)
class Record:
    """A response, resource, metadata or revisit record. Its header is decoded when asked for: of a WAT seldom."""

    offset: int
    type: str
    block: bytes | bytearray  # at most MAX_BODY_BYTES
    header: Callable[[bytes], bytes | None]  # the value of a field of the record's header, by its name
    is_addressable: bool = True  # whether `read_responses` finds it at its offset: the first record of a gzip member

    @property
    def uri(self) -> str:
        """Where the record was captured."""
        return self._url(b"WARC-Target-URI")

    @property
    def date(self) -> str | None:
        """When the record was written: its WARC-Date, in ISO 8601."""
        return self._value(b"WARC-Date")[:40] or None

    @property
    def content_type(self) -> str:
        """The media type of the record's block."""
        return self._value(b"Content-Type")

    @property
    def refers_to(self) -> str:
        """Where a revisit record says that its body was captured before; empty if it does not."""
        return self._url(b"WARC-Refers-To-Target-URI")

    @property
    def refers_to_id(self) -> str:
        """The record that a revisit record says to have the body of; empty if it does not."""
        return self._value(b"WARC-Refers-To")

    @property
    def record_id(self) -> str:
        return self._value(b"WARC-Record-ID")

    @property
    def payload_digest(self) -> str:
        return self._value(b"WARC-Payload-Digest")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._parts() == other._parts()

    def _parts(self) -> tuple[object, ...]:
        return (self.offset, self.type, self.uri, self.date, self.content_type, self.block, self.is_addressable)

    def _url(self, name: bytes) -> str:
        return url_in_header(self.header(name) or b"").strip().strip("<>")  # early crawlers wrote <…>

    def _value(self, name: bytes) -> str:
        return (self.header(name) or b"").decode("utf-8", "replace").strip()


@dataclass
class Reading:
    """What became of a piece; complete when its records are exhausted."""

    type: str = "unknown"  # warc, wat, arc or unknown
    end: int = -1  # the piece's end, resolved
    records: int = 0  # of all types
    damaged_records: int = 0
    lost_bytes: int = 0
    error: str | None = None


def split(archive: str, location: str, size: int, piece_bytes: int) -> list[Piece]:
    """Return pieces of equal size that together cover a file of `size` bytes, of at most `piece_bytes`, or else
    MAX_PIECES.
    """
    count = min(MAX_PIECES, max(1, -(-size // piece_bytes)))
    edges = [size * i // count for i in range(count)] + [-1]
    return [Piece(archive, location, start, end) for start, end in itertools.pairwise(edges)]


def describe(location: str) -> str:
    """Return `warc`, `wat`, `arc` or `unknown`, from the content.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    with open_source(location) as file:
        source = SourceFile(file)
        if is_arc(source):
            return "arc"
        container = open_container(source)
        return container.type if isinstance(container, Container) else "unknown"


def read_records(piece: Piece, reading: Reading) -> Iterator[Record]:
    """Yield the response, resource, metadata and revisit records that begin in a piece, in the file's order.

    Args:
        piece: what to read.
        reading: is filled in on the way.

    Raises:
        OSError: the storage failed in the middle of the file, which another attempt may not meet.
    """
    reading.end = piece.end if piece.end >= 0 else piece.start
    try:
        file = open_source(piece.location)
    except OSError as error:
        if not isinstance(error, (PermissionError, FileNotFoundError)) and _is_file(piece.location):
            raise
        reading.error = f"{piece.archive} cannot be opened: there is no such file, or it may not be read"
        return
    with file:
        source = SourceFile(file)
        reading.end = source.size if piece.end < 0 else min(piece.end, source.size)
        if piece.start >= reading.end and source.size > 0:
            return
        if is_arc(source):
            reading.type = "arc"
            yield from _arc_records(piece, source, reading)
            return
        container = open_container(source)
        if isinstance(container, str):
            if piece.start == 0:
                reading.error = f"{piece.archive} {container}"
                reading.lost_bytes = source.size
            return
        reading.type = container.type
        if isinstance(container, Members):
            start = container.boundary(piece.start)
            stop = container.boundary(reading.end) if reading.end < source.size else source.size
        else:
            start, stop = (0, container.size) if piece.start == 0 else (0, 0)
        for item in _walk(container, start, stop, reading):
            if isinstance(item, Record):
                yield item
            elif reading.error is None:
                reading.error = _damage(piece, item)


def _damage(piece: Piece, offset: int) -> str:
    return (
        f"{piece.archive} is damaged or cut off at byte {offset:,}; what is readable was read, "
        "for the rest fetch the file again"
    )


def _arc_records(piece: Piece, source: SourceFile, reading: Reading) -> Iterator[Record]:
    """The records of an ARC file, all by its first piece: such files have about 100 MB."""
    if piece.start > 0:
        return
    for item in read_arc(source):
        if isinstance(item, ArcRecord):
            reading.records += 1
            if not item.uri.startswith("filedesc:"):
                yield _warc_record_of_arc(item)
        else:
            reading.damaged_records += 1
            reading.lost_bytes += item[1] - item[0]
            reading.error = reading.error or _damage(piece, item[0])


def _warc_record_of_arc(record: ArcRecord) -> Record:
    """An ARC's record as a WARC would have it: of the web a response, of anything else the bytes alone."""
    type_ = "response" if record.uri.startswith(("http:", "https:")) else "resource"
    values = {b"WARC-Target-URI": record.uri, b"WARC-Date": record.date or "", b"Content-Type": record.media_type}
    header = {name: value.encode("utf-8", "replace") for name, value in values.items()}.get
    return Record(record.offset, type_, record.block, header, record.is_addressable)


def _walk(container: Container, start: int, stop: int, reading: Reading) -> Iterator[Record | int]:
    """The records that begin in [start, stop), and the offset of each damage."""
    position, counted, left = start, -1, MAX_READ_AGAIN_BYTES
    while position < stop:
        if left <= 0:
            reading.damaged_records += 1
            reading.lost_bytes += max(0, container.known_size - position)
            yield position
            break
        last, is_whole, is_short, is_end = -1, False, False, False
        inside: int | None = None  # where a record begins within the one that is read
        held = 0
        try:
            for record in container.read(position):
                if record.stream_pos >= stop:
                    return
                is_first = record.stream_pos != last
                last, is_whole, is_short = record.stream_pos, False, False
                reading.records += 1
                records, inside = _cut_at_next_record(container, record, is_first=is_first)
                held = len(records.block)
                if records.type in _TYPES:
                    is_whole = held >= min(record.content_length, MAX_BODY_BYTES)
                    is_short = not is_whole
                    yield records
                if inside is not None:
                    break
            is_end = True
        except OSError:
            if container.source.failure is not None:
                raise container.source.failure from None
        left -= held
        if inside is not None:
            reading.damaged_records += 1
            yield last
            position, counted = inside, -1
            continue
        if is_end and is_whole and not isinstance(container, Members):
            break
        inflated = container.inflated_bytes
        end = container.end_of(last) if last >= 0 else None
        left -= container.inflated_bytes - inflated
        bad = end if end is not None else max(last, position)
        if container.is_padding(bad):
            if is_short:  # a whole gzip member with less in it than its record declares
                reading.damaged_records += 1
                reading.lost_bytes += bad - last
                yield last
            break
        if end is None:
            position = container.next_start(bad + 1)
        else:  # the next record's first line may stand, in part, in what this one says to have
            position = container.next_start(bad if isinstance(container, Members) else bad - FIRST_LINE_BYTES)
        left -= _PER_DAMAGE
        if bad != counted:
            reading.damaged_records += 1
            yield bad
        counted = position if position == bad else -1  # it may be this record that is damaged, not the one before it
        reading.lost_bytes += max(0, min(position, container.known_size) - bad)
    if container.undecodable_bytes:
        reading.damaged_records += 1
        reading.lost_bytes += container.undecodable_bytes
        yield reading.end - container.undecodable_bytes


def _cut_at_next_record(container: Container, record: FoundRecord, *, is_first: bool) -> tuple[Record, int | None]:
    """A record as far as it is its own, and where the record begins that stands within it, if one does.

    Args:
        container: where it is from.
        record: of which nothing is read so far.
        is_first: whether it is the first at its offset.
    """
    type_ = str(record.record_type)
    block: bytes | bytearray = b""
    inside = None
    if is_first and not isinstance(record, MemberRecord):
        block, inside = read_block(record, MAX_BODY_BYTES, partial(container.look_inside, record.stream_pos))
    elif type_ in _TYPES and record.content_length:  # the place of another is not known, or the end of this one is
        block = record.reader.read(min(record.content_length, MAX_BODY_BYTES))
    return Record(record.stream_pos, type_, block, record.headers.get_bytes, is_first), inside


def read_responses(location: str, offsets: Sequence[int]) -> Iterator[tuple[int, ArchivedResponse, str | None]]:
    """Yield the responses at some offsets, by offset: (offset, response, the record's date, ISO 8601).

    Transfer and content encodings are undone; a body has at most `payload.MAX_BODY_BYTES`. Offsets at which
    there is no readable response are left out. A resource is a response without headers.

    Raises:
        OSError: the file does not exist, or the storage failed.
    """
    with open_source(location) as file:
        source = SourceFile(file)
        if is_arc(source):
            for item in map(_warc_record_of_arc, read_arc_at(source, sorted(set(offsets)))):
                yield item.offset, _response(item), item.date
            return
        container = open_container(source)
        if isinstance(container, str):
            return
        for offset, archived in container.read_at(sorted(set(offsets))):
            try:
                record, _ = _cut_at_next_record(container, archived, is_first=True)
            except OSError:
                if container.source.failure is not None:
                    raise container.source.failure from None
                continue
            if record.type in ("response", "resource"):
                yield offset, _response(record), record.date


def _response(record: Record) -> ArchivedResponse:
    block = bytes(record.block)
    if record.type != "response":
        return ArchivedResponse(200, {}, block)
    response = parse_response(block)
    return replace(response, body=decoded_body(response))


def _is_file(location: str) -> bool:
    if is_web(location) or MEMBER in location:
        return True  # else that had been the error
    filesystem_, path = filesystem(location)
    return bool(filesystem_.get_file_info(path).is_file)
