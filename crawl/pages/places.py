"""Where on its page an image stands: in which part, in what link, with which classes, and how large its tag makes it.

Measured for images whose text is short (MAX_WORDS), for a longer one is judged by what it says. An element's
surroundings are looked at once, however many images stand in it, so that a page takes time in proportion to its
elements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from selectolax.lexbor import LexborNode

from dataset.schema import PLACE

PARTS = ("navigation", "header", "footer", "aside", "content")
"""Parts of a page, by its tags (`<nav>`, `<header>`, `<footer>`, `<aside>`, `<main>` or `<article>`), by the roles of
WAI-ARIA 1.2 that are the same, or by what a `<div>` of older pages is called."""
MAX_WORDS = 6
"""How many words a text may have for the place of its image to be looked at."""


class Place(NamedTuple):
    """What stands around an image; None where the page does not say."""

    part: str | None = None  # of PARTS
    classes: str = ""  # its own, and those right around it
    link: str | None = None  # where a link around it leads, as written
    width: int | None = None  # pixels, of the tag
    height: int | None = None


NOWHERE = Place()
"""The place of an image of which nothing is known."""
_Around = tuple[str | None, str | None, str, str, str]
"""What holds for all that stands in an element: its part of the page, the link around it, and the classes of the
element and of the two around it. A plain tuple, for there is one for each element above an image."""
_NOTHING: _Around = (None, None, "", "", "")
_PART_OF_TAG = {
    "nav": "navigation",
    "header": "header",
    "footer": "footer",
    "aside": "aside",
    "main": "content",
    "article": "content",
}
_PART_OF_ROLE = {
    "navigation": "navigation",
    "banner": "header",
    "contentinfo": "footer",
    "complementary": "aside",
    "main": "content",
    "article": "content",
}
_NAMES_OF_PARTS = {
    "navigation": ("nav", "navi", "navigation", "navbar", "menu"),
    "header": ("header", "masthead"),
    "footer": ("footer",),
    "aside": ("sidebar",),
}
_PART_OF_NAME = {
    f"{prefix}{name}": part
    for part, names in _NAMES_OF_PARTS.items()
    for name in names
    for prefix in ("", "site-", "page-", "main-", "global-")
}
_BESIDE = ("navigation", "aside")
_MAX_CLASSES = 256  # characters that are looked at


class Places:
    """The places of a page's images."""

    def __init__(self) -> None:
        self._known: dict[int, _Around] = {}

    def of(self, parent: LexborNode | None, attributes: Mapping[str, str | None]) -> Place:
        """Return where an element stands, whose parent and own attributes are given."""
        part, link, first, second, third = self._place_inside(parent)
        get = attributes.get
        width, height, class_ = get("width"), get("height"), get("class")
        return Place(
            part,
            f"{class_[:_MAX_CLASSES] if class_ else ''} {first} {second} {third}".strip(),
            link,
            pixels(width) if width else None,
            pixels(height) if height else None,
        )

    def _place_inside(self, node: LexborNode | None) -> _Around:
        """What holds in an element. In one loop, without a call for each element: a page has thousands."""
        known = self._known
        path = []
        around = _NOTHING
        while node is not None:
            id_ = node.mem_id
            if id_ in known:
                around = known[id_]
                break
            path.append((id_, node))
            node = node.parent
        outer, link, first, second, _ = around
        for id_, node in reversed(path):
            tag, attributes = node.tag or "", node.attributes
            part, class_ = _PART_OF_TAG.get(tag), ""
            if attributes:
                get = attributes.get
                if (written := get("class")) and tag != "body":
                    class_ = written[:_MAX_CLASSES]
                    part = part or _PART_OF_NAME.get(class_)
                if written := get("id"):
                    part = part or _PART_OF_NAME.get(written)
                if written := get("role"):
                    part = _PART_OF_ROLE.get(written, part)
                if tag == "a":
                    link = get("href") or link
            # An article has a header and a footer of its own, and a menu teasers, which are articles; but a menu in a
            # header, or beside an article, is one.
            if part is not None and (outer is None or part in _BESIDE):
                outer = part
            known[id_] = around = (outer, link, class_, first, second)
            first, second = class_, first
        return around


_PIXELS = re.compile(r"\s*([0-9]{1,5})(?:\.[0-9]*)?\s*(?:px\s*)?$")
_MAX_PIXELS_CHARS = 16


@lru_cache(maxsize=4096)
def pixels(written: str) -> int | None:
    """Return the number of pixels that a `width` or `height` says; None of a percentage, or of anything else."""
    match = _PIXELS.match(written) if len(written) < _MAX_PIXELS_CHARS else None
    return int(match[1]) if match else None


_WORDS_OF_ROLES = {  # what the classes of an image, and of the elements right around it, may say that it is
    "logo": "logos?|brand|branding",
    "avatar": "avatars?|gravatars?|userpics?",
    "advertisement": "ads?|adv|adverts?|advertisements?|advertising|sponsors?|sponsored|partners?|werbung|publicidad",
}
_ANY_ROLE = rf"(?i)(?:^|[\s_-])(?:{'|'.join(_WORDS_OF_ROLES.values())})(?:$|[\s_-])"


def roles(classes: Sequence[str]) -> pa.Array:
    """Return what classes say that an image is, logo, avatar or advertisement, the first of several; null if
    nothing. string (n,)."""
    array = pa.array(classes, pa.string())
    role_of = pa.nulls(len(array), pa.string())
    marked = pc.match_substring_regex(array, _ANY_ROLE)  # of few
    if pc.any(marked).as_py():
        some = array.filter(marked)
        role = pa.nulls(len(some), pa.string())
        for name, words in reversed(_WORDS_OF_ROLES.items()):
            is_one = pc.match_substring_regex(some, rf"(?i)(?:^|[\s_-])(?:{words})(?:$|[\s_-])")
            role = pc.if_else(is_one, name, role)
        role_of = pc.replace_with_mask(role_of, marked, role)
    return role_of


def columns_of(
    places: Mapping[int, Place], urls: Sequence[str], of: Sequence[int], pages: Sequence[str]
) -> dict[str, pa.Array]:
    """Return the columns of `dataset.schema.PLACE` over images, null for those of which nothing is known.

    Args:
        places: by the number of the image.
        urls: of the images, as written, (n,).
        of: the number of each one's page, (n,).
        pages: their addresses.
    """
    numbers, known_places = list(places), list(places.values())
    values = {
        "page_part": [place.part for place in known_places],
        "tag_role": roles([place.classes for place in known_places]),
        "links_elsewhere": [
            None if place.link is None else leads_elsewhere(place.link, pages[of[number]], urls[number])
            for number, place in places.items()
        ],
        "tag_width": [place.width for place in known_places],
        "tag_height": [place.height for place in known_places],
    }
    indices = np.full(len(urls), -1)
    indices[numbers] = np.arange(len(numbers))
    chosen = pa.array(indices, mask=indices < 0)
    return {name: pa.array(column, PLACE.field(name).type).take(chosen) for name, column in values.items()}


_HOST = re.compile(r"\s*(?:https?:)?//(?:[^/?#@]*@)?([^/?#:]+)", re.IGNORECASE)
_COUNTRY_CHARS, _KIND_CHARS = 2, 3
_OF_PICTURES = frozenset(
    [
        *("wikimedia.org", "wikipedia.org", "flickr.com", "flic.kr", "deviantart.com", "500px.com", "unsplash.com"),
        *("pixabay.com", "pexels.com", "imgur.com", "photobucket.com", "smugmug.com", "openclipart.org"),
    ]
)


def leads_elsewhere(link: str, page: str, image: str) -> bool:
    """Return whether a link leads to another site than its page's or the image's, by their domains; all as written.

    A site where people publish pictures is where the image is from, and no other.
    """
    link_host = _HOST.match(link)
    if link_host is None:  # a relative address, or what is none
        return False
    domain = _domain(link_host[1])
    return domain not in _OF_PICTURES and not any(  # most lead to their page's own, which is looked at first
        _domain(host[1]) == domain for url in (page, image) if (host := _HOST.match(url))
    )


@lru_cache(maxsize=4096)
def _domain(host: str) -> str:
    """What one owner has, roughly: `example.org` of `www.example.org`, and `example.co.uk` of `img.example.co.uk`."""
    labels = host.lower().rstrip(".").split(".")
    is_of_country = len(labels) > 2 and len(labels[-1]) == _COUNTRY_CHARS and len(labels[-2]) <= _KIND_CHARS
    return ".".join(labels[-3 if is_of_country else -2 :])
