"""From a page's bytes to UTF-8, by the order that browsers follow (HTML standard, "determining the encoding").

A byte order mark, then the transport's charset, then the page's own `<meta>` or XML declaration, then what its bytes
seem to be (`crawl.pages.charset_guess`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

from crawl.encodings import decode, encoding_of
from crawl.pages.charset_guess import guess

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
)
_UTF16_DECLARATIONS = ((b"<\0?\0x\0", "utf-16le"), (b"\0<\0?\0x", "utf-16be"))
_UTF16 = frozenset({"utf-16be", "utf-16le"})
_PRESCAN_BYTES = 1024  # the standard's; a later declaration counts where the parser meets it
_PARSED_BYTES = 16 * 1024  # as far as it is looked for
# What the prescan looks at: a comment, a <meta>, any other tag, and what is passed over up to the next >.
_MARKUP = re.compile(
    rb"<(?:(?P<comment>!--)|(?P<meta>meta(?=[\t\n\f\r /]))|/?(?P<tag>[a-z][^\t\n\f\r >]*)|(?P<other>[!/?]))",
    re.IGNORECASE,
)
_COMMENT_END = re.compile(rb"-->")
# "Get an attribute"; a value that begins with a quotation mark and has no end runs to the end of the bytes.
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)"
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'"
    rb"|(?P<bare>[^\t\n\f\r >\"'][^\t\n\f\r >]*+)|(?=>)|(?P<cut>.*+)))?",
    re.DOTALL,
)
# All of a tag's attributes at once, where none of them matters.
_ALL_ATTRIBUTES = re.compile(rb"(?:" + re.sub(rb"\?P<[a-z]+>", rb"?:", _ATTRIBUTE.pattern) + rb")*+", re.DOTALL)
_CHARSET = re.compile(
    rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*"
    rb"(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\t\n\f\r ;\"'][^\t\n\f\r ;]*))?",
    re.IGNORECASE,
)
_TAG_END = re.compile(rb"[\t\n\f\r /]*+>")
_XML_DECLARATION = re.compile(
    rb"<\?xml(?:(?!encoding)[^>])*+encoding[\x00-\x20]*+=[\x00-\x20]*+([\"'])([^>\x00-\x20]*?)\1[^>]*+>"
)
# Elements whose content is text, in which a parser meets no tag.
_TEXT_ELEMENTS = frozenset(b"script style title textarea iframe noframes noembed xmp".split())


class Decoded(NamedTuple):
    """A page in UTF-8, without a byte order mark, and the encoding that it was in, by its name in the standard."""

    html: bytes
    encoding: str


def to_utf8(page: bytes, declared: str | None = None, url: str = "") -> Decoded:
    """Return a page's bytes in UTF-8. Bytes that the encoding lacks become U+FFFD, of UTF-8 in the parser.

    Args:
        page: the page as the server sent it.
        declared: the charset of the response's Content-Type, if it has one.
        url: where the page was, if that is known.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if page.startswith(mark):
            return _recode(page[len(mark) :], name)
    return _recode(page, encoding_of(declared) or own_declaration(page) or guess(page, url))


def _recode(page: bytes, encoding: str) -> Decoded:
    if encoding == "utf-8":
        return Decoded(page, encoding)  # the parser replaces what is not UTF-8 by itself
    return Decoded(decode(page, encoding).encode("utf-8", "replace"), encoding)


def own_declaration(page: bytes) -> str | None:
    """Return the encoding that a page declares in its first bytes, or in a `<meta>` that a parser meets in the next
    few.
    """
    for start, name in _UTF16_DECLARATIONS:
        if page.startswith(start):
            return name
    head = page[:_PRESCAN_BYTES]
    return _declaration_in(head, as_parser=False) or _xml_declaration(head) or _declaration_behind_prescan(page)


def _declaration_behind_prescan(page: bytes) -> str | None:
    return _declaration_in(page[:_PARSED_BYTES], as_parser=True) if page[_PRESCAN_BYTES:] else None


def _declaration_in(data: bytes, *, as_parser: bool) -> str | None:
    if b"charset" not in data.lower():  # whatever declares an encoding holds the word
        return None
    return _ascii_compatible(next(_declarations(data, as_parser=as_parser), None))


def _ascii_compatible(label: str | None) -> str | None:
    """The encoding that a declaration means: one that could be read as ASCII cannot be UTF-16."""
    return "utf-8" if label in _UTF16 else "windows-1252" if label == "x-user-defined" else label


def _xml_declaration(head: bytes) -> str | None:
    match = _XML_DECLARATION.match(head)
    return _ascii_compatible(encoding_of(match[2].decode("latin-1"))) if match else None


def _declarations(data: bytes, *, as_parser: bool) -> Iterator[str]:
    """What the metas of some bytes declare, as "prescan a byte stream" finds them, or as a parser meets them: it meets
    none in a script."""
    position = 0
    while markup := _MARKUP.search(data, position):
        position = markup.end()
        if markup["comment"]:
            end = _COMMENT_END.search(data, markup.start() + 2)  # its dashes may be those that begin it
            position = end.end() if end else len(data)
        elif markup["other"]:
            position = data.find(b">", position)
        else:
            if markup["meta"]:
                attributes, position = _attributes(data, position)
                if attributes is not None and (encoding := _meta_declaration(attributes)):
                    yield encoding
                continue
            position = _ALL_ATTRIBUTES.match(data, position).end()  # type: ignore[union-attr]  # it matches nothing, too
            if not _TAG_END.match(data, position):
                return  # the bytes end before the tag does
            if as_parser and (name := markup["tag"].lower()) in _TEXT_ELEMENTS and markup[0][1:2] != b"/":
                end = re.compile(rb"</%b[\t\n\f\r />]" % name, re.IGNORECASE).search(data, position)
                position = end.start() if end else len(data)
        if position < 0:
            return


def _attributes(data: bytes, position: int) -> tuple[dict[bytes, bytes] | None, int]:
    """A tag's attributes from a position on, the first of equal names, and their end; None if the bytes end before."""
    attributes: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(data, position):
        position = match.end()
        if match["cut"] is not None or position == len(data):
            return None, len(data)
        value = match["double"] or match["single"] or match["bare"] or b""
        attributes.setdefault(match["name"].lower(), value)
    return (attributes, position) if _TAG_END.match(data, position) else (None, len(data))


def _meta_declaration(attributes: dict[bytes, bytes]) -> str | None:
    """What a `<meta>` declares: by its `charset`, or as a pragma by its `content`."""
    if b"charset" in attributes:
        return encoding_of(attributes[b"charset"].decode("latin-1"))
    if attributes.get(b"http-equiv", b"").lower() != b"content-type":
        return None
    match = _CHARSET.search(attributes.get(b"content", b""))
    label = (match["double"] or match["single"] or match["bare"]) if match else None
    return encoding_of(label.decode("latin-1")) if label else None
