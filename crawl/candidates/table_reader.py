"""Candidates of a table of (URL, text)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.archives.records import Piece, Reading
from crawl.candidates.archive_images import HeldImages
from crawl.candidates.assemble import UNIDENTIFIED, Counts, source_row
from crawl.candidates.canonical_urls import canonical_urls
from crawl.candidates.config import ExtractConfig, in_sample
from crawl.candidates.personal_data import mask_text
from crawl.clean_text import clean_texts, not_empty, without_templates
from crawl.pages.image_address import are_no_addresses
from crawl.tables.columns import Columns, Losses, TableBatch
from crawl.tables.read import Form, read_rows
from crawl.units import Units
from crawl.urls import INLINED

_NUMBER = r"^[+-]?[.,]?[0-9][0-9.,]*(?:[eE][+-]?[0-9]+)?$"


class TableReader:
    """Rows of a table of (URL, text): each is an image with its texts, of no known page. Interface of ArchiveReader."""

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
            for first, last in self._ranges_between_left_out(batch):
                if not self._units.is_probe:
                    self._units.among(batch.first + first, batch.first + max(first, last - 1))
                yield self._rows(batch.rows(first, last))
        reading.damaged_records = losses.rows.total()
        reading.lost_bytes = losses.bytes
        if (sentence := losses.sentence()) is not None:
            reading.error = f"{piece.archive} {mask_text(sentence)[0]}"  # which may quote a row that is no header

    def _ranges_between_left_out(self, batch: TableBatch) -> Iterator[tuple[int, int]]:
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

    def _rows(self, batch: TableBatch) -> pa.Table:
        counts = self._counts
        self._reading.records += len(batch.urls)
        raws = _addresses(batch.urls)
        taken = [number for number, raw in enumerate(raws) if not raw or in_sample(raw, self._sample)]
        counts.not_sampled += len(raws) - len(taken)
        counts.images_seen += len(taken)
        shown = [number for number in taken if raws[number] and raws[number][:5] not in INLINED]
        counts.no_url += sum([not raws[number] for number in taken])
        counts.data_uri += sum([raws[number][:5] in INLINED for number in taken])
        texts, of = self._usable_texts(batch, np.asarray(shown, np.int64))
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

    def _usable_texts(self, batch: TableBatch, rows: np.ndarray) -> tuple[pa.Array, np.ndarray]:
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
        """Return the piece's row of SOURCES."""
        return source_row(self._piece, self._reading, self._counts)


def _addresses(urls: pa.Array) -> list[str]:
    """URLs as written, without white space around them; empty where one is no address of an image, as in a page, or a
    number: of a table none is relative."""
    written = [(url or "").strip() for url in urls.to_pylist()]
    array = pa.array(written, pa.string())
    are_none = are_no_addresses(array) | np.array(pc.match_substring_regex(array, _NUMBER), bool)
    return ["" if is_none and url[:5] not in INLINED else url for url, is_none in zip(written, are_none, strict=True)]
