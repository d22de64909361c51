"""The images that a srcset names, by the HTML standard's grammar ("parse a srcset attribute"), in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# What nearly every source is: a URL with one sound descriptor, up to the comma or the end.
_COMMON = re.compile(
    r"[\t\n\f\r ,]*+([^\t\n\f\r ]++)(?<!,)[\t\n\f\r ]++"
    r"(?:([0-9]++)w|([0-9]++(?:\.[0-9]++)?)x)[\t\n\f\r ]*+(?:,|\Z)"
)
_URL = re.compile(r"[\t\n\f\r ,]*+([^\t\n\f\r ]++)")
# All that stands before the next comma outside of parentheses. A parenthesis that nothing closes reaches to the end.
_DESCRIPTORS = re.compile(r"(?:[^(,]++|\([^)]*+(?:\)|\Z))*+")
_SPACE = re.compile(r"[\t\n\f\r ]+")
_WIDTH = re.compile(r"([0-9]+)w")
_HEIGHT = re.compile(r"([0-9]+)h")
_DENSITY = re.compile(r"(-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)x")


class ImageSource(NamedTuple):
    """An image source of a srcset: its URL as written, and its width in pixels or else its density."""

    url: str
    width: float | None
    density: float | None

    @property
    def size(self) -> tuple[bool, float]:
        """What a wide screen prefers is greater; a width in pixels says more than a density."""
        if self.width is not None:
            return True, self.width
        return False, 1.0 if self.density is None else self.density


def image_sources(srcset: str) -> Iterator[ImageSource]:
    """Yield the image sources in their order; those whose descriptors are wrong are none."""
    position = 0
    while True:
        while match := _COMMON.match(srcset, position):
            url, width, density = match.groups()
            position = match.end()
            if width is None:
                yield ImageSource(url, None, float(density))
            elif size := float(width):
                yield ImageSource(url, size, None)
        if not (match := _URL.match(srcset, position)):
            return
        url, position = match[1], match.end()
        if url[-1] == ",":
            url, descriptors = url.rstrip(","), ""
        else:
            rest = _DESCRIPTORS.match(srcset, position)
            assert rest is not None, "it matches nothing, too"
            descriptors, position = rest[0], rest.end()
        source = _parse_descriptors(url, descriptors)
        if source is not None:
            yield source


def _parse_descriptors(url: str, descriptors: str) -> ImageSource | None:
    width = height = density = None
    for descriptor in filter(None, _SPACE.split(descriptors)):
        if match := _WIDTH.fullmatch(descriptor):
            if width is not None or density is not None:
                return None
            width = float(match[1])
        elif match := _DENSITY.fullmatch(descriptor):
            if width is not None or height is not None or density is not None:
                return None
            density = float(match[1])
        elif match := _HEIGHT.fullmatch(descriptor):
            if height is not None or density is not None:
                return None
            height = float(match[1])
        else:
            return None
    if width == 0 or height == 0 or (density is not None and density < 0) or (height is not None and width is None):
        return None
    return ImageSource(url, width, density)
