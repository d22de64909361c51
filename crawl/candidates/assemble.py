"""The images of many pages, collected and then made into candidates column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl import rsl
from crawl.archives.records import Piece, Reading
from crawl.candidates.canonical_urls import canonical_urls, is_inlined
from crawl.candidates.personal_data import mask_column
from crawl.clean_text import clean_text, clean_texts, not_empty, to_arrow, without_templates
from crawl.pages.html import Choice, Page
from crawl.pages.image_address import are_no_addresses, what_is_clear
from crawl.pages.places import Place, columns_of
from crawl.pages.query_encoding import with_queries_encoded, with_query_encoded
from crawl.urls import INLINED, as_written, canonical_url
from dataset.ids import pair_ids
from dataset.schema import CANDIDATES
from dataset.store.secrets import without

if TYPE_CHECKING:
    from crawl.wat.columns import Images

UNIDENTIFIED = pa.schema([column for column in CANDIDATES if column.name not in ("pair_id", "personal_data")])
"""CANDIDATES before personal data is masked, and so before they can be identified."""


@dataclass
class Counts:
    """What became of the pages and images of a piece; images_seen = candidates + no_text + no_url + data_uri, if an
    image gives one candidate.
    """

    not_sampled: int = 0
    pages: int = 0
    simplified_pages: int = 0
    simplified_page: str | None = None  # the first of them
    images_seen: int = 0
    candidates: int = 0
    no_text: int = 0
    no_url: int = 0
    data_uri: int = 0
    untyped: int = 0


@dataclass
class _Pages:
    """Columns over pages, and over the images that pages list, all in order."""

    uris: list[str] = field(default_factory=list)  # they, bases and licenses as written
    bases: list[str | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    noai: list[bool] = field(default_factory=list)
    tdm_reserved: list[bool | None] = field(default_factory=list)
    tdm_unreadable: list[str | None] = field(default_factory=list)
    content_signals: list[str | None] = field(default_factory=list)
    content_usages: list[str | None] = field(default_factory=list)
    rsl: list[str | None] = field(default_factory=list)
    licenses: list[str | None] = field(default_factory=list)
    dates: list[str | None] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    of: list[int] = field(default_factory=list)  # the page of each image
    urls: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)  # a column for each text source
    choices: dict[int, Choice] = field(default_factory=dict)  # see Page; numbers count over all pages
    places: dict[int, Place] = field(default_factory=dict)


class Rows:
    """Collects the images of an archive's pages and makes them candidates."""

    def __init__(self, archive: str, sources: Sequence[str], *, every_text: bool, counts: Counts):
        """counts: is filled in on the way."""
        self._archive = archive
        self._sources = sources
        self._every_text = every_text
        self._counts = counts
        self._last_offset = -1
        self._next_ordinal = 0
        self._begin()

    def _begin(self) -> None:
        self._pages = _Pages(texts=[[] for _ in self._sources])
        self._columns: list[Images] = []
        self._images = 0
        self.bytes = 0
        """The size of the documents whose images wait: an upper bound for their URLs and texts."""

    def __len__(self) -> int:
        """How many images wait; those of columns are counted by `bytes` alone until they are added."""
        return self._images

    def add(
        self,
        page: Page,
        uri: str,
        *,
        size: int,
        status: int,
        date: str | None,
        offset: int,
        encoding: str = "utf-8",
    ) -> int:
        """Add a page of some bytes, fetched from `uri`, whose record is at an offset; the number of the page.

        encoding: of the page, in which the queries of its URLs are encoded (`crawl.pages.query_encoding`).
        """
        pages = self._pages
        number = len(pages.uris)
        self._counts.pages += 1
        if page.is_simplified:
            self._counts.simplified_pages += 1
            self._counts.simplified_page = self._counts.simplified_page or as_written(uri)
        pages.uris.append(uri)
        pages.bases.append(page.base)
        pages.statuses.append(status)
        pages.languages.append(page.language and (clean_text(page.language) or None))
        pages.noai.append(page.noai)
        pages.tdm_reserved.append(page.tdm_reserved)
        pages.tdm_unreadable.append(page.tdm_unreadable and (clean_text(page.tdm_unreadable) or None))
        pages.content_signals.append(page.content_signal)
        pages.content_usages.append(page.content_usage)
        pages.rsl.append(rsl.of_page(page.rsl_inline, _canonical(page, uri)) if page.names_rsl else None)
        pages.licenses.append(page.license)
        pages.dates.append(date)
        pages.encodings.append(encoding)
        pages.offsets.append(offset)
        self.bytes += size
        if page.urls or page.silent:
            self._list(page, number)
        return number

    def _list(self, page: Page, number: int) -> None:
        pages = self._pages
        self._counts.images_seen += len(page.urls) + len(page.silent)
        self._images += len(page.urls)
        if page.silent:
            self._count_lost(
                no_url=page.silent.count(""),
                data_uri=sum([url[:5] in INLINED for url in page.silent]),
                of=len(page.silent),
            )
        if page.choices:
            first = len(pages.urls)
            pages.choices.update({first + index: choice for index, choice in page.choices.items()})
        if page.places:
            first = len(pages.urls)
            pages.places.update({first + index: place for index, place in page.places.items()})
        pages.of += [number] * len(page.urls)
        pages.urls += page.urls
        for column, texts in zip(pages.texts, page.texts, strict=True):
            column += texts

    def add_columns(self, images: Images) -> None:
        """Add images of pages that were added; they come before those that these list."""
        self._counts.images_seen += len(images.page) + images.silent
        self._images += len(images.page)
        self._count_lost(no_url=images.silent_without_url, data_uri=images.silent_inlined, of=images.silent)
        self._columns.append(images)

    def flush(self) -> pa.Table:
        """Return the candidates among the images that wait (UNIDENTIFIED, in their order), which are then forgotten."""
        pages, counts = self._pages, self._counts
        page, raw_urls, raw, places = self._in_order()
        self._begin()
        if not len(page):
            return UNIDENTIFIED.empty_table()
        # An inlined image may hold what else marks a template (`<svg`, `{`).
        raw_urls = pc.if_else(pa.array(are_no_addresses(raw_urls) & ~is_inlined(raw_urls)), "", raw_urls)
        # All sources at once: compiling what is looked for takes longer than looking for it in a column.
        filled = [number for number, column in enumerate(raw) if pc.max(pc.binary_length(column)).as_py()] or [0]
        raw = [raw[number] for number in filled]  # most sources give no text at all
        cleaned = without_templates(clean_texts(pa.concat_arrays(raw)))
        texts = [cleaned.slice(len(page) * number, len(page)) for number in range(len(raw))]
        rows, columns = np.nonzero(self._usable_texts(texts, self._has_text_and_address(raw_urls, raw)))
        counts.candidates += len(rows)
        page = page[rows]
        page_urls, bases = _places(pages)
        written = with_queries_encoded(raw_urls.take(pa.array(rows)), pages.encodings, page)
        urls, hosts = canonical_urls(written, bases, page)
        offsets = np.asarray(pages.offsets, np.int64)[page]

        def repeat_by_image(values: list[Any], type_: pa.DataType) -> pa.Array:
            return pa.array(values, type_).take(pa.array(page))

        return pa.table(
            {
                "url": urls,
                "text": cleaned.take(pa.array(columns * len(raw_urls) + rows)),
                "text_source": pa.array(self._sources, pa.string()).take(pa.array(np.array(filled)[columns])),
                "host": hosts,
                "page_url": page_urls.take(pa.array(page)),
                "page_status": repeat_by_image(pages.statuses, pa.int32()),
                "page_language": repeat_by_image(pages.languages, pa.string()),
                "page_noai": repeat_by_image(pages.noai, pa.bool_()),
                "page_tdm_reserved": repeat_by_image(pages.tdm_reserved, pa.bool_()),
                "page_tdm_unreadable": repeat_by_image(pages.tdm_unreadable, pa.string()),
                "page_content_signal": repeat_by_image(pages.content_signals, pa.string()),
                "page_content_usage": repeat_by_image(pages.content_usages, pa.string()),
                "page_rsl": repeat_by_image(pages.rsl, pa.string()),
                "page_license": repeat_by_image(_licenses(pages, bases), pa.string()),
                "page_date": repeat_by_image(pages.dates, pa.string()),
                **{name: column.take(pa.array(rows)) for name, column in places.items()},
                "archive": pa.repeat(pa.scalar(self._archive), len(rows)),
                "offset": pa.array(offsets),
                "ordinal": pa.array(self._ordinals(offsets)),
            },
            schema=UNIDENTIFIED,
        )

    def _in_order(self) -> tuple[np.ndarray, pa.Array, list[pa.Array], dict[str, pa.Array]]:
        """The images that wait, page by page: page, int64; URL; texts by source; where they stand."""
        pages = self._pages
        placed = columns_of(pages.places, pages.urls, pages.of, pages.uris)
        _choose(pages)
        page = np.concatenate([*(images.page for images in self._columns), np.array(pages.of, np.int64)])
        urls = _join_columns([*(images.urls for images in self._columns), to_arrow(pages.urls)])
        texts = [
            _join_columns([*(images.texts(name) for images in self._columns), to_arrow(listed)])
            for name, listed in zip(self._sources, pages.texts, strict=True)
        ]
        places = {
            name: _join_columns([*(images.place(name) for images in self._columns), column])
            for name, column in placed.items()
        }
        if not self._columns or not pages.urls:
            return page, urls, texts, places
        order = pa.array(np.argsort(page, kind="stable"))
        places = {name: column.take(order) for name, column in places.items()}
        return page[order.to_numpy()], urls.take(order), [column.take(order) for column in texts], places

    def _has_text_and_address(self, urls: pa.Array, raw: list[pa.Array]) -> np.ndarray:
        """Which images have a text and an address of their own: bool of shape (images,); the others are counted."""
        has_text = np.stack([not_empty(column) for column in raw]).any(axis=0)
        has_url, inlined = not_empty(urls), is_inlined(urls)
        addressed: np.ndarray = has_text & has_url & ~inlined
        self._count_lost(no_url=int((~has_url).sum()), data_uri=int(inlined.sum()), of=len(urls) - int(addressed.sum()))
        return addressed

    def _count_lost(self, *, no_url: int, data_uri: int, of: int) -> None:
        """Count images that cannot become candidates; those that have an address lack a text."""
        self._counts.no_url += no_url
        self._counts.data_uri += data_uri
        self._counts.no_text += of - no_url - data_uri

    def _usable_texts(self, texts: list[pa.Array], addressed: np.ndarray) -> np.ndarray:
        """Which cleaned texts of addressed images become candidates: bool of shape (images, text sources)."""
        usable = np.stack([not_empty(column) for column in texts], axis=1) & addressed[:, None]
        self._counts.no_text += int((addressed & ~usable.any(axis=1)).sum())
        if not self._every_text:
            return usable & (usable.cumsum(axis=1) == 1)
        for later in range(1, len(texts)):
            for earlier in range(later):
                usable[:, later] &= ~pc.equal(texts[later], texts[earlier]).to_numpy(zero_copy_only=False)
        return usable

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


def _join_columns(columns: list[pa.Array]) -> pa.Array:
    filled = [column for column in columns if len(column)]
    return pa.concat_arrays(filled or columns) if len(filled) != 1 else filled[0]


def _places(pages: _Pages) -> tuple[pa.Array, list[str | None]]:
    """The URL of each page, and the canonical URL, if there is one, that its links are relative to."""
    urls, hosts = canonical_urls(pages.uris, [None], np.zeros(len(pages.uris), np.int64))
    canonical = [url if host else None for url, host in zip(urls.to_pylist(), hosts.to_pylist(), strict=True)]
    return urls, [
        canonical_url(base, url) or url if base else url for base, url in zip(pages.bases, canonical, strict=True)
    ]


def _licenses(pages: _Pages, bases: list[str | None]) -> list[str | None]:
    return [
        written and (canonical_url(with_query_encoded(written, encoding), base) or as_written(written))
        for written, encoding, base in zip(pages.licenses, pages.encodings, bases, strict=True)
    ]


def _choose(pages: _Pages) -> None:
    """Give each image that names several URLs the one that it shows."""
    if not pages.choices:
        return
    numbers, choices = list(pages.choices), list(pages.choices.values())
    lazy = [choice.lazy for choice in choices]
    names_lazy = np.array([choice.names_lazy for choice in choices])
    shows_src, shows_lazy = what_is_clear(
        to_arrow([pages.urls[index] for index in numbers]), to_arrow(lazy), names_lazy
    )
    for index in np.flatnonzero(shows_lazy).tolist():
        pages.urls[numbers[index]] = lazy[index]
    for index in np.flatnonzero(~shows_src & ~shows_lazy).tolist():
        number = numbers[index]
        url = pages.urls[number]
        if not url or url[:5] in INLINED or any(column[number] for column in pages.texts):  # else it has no text
            pages.urls[number] = choices[index].shown_url()


def _canonical(page: Page, uri: str) -> list[str]:
    """Where the RSL licenses are that a page and its response name."""
    base = (page.base and canonical_url(page.base, uri)) or uri
    canonical = (canonical_url(link, base) for link in page.rsl_links)
    return [url for url in (*rsl.licenses_of_links(page.rsl_header, uri), *canonical) if url is not None]


def identify_rows(table: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """Return rows of UNIDENTIFIED as CANDIDATES: personal data of some kinds masked, then identified by what is
    left.
    """
    table = mask_column(table.combine_chunks(), kinds)
    ids = pair_ids(table["url"], table["text"])
    return table.add_column(0, "pair_id", ids).select(CANDIDATES.names).cast(CANDIDATES)


def source_row(piece: Piece, reading: Reading, counts: Counts) -> dict[str, object]:
    """Return a piece's row of SOURCES."""
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
