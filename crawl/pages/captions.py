"""The captions that stand with images: those of figures, and those that microdata gives an ImageObject."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from selectolax.lexbor import LexborNode

from crawl.pages.rendered_text import RenderedTexts

IMAGE_OBJECT = b"ImageObject"
"""What a page must hold for its structured data to describe images."""
DESCRIBED = "[itemprop]"
"""Elements that may describe the ImageObject that they stand in."""

_MAX_ABOVE = 16  # how many ancestors of an element are searched for what it belongs to
_MAX_CHARS = 2**22
"""What the captions of a page may take altogether, each counted once for every image that it is given to."""
_NAMES = frozenset({"caption", "description", "contenturl"})
_SPACE = re.compile(r"[ \t\n\f\r]+")
_OF_OTHERS = frozenset({"figure", "figcaption"})


class Captions:
    """Captions by the element that they are the caption of; each element is looked at once."""

    def __init__(self, figcaptions: Iterable[LexborNode], described: Iterable[LexborNode] = ()):
        self._texts = RenderedTexts()
        self._scopes: dict[int, tuple[bool, bool]] = {}
        self.by_figure: dict[int, str] = {}
        """The captions that `of_figure` gives."""
        for node in figcaptions:
            figure = next((above for above in _ancestors(node) if above.tag == "figure"), None)
            if figure is not None and figure.mem_id not in self.by_figure:
                self.by_figure[figure.mem_id] = self._texts.of(node, _OF_OTHERS)
        self.by_object: dict[int, str] = {}
        """The captions that `of_object` gives."""
        self._addresses: dict[int, str] = {}
        descriptions: dict[int, str] = {}
        for node in described:
            attributes = node.attributes
            names = _SPACE.split((attributes.get("itemprop") or "").lower())
            if _NAMES.isdisjoint(names) or (item := self._image_object(node)) is None:
                continue
            if "caption" in names:
                if item not in self.by_object:
                    self.by_object[item] = self._value(node, attributes)
            elif "description" in names:
                if item not in descriptions:
                    descriptions[item] = self._value(node, attributes)
            elif node.tag != "img":
                address = attributes.get("href") or attributes.get("content") or ""
                self._addresses.setdefault(item, address.strip())
        self.by_object = descriptions | self.by_object
        self._seen: set[int] = set()
        self._chars = 0
        self.is_cut = self._texts.is_cut
        """Whether captions were cut, or an image got none, because those of the page grew too large."""

    def of_figure(self, image: LexborNode) -> str:
        """Return the caption of the innermost figure that an image stands in; empty if there is none."""
        for above in _ancestors(image):
            if above.tag == "figure":
                return self._count_and_give(self.by_figure.get(above.mem_id, ""))
        return ""

    def of_object(self, image: LexborNode) -> str:
        """Return the caption, else the description, of the ImageObject that an image stands in; empty if there
        is none.
        """
        if (item := self._image_object(image)) is not None:
            self._seen.add(item)
            return self._count_and_give(self.by_object.get(item, ""))
        return ""

    def without_image(self) -> Iterator[tuple[str, str]]:
        """Yield (URL, caption) of ImageObjects in which no image stood that `of_object` was asked for."""
        for item, address in self._addresses.items():
            if item not in self._seen and address and (caption := self.by_object.get(item)):
                yield address, self._count_and_give(caption)

    def _count_and_give(self, caption: str) -> str:
        self._chars += len(caption)
        if self._chars > _MAX_CHARS:
            self.is_cut = True
            return ""
        return caption

    def _image_object(self, node: LexborNode) -> int | None:
        """The innermost microdata item that an element stands in, if that is an ImageObject."""
        scopes = self._scopes
        for above in _ancestors(node):
            id_ = above.mem_id
            if id_ not in scopes:  # attributes may be thousands, and above thousands of images
                attributes = above.attributes
                is_object = "imageobject" in (attributes.get("itemtype") or "").lower()
                scopes[id_] = "itemscope" in attributes, is_object
            is_scope, is_object = scopes[id_]
            if is_scope:
                return id_ if is_object else None
        return None

    def _value(self, node: LexborNode, attributes: dict[str, str | None]) -> str:
        """A property's value, as the HTML standard has it for texts."""
        return attributes.get("content") or (self._texts.of(node, _OF_OTHERS) if node.tag != "meta" else "")


def _ancestors(node: LexborNode) -> Iterator[LexborNode]:
    above = node.parent
    for _ in range(_MAX_ABOVE):
        if above is None or above.tag == "body":
            break
        yield above
        above = above.parent
