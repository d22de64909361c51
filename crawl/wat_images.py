"""The images of many WAT records, decoded together: what each shows, and its texts, as columns.

Of a WAT nine bytes in ten describe links to other things than images; only those of images are looked at
(`crawl.image_links`). A record in which that cannot be done is named, to be read by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.canonical import placeholders
from crawl.clean import to_arrow
from crawl.image_links import NAMES_OTHERS, PLAIN, SHOWS_LAZY, SILENT, ImageLinkReader, ImageLinks
from crawl.urls import INLINED
from crawl.wat import Link

_NEXT = b',{"path":"'
_LINK = msgspec.json.Decoder(Link)


@dataclass(frozen=True)
class Images:
    """Images in the order of their pages; those that have neither alt nor title are only counted."""

    number: np.ndarray  # int64 (n,): the page of each, as its record says
    urls: pa.Array  # string (n,): what each shows, as written; it may be empty or inlined
    alts: pa.Array  # string (n,)
    titles: pa.Array  # string (n,)
    silent: int  # how many have neither; of these:
    silent_without_url: int
    silent_inlined: int

    def texts(self, source: str) -> pa.Array:
        """What a text source gives for each; string (n,)."""
        known = {"alt": self.alts, "title": self.titles}
        return known[source] if source in known else pa.repeat(pa.scalar(""), len(self.urls))


class Held(NamedTuple):
    """A record whose images wait."""

    block: bytes | bytearray
    number: int  # of its page
    offset: int  # in the archive


class WatImages:
    """Reads the images of records, and collects them."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._reader = ImageLinkReader()
        self._held: list[Held] = []
        self.bytes = 0
        """Of the records that wait."""

    def read(self, block: bytes | bytearray, links: int) -> bool:
        """Read a record's images, given where its list of links begins; False if they cannot be read here."""
        return self._reader.read(block, links)

    def hold(self, record: Held) -> None:
        """Keep the record that was read last, until its images are asked for."""
        self._held.append(record)
        self.bytes += len(record.block)

    def take(self) -> tuple[Images, list[Held]]:
        """The images of the records that wait, which are then forgotten, and the records that are to be read whole."""
        found, held = self._reader.links(), self._held
        self._begin()
        urls = pc.utf8_trim_whitespace(found.urls)
        lazy, unclear = _to_choose(urls, found.states)
        links, undecoded = _decoded(found, held, unclear)
        odd_rows = [
            *undecoded,
            *(row for column in (found.urls, found.alts, found.titles) for row in _not_utf8(column)),
        ]
        is_odd = np.zeros(len(held), bool)
        is_odd[found.places[odd_rows, 0]] = True
        urls = _replaced(urls, lazy, pc.utf8_trim_whitespace(found.lazy.take(pa.array(lazy))))
        numbers = np.array([record.number for record in held], np.int64)[found.places[:, 0]]
        images = _images(
            numbers,
            (urls, found.alts, found.titles),
            links,
            found.silent[~is_odd].sum(axis=0),
            ~is_odd[found.places[:, 0]],
        )
        return images, [held[at] for at in np.flatnonzero(is_odd)]


def _to_choose(urls: pa.Array, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images, int64, that show what `data-src` names, and those whose JSON must be asked."""
    is_told = (states & (PLAIN | SILENT)) == PLAIN
    several = np.flatnonzero(is_told & ((states & NAMES_OTHERS) > 0))
    several = several[placeholders(urls.take(pa.array(several)))]
    is_lazy = (states[several] & SHOWS_LAZY) > 0
    return several[is_lazy], np.sort(np.concatenate([np.flatnonzero(~is_told), several[~is_lazy]]))


def _decoded(found: ImageLinks, held: list[Held], rows: np.ndarray) -> tuple[dict[int, Link], list[int]]:
    """All that some links say, by number; and the numbers of those that are no JSON."""
    links: dict[int, Link] = {}
    undecoded: list[int] = []
    places = zip(rows.tolist(), found.places[rows].tolist(), found.states[rows].tolist(), strict=True)
    for number, (record, begin, end), state in places:
        block = held[record].block
        try:
            links[number] = _LINK.decode(block[begin:end]) if state & PLAIN else _odd_link(block, begin)
        except (msgspec.DecodeError, UnicodeDecodeError):
            undecoded.append(number)
    return links, undecoded


def _odd_link(block: bytes | bytearray, begin: int) -> Link:
    """Raises msgspec.DecodeError or UnicodeDecodeError."""
    try:
        return _LINK.decode(block[begin : block.find(b"}", begin) + 1])
    except msgspec.DecodeError:  # a brace in a string
        return _LINK.decode(block[begin : block.find(_NEXT, begin)])


def _images(
    numbers: np.ndarray,
    columns: tuple[pa.Array, pa.Array, pa.Array],
    links: dict[int, Link],
    counts: np.ndarray,
    is_kept: np.ndarray,
) -> Images:
    """The images that are kept and have a text.

    numbers: of their pages; columns: URL, alt and title; links: what replaces these; counts: of the silent ones.
    """
    urls, alts, titles = columns
    told: dict[int, Link] = {}
    silent: list[str] = []  # URLs
    for row, link in links.items():
        if not is_kept[row]:
            continue
        if link.alt or link.title:
            told[row] = link
        else:
            is_kept[row] = False
            silent.append(_url(link))
    counts += (len(silent), silent.count(""), sum([url[:5] in INLINED for url in silent]))
    rows = np.array(list(told), np.int64)
    kept = pa.array(is_kept)
    return Images(
        numbers[is_kept],
        _replaced(urls, rows, to_arrow([_url(link) for link in told.values()])).filter(kept),
        _replaced(alts, rows, to_arrow([link.alt for link in told.values()])).filter(kept),
        _replaced(titles, rows, to_arrow([link.title for link in told.values()])).filter(kept),
        *counts.tolist(),
    )


def _replaced(strings: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """rows: ascending."""
    if not len(rows):
        return strings
    mask = np.zeros(len(strings), bool)
    mask[rows] = True
    return pc.replace_with_mask(strings, pa.array(mask), values)


def _url(link: Link) -> str:
    return (link.shown() if link.names_others else link.url or "").strip()


def _not_utf8(strings: pa.Array) -> list[int]:
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        found = []
        for number, value in enumerate(strings.view(pa.binary()).to_pylist()):
            try:
                value.decode()
            except UnicodeDecodeError:
                found.append(number)
        return found
    return []
