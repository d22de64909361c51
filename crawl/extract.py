"""extract: from archives to candidates, one for every image that has a text and an address.

What does not become a candidate is counted for each piece of an archive: no text, no address, inlined (`data:`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.archives import Piece, Reading, Record, read_records
from crawl.charset import to_utf8
from crawl.clean import clean_text, clean_texts, not_empty
from crawl.html import TEXT_SOURCES, Page, asks_noai, parse_page, reserves_tdm
from crawl.payload import Response, charset, decoded_body, is_html, is_image, media_type, parse_response
from crawl.personal_data import KINDS, mask_column, mask_text
from crawl.sources import kind_of
from crawl.tables import TableError, read_rows
from crawl.urls import as_written, canonical_url, host_of
from crawl.wat import parse_wat
from dataset import sql
from dataset.ids import PAIR_ID_SQL, hash64
from dataset.schema import ARCHIVE_IMAGES, CANDIDATES, PAIR_ID, SOURCES

_READ = pa.schema([column for column in CANDIDATES if column.name not in ("pair_id", "personal_data")])
_FLUSH_IMAGES, _FLUSH_CHARACTERS = 50_000, 2**25
"""Images, and characters of their texts, after which texts are cleaned and rows become Arrow, to bound memory."""

_INLINED = frozenset("".join(letters) + ":" for letters in product(*zip("data", "DATA", strict=True)))
_WAT_HEAD_BYTES = 2**16  # an Envelope follows the few hundred bytes of Container


@dataclass(frozen=True)
class ExtractConfig:
    """Which texts of a page become candidates."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    text_sources: tuple[str, ...] = ("alt", "title", "figcaption")
    """Where an image's text may come from, the best first: alt, title, figcaption, aria-label; og (the page's og:image
    with its og:image:alt, else its og:title) and link (an <a> to an image file, with its text) are images of their own.
    Of a WAT file only alt, title, og and link are known: its producer writes neither captions nor aria-label."""
    texts_per_image: Literal["first", "all"] = "first"
    """Whether an image gives one candidate, with its first usable text, or one for each distinct text."""
    sample: float = 1.0
    """The share of pages (of a table's rows), chosen by a hash of their URL, that a trial takes; 0.001 is 0.1 %."""
    url_columns: tuple[str, ...] = ("url", "image_url")
    """What the column of image URLs is called in a table; the first that the table has. Case does not matter."""
    text_columns: tuple[str, ...] = ("text", "caption", "alt")
    """What the column of texts is called in a table; the first that the table has."""
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
        if set(self.mask_personal_data) - set(KINDS):
            raise ValueError(f"mask_personal_data must be of {', '.join(KINDS)}, not {list(self.mask_personal_data)}")
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be a share above 0 and at most 1, not {self.sample}")


@dataclass(frozen=True)
class Extraction:
    """What some pieces of archives hold; rows by (piece, offset, ordinal)."""

    candidates: pa.Table  # CANDIDATES
    archive_images: pa.Table  # ARCHIVE_IMAGES
    sources: pa.Table  # SOURCES, a row for each piece


@dataclass
class _Counts:
    not_sampled: int = 0
    pages: int = 0
    images_seen: int = 0
    candidates: int = 0
    no_text: int = 0
    no_url: int = 0
    data_uri: int = 0


@dataclass
class _Pending:
    """Images that wait for their texts to be cleaned: a list for each column, rows in order."""

    urls: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)  # a column for each text source
    characters: int = 0  # of the texts
    sizes: list[int] = field(default_factory=list)  # how many images each page has in the lists above
    page_urls: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    noai: list[bool] = field(default_factory=list)
    tdm_reserved: list[bool | None] = field(default_factory=list)
    licenses: list[str | None] = field(default_factory=list)
    dates: list[str | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


def extract(pieces: Sequence[Piece], config: ExtractConfig) -> Extraction:
    """Read pieces of archives in the order given.

    Raises:
        OSError: the storage failed while reading, which another attempt may not meet. What an archive holds, or that
            it does not exist, is no error: the piece's row in `sources` says what is wrong.
    """
    candidates: list[pa.Table] = []
    archive_images: list[pa.Table] = []
    sources: list[dict[str, object]] = []
    for piece in pieces:
        reader = (_TableReader if _is_table(piece) else _PieceReader)(piece, config)
        reader.run()
        candidates += reader.candidates
        archive_images.append(reader.archive_images())
        sources.append(reader.source())
    return Extraction(
        _finished(pa.concat_tables([_READ.empty_table(), *candidates]), config.mask_personal_data),
        pa.concat_tables([ARCHIVE_IMAGES.empty_table(), *archive_images]),
        pa.Table.from_pylist(sources, schema=SOURCES),
    )


def _is_table(piece: Piece) -> bool:
    try:
        return kind_of(piece.location) in ("parquet", "csv")
    except OSError:
        return False  # `read_records` says what is wrong


def _finished(table: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """Rows of _READ as CANDIDATES: personal data masked, then identified by what is left."""
    table = mask_column(table, kinds)
    ids = sql.run(f"SELECT {PAIR_ID_SQL} AS pair_id FROM rows", {"rows": table.select(["url", "text"])})  # noqa: S608
    return table.append_column("pair_id", ids.column("pair_id").cast(PAIR_ID)).select(CANDIDATES.names).cast(CANDIDATES)


class _PieceReader:
    def __init__(self, piece: Piece, config: ExtractConfig):
        self._piece, self._sources = piece, config.text_sources
        self._every_text, self._sample = config.texts_per_image == "all", config.sample
        self._reading, self._counts = Reading(), _Counts()
        self._pending = self._nothing()
        self._last_offset, self._next_ordinal = -1, 0
        self._images: dict[str, list[object]] = {"url": [], "host": [], "media_type": [], "offset": []}
        self.candidates: list[pa.Table] = []

    def _nothing(self) -> _Pending:
        return _Pending(texts=[[] for _ in self._sources])

    def run(self) -> None:
        """Read the piece to its end."""
        for record in read_records(self._piece, self._reading):
            if len(self._pending.urls) >= _FLUSH_IMAGES or self._pending.characters >= _FLUSH_CHARACTERS:
                self._flush()
            if record.type == "metadata":
                self._metadata(record)
            else:
                self._web(record)
        self._flush()

    def _metadata(self, record: Record) -> None:
        if b'"Envelope"' not in record.block[:_WAT_HEAD_BYTES]:
            return  # what crawlers note of a page, not a WAT
        try:
            wat = parse_wat(record.block, self._sources)
        except ValueError:
            self._reading.damaged_records += 1
            self._reading.error = self._reading.error or (
                f"{self._piece.archive}: the record at byte {record.offset:,} is not the JSON of a WAT file"
            )
            return
        if wat is not None and self._takes(wat.uri or record.uri):
            self._page(record, wat.page, wat.status, wat.uri or record.uri, wat.date or record.date)

    def _web(self, record: Record) -> None:
        """A response, or a resource record, whose block is the body alone."""
        if record.type == "response":
            response = parse_response(record.block)
        else:
            response = Response(200, {"content-type": [record.content_type]}, record.block)
        type_ = media_type(response.content_type)
        if is_html(type_, response.body):
            if not self._takes(record.uri):
                return
            page = parse_page(
                to_utf8(decoded_body(response), charset(response.content_type)),
                self._sources,
                xhtml=type_ == "application/xhtml+xml",
            )
            page.noai = page.noai or asks_noai(response.headers.get("x-robots-tag", ()))
            if page.tdm_reserved is None:
                page.tdm_reserved = reserves_tdm(response.headers.get("tdm-reservation", ()))
            self._page(record, page, response.status, record.uri, record.date)
        elif response.status == 200 and record.is_addressable and is_image(type_, response.body):
            url = canonical_url(record.uri)
            if url is not None:
                for column, value in zip(self._images.values(), (url, host_of(url), type_, record.offset), strict=True):
                    column.append(value)

    def _takes(self, uri: str) -> bool:
        is_taken = in_sample(uri, self._sample)
        self._counts.not_sampled += not is_taken
        return is_taken

    def _page(self, record: Record, page: Page, status: int, uri: str, date: str | None) -> None:
        counts, pending, urls = self._counts, self._pending, page.urls
        counts.pages += 1
        counts.images_seen += len(urls)
        told = [texts for texts in page.texts if any(texts)]
        has_text = told[0] if len(told) == 1 else [any(texts) for texts in zip(*told, strict=True)]
        kept = [
            number
            for number, (url, text) in enumerate(zip(urls, has_text, strict=bool(told)))
            if text and url and url[:5] not in _INLINED
        ]
        no_url, inlined = urls.count(""), sum([url[:5] in _INLINED for url in urls])
        counts.no_url += no_url
        counts.data_uri += inlined
        counts.no_text += len(urls) - no_url - inlined - len(kept)
        if not kept:
            return
        page_url = canonical_url(uri)
        base = canonical_url(page.base, page_url) or page_url if page.base else page_url
        found = [canonical_url(urls[number], base) for number in kept]
        pending.hosts += ["" if url is None else host_of(url) for url in found]
        pending.urls += [
            as_written(urls[number]) if url is None else url for number, url in zip(kept, found, strict=True)
        ]
        for column, texts in zip(pending.texts, page.texts, strict=True):
            chosen = [texts[number] for number in kept]
            column += chosen
            pending.characters += sum(map(len, chosen))
        pending.sizes.append(len(kept))
        pending.page_urls.append(page_url or as_written(uri))
        pending.statuses.append(status)
        pending.languages.append(page.language and (clean_text(page.language) or None))
        pending.noai.append(page.noai)
        pending.tdm_reserved.append(page.tdm_reserved)
        pending.licenses.append(page.license and (canonical_url(page.license, base) or as_written(page.license)))
        pending.dates.append(date)
        pending.offsets.append(record.offset)

    def _flush(self) -> None:
        pending, self._pending = self._pending, self._nothing()
        if not pending.urls:
            return
        width = len(self._sources)
        texts = [clean_texts(column) for column in pending.texts]
        usable = np.stack([not_empty(column) for column in texts], axis=1)  # images × text sources
        self._counts.no_text += int((~usable.any(axis=1)).sum())
        if self._every_text:
            for later in range(1, width):
                for earlier in range(later):
                    usable[:, later] &= ~pc.equal(texts[later], texts[earlier]).to_numpy(zero_copy_only=False)
        else:
            usable &= usable.cumsum(axis=1) == 1
        rows, columns = np.nonzero(usable)
        self._counts.candidates += len(rows)
        pages = np.repeat(np.arange(len(pending.sizes)), pending.sizes)[rows]
        offsets = np.asarray(pending.offsets, np.int64)[pages]

        def of_page(values: list[Any], type_: pa.DataType) -> pa.Array:
            return pa.array(values, type_).take(pa.array(pages))

        table = pa.table(
            {
                "url": pa.array(pending.urls, pa.string()).take(pa.array(rows)),
                "text": pa.chunked_array(texts).take(pa.array(columns * len(pending.urls) + rows)).combine_chunks(),
                "text_source": pa.array(self._sources, pa.string()).take(pa.array(columns)),
                "host": pa.array(pending.hosts, pa.string()).take(pa.array(rows)),
                "page_url": of_page(pending.page_urls, pa.string()),
                "page_status": of_page(pending.statuses, pa.int32()),
                "page_language": of_page(pending.languages, pa.string()),
                "page_noai": of_page(pending.noai, pa.bool_()),
                "page_tdm_reserved": of_page(pending.tdm_reserved, pa.bool_()),
                "page_license": of_page(pending.licenses, pa.string()),
                "page_date": of_page(pending.dates, pa.string()),
                "archive": pa.repeat(pa.scalar(self._piece.archive), len(rows)),
                "offset": pa.array(offsets),
                "ordinal": pa.array(self._ordinals(offsets)),
            },
            schema=_READ,
        )
        self.candidates.append(table)

    def _ordinals(self, offsets: np.ndarray) -> np.ndarray:
        """0, 1, … for the rows of each offset, going on where the last flush ended. Shape (n,), int32."""
        if not len(offsets):
            return offsets.astype(np.int32)
        index = np.arange(len(offsets))
        begins = np.append(True, offsets[1:] != offsets[:-1])
        ordinals = index - np.maximum.accumulate(np.where(begins, index, 0))
        if offsets[0] == self._last_offset:
            ordinals[offsets == offsets[0]] += self._next_ordinal
        self._last_offset, self._next_ordinal = int(offsets[-1]), int(ordinals[-1]) + 1
        return ordinals.astype(np.int32)

    def archive_images(self) -> pa.Table:
        """The piece's rows of ARCHIVE_IMAGES."""
        columns = {**self._images, "archive": [self._piece.archive] * len(self._images["url"])}
        return pa.table([pa.array(columns[column.name], column.type) for column in ARCHIVE_IMAGES], ARCHIVE_IMAGES)

    def source(self) -> dict[str, object]:
        """The piece's row of SOURCES."""
        return _source(self._piece, self._reading, self._counts)


class _TableReader:
    """Rows of a table of (URL, text): each is an image with a text, of no known page. Interface of _PieceReader."""

    def __init__(self, piece: Piece, config: ExtractConfig):
        self._piece = piece
        self._columns, self._sample = (config.url_columns, config.text_columns), config.sample
        self._reading = Reading(type="table", end=max(piece.end, piece.start))
        self._counts = _Counts()
        self.candidates: list[pa.Table] = []

    def run(self) -> None:
        """Read the piece's rows to their end."""
        piece = self._piece
        try:
            for first, rows in read_rows(piece.location, piece.start, piece.end, self._columns):
                self._rows(first, rows)
        except TableError as error:
            self._reading.error = f"{piece.archive} {mask_text(str(error))[0]}"  # which may quote a headless first row

    def _rows(self, first: int, rows: pa.Table) -> None:
        counts = self._counts
        self._reading.records += len(rows)
        raws = [(url or "").strip() for url in rows["url"].to_pylist()]
        taken = [number for number, raw in enumerate(raws) if not raw or in_sample(raw, self._sample)]
        counts.not_sampled += len(raws) - len(taken)
        counts.images_seen += len(taken)
        shown = [number for number in taken if raws[number] and raws[number][:5] not in _INLINED]
        counts.no_url += sum([not raws[number] for number in taken])
        counts.data_uri += sum([raws[number][:5] in _INLINED for number in taken])
        texts = clean_texts(rows["text"].take(pa.array(shown, pa.int64())))
        usable = not_empty(texts)
        counts.no_text += int((~usable).sum())
        numbers = np.asarray(shown, np.int64)[usable]
        found = [(raws[number], canonical_url(raws[number])) for number in numbers]
        counts.candidates += len(found)
        nothing = {column.name: pa.nulls(len(found), column.type) for column in _READ}
        columns = {
            **nothing,
            "url": pa.array([as_written(raw) if url is None else url for raw, url in found], pa.string()),
            "text": texts.filter(pa.array(usable)),
            "text_source": pa.repeat("table", len(found)),
            "host": pa.array(["" if url is None else host_of(url) for _, url in found], pa.string()),
            "page_url": pa.repeat("", len(found)),
            "archive": pa.repeat(self._piece.archive, len(found)),
            "offset": pa.array(numbers + first),
            "ordinal": pa.array(np.zeros(len(found), np.int32)),
        }
        self.candidates.append(pa.table([columns[name] for name in _READ.names], _READ))

    def archive_images(self) -> pa.Table:
        """A table holds no images."""
        return ARCHIVE_IMAGES.empty_table()

    def source(self) -> dict[str, object]:
        """The piece's row of SOURCES."""
        return _source(self._piece, self._reading, self._counts)


def in_sample(url: str, share: float) -> bool:
    """Whether a trial of a share takes what stands at a URL. A larger share takes all that a smaller one takes."""
    return share >= 1 or hash64(url) < share * 2**64


def _source(piece: Piece, reading: Reading, counts: _Counts) -> dict[str, object]:
    return {
        **asdict(counts),
        "archive": piece.archive,
        "type": reading.type,
        "start": piece.start,
        "end": reading.end,
        "records": reading.records,
        "damaged_records": reading.damaged_records,
        "lost_bytes": reading.lost_bytes,
        "error": reading.error,
    }
