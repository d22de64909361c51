"""The images of many WAT records as columns: what each shows, and its texts.

Of a WAT nine bytes in ten describe links to other things than images; only those of images are looked at
(`crawl.wat.scan`). A record in which that cannot be done is to be read by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.clean_text import to_arrow
from crawl.pages.image_address import what_is_clear
from crawl.pages.places import Place
from crawl.urls import INLINED
from crawl.wat.entities import UNREADABLE
from crawl.wat.records import Link
from crawl.wat.scan import NAMES_LAZY, NAMES_OTHERS, PLAIN, SILENT, ImageLinkReader
from dataset.schema import PLACE

_NOWHERE = -1  # the page of a record that cannot be read here
_SIZES = ("tag_width", "tag_height")
_NEXT = b',{"path":"'  # where the link after this one begins
_LINK = msgspec.json.Decoder(Link)


@dataclass(frozen=True)
class Images:
    """Images in the order of their pages; those that have neither alt nor title are only counted."""

    page: np.ndarray  # int64 (n,): the page of each, by its number
    urls: pa.Array  # string (n,): what each shows, as written; it may be empty or inlined
    alts: pa.Array  # string (n,)
    titles: pa.Array  # string (n,)
    sizes: np.ndarray  # int32 (n, 2): width and height in pixels, -1 where the tag does not say
    silent: int  # how many have neither; of these:
    silent_without_url: int
    silent_inlined: int

    def texts(self, source: str) -> pa.Array:
        """Return what a text source gives for each; string (n,)."""
        known = {"alt": self.alts, "title": self.titles}
        return known[source] if source in known else pa.repeat(pa.scalar(""), len(self.urls))

    def place(self, name: str) -> pa.Array:
        """Return what is known of their places, a column of PLACE: their size alone."""
        if name not in _SIZES:
            return pa.nulls(len(self.urls), PLACE.field(name).type)
        pixels = self.sizes[:, _SIZES.index(name)]
        return pa.array(pixels, PLACE.field(name).type, mask=pixels < 0)


class WatImages:
    """Reads the images of records, and collects them."""

    def __init__(self) -> None:
        self._reader = ImageLinkReader()
        self._pages: list[int] = []  # of the records
        self._odd: dict[int, Link] = {}  # links that the reader does not understand, by their number

    def read(self, block: bytes | bytearray, links: int) -> bool:
        """Read the images of a record whose list of links begins somewhere in it, of a page that `belong` names.

        Returns:
            False if that cannot be done here.
        """
        odd = self._reader.read(block, links)
        if odd is None:
            return False
        self._pages.append(_NOWHERE)
        try:
            for number, begin in odd:
                self._odd[number] = _decode_odd_link(block, begin)
        except UNREADABLE:
            return False
        return True

    def belong(self, page: int) -> None:
        """Say the number of the page whose record was read last."""
        self._pages[-1] = page

    def images(self) -> Images:
        """Return the images that were read. Nothing can be read after."""
        image_links = self._reader.links()
        urls = pc.utf8_trim_whitespace(_utf8(image_links.urls))
        several = np.flatnonzero((image_links.states & (PLAIN | SILENT | NAMES_OTHERS)) == (PLAIN | NAMES_OTHERS))
        lazy = pc.utf8_trim_whitespace(_utf8(image_links.lazy.take(pa.array(several))))
        is_src, is_lazy = what_is_clear(
            urls.take(pa.array(several)), lazy, (image_links.states[several] & NAMES_LAZY) > 0
        )
        urls = _replace_rows(urls, several[is_lazy], lazy.filter(pa.array(is_lazy)))
        unclear = np.concatenate([several[~is_lazy & ~is_src], np.flatnonzero(image_links.states & SILENT)])
        json = image_links.json.take(pa.array(unclear)).to_pylist()
        links = self._odd | dict(zip(unclear.tolist(), map(_decode_link, json), strict=True))
        pages = np.array(self._pages, np.int64)
        counts = image_links.silent[pages != _NOWHERE].sum(axis=0)
        page = pages[image_links.owners]
        linked, silent = [], []
        for number in sorted(links):
            link = links[number]
            if link.alt or link.title:
                linked.append(number)
            elif page[number] != _NOWHERE:
                silent.append(link.any_address())
                page[number] = _NOWHERE
        counts += (len(silent), silent.count(""), sum([url[:5] in INLINED for url in silent]))
        rows, kept = np.array(linked, np.int64), page != _NOWHERE
        return Images(
            page[kept],
            _replace_rows(urls, rows, to_arrow([_shown_url(links[number]) for number in linked])).filter(
                pa.array(kept)
            ),
            _replace_rows(_utf8(image_links.alts), rows, to_arrow([links[row].alt for row in linked])).filter(
                pa.array(kept)
            ),
            _replace_rows(_utf8(image_links.titles), rows, to_arrow([links[row].title for row in linked])).filter(
                pa.array(kept)
            ),
            _resize_rows(image_links.sizes, rows, [links[row].place for row in linked])[kept],
            *counts.tolist(),
        )


def _decode_link(json: bytes) -> Link:
    try:
        return _LINK.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError):  # not UTF-8
        return _LINK.decode(json.decode("utf-8", "replace"))


def _decode_odd_link(block: bytes | bytearray, begin: int) -> Link:
    """Raises msgspec.DecodeError or UnicodeDecodeError."""
    try:
        return _LINK.decode(block[begin : block.find(b"}", begin) + 1])
    except msgspec.DecodeError:  # a brace in a string
        return _LINK.decode(block[begin : block.find(_NEXT, begin)])


def _shown_url(link: Link) -> str:
    return (link.shown_url() if link.names_others else link.url or "").strip()


def _replace_rows(strings: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """rows: ascending."""
    if not len(rows):
        return strings
    mask = np.zeros(len(strings), bool)
    mask[rows] = True
    return pc.replace_with_mask(strings, pa.array(mask), values)


def _resize_rows(sizes: np.ndarray, rows: np.ndarray, places: list[Place]) -> np.ndarray:
    """rows: ascending."""
    if not len(rows):
        return sizes
    sizes = sizes.copy()
    sizes[rows] = [[-1 if side is None else side for side in (place.width, place.height)] for place in places]
    return sizes


def _utf8(strings: pa.Array) -> pa.Array:
    """Strings in which U+FFFD stands for bytes that are not UTF-8, as `parse_wat` has it."""
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([value.decode("utf-8", "replace") for value in strings.view(pa.binary()).to_pylist()])
    return strings
