"""extract: from archives to candidates, one for every image that has a text and an address.

What does not become a candidate is counted for each piece of an archive: no text, no address, inlined (`data:`).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import pyarrow as pa

from crawl.archives.open_source import kind_of
from crawl.archives.records import Piece
from crawl.candidates.archive_reader import ArchiveReader
from crawl.candidates.assemble import Counts, Rows, identify_rows
from crawl.candidates.config import ExtractConfig
from crawl.candidates.table_reader import TableReader
from crawl.pages.html import parse_page
from crawl.tables.read import Form
from crawl.units import Units
from dataset import heartbeat
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CANDIDATES, SOURCES
from dataset.tables import concat


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
    gc.freeze()  # what is loaded stays: to look through it time and again takes a twentieth of what pages take
    try:
        for number, piece in enumerate(pieces):
            form = _form(piece)
            units_of_piece = units[number] if units else Units()
            if form:
                units_of_piece = replace(units_of_piece, total=0)  # its units are rows
            heartbeat.place(f"{piece.archive}, {'row' if form else 'the record at byte'} ")
            reader = (
                TableReader(piece, config, units_of_piece, form)
                if form
                else ArchiveReader(piece, config, units_of_piece)
            )
            for rows in reader.candidates():
                yield identify_rows(rows, config.mask_personal_data)
            beside.archive_images = pa.concat_tables([beside.archive_images, reader.held.images()])
            beside.archive_leads = pa.concat_tables([beside.archive_leads, reader.held.leads()])
            beside.sources = pa.concat_tables([beside.sources, pa.Table.from_pylist([reader.source()], schema=SOURCES)])
    finally:
        gc.unfreeze()


@cache
def _warm_up(sources: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """Load and compile what the first page takes, which is not that page's expense."""
    rows = Rows("", sources, every_text=False, counts=Counts())
    page = parse_page(b'<html lang="en"><img src="/a.jpg" alt="a kettle">', sources)
    rows.add(page, "http://a.example/", size=0, status=200, date=None, offset=0)
    identify_rows(rows.flush(), kinds)


def _form(piece: Piece) -> Form | None:
    """The form of a table; None if the piece is of an archive."""
    try:
        kind = kind_of(piece.location)
    except OSError:
        return None  # `read_records` says what is wrong
    return None if kind == "archive" or kind == "wacz" or kind == "urls" else kind
