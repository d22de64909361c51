"""The images of an HTML page: their URLs as written, and the texts that stand with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import stringzilla
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from crawl import rsl
from crawl.pages.captions import DESCRIBED, IMAGE_OBJECT, Captions
from crawl.pages.image_address import LESSER, NONE, PLAUSIBLE, NamedInTag, best_url, names_image, names_several
from crawl.pages.json_ld import described_images
from crawl.pages.places import MAX_WORDS, NOWHERE, Place, Places
from crawl.pages.rendered_text import RenderedTexts
from crawl.pages.simplified import is_affordable, simplify_page
from crawl.wishes import tdm_reservation

TEXT_SOURCES = ("alt", "title", "figcaption", "microdata", "json-ld", "aria-label", "data-image-title", "og", "link")
"""Where an image's text can come from: see docs/sources.md, "Texts of an image"."""

LANGUAGE_METAS = ("og:locale", "language")
"""Names of the metas that say a page's language, the one that counts first."""
METAS = frozenset(
    ["robots", "tdm-reservation", "og:image", "og:image:url", "og:image:alt", "og:title", *LANGUAGE_METAS]
)
"""Names of the metas that are read."""
MAX_LANGUAGE_CHARS = 35
"""BCP 47 (RFC 5646, section 4.4.1): the length that a language tag's buffer needs."""


class Choice(Protocol):
    """An image that names several URLs."""

    def shown_url(self) -> str:
        """Return the one that it shows in the end, as `crawl.pages.image_address.image_url` says."""

    @property
    def lazy(self) -> str:
        """The address of LAZY[0]."""

    @property
    def names_lazy(self) -> bool:
        """Whether an attribute for lazy loading may give what comes in the place of `src`."""


@dataclass(slots=True)
class Page:
    """What a page says of itself, and its images as columns, in the order of the document."""

    base: str | None = None  # <base href>, as written
    language: str | None = None
    noai: bool = False
    tdm_reserved: bool | None = None  # None: the page does not say
    tdm_unreadable: str | None = None  # what its `tdm-reservation` says if that is neither 0 nor 1
    content_signal: str | None = None  # of its response's headers, see crawl.wishes; None: nothing of training
    content_usage: str | None = None
    license: str | None = None  # of rel="license", as written
    rsl_inline: list[str] = field(default_factory=list)  # RSL licenses that stand in it
    rsl_links: list[str] = field(default_factory=list)  # where those are that it names, as written
    rsl_header: list[str] = field(default_factory=list)  # Link headers of its response
    urls: list[str] = field(default_factory=list)  # as written; empty: the tag names none
    choices: dict[int, Choice] = field(default_factory=dict)  # of images that name more than the URL above
    places: dict[int, Place] = field(default_factory=dict)  # of images that have a text, where anything is known
    silent: list[str] = field(default_factory=list)  # URLs of further images, that have no text
    texts: list[list[str]] = field(default_factory=list)  # a column for each text source; empty: there is none
    is_simplified: bool = False  # whether it was too much for a browser's parser as it is, or its captions were cut

    def add_tdm_header(self, values: Iterable[str]) -> None:
        """Add what its response's `tdm-reservation` says; what the page itself says comes before (W3C TDMRep)."""
        if self.tdm_reserved is None:
            self.tdm_reserved, unreadable = tdm_reservation(values)
            self.tdm_unreadable = None if self.tdm_reserved else self.tdm_unreadable or unreadable

    @property
    def names_rsl(self) -> bool:
        """Whether it may hold or name an RSL license."""
        return bool(self.rsl_inline or self.rsl_links or self.rsl_header)

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
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[_-][A-Za-z0-9]{2,8}){0,2}")
_NOAI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)
_IMAGES = "img, image, video[poster]"
_AMP = ("amp-img", "amp-anim")  # in a query, names that are none of HTML's cost more than all others
_QUERY = f'{_IMAGES}, template, meta[content], base[href], a[rel~="license" i][href], link[rel~="license" i][href]'
_RSL = f'script[type="{rsl.MEDIA_TYPE}" i]'
_JSON_LD = 'script[type="application/ld+json" i]'
_OF_OBJECTS = frozenset({"json-ld", "microdata"})
_JSON_LD_TYPE = re.compile(r"application/ld\+json", re.IGNORECASE)
_ATTRIBUTES = ("alt", "title", "aria-label", "data-image-title")
_FOREIGN = frozenset({"svg", "math"})
_INTEGRATION_POINTS = frozenset(
    ["foreignObject", "foreignobject", "desc", "title", "annotation-xml", "mi", "mo", "mn", "ms", "mtext"]
)
_FEW_MEDIA = re.compile(r"max-width|max-device-width|print|dark|portrait", re.IGNORECASE)
_UNSTORED_TYPES = re.compile(
    r"\s*image/(?:svg|jxl|hei[cf]|tiff|jp2|jpx|jxr|vnd)|\s*(?:video|application)/", re.IGNORECASE
)
_MAX_OPEN_GRAPH_CHARS = 2**22  # of the texts of all images that a page's metas name
_MAX_BASES = 16  # that are looked at


def declared_language(metas: Iterable[tuple[str, str]]) -> str | None:
    """Return the language that a page's metas declare, given as (name, content): `og:locale`, else `language`.
    BCP 47.
    """
    languages = {
        name: content.strip().replace("_", "-")
        for name, content in metas
        if name in LANGUAGE_METAS and _LANGUAGE.fullmatch(content.strip())
    }
    return next((languages[name] for name in LANGUAGE_METAS if name in languages), None)


def asks_noai(values: Iterable[str]) -> bool:
    """Return whether a robots meta tag or an X-Robots-Tag holds `noai` or `noimageai` (DeviantArt's directives of
    2022).
    """
    return any(_NOAI.search(value) for value in values)


def open_graph(properties: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (URL, text) of a page's `og:image` properties, given as (name, content) in their order.

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


def limit_texts(images: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (URL, text) of images, as many as have texts of a few million characters altogether: some share a long
    one.
    """
    ends = accumulate(len(text) for _, text in images)
    return [image for image, end in zip(images, ends, strict=True) if end <= _MAX_OPEN_GRAPH_CHARS]


def parse_page(page: bytes, text_sources: Sequence[str], *, xhtml: bool = False) -> Page:
    """Read a page with a browser's parser. Any bytes are a page; none are an error.

    Images inside `<noscript>`, `<picture>` and `<template>` count; those inside comments and scripts do not.

    Args:
        page: UTF-8, see `crawl.pages.charset`.
        text_sources: of TEXT_SOURCES.
        xhtml: whether the page was served as XHTML, where any tag can close itself.
    """
    if xhtml:
        page = _SELF_CLOSED.sub(rb"<\1\2></\1>", page)
    is_simplified = not is_affordable(page)
    if is_simplified:
        page = simplify_page(page)
    tree = LexborHTMLParser(page, options=LexborDocumentOptions.WO_EVENTS)
    holds_objects = not _OF_OBJECTS.isdisjoint(text_sources) and stringzilla.find(page, IMAGE_OBJECT) >= 0
    queries = [_QUERY, _RSL, *(_AMP if any(map(tree.tags, _AMP)) else ())]
    if "figcaption" in text_sources:
        queries.append("figcaption")
    if holds_objects and "json-ld" in text_sources:
        queries.append(_JSON_LD)
    by_tag, images = _group_by_tag(tree.css(", ".join(queries)))  # one walk through the tree for all
    html = tree.root  # <html>, which a parser makes where a page has none
    if by_tag["template"] and html is not None:
        for fragment in html.template_fragments():
            inside, inside_images = _group_by_tag(fragment.css(", ".join([_IMAGES, *_AMP, "figcaption"])))
            images += inside_images
            by_tag["figcaption"] += inside["figcaption"]
    attributes = html.attributes if html is not None else {}
    language = (attributes.get("lang") or attributes.get("xml:lang") or "").strip()
    metas = [meta for node in by_tag["meta"] if (meta := _meta(node.attributes))]
    tdm_reserved, tdm_unreadable = tdm_reservation(content for name, content in metas if name == "tdm-reservation")
    parsed = Page(
        base=next((_address(node) or None for node in by_tag["base"][:_MAX_BASES] if not _is_foreign(node)), None),
        language=language[:MAX_LANGUAGE_CHARS] or declared_language(metas),
        noai=asks_noai(content for name, content in metas if name == "robots"),
        tdm_reserved=tdm_reserved,
        tdm_unreadable=tdm_unreadable,
        license=next((address for node in by_tag["a"] + by_tag["link"] if (address := _address(node))), None),
        texts=[[] for _ in text_sources],
    )
    parsed.rsl_links = [_address(node) for node in by_tag["link"] if _is_rsl(node.attributes)]
    parsed.rsl_inline = [node.text() for node in by_tag["script"] if _type(node).lower() == rsl.MEDIA_TYPE]
    describing = tree.css(DESCRIBED) if holds_objects and "microdata" in text_sources else []
    captions = Captions(by_tag["figcaption"] if "figcaption" in text_sources else (), describing)
    _list_images(parsed, images, text_sources, captions)
    if describing:
        parsed.add(text_sources.index("microdata"), captions.without_image())
    if _JSON_LD in queries and by_tag["script"]:
        scripts = {node.mem_id: node for node in by_tag["script"]}  # which another of its attributes may name again
        texts = (node.text() for node in scripts.values() if _JSON_LD_TYPE.fullmatch(_type(node)))
        described = (image for text in texts for image in described_images(text))
        parsed.add(text_sources.index("json-ld"), [(url, text) for url, text in described if text])
    if "og" in text_sources:
        named = open_graph(metas)
        parsed.add(text_sources.index("og"), limit_texts(named))
        is_simplified |= len(limit_texts(named)) < len(named)
    if "link" in text_sources:
        texts_of_links = RenderedTexts()
        parsed.add(text_sources.index("link"), _links_to_images(tree, texts_of_links))
        is_simplified |= texts_of_links.is_cut
    parsed.is_simplified = is_simplified or captions.is_cut
    return parsed


def _list_images(
    parsed: Page, images: Iterable[tuple[str, LexborNode]], text_sources: Sequence[str], captions: Captions
) -> None:
    """images: by the name of their tag."""
    pictures: dict[int, tuple[str, int]] = {}
    columns = list(zip(parsed.texts, text_sources, strict=True))
    own_attributes = [(column, name) for column, name in columns if name in _ATTRIBUTES]
    of_figures = [column for column, name in columns if name == "figcaption" and captions.by_figure]
    of_objects = [column for column, name in columns if name == "microdata" and captions.by_object]
    urls, places = parsed.urls, Places()
    for tag, node in images:
        attributes, parent = node.attributes, node.parent
        if tag in _OTHERS:
            urls.append(_OTHERS[tag](attributes))
        elif parent is not None and parent.tag == "picture":
            urls.append(_in_picture(attributes, parent, pictures))
        else:
            urls.append((attributes.get("src") or "").strip())
            if parent is not None and names_several(attributes):
                parsed.choices[len(urls) - 1] = NamedInTag(attributes)
        is_short = False
        for column, name in own_attributes:
            text = attributes.get(name) or (_svg_title(node) if name == "title" and tag == "image" else "")
            column.append(text)
            if text and not is_short:
                is_short = text.count(" ") < MAX_WORDS
        for column in of_figures:
            column.append(captions.of_figure(node))
        for column in of_objects:
            column.append(captions.of_object(node))
        if is_short and (place := places.of(parent, attributes)) != NOWHERE:
            parsed.places[len(urls) - 1] = place
    for column, _ in columns:
        column += [""] * (len(urls) - len(column))


def _group_by_tag(
    nodes: Iterable[LexborNode],
) -> tuple[defaultdict[str, list[LexborNode]], list[tuple[str, LexborNode]]]:
    """Nodes by the name of their tag, in their order; and images alone, with the names of their tags."""
    by_tag: defaultdict[str, list[LexborNode]] = defaultdict(list)
    images: list[tuple[str, LexborNode]] = []
    for node in nodes:
        tag = node.tag or ""
        if tag in _IMAGE_TAGS:
            images.append((tag, node))
        else:
            by_tag[tag].append(node)
    return by_tag, images


def _address(node: LexborNode) -> str:
    return (node.attributes.get("href") or "").strip()


def _type(node: LexborNode) -> str:
    return node.attributes.get("type") or ""


def _is_rsl(attributes: Mapping[str, str | None]) -> bool:
    return rsl.is_license(attributes.get("rel") or "", attributes.get("type") or "")


def _is_foreign(node: LexborNode) -> bool:
    """Whether an element of HTML's name stands in SVG or MathML, where it means nothing."""
    above = node.parent
    while above is not None and (tag := above.tag) not in _INTEGRATION_POINTS:
        if tag in _FOREIGN:
            return True
        above = above.parent
    return False


def _meta(attributes: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Name, of METAS, and content of a `<meta>`; None of others."""
    name = attributes.get("name") or attributes.get("property")
    if not name or (name := name.strip().lower()) not in METAS:
        return None
    return name, attributes.get("content") or ""


def _links_to_images(tree: LexborHTMLParser, texts: RenderedTexts) -> Iterator[tuple[str, str]]:
    """(URL, text) of the links that lead to image files and have a text."""
    for node in tree.css("a[href]"):
        address = _address(node)
        if names_image(address) and (text := texts.of(node, _LINKS).strip()):
            yield address, text


def _in_picture(attributes: Mapping[str, str | None], picture: LexborNode, pictures: dict[int, tuple[str, int]]) -> str:
    """The URL of an image in a `<picture>`, each of which is looked at once."""
    url, grade = best_url(attributes)
    if grade >= PLAUSIBLE:
        return url
    if picture.mem_id not in pictures:
        pictures[picture.mem_id] = _best_source(picture)
    source, source_grade = pictures[picture.mem_id]
    return source if source_grade > grade else url


def _best_source(picture: LexborNode) -> tuple[str, int]:
    """URL and grade of the first `<source>` that is as good as any: of a type that is stored, and for wide screens."""
    best, best_rank = ("", NONE), (False, NONE, False)
    for source in _children(picture, "source"):
        attributes = source.attributes
        url, grade = best_url({**attributes, "src": None})
        is_stored = not _UNSTORED_TYPES.match(attributes.get("type") or "")
        rank = (is_stored, grade, not _FEW_MEDIA.search(attributes.get("media") or ""))
        if grade > NONE and rank > best_rank:
            best, best_rank = (url, grade if is_stored else min(grade, LESSER)), rank
    return best


def _svg_image(attributes: Mapping[str, str | None]) -> str:
    return (attributes.get("href") or attributes.get("xlink:href") or "").strip()


def _svg_title(node: LexborNode) -> str:
    """What SVG shows as an element's title: its child of that name."""
    return next((title.text() for title in _children(node, "title")), "")


def _children(node: LexborNode, tag: str) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.tag == tag:
            yield child
        child = child.next


def _poster(attributes: Mapping[str, str | None]) -> str:
    return (attributes.get("poster") or "").strip()


_OTHERS = {"image": _svg_image, "video": _poster}
_IMAGE_TAGS = frozenset(["img", "amp-img", "amp-anim", *_OTHERS])
_LINKS = frozenset({"a"})
