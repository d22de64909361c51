"""extract: from archives to candidates, one for every image that has a text and an address.

What does not become a candidate is counted for each piece of an archive: no text, no address, inlined (`data:`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa

from crawl.archives.open_source import kind_of
from crawl.archives.payload import (
    UNKNOWN_TYPES,
    Response,
    charset,
    decoded_body,
    decoded_start,
    is_html,
    is_image,
    is_whole,
    media_type,
    parse_response,
)
from crawl.archives.records import Piece, Reading, Record, read_records
from crawl.candidates.archive_images import HeldImages, names_of
from crawl.candidates.assemble import UNIDENTIFIED, Counts, Rows, identified
from crawl.candidates.canonical_urls import canonical_urls
from crawl.candidates.personal_data import KINDS, mask_text
from crawl.clean_text import clean_texts, not_empty, without_templates
from crawl.pages.charset import decoded
from crawl.pages.html import TEXT_SOURCES, asks_noai, parse_page, reserves_tdm
from crawl.tables.columns import Batch, Columns, Losses, names_both
from crawl.tables.read import Form, read_rows
from crawl.units import Units
from crawl.urls import INLINED, url_in_header
from crawl.wat.entities import with_references_decoded
from crawl.wat.records import WatPage, parse_head, parse_wat
from dataset import heartbeat
from dataset.ids import hash64
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CANDIDATES, SOURCES
from dataset.secrets import without
from dataset.tables import concat

if TYPE_CHECKING:
    from crawl.wat.columns import WatImages

_FLUSH_IMAGES = 50_000
_FLUSH_BYTES = 2**27
"""Images, and bytes of the documents that they stand in, after which rows are made of them, to bound memory."""

_WAT_HEAD_BYTES = 2**16  # an Envelope follows the few hundred bytes of Container
_REQUEST_HEAD_BYTES = 2**11  # what a record is about follows some hundred bytes of the Envelope


@dataclass(frozen=True)
class ExtractConfig:
    """Which texts of a page become candidates."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    text_sources: tuple[str, ...] = ("alt", "title", "figcaption", "microdata", "json-ld")
    """Where an image's text may come from, the best first: alt, title, figcaption, microdata (the caption of the
    ImageObject that it stands in), aria-label, data-image-title; json-ld (a page's ImageObjects with their captions),
    og (its og:image with its og:image:alt, else its og:title) and link (an <a> to an image file, with its text) are
    images of their own. Of a WAT file only alt, title, og and link are known: its producer writes no others."""
    texts_per_image: Literal["first", "all"] = "first"
    """Whether an image gives one candidate, with its first usable text, or one for each distinct text."""
    sample: float = 1.0
    """The share of pages (of a table's rows), chosen by a hash of their URL, that a trial takes; 0.001 is 0.1 %."""
    url_columns: tuple[str, ...] = ("url", "image_url")
    """What the column of image URLs is called in a table; the first that the table has. Case does not matter."""
    text_columns: tuple[str, ...] = ("text", "caption", "alt")
    """What the column of texts is called in a table; the first that the table has."""
    columns: tuple[str, ...] = ()
    """The names of the columns, in their order, of CSV and TSV files without a header line: [text, url] for CC3M,
    [url, text] for CC12M. Columns that are neither of url_columns nor of text_columns are passed over."""
    quoted_tsv: bool = False
    """Whether values of tab-separated files may stand in quotation marks, as those of CSV may. By default a line is a
    row and a quotation mark is a part of its text, as in the tables of this field."""
    mask_personal_data: tuple[str, ...] = KINDS
    """Which personal data is replaced by its kind, `[email_address]`, before a text is first written; none is possible.
    `text.drop_personal_data` drops such texts altogether."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.text_sources if name not in TEXT_SOURCES]
        if unknown or not self.text_sources or len(set(self.text_sources)) < len(self.text_sources):
            raise ValueError(
                f"text_sources must be one or more of {', '.join(TEXT_SOURCES)}, not {list(self.text_sources)}"
            )
        if self.texts_per_image not in ("first", "all"):
            raise ValueError(f"texts_per_image must be first or all, not {self.texts_per_image!r}")
        for key in ("url_columns", "text_columns"):
            if not getattr(self, key):
                raise ValueError(f"{key} must name at least one column")
        if self.columns and not names_both(self.columns, Columns(self.url_columns, self.text_columns)):
            raise ValueError(
                f"columns must name a column of url_columns and one of text_columns, not {list(self.columns)}"
            )
        if set(self.mask_personal_data) - set(KINDS):
            raise ValueError(f"mask_personal_data must be of {', '.join(KINDS)}, not {list(self.mask_personal_data)}")
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be a share above 0 and at most 1, not {self.sample}")


@dataclass(frozen=True)
class Extraction:
    """What some pieces of archives hold; rows by (piece, offset, ordinal)."""

    candidates: pa.Table  # CANDIDATES
    archive_images: pa.Table  # ARCHIVE_IMAGES
    archive_leads: pa.Table  # ARCHIVE_LEADS, one a URL and piece
    sources: pa.Table  # SOURCES, a row for each piece


@dataclass
class Beside:
    """What pieces of archives hold beside candidates; complete when these are exhausted."""

    archive_images: pa.Table = field(default_factory=ARCHIVE_IMAGES.empty_table)
    archive_leads: pa.Table = field(default_factory=ARCHIVE_LEADS.empty_table)
    sources: pa.Table = field(default_factory=SOURCES.empty_table)


def extract(pieces: Sequence[Piece], config: ExtractConfig) -> Extraction:
    """Read pieces of archives in the order given, all at once. Raises as `read_candidates` does."""
    beside = Beside()
    tables = list(read_candidates(pieces, config, beside))
    return Extraction(concat(tables, CANDIDATES), beside.archive_images, beside.archive_leads, beside.sources)


def read_candidates(
    pieces: Sequence[Piece], config: ExtractConfig, beside: Beside, units: Sequence[Units] = ()
) -> Iterator[pa.Table]:
    """Read pieces of archives in the order given, in bounded memory: CANDIDATES, some 30,000 rows a table.

    Args:
        pieces: what to read.
        config: which texts to take.
        beside: is filled in on the way.
        units: of each piece, if a watchdog is to know them.

    Raises:
        OSError: the storage failed while reading, which another attempt may not meet. What an archive holds, or that
            it does not exist, is no error: the piece's row in `sources` says what is wrong.
    """
    _warm_up(config.text_sources, config.mask_personal_data)
    for number, piece in enumerate(pieces):
        form = _form(piece)
        own = units[number] if units else Units()
        if form:
            own = replace(own, total=0)  # its units are rows
        heartbeat.place(f"{piece.archive}, {'row' if form else 'the record at byte'} ")
        reader = _TableReader(piece, config, own, form) if form else _PieceReader(piece, config, own)
        for rows in reader.candidates():
            yield identified(rows, config.mask_personal_data)
        beside.archive_images = pa.concat_tables([beside.archive_images, reader.held.images()])
        beside.archive_leads = pa.concat_tables([beside.archive_leads, reader.held.leads()])
        beside.sources = pa.concat_tables([beside.sources, pa.Table.from_pylist([reader.source()], schema=SOURCES)])


@cache
def _warm_up(sources: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """Load and compile what the first page takes, which is not that page's expense."""
    rows = Rows("", sources, every_text=False, counts=Counts())
    page = parse_page(b'<html lang="en"><img src="/a.jpg" alt="a kettle">', sources)
    rows.add(page, "http://a.example/", size=0, status=200, date=None, offset=0)
    identified(rows.flush(), kinds)


def _form(piece: Piece) -> Form | None:
    """Of a table; None of an archive."""
    try:
        kind = kind_of(piece.location)
    except OSError:
        return None  # `read_records` says what is wrong
    return None if kind == "archive" or kind == "wacz" or kind == "urls" else kind


class _PieceReader:
    def __init__(self, piece: Piece, config: ExtractConfig, units: Units):
        self._piece = piece
        self._units = units
        self._first, self._last = piece.start, piece.start  # records whose rows wait
        self._sources = config.text_sources
        self._sample = config.sample
        self._reading = Reading()
        self._counts = Counts()
        every_text = config.texts_per_image == "all"
        self._rows = Rows(piece.archive, self._sources, every_text=every_text, counts=self._counts)
        self.held = HeldImages(piece.archive)
        self._wat_images: WatImages | None = None  # those that wait

    def candidates(self) -> Iterator[pa.Table]:
        """Read the piece to its end."""
        units = self._units
        units.begin(self._piece.start)
        for record in read_records(self._piece, self._reading):
            if len(self._rows) >= _FLUSH_IMAGES or self._rows.bytes >= _FLUSH_BYTES or units.is_probe:
                yield self._flush()
                self._first = record.offset
            self._last = record.offset
            if not units.begin(record.offset):
                continue
            if record.type == "metadata":
                self._metadata(record)
            elif record.type == "revisit":
                names = names_of(record.refers_to_id, record.payload_digest)
                self.held.revisit(record.uri, record.refers_to, names)
            else:
                self._web(record)
        yield self._flush()

    def _flush(self) -> pa.Table:
        if not self._units.is_probe:
            self._units.among(self._first, self._last)
        if self._wat_images is not None:
            self._rows.add_columns(self._wat_images.images())
            self._wat_images = None
        return self._rows.flush()

    def _metadata(self, record: Record) -> None:
        block = record.block
        if block.find(b'"Envelope"', 0, _WAT_HEAD_BYTES) < 0:
            return  # what crawlers note of a page, not a WAT
        if block.find(b'"HTTP-Request-Metadata"', 0, _REQUEST_HEAD_BYTES) >= 0:
            return  # half of a WAT's records describe requests
        block = with_references_decoded(block, record.date)
        wat = parse_head(block, self._sources) or self._whole_wat(block, record.offset)
        if wat is None or not self._takes(wat.uri or record.uri):
            return
        images = self._waiting() if wat.links >= 0 else None
        if images is not None and not images.read(block, wat.links):
            images, wat = None, self._whole_wat(block, record.offset)
            if wat is None:
                return
        number = self._rows.add(
            wat.page,
            wat.uri or record.uri,
            size=len(block),
            status=wat.status,
            date=wat.date or record.date,
            offset=record.offset,
        )
        if images is not None:
            images.belong(number)

    def _waiting(self) -> WatImages:
        if self._wat_images is None:
            heartbeat.rest()  # numba is slow to import and to compile, which is no record's expense
            from crawl.wat.columns import WatImages  # nothing but a WAT needs it

            self._units.begin(self._last)
            self._wat_images = WatImages()
        return self._wat_images

    def _whole_wat(self, block: bytes | bytearray, offset: int) -> WatPage | None:
        try:
            return parse_wat(block, self._sources)
        except ValueError:
            self._reading.damaged_records += 1
            self._reading.error = self._reading.error or (
                f"{self._piece.archive}: the record at byte {offset:,} is not the JSON of a WAT file"
            )
            return None

    def _web(self, record: Record) -> None:
        """A response, or a resource record, whose block is the body alone."""
        block = bytes(record.block)
        if record.type == "response":
            response = parse_response(block)
        else:
            response = Response(200, {"content-type": [record.content_type]}, block)
        if 300 <= response.status < 400:
            self.held.redirect(record.uri, url_in_header(response.header("location").encode("latin-1")))
        type_ = media_type(response.content_type)
        start = b"" if type_.startswith("image/") else decoded_start(response)
        if is_image(type_, start):  # by its content first: servers call images pages
            if is_whole(response) and record.is_addressable:
                names = names_of(record.record_id, record.payload_digest)
                self.held.image(record.uri, type_, record.offset, names)
        elif is_html(type_, start):
            self._page(record, response, type_)
        elif type_ in UNKNOWN_TYPES and start.strip() and is_whole(response):
            self._counts.untyped += 1

    def _page(self, record: Record, response: Response, type_: str) -> None:
        if not self._takes(record.uri):
            return
        html, encoding = decoded(decoded_body(response), charset(response.content_type), record.uri)
        page = parse_page(html, self._sources, xhtml=type_ == "application/xhtml+xml")
        page.noai = page.noai or asks_noai(response.headers.get("x-robots-tag", ()))
        if page.tdm_reserved is None:
            page.tdm_reserved = reserves_tdm(response.headers.get("tdm-reservation", ()))
        self._rows.add(
            page,
            record.uri,
            size=len(html),
            status=response.status,
            date=record.date,
            offset=record.offset,
            encoding=encoding,
        )

    def _takes(self, uri: str) -> bool:
        is_taken = in_sample(uri, self._sample)
        self._counts.not_sampled += not is_taken
        return is_taken

    def source(self) -> dict[str, object]:
        """The piece's row of SOURCES."""
        return _source(self._piece, self._reading, self._counts)


class _TableReader:
    """Rows of a table of (URL, text): each is an image with its texts, of no known page. Interface of _PieceReader."""

    def __init__(self, piece: Piece, config: ExtractConfig, units: Units, form: Form):
        self._piece = piece
        self._units = units
        self._form = form
        self._columns = Columns(config.url_columns, config.text_columns, config.columns, config.quoted_tsv)
        self._sample = config.sample
        self._every_text = config.texts_per_image == "all"
        self.held = HeldImages(piece.archive)  # none
        self._reading = Reading(type="table", end=max(piece.end, piece.start))
        self._counts = Counts()

    def candidates(self) -> Iterator[pa.Table]:
        """Read the piece's rows to their end."""
        piece, reading, losses = self._piece, self._reading, Losses()
        for batch in read_rows(piece.location, self._form, piece.start, piece.end, self._columns, losses):
            for first, last in self._apart(batch):
                if not self._units.is_probe:
                    self._units.among(batch.first + first, batch.first + max(first, last - 1))
                yield self._rows(batch.rows(first, last))
        reading.damaged_records = losses.rows.total()
        reading.lost_bytes = losses.bytes
        if (sentence := losses.sentence()) is not None:
            reading.error = f"{piece.archive} {mask_text(sentence)[0]}"  # which may quote a row that is no header

    def _apart(self, batch: Batch) -> Iterator[tuple[int, int]]:
        """The rows of a batch as ranges between those that are left out; of a probe one by one."""
        if not self._units.is_probe and not self._units.without:
            yield 0, len(batch.urls)
            return
        first = 0
        for number in range(len(batch.urls)):
            if not self._units.begin(batch.first + number):
                self._reading.records += 1
                if number > first:
                    yield first, number
                first = number + 1
            elif self._units.is_probe:
                yield number, number + 1
                first = number + 1
        if len(batch.urls) > first:
            yield first, len(batch.urls)

    def _rows(self, batch: Batch) -> pa.Table:
        counts = self._counts
        self._reading.records += len(batch.urls)
        raws = [(url or "").strip() for url in batch.urls.to_pylist()]
        taken = [number for number, raw in enumerate(raws) if not raw or in_sample(raw, self._sample)]
        counts.not_sampled += len(raws) - len(taken)
        counts.images_seen += len(taken)
        shown = [number for number in taken if raws[number] and raws[number][:5] not in INLINED]
        counts.no_url += sum([not raws[number] for number in taken])
        counts.data_uri += sum([raws[number][:5] in INLINED for number in taken])
        texts, of = self._usable(batch, np.asarray(shown, np.int64))
        first = np.flatnonzero(np.diff(of, prepend=-1))  # of each row's texts
        counts.no_text += len(shown) - len(first)
        urls, hosts = canonical_urls([raws[row] for row in of], [None], np.zeros(len(of), np.int64))
        counts.candidates += len(urls)
        ordinals = np.arange(len(of)) - np.repeat(first, np.diff(np.append(first, len(of))))
        nothing = {column.name: pa.nulls(len(urls), column.type) for column in UNIDENTIFIED}
        columns = {
            **nothing,
            "url": urls,
            "text": texts,
            "text_source": pa.repeat("table", len(urls)),
            "host": hosts,
            "page_url": pa.repeat("", len(urls)),
            "archive": pa.repeat(self._piece.archive, len(urls)),
            "offset": pa.array(of + batch.first),
            "ordinal": pa.array(ordinals.astype(np.int32)),
        }
        return pa.table([columns[name] for name in UNIDENTIFIED.names], UNIDENTIFIED)

    def _usable(self, batch: Batch, rows: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        """The cleaned texts of some of a batch's rows, of a row the first or all that differ, and the row of each."""
        wanted = np.zeros(len(batch.urls), bool)
        wanted[rows] = True
        chosen = wanted[batch.of]
        texts, of = without_templates(clean_texts(batch.texts.filter(pa.array(chosen)))), batch.of[chosen]
        usable = not_empty(texts)
        texts, of = texts.filter(pa.array(usable)), of[usable]
        if (of[1:] == of[:-1]).any():
            keys = of
            if self._every_text:
                codes = texts.dictionary_encode().indices.to_numpy().astype(np.int64)
                keys = of * (len(texts) + 1) + codes
            kept = np.sort(np.unique(keys, return_index=True)[1])
            texts, of = texts.take(pa.array(kept)), of[kept]
        return texts, of

    def source(self) -> dict[str, object]:
        """The piece's row of SOURCES."""
        return _source(self._piece, self._reading, self._counts)


def in_sample(url: str, share: float) -> bool:
    """Whether a trial of a share takes what stands at a URL. A larger share takes all that a smaller one takes."""
    return share >= 1 or hash64(url) < share * 2**64


def _source(piece: Piece, reading: Reading, counts: Counts) -> dict[str, object]:
    return {
        **asdict(counts),
        "archive": piece.archive,
        "type": reading.type,
        "start": piece.start,
        "end": reading.end,
        "records": reading.records,
        "damaged_records": reading.damaged_records,
        "lost_bytes": reading.lost_bytes,
        "error": without(reading.error, piece.location) if reading.error else None,
    }
