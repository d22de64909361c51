"""The articles of a Wikipedia, out of its `pages-articles.xml.bz2`.

A multistream dump is a row of bz2 streams of a hundred pages each, so it can be read from the start of any. A part of
a dump owns the pages whose first byte its streams hold, and reads on where the last of them goes on: parts of any size
give every page once, whether or not streams end between pages.
"""

from __future__ import annotations

import bz2
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from dataset.store.storage import open_input

MAX_PAGE_BYTES = 32 << 20  # MediaWiki takes pages of up to 2 MB ($wgMaxArticleSize); escaping makes them longer
_CHUNK_BYTES = 1 << 20
_STREAM = re.compile(rb"BZh[1-9]1AY&SY")  # a bz2 stream's header and that of its first block
_STREAM_BYTES = 10
_LANGUAGES = re.compile(rb'<mediawiki[^>]*\bxml:lang="([\w-]{1,32})"|<dbname>(\w{1,32})wiki</dbname>')
_PAGE, _PAGE_END = b"<page>", b"</page>"
_NAMESPACED = re.compile(r"^\s*:?[^\s:]+:\S")  # File:, Category:, de:, in any language; not "Star Trek: Discovery"


@dataclass(frozen=True)
class DumpPart:
    """Streams of a dump that are read together: those that begin in [start, end)."""

    file: str
    start: int
    end: int


def plan(name: str, language: str, part_bytes: int) -> list[DumpPart]:
    """Cut a dump into parts of about `part_bytes`, at the starts of its streams.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no bz2 file, or says that it is of another language; or the parser of its texts is missing.
    """
    if find_spec("mwparserfromhell") is None:
        raise ValueError(
            f"{name} is read by mwparserfromhell, which has no wheel for Python 3.14: take Python 3.11 to 3.13, or, "
            "where there is a C compiler, `pip install mwparserfromhell`"
        )
    starts: list[int] = []
    with open_input(name) as file:
        head = file.read(_CHUNK_BYTES)
        position, data = 0, head
        while data:
            starts += [position + match.start() for match in _STREAM.finditer(data)]
            more = file.read(_CHUNK_BYTES)
            position += len(data) - min(len(data), _STREAM_BYTES - 1)
            data = data[-(_STREAM_BYTES - 1) :] + more if more else b""
        size = file.size()
    if not starts or starts[0] != 0:
        raise ValueError(f"{name} is no bz2 file; a dump is a pages-articles.xml.bz2")
    header = bz2.BZ2Decompressor().decompress(head, 1 << 16)  # names its language, and its code where that is another
    said = [(one or other.replace(b"_", b"-")).decode() for one, other in _LANGUAGES.findall(header)]
    if said and language not in said:
        raise ValueError(f"{name} is a dump of the Wikipedia {said[0]}, but `language` is {language}")
    cuts = [0]
    for start in starts:
        if start - cuts[-1] >= part_bytes:
            cuts.append(start)
    return [DumpPart(name, start, end) for start, end in zip(cuts, [*cuts[1:], size], strict=True)]


def pages(part: DumpPart) -> Iterator[bytes]:
    """Yield the XML of each page that begins in a part. A page beyond MAX_PAGE_BYTES comes cut, and is no XML then.

    Raises:
        OSError: the file is damaged, or broken off.
    """
    buffer, position, boundary = b"", 0, None  # position: of the buffer's first byte; boundary: the part's last, plus 1
    for block in _blocks(part):
        if not block:
            boundary = position + len(buffer)
            continue
        buffer += block
        done = 0
        while True:
            start = buffer.find(_PAGE, done)
            if start < 0:
                done = max(done, len(buffer) - len(_PAGE) + 1)
                break
            if boundary is not None and position + start >= boundary:
                return
            stop = buffer.find(_PAGE_END, start)
            if stop < 0 and len(buffer) - start <= MAX_PAGE_BYTES:
                done = start
                break
            done = start + MAX_PAGE_BYTES if stop < 0 else min(stop + len(_PAGE_END), start + MAX_PAGE_BYTES)
            yield buffer[start:done]
        buffer, position = buffer[done:], position + done
        if boundary is not None and position >= boundary:
            return


def _blocks(part: DumpPart) -> Iterator[bytes]:
    """Decompressed bytes of a part, an empty block, and then the bytes that follow it in the file."""
    with open_input(part.file) as file:
        file.seek(part.start)
        stream, fed, inside = bz2.BZ2Decompressor(), False, True
        data = b""
        while True:
            if not data and stream.needs_input:
                data = file.read(_CHUNK_BYTES)
                if not data:
                    if fed:
                        raise OSError(f"{part.file} breaks off")
                    return
            try:
                block = stream.decompress(data, _CHUNK_BYTES)
            except OSError as error:
                raise OSError(f"{part.file} is damaged before byte {file.tell()}: {error}") from None
            data, fed = b"", True
            if block:
                yield block
            if stream.eof:
                data = stream.unused_data
                if inside and file.tell() - len(data) >= part.end:
                    inside = False
                    yield b""
                stream, fed = bz2.BZ2Decompressor(), False


def article(page: bytes) -> str | None:
    """Return the text of a page that is an article, as its reader sees it; None for redirects, talk, templates and the
    like.

    Files, categories, links to other languages, footnotes and templates are left out.

    Raises:
        ValueError: the page is no XML, or its text cannot be parsed.
    """
    try:
        root = ElementTree.fromstring(page)  # noqa: S314 - a page has no document type, so it has nothing to expand
    except ElementTree.ParseError as error:
        raise ValueError(f"a page is not XML: {error}") from None
    revision = root.find("revision")
    if root.findtext("ns") != "0" or root.find("redirect") is not None or revision is None:
        return None
    if revision.findtext("model", "wikitext") != "wikitext":
        return None
    return _visible_text(revision.findtext("text") or "")


def _visible_text(wikitext: str) -> str:
    from mwparserfromhell import parse  # it has no wheel for Python 3.14, and all else does without it
    from mwparserfromhell.nodes import Node, Tag, Wikilink
    from mwparserfromhell.parser import ParserError

    def is_hidden(node: Node) -> bool:
        if isinstance(node, Wikilink):
            return bool(_NAMESPACED.match(str(node.title)))
        return isinstance(node, Tag) and str(node.tag).strip().lower() == "ref"

    try:
        code = parse(wikitext)
        code.nodes = [node for node in code.nodes if not is_hidden(node)]
        return str(code.strip_code())
    except (RecursionError, ParserError) as error:
        raise ValueError(f"a page's text cannot be parsed: {error}") from None
