"""Candidates of an archive: WARC and ARC (pages), WAT (what it tells of pages)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from crawl.archives.payload import (
    UNKNOWN_TYPES,
    ArchivedResponse,
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
from crawl.candidates.assemble import Counts, Rows, source_row
from crawl.candidates.config import ExtractConfig, in_sample
from crawl.pages.charset import to_utf8
from crawl.pages.html import asks_noai, parse_page
from crawl.rsl import MEDIA_TYPE
from crawl.units import SLOW_OF_A_HOST, Units
from crawl.urls import url_in_header
from crawl.wat.entities import with_references_decoded
from crawl.wat.records import WatPage, parse_head, parse_wat
from crawl.wishes import content_signal, content_usage
from dataset import heartbeat, usage
from dataset.hosts import hostname

if TYPE_CHECKING:
    from crawl.wat.columns import WatImages

_FLUSH_IMAGES = 50_000
_FLUSH_BYTES = 2**27
"""Images, and bytes of the documents that they stand in, after which rows are made of them, to bound memory."""

_WAT_HEAD_BYTES = 2**16  # an Envelope follows the few hundred bytes of Container
_REQUEST_HEAD_BYTES = 2**11  # what a record is about follows some hundred bytes of the Envelope


class ArchiveReader:
    """The images of a piece's pages, and what it holds beside them."""

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
        self._slow: Counter[str] = Counter()  # by host, records that took too long

    def candidates(self) -> Iterator[pa.Table]:
        """Read the piece to its end."""
        units = self._units
        units.begin(self._piece.start)
        for record in read_records(self._piece, self._reading):
            if len(self._rows) >= _FLUSH_IMAGES or self._rows.bytes >= _FLUSH_BYTES or units.is_probe:
                yield self._flush()
                self._first = record.offset
            self._last = record.offset
            is_mine = units.begin(record.offset)
            if units.slow and self._is_of_slow_host(record):
                continue
            if not is_mine:
                continue
            began = time.thread_time() if self._sample < 1 else 0.0
            if record.type == "metadata":
                self._metadata(record)
            elif record.type == "revisit":
                names = names_of(record.refers_to_id, record.payload_digest)
                self.held.revisit(record.uri, record.refers_to, names)
            else:
                self._web(record)
            if self._sample < 1:  # all else is reading past pages, which a whole run does no more often
                usage.count(**{usage.SAMPLED: time.thread_time() - began})
        yield self._flush()

    def _is_of_slow_host(self, record: Record) -> bool:
        """Whether a record stands behind its host's third that took too long."""
        host = hostname(record.uri)
        if self._units.took_too_long(record.offset):
            self._slow[host] += 1
            return False
        if self._slow[host] < SLOW_OF_A_HOST:
            return False
        self._is_damaged(record.offset, f"is of {host}, of which {SLOW_OF_A_HOST} took too long: left out")
        return True

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
        wat = parse_head(block, self._sources) or self._parse_whole_wat(block, record.offset)
        if wat is None or not self._takes(wat.uri or record.uri):
            return
        images = self._load_wat_images() if wat.links >= 0 else None
        if images is not None and not images.read(block, wat.links):
            images, wat = None, self._parse_whole_wat(block, record.offset)
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

    def _load_wat_images(self) -> WatImages:
        if self._wat_images is None:
            heartbeat.rest()  # numba is slow to import and to compile, which is no record's expense
            from crawl.wat.columns import WatImages  # nothing but a WAT needs it

            self._units.begin(self._last)
            self._wat_images = WatImages()
        return self._wat_images

    def _parse_whole_wat(self, block: bytes | bytearray, offset: int) -> WatPage | None:
        try:
            return parse_wat(block, self._sources)
        except ValueError:
            self._is_damaged(offset, "is not the JSON of a WAT file")
            return None

    def _is_damaged(self, offset: int, what: str) -> None:
        self._reading.damaged_records += 1
        self._reading.error = self._reading.error or f"{self._piece.archive}: the record at byte {offset:,} {what}"

    def _web(self, record: Record) -> None:
        """A response, or a resource record, whose block is the body alone."""
        if record.type == "response":
            response = parse_response(record.block)
            if not response.has_end:
                self._is_damaged(record.offset, "has a head of HTTP that does not end")
                return
        else:
            response = ArchivedResponse(200, {"content-type": [record.content_type]}, bytes(record.block))
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

    def _page(self, record: Record, response: ArchivedResponse, type_: str) -> None:
        if not self._takes(record.uri):
            return
        html, encoding = to_utf8(decoded_body(response), charset(response.content_type), record.uri)
        page = parse_page(html, self._sources, xhtml=type_ == "application/xhtml+xml")
        headers = response.headers
        page.noai = page.noai or asks_noai(headers.get("x-robots-tag", ()))
        page.add_tdm_header(headers.get("tdm-reservation", ()))
        page.content_signal = content_signal(headers.get("content-signal", ()))
        page.content_usage = content_usage(headers.get("content-usage", ()))
        page.rsl_header = [value for value in headers.get("link", ()) if MEDIA_TYPE in value.lower()]
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
        """Return the piece's row of SOURCES."""
        return source_row(self._piece, self._reading, self._counts)
