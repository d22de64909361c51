"""The images of an HTML page: their URLs as written, and the texts that stand with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from crawl.image_address import image_url, names_image

TEXT_SOURCES = ("alt", "title", "figcaption", "aria-label", "data-image-title", "og", "link")
"""Where an image's text can come from. The first five stand with an `<img>`; `og` is the page's `og:image` with its
`og:image:alt`, else the page's `og:title`; `link` is an `<a>` to an image file, with its text."""

MAX_LANGUAGE_CHARS = 35
"""BCP 47 (RFC 5646, section 4.4.1): the length that a language tag's buffer needs."""


class Choice(Protocol):
    """An image that names several URLs."""

    def shown(self) -> str:
        """The one that it shows in the end, as `crawl.image_address.image_url` says."""


@dataclass(slots=True)
class Page:
    """What a page says of itself, and its images as columns, in the order of the document."""

    base: str | None = None  # <base href>, as written
    language: str | None = None
    noai: bool = False
    tdm_reserved: bool | None = None  # None: the page does not say
    license: str | None = None  # of rel="license", as written
    urls: list[str] = field(default_factory=list)  # as written; empty: the tag names none
    choices: dict[int, Choice] = field(default_factory=dict)  # of images whose URL above may be a placeholder
    silent: list[str] = field(default_factory=list)  # URLs of further images, that have no text
    texts: list[list[str]] = field(default_factory=list)  # a column for each text source; empty: there is none

    def add(self, source: int, images: Iterable[tuple[str, str]]) -> None:
        """Add images, as (URL, text), that have a text of one source alone."""
        for url, text in images:
            self.urls.append(url)
            for number, column in enumerate(self.texts):
                column.append(text if number == source else "")


# Tags whose content HTML reads as text up to the end tag, while XHTML's can close themselves.
_SELF_CLOSED = re.compile(
    rb"<(script|style|title|textarea|iframe|noframes|noembed|xmp)((?:\s[^<>]*)?)/>", re.IGNORECASE
)
_NOAI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)
_QUERY = 'img, template, meta[content], base[href], figcaption, a[rel~="license" i][href], link[rel~="license" i][href]'
_ATTRIBUTES = ("alt", "title", "aria-label", "data-image-title")
_FIGURE_DEPTH = 16  # how many ancestors of an image are searched for its figure

# The parser's time grows with the square of the depth of the tree and of a tag's attributes. Pages this small cannot
# take longer than about a second, and no honest page is as deep (browsers stop at 512).
_HARMLESS_BYTES = 128 * 1024
_MAX_DEPTH = 8 * 1024
_MAX_TAG_BYTES = 64 * 1024
_FLAT = re.compile(
    rb"<!--.*?-->"
    rb"|<(script|style|textarea|title|iframe|noframes|noembed|xmp)\b[^>]*>.*?</\1\s*>"
    rb"|(?P<tag><(?:img|image|base|meta|html)\b(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+>)",
    re.IGNORECASE | re.DOTALL,
)


def asks_noai(values: Iterable[str]) -> bool:
    """Whether a robots meta tag or an X-Robots-Tag holds `noai` or `noimageai` (DeviantArt's directives of 2022)."""
    return any(_NOAI.search(value) for value in values)


def reserves_tdm(values: Iterable[str]) -> bool | None:
    """Whether a `tdm-reservation` meta tag or header reserves text and data mining; None if none says (W3C TDMRep)."""
    found = {value.strip() for value in values} & {"0", "1"}
    return "1" in found if found else None


def open_graph(properties: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(URL, text) of a page's `og:image` properties, given as (name, content) in their order.

    The text is the image's own `og:image:alt`, else the page's `og:title`.
    """
    images: list[list[str]] = []
    title = ""
    for name, content in properties:
        if name in ("og:image", "og:image:url"):
            if not images or images[-1][0] != content:  # og:image:url says the same again
                images.append([content, ""])
        elif name == "og:image:alt" and images:
            images[-1][1] = content
        elif name == "og:title":
            title = title or content
    return [(url, text or title) for url, text in images]


def parse_page(page: bytes, text_sources: Sequence[str], *, xhtml: bool = False) -> Page:
    """Read a page with a browser's parser. Any bytes are a page; none are an error.

    Images inside `<noscript>`, `<picture>` and `<template>` count; those inside comments and scripts do not.

    Args:
        page: UTF-8, see `crawl.charset`.
        text_sources: of TEXT_SOURCES.
        xhtml: whether the page was served as XHTML, where any tag can close itself.
    """
    if xhtml:
        page = _SELF_CLOSED.sub(rb"<\1\2></\1>", page)
    if len(page) > _HARMLESS_BYTES and _is_hostile(page):
        page = b"".join(match["tag"] or b"" for match in _FLAT.finditer(page) if len(match[0]) < _MAX_TAG_BYTES)
    tree = LexborHTMLParser(page, options=LexborDocumentOptions.WO_EVENTS)
    nodes = _by_tag(tree.css(_QUERY))  # one walk through the tree for all
    images = nodes["img"]
    if nodes["template"] and (root := tree.root) is not None:
        images += [node for fragment in root.template_fragments() for node in fragment.css("img")]
    html = tree.css_first("html")
    language = (html.attributes.get("lang") or html.attributes.get("xml:lang") or "").strip() if html else ""
    metas = [meta for node in nodes["meta"] if (meta := _meta(node.attributes))]
    found = Page(
        base=next((_address(node) or None for node in nodes["base"]), None),
        language=language[:MAX_LANGUAGE_CHARS] or None,
        noai=asks_noai(content for name, content in metas if name == "robots"),
        tdm_reserved=reserves_tdm(content for name, content in metas if name == "tdm-reservation"),
        license=next((address for node in nodes["a"] + nodes["link"] if (address := _address(node))), None),
        texts=[[] for _ in text_sources],
    )
    own = [name if name in _ATTRIBUTES else "" for name in text_sources]
    captions = text_sources.index("figcaption") if "figcaption" in text_sources and nodes["figcaption"] else -1
    for node in images:
        attributes = node.attributes
        found.urls.append(image_url(attributes) or _source_of_picture(node))
        for number, (column, name) in enumerate(zip(found.texts, own, strict=True)):
            column.append(_figcaption(node) if number == captions else attributes.get(name) or "")
    if "og" in text_sources:
        found.add(text_sources.index("og"), open_graph(metas))
    if "link" in text_sources:
        found.add(text_sources.index("link"), _linked(tree))
    return found


def _by_tag(nodes: Iterable[LexborNode]) -> defaultdict[str, list[LexborNode]]:
    """Nodes by the name of their tag, in their order."""
    found: defaultdict[str, list[LexborNode]] = defaultdict(list)
    for node in nodes:
        found[node.tag or ""].append(node)
    return found


def _address(node: LexborNode) -> str:
    return (node.attributes.get("href") or "").strip()


def _meta(attributes: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Name (or property), lower case, and content of a `<meta>`; None if it has no name."""
    name = attributes.get("name") or attributes.get("property")
    return (name.strip().lower(), attributes.get("content") or "") if name else None


def _linked(tree: LexborHTMLParser) -> Iterator[tuple[str, str]]:
    """(URL, text) of the links that lead to image files and have a text."""
    for node in tree.css("a[href]"):
        address = _address(node)
        if names_image(address) and (text := node.text(separator=" ").strip()):
            yield address, text


def _source_of_picture(node: LexborNode) -> str:
    """The largest URL of the first usable `<source>` of an image's `<picture>`."""
    parent = node.parent
    if parent is None or parent.tag != "picture":
        return ""
    for source in parent.css("source"):
        if url := image_url({**source.attributes, "src": None}):
            return url
    return ""


def _figcaption(node: LexborNode) -> str:
    """The caption of the figure that an image stands in; empty if it stands in none."""
    parent = node.parent
    for _ in range(_FIGURE_DEPTH):
        if parent is None or parent.tag == "body":
            break
        if parent.tag == "figure":
            caption = parent.css_first("figcaption")
            return caption.text(separator=" ") if caption is not None else ""
        parent = parent.parent
    return ""


def _is_hostile(page: bytes) -> bool:
    """Whether a page may be nested so deep, or have a tag so long, that parsing it would take minutes."""
    data = np.frombuffer(page, np.uint8)
    opens = np.flatnonzero(data[:-1] == ord("<"))
    if not len(opens):
        return False
    after = data[opens + 1]
    letter = ((after | 0x20) >= ord("a")) & ((after | 0x20) <= ord("z"))
    depth = np.cumsum(letter.astype(np.int32) - (after == ord("/")))
    if int((depth - np.minimum.accumulate(np.minimum(depth, 0))).max()) > _MAX_DEPTH:
        return True
    # Long gaps between tags are scripts, as a rule; in a long tag of many attributes there is as much white space.
    gaps = np.diff(np.append(opens, len(page)))
    for start, length in zip(opens[gaps > _MAX_TAG_BYTES], gaps[gaps > _MAX_TAG_BYTES], strict=True):
        tag = page[start : start + length].partition(b">")[0]
        if len(tag) > _MAX_TAG_BYTES and len(tag.split()) > _MAX_DEPTH:
            return True
    return False
