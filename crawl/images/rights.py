"""What an image's file says of its use and of who made it: XMP, EXIF and IPTC's data sets, read before its pixels.

What is stored of an image holds pixels alone, so this is kept as columns. A property that cannot be read is left out;
a prohibition of data mining is looked for even in XMP that is damaged.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image, IptcImagePlugin

from crawl import rsl
from crawl.clean_text import clean_text
from crawl.images import c2pa
from crawl.images.observations import RefusedBody
from crawl.wishes import UNREADABLE, Wish
from dataset.images import Notes
from dataset.images.exif import ARTIST, COPYRIGHT, text

MAX_CHARS = 500
"""How much of a property is kept."""
DATA_MINING = "plus:DataMining"

_PLUS = "{http://ns.useplus.org/ldf/xmp/1.0/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
# Properties of XMP by the columns that they fill (IPTC Photo Metadata Standard 2023.1; XMP, part 2).
_PROPERTIES = {
    f"{_PLUS}DataMining": "data_mining",
    f"{_PLUS}OtherConstraints": "other_constraints",
    "{http://purl.org/dc/elements/1.1/}creator": "creator",
    "{http://ns.adobe.com/photoshop/1.0/}Credit": "credit",
    "{http://purl.org/dc/elements/1.1/}rights": "copyright_notice",
    "{http://ns.adobe.com/xap/1.0/rights/}WebStatement": "rights_url",
}
_IIM = {(2, 80): "creator", (2, 110): "credit", (2, 116): "copyright_notice"}  # IPTC-IIM 4.2
_UTF8 = b"\x1b%G"
_TERM = re.compile(r"DMI-[A-Z-]+")
_PROHIBITED = re.compile(rb"DMI-PROHIBITED[A-Z-]*", re.IGNORECASE)
_UNSAID = frozenset({"DMI-ALLOWED", "DMI-UNSPECIFIED"})
_LABELS = {"allowed": "DMI-ALLOWED", "unspecified": "DMI-UNSPECIFIED"}  # as exiftool prints them
# The smallest JPEG that Pillow opens, in two halves between which segments may stand.
_STUB = b"\xff\xd8", b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0"


TEXTS = ("other_constraints", "creator", "credit", "copyright_notice")
"""Columns that may hold personal data."""


class Rights(NamedTuple):
    """What a file says; None: nothing."""

    data_mining: str | None = None  # PLUS's term, such as DMI-PROHIBITED; UNREADABLE with what it says instead
    other_constraints: str | None = None
    creator: str | None = None
    credit: str | None = None
    copyright_notice: str | None = None
    rights_url: str | None = None
    rsl: str | None = None  # of training, by an RSL license in XMP; see `crawl.rsl`
    c2pa: str | None = None  # what C2PA's manifests say, see `crawl.images.c2pa`


@dataclass(frozen=True)
class Heeds:
    """What counts of what an image's file says: the keys of `fetch`."""

    data_mining: bool = True
    rsl: bool = True
    refuses_unreadable: bool = False
    refuses_unreadable_license: bool = True
    mask: tuple[str, ...] = ()
    """Kinds of personal data that are masked in what is kept."""


def rights(notes: Notes, manifests: str | None = None, mask: Sequence[str] = ()) -> Rights:
    """Return what a file's notes say of its use and its maker. Never raises because of them.

    Args:
        manifests: what C2PA manifests say, see `crawl.images.c2pa.training_mining`.
        mask: kinds of personal data that are masked in it.
    """
    by_property: dict[str, list[str]] = {}
    licensed: str | None = None
    for packet in notes.xmp:
        licensed = rsl.strictest((licensed, _read_xmp(packet, by_property)))
    if notes.exif:
        for tag, column in ((ARTIST, "creator"), (COPYRIGHT, "copyright_notice")):
            by_property.setdefault(column, []).append(text(notes.exif, tag))
    if notes.photoshop and not all(any(by_property.get(column, ())) for column in _IIM.values()):
        for column, value in _iim(notes.photoshop):
            by_property.setdefault(column, []).append(value)
    terms = [_term(value) for value in by_property.pop("data_mining", ())]
    texts = {column: _join_values(values) for column, values in by_property.items()}
    first: dict[str, Any] = {column: value and mask_personal_data(value, mask) for column, value in texts.items()}
    return Rights(data_mining=_strictest_term(terms), rsl=licensed, c2pa=manifests, **first)


def mask_personal_data(text: str, kinds: Sequence[str]) -> str:
    """Return a property without personal data of some kinds."""
    if not kinds:
        return text
    from crawl.candidates.personal_data import mask_text

    return mask_text(text, kinds=kinds)[0]


def refusal_of(data_mining: str) -> RefusedBody | None:
    """Return why an image is not to be used, by what the column `data_mining` has of its file; None if it may be
    used."""
    is_plus = data_mining.startswith("DMI-")
    return file_refusal(Rights(data_mining=data_mining) if is_plus else Rights(c2pa=data_mining), Heeds())[0]


def file_refusal(said: Rights, heeds: Heeds) -> tuple[RefusedBody | None, Wish | None]:
    """Return why an image is not to be used, if its file says so; else what of that cannot be read."""
    unread: Wish | None = None
    if heeds.data_mining and said.data_mining is not None and said.data_mining not in _UNSAID:
        why = said.other_constraints if said.data_mining.endswith("CONSTRAINT") else None
        wish = Wish(DATA_MINING, f"{said.data_mining}: {why}" if why else said.data_mining, "XMP")
        if not said.data_mining.startswith(UNREADABLE):
            return _refusal("data_mining_prohibited", wish), None
        unread = wish
    if heeds.data_mining and said.c2pa is not None:
        wish = Wish(c2pa.SIGNAL, said.c2pa, "C2PA")
        if c2pa.refuses(said.c2pa):
            return _refusal("c2pa_training_refused", wish), None
        if said.c2pa.startswith(UNREADABLE):
            unread = unread or wish
    if heeds.rsl and said.rsl is not None:
        wish = Wish(rsl.SIGNAL, said.rsl, "XMP")
        if rsl.refuses(said.rsl):
            return _refusal(rsl.outcome_of(said.rsl), wish), None
        if said.rsl.startswith(UNREADABLE):
            if heeds.refuses_unreadable_license:
                return _refusal("rsl_unreadable", wish), None
            unread = unread or wish
    if unread is not None and unread.signal != rsl.SIGNAL and heeds.refuses_unreadable:
        return _refusal("wish_unreadable", unread), None
    return None, unread


def _refusal(outcome: str, wish: Wish) -> RefusedBody:
    return RefusedBody(outcome, f"{wish.signal}: {wish.value} ({wish.place})", wish)


def _read_xmp(packet: bytes, values: dict[str, list[str]]) -> str | None:
    """Add a packet's properties by column; answers what an RSL license in it says."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    licensed: str | None = None
    try:
        root = fromstring(packet.strip(b"\0 \t\r\n"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        prohibited = _PROHIBITED.search(packet)
        if prohibited is not None:
            values.setdefault("data_mining", []).append(prohibited[0].decode("ascii"))
        elif b"DataMining" in packet:
            values.setdefault("data_mining", []).append("XMP that is damaged")
        return None
    for element in root.iter():
        column = _PROPERTIES.get(element.tag)
        if column is not None:
            values.setdefault(column, []).extend(_values(element))
        elif isinstance(element.tag, str) and element.tag.endswith("}rsl"):
            try:
                inside = rsl.read(element).of_all()
            except rsl.UnreadableError as error:
                inside = f"{UNREADABLE}{error}"
            licensed = rsl.strictest((licensed, inside))
        for name, value in element.attrib.items():
            if name in _PROPERTIES:
                values.setdefault(_PROPERTIES[name], []).append(value)
    return licensed


def _values(element: Any) -> Iterator[str]:
    """The values of a property: its own text, where it leads, or those of its list."""
    yield element.get(f"{_RDF}resource") or element.text or ""
    for item in element.iter(f"{_RDF}li"):
        yield item.text or ""


def _iim(segment: bytes) -> list[tuple[str, str]]:
    """Columns and values of IPTC's data sets in Photoshop's resources; Pillow reads both."""
    try:
        with Image.open(io.BytesIO(segment.join(_STUB)), formats=["JPEG"]) as opened:
            sets = IptcImagePlugin.getiptcinfo(opened) or {}
    except Exception:  # whatever damaged resources make of it
        return []
    encoding = "utf-8" if sets.get((1, 90)) == _UTF8 else "latin-1"
    data_sets = []
    for key, column in _IIM.items():
        values = sets.get(key, b"")
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bytes):  # of several empty ones Pillow makes None
                data_sets.append((column, value.decode(encoding, "replace")))
    return data_sets


def _join_values(values: Iterable[str]) -> str | None:
    """Distinct values as one text of a table, those of one source before those of the next."""
    distinct = dict.fromkeys(clean_text(value[: 4 * MAX_CHARS]) for value in values)
    return "; ".join(filter(None, distinct))[:MAX_CHARS].strip() or None


def _term(value: str) -> str | None:
    """PLUS's term in a value; UNREADABLE with a value that has none; None for a blank one."""
    words = " ".join(value.split())
    if not words:
        return None
    match = _TERM.search(words.upper())
    if match is not None and (match[0] in _UNSAID or match[0].startswith("DMI-PROHIBITED")):
        return match[0]
    if words.lower().startswith("prohibited"):
        return "DMI-PROHIBITED"
    return _LABELS.get(words.lower(), f"{UNREADABLE}{clean_text(words[:100])}")


def _strictest_term(terms: Iterable[str | None]) -> str | None:
    """The term that counts: one that prohibits, else one that cannot be read, else the first."""
    said = [term for term in terms if term]
    for start in ("DMI-PROHIBITED", UNREADABLE):
        for term in said:
            if term.startswith(start):
                return term
    return said[0] if said else None
