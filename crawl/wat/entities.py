"""Character references in WAT files that their producer left as the page wrote them.

Until the crawl of June 2019 (CC-MAIN-2019-26) ia-web-commons copied attributes and texts undecoded: more than a tenth
of all addresses hold `&amp;`. Later files hold what the page means, where `&amp;` is what a reader of the page sees.
"""

from __future__ import annotations

import html
import json
import re
from html.entities import html5

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a record that is no JSON, is not UTF-8, or is nested as deep as no page is."""

_DECODED_SINCE = "2019-06-16"  # when the crawl of June 2019 began
_REFERENCE = re.compile(rb"&(?:#(?:[0-9]{1,8}|[xX][0-9a-fA-F]{1,6});?|([A-Za-z][A-Za-z0-9]{1,31});?)(=?)")
_HTML = b'"HTML-Metadata"'


class _Response(msgspec.Struct):
    html: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="HTML-Metadata")


class _Payload(msgspec.Struct):
    response: _Response = msgspec.field(default_factory=_Response, name="HTTP-Response-Metadata")


class _Envelope(msgspec.Struct):
    payload: _Payload = msgspec.field(default_factory=_Payload, name="Payload-Metadata")


class _Wat(msgspec.Struct):
    envelope: _Envelope = msgspec.field(default_factory=_Envelope, name="Envelope")


_DECODER = msgspec.json.Decoder(_Wat)


def with_references_decoded(block: bytes | bytearray, date: str | None) -> bytes | bytearray:
    """Return a WAT record in which what it says of a page's HTML has no character references, if it is of a time when
    it had.

    date: of the WAT's own record, ISO 8601; a record without one is left as it is.
    """
    if not date or date >= _DECODED_SINCE:
        return block
    start = block.find(_HTML)
    if start < 0 or block.find(b"&", start) < 0:
        return block
    try:
        html_part = bytes(_DECODER.decode(block).envelope.payload.response.html)
    except UNREADABLE:  # to be read leniently, as far as it goes
        html_part = bytes(block[start:])
    position = block.find(html_part, start)
    return b"".join(
        (block[:position], _REFERENCE.sub(_decode_reference, html_part), block[position + len(html_part) :])
    )


def _decode_reference(reference: re.Match[bytes]) -> bytes:
    """A character in a string of JSON, by the rules for attributes: `&copy=` in an address is a parameter of it."""
    name, follows = reference[1], reference[2]
    written = reference[0].removesuffix(follows).decode("ascii")
    if name is None:
        meant = html.unescape(written)
    elif written.endswith(";"):
        meant = html5.get(written[1:], written)
    else:
        meant = written if follows else html5.get(written[1:], written)
    return reference[0] if meant == written else json.dumps(meant)[1:-1].encode() + follows
