"""The images of an HTML page: their URLs as written, and the texts that stand with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from crawl.urls import image_url

MAX_LANGUAGE_CHARS = 35
"""BCP 47 (RFC 5646, section 4.4.1): the length that a language tag's buffer needs."""


class Image(NamedTuple):
    """An image as a page names it: the URL as written (empty: none) and a text for each text source (empty: none)."""

    url: str
    texts: tuple[str, ...]


@dataclass(slots=True)
class Page:
    """What a page says of itself and of its images, in the order of the document."""

    base: str | None  # <base href>, as written
    language: str | None
    noai: bool
    images: list[Image]


# Tags whose content HTML reads as text up to the end tag, while XHTML's can close themselves.
_SELF_CLOSED = re.compile(
    rb"<(script|style|title|textarea|iframe|noframes|noembed|xmp)((?:\s[^<>]*)?)/>", re.IGNORECASE
)
_NOAI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)
_CAPTION = re.compile(rb"<figcaption", re.IGNORECASE)
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


def parse_page(page: bytes, text_sources: Sequence[str], *, xhtml: bool = False) -> Page:
    """Read a page with a browser's parser. Any bytes are a page; none are an error.

    Images inside `<noscript>`, `<picture>` and `<template>` count; those inside comments and scripts do not.

    Args:
        page: UTF-8, see `crawl.charset`.
        text_sources: of `alt`, `title` and `figcaption`.
        xhtml: whether the page was served as XHTML, where any tag can close itself.
    """
    if xhtml:
        page = _SELF_CLOSED.sub(rb"<\1\2></\1>", page)
    if len(page) > _HARMLESS_BYTES and _is_hostile(page):
        page = b"".join(match["tag"] or b"" for match in _FLAT.finditer(page) if len(match[0]) < _MAX_TAG_BYTES)
    tree = LexborHTMLParser(page, options=LexborDocumentOptions.WO_EVENTS)
    nodes = tree.css("img")
    if b"<template" in page and (root := tree.root) is not None:
        nodes += [node for fragment in root.template_fragments() for node in fragment.css("img")]
    has_captions = "figcaption" in text_sources and _CAPTION.search(page) is not None
    html = tree.css_first("html")
    language = (html.attributes.get("lang") or html.attributes.get("xml:lang") or "").strip() if html else ""
    base = tree.css_first("base[href]")
    robots = tree.css('meta[name="robots" i]')
    return Page(
        base=(base.attributes.get("href") or "").strip() or None if base is not None else None,
        language=language[:MAX_LANGUAGE_CHARS] or None,
        noai=asks_noai(node.attributes.get("content") or "" for node in robots),
        images=[_image(node, text_sources, has_captions) for node in nodes],
    )


def _image(node: LexborNode, text_sources: Sequence[str], has_captions: bool) -> Image:
    attributes = node.attributes
    texts: list[str] = []
    for source in text_sources:
        if source == "figcaption":
            texts.append(_figcaption(node) if has_captions else "")
        else:
            texts.append(attributes.get(source) or "")
    url = image_url(attributes)
    if not url:
        url = _source_of_picture(node)
    return Image(url, tuple(texts))


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
