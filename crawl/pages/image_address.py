"""Which of the addresses that a tag names is the picture's: told by what each value is, not by its attribute alone.

What a browser shows in the end is wanted: a script puts the value of a lazy-loading attribute in the place of `src`.
But such attributes also hold flags, numbers, JSON, other pages, and addresses that a script was still to fill in, and
`src` a stand-in or a blurred preview. So every value is graded, and attributes have an order only among equals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.pages.srcset import image_sources
from crawl.urls import INLINED, MAX_URL_CHARS

LAZY = (
    *("data-src", "data-original", "data-lazy-src", "data-lazy", "data-lazyload", "data-original-src"),
    *("data-defer-src", "data-actualsrc", "data-echo", "data-img-src", "data-cfsrc", "data-ezsrc"),
)
"""Attributes whose value scripts put in the place of `src`, the commonest first."""
LAZY_SRCSETS = ("data-srcset", "data-lazy-srcset", "data-original-set")
"""Attributes whose value scripts put in the place of `srcset`."""
OTHERS = ("data-orig-file", "data-large-file", "data-full-url", "data-hi-res-src", "data-image", "data-url")
"""Attributes that may name the picture, or anything else: where `src` does not name it, they do if an image file's
name is their value."""
_IN_PLACE_OF_SRC = frozenset((*LAZY, *LAZY_SRCSETS))
_ALTERNATIVES = _IN_PLACE_OF_SRC | {"srcset", *OTHERS}

NONE, STANDS_IN, LESSER, PLAUSIBLE, IMAGE_FILE = range(5)
"""Grades of an address: no image's; that of a stand-in; that of a preview, of a type that cannot be stored, or of a
server that cannot be asked (`ftp:`); one that may be the picture's; one that is named as image files are."""

_STORED = r"p?jpe?g|pjp|jpe|jfif|png|gif|webp|avif|bmp"
# The ending of an image file's name, anywhere: content networks put sizes behind it, and whole addresses into queries.
_IMAGE_FILE = re.compile(rf"\.(?<=[^/?#]\.)(?:{_STORED})(?![0-9a-z])", re.IGNORECASE)
_COMMON_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_NAMES_IMAGE = re.compile(rf"[^?#]+\.(?:{_STORED}|tiff?)(?:[?#]|$)", re.IGNORECASE)
_NOT_STORED = re.compile(r"\.(?:svgz?|jxl|hei[cf]|tiff?|ico)$", re.IGNORECASE)
_NOT_AN_IMAGE = re.compile(
    r"\.(?:x?html?|pdf|docx?|m?js|css|json|xml|txt|mp[34]|m4v|webm|og[gv]|mov|zip)$", re.IGNORECASE
)
_NOT_HTTP = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_WHITESPACE = " \t\r\n\f\v\x00"

_NOTHING = (  # nothing, a flag, a fragment, or what names nothing that could be fetched
    r"^[ \t\r\n\f]*(?:$|#|(?:about|javascript|blob):"
    r"|(?:null|undefined|none|nan|true|false|auto|lazy|eager)[ \t\r\n\f]*$)"
)
_TEMPLATE = (
    # What a script was still to fill in, as template languages mark it (GUIDs stand in braces, too), …
    r"\{(?:[^0-9a-f]|[0-9a-f]{1,7}(?:[^0-9a-f]|$)|$)|%7b(?:%7b|[g-z_ ]|[0-9a-f]{1,7}(?:[g-z_.]|%7d))"
    r"|<|%3c(?:%|\?)|\[\[|%5b%5b|\[object|%5bobject|%(?:[0-9]\$)?s(?:[^a-z]|$)|%d(?:[^0-9a-f]|$)|%\([a-z_]+\)"
    # … or filled in without having it. Folders are named after people and places that are called Nan.
    r"|(?:^|/)(?:(?:undefined|null)(?:[/?#]|$)|nan(?:[?#]|$))"
)
NO_ADDRESS = f"(?i){_NOTHING}|{_TEMPLATE}"
"""What is no address of an image, or not yet one, as a regular expression for RE2 and for Python."""
_IS_NOTHING = re.compile(_NOTHING, re.IGNORECASE)
_HOLDS_TEMPLATE = re.compile(_TEMPLATE, re.IGNORECASE)

# File names of the pixels that stand in for an image until a script loads it are made of such words, …
_STAND_INS = frozenset(
    [
        *("blank", "empty", "spacer", "transparent", "placeholder", "placeholders", "lazy", "lazyload", "loading"),
        *("loader", "preloader", "spinner", "pixel", "1x1", "1px", "trans", "clear", "dummy"),
    ]
)
_ROOT = re.compile(r"blank|empty|spacer|trans|placeholder|lazy|load|spinner|pixel|1x1|1px|clear|dummy")
# … and of such, sizes, numbers and hashes.
_BESIDE_STAND_INS = frozenset(
    [
        *("img", "image", "images", "px", "x", "bg", "gif", "small", "large", "min", "ajax", "default"),
        *("white", "grey", "gray", "icon"),
    ]
)
_NUMBER = re.compile(r"[0-9x]*(?:px)?|[0-9a-f]{6,}")
_SEPARATORS = re.compile(r"[_.\-]+")
_DRAWINGS, _PHOTOS = frozenset({"gif", "png", "svg"}), frozenset({"jpg", "jpeg", "webp"})

_SMALL = 64  # pixels of width up to which an image is taken for a preview of another
_QUALITY = r"(?:[1-9]|1[0-9])(?![0-9.])"
_PREVIEW = re.compile(
    rf"[?&/,_.=-](?=[qbewl])(?:(?<=[?&])(?:(?:q|quality)={_QUALITY}|blur=[1-9])"
    rf"|(?<=[/,])(?:q_{_QUALITY}(?=[/,])|e_blur)"
    rf"|(?<=/)w[0-9]+q{_QUALITY}/|(?<=[/_.=-])(?:lqip|blur|blurred|blurry|low-?res|low-?quality|lq)(?=[/_.&?-]|$))",
    re.IGNORECASE,
)
# How content networks and shops write an image's width into its address.
_WIDTH = re.compile(
    r"[?&/,_-](?=[0-9wim])(?:(?<=[_-])([0-9]{1,4})x[0-9]{0,4}(?=[._@?/]|$)"
    r"|(?<=[?&])(?:w|width|wid|imwidth)=([0-9]{1,4})(?![0-9])"
    r"|(?<=[/,])w_([0-9]{1,4})(?=[/,])"
    r"|(?<=/)(?:w([0-9]{1,4})(?=[/q])|max/([0-9]{1,4})/|([0-9]{1,4})x[0-9]{0,4}/|([0-9]{1,4})px-))",
    re.IGNORECASE,
)


def names_image(url: str) -> bool:
    """Return whether a URL's path ends as an image file's does."""
    return len(url) <= MAX_URL_CHARS and _NAMES_IMAGE.match(url) is not None


def image_url(attributes: Mapping[str, str | None]) -> str:
    """Return the URL that an `<img>` shows in the end, as written; that of a stand-in, if the tag names nothing else.

    Empty if the tag names none. See docs/sources.md for the rules.
    """
    if _ALTERNATIVES.isdisjoint(attributes):
        return (attributes.get("src") or "").strip(_WHITESPACE)
    return best_url(attributes)[0]


def best_url(attributes: Mapping[str, str | None]) -> tuple[str, int]:
    """Return the URL as `image_url` does, and its grade."""
    src = (attributes.get("src") or "").strip(_WHITESPACE)
    grade = grade_of(src)
    if _ALTERNATIVES.isdisjoint(attributes):
        return src, grade
    best, best_grade = src, grade
    for value, value_grade in _in_place_of_src(attributes) if grade >= PLAUSIBLE else _alternatives(attributes):
        if value_grade > best_grade or (best is src and value_grade == grade > NONE and _replaces(value, src, grade)):
            best, best_grade = value, value_grade
            if best_grade == IMAGE_FILE:
                break
    return best, best_grade


def _replaces(value: str, src: str, grade: int) -> bool:
    """Whether what a script puts in the place of `src` is the picture, if nothing else tells the two apart."""
    width, width_of_src = _width_of(value), _width_of(src)
    if width and width_of_src:
        return width > width_of_src
    return grade >= PLAUSIBLE and value.partition("?")[0] != src.partition("?")[0]


def _in_place_of_src(attributes: Mapping[str, str | None]) -> Iterator[tuple[str, int]]:
    """What scripts put in the place of `src`: (value, grade)."""
    if _IN_PLACE_OF_SRC.isdisjoint(attributes):
        return
    for name in LAZY:
        if value := attributes.get(name):
            value = value.strip(_WHITESPACE)
            if _is_more_than_a_word(value) and not _is_of_another_kind(value):
                yield value, grade_of(value)
    for name in LAZY_SRCSETS:
        if (value := attributes.get(name)) and _is_more_than_a_word(value):
            yield largest_of(value)


def _alternatives(attributes: Mapping[str, str | None]) -> Iterator[tuple[str, int]]:
    yield from _in_place_of_src(attributes)
    if value := attributes.get("srcset"):
        yield largest_of(value)
    for name in OTHERS:
        if (value := attributes.get(name)) and grade_of(value.strip(_WHITESPACE)) == IMAGE_FILE:
            yield value.strip(_WHITESPACE), IMAGE_FILE


_by_size = attrgetter("size")


def largest_of(srcset: str) -> tuple[str, int]:
    """Return the URL of a srcset that a wide screen shows, the first of equals, and its grade; empty if it names none
    that can be fetched.
    """
    best, best_grade = "", NONE
    for source in sorted(image_sources(srcset), key=_by_size, reverse=True):  # of equals the first stays the first
        grade = grade_of(source.url)
        if grade > best_grade:
            best, best_grade = source.url, grade
            if grade == IMAGE_FILE:
                break
    return best, best_grade


def grade_of(url: str) -> int:
    """Return the grade of an address as written."""
    return NONE if not url or len(url) > MAX_URL_CHARS else _grade(url)


@lru_cache(maxsize=256)  # all images of a page may have one stand-in
def _grade(url: str) -> int:
    if _NOT_HTTP.match(url):  # first, for inlined images are long
        return LESSER if url[:4].lower() == "ftp:" and not _is_no_address(url) else NONE
    if _is_no_address(url):
        return NONE
    if _is_named_as_stand_in(url):
        return STANDS_IN
    if _NOT_STORED.search(_strip_query(url)) or _is_preview(url):
        return LESSER
    return IMAGE_FILE if url.endswith(_COMMON_ENDINGS) or _IMAGE_FILE.search(url) else PLAUSIBLE


def _strip_query(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


def _is_preview(url: str) -> bool:
    lower = url.lower()
    if ("q" in lower or "blur" in lower or "low" in lower) and _PREVIEW.search(url):  # most hold none of these
        return True
    return 0 < _width_of(url) <= _SMALL


def is_stand_in(src: str) -> bool:
    """Return whether an address is no image of the page's own: inlined, empty of meaning, or named as stand-ins are."""
    return src[:5] in INLINED or _is_no_address(src) or _is_named_as_stand_in(src)


def _is_no_address(url: str) -> bool:
    if _IS_NOTHING.match(url):
        return True
    lower = url.lower()
    if (
        "{" in url
        or "<" in url
        or "%" in url
        or "[" in url
        or "undefined" in lower
        or "null" in lower
        or "nan" in lower
    ):
        return _HOLDS_TEMPLATE.search(url) is not None
    return False


def _is_named_as_stand_in(src: str) -> bool:
    """Return whether it is. In the formats of drawings other words may stand before those that name a stand-in
    (`theme_blank.gif`); a photo is one if it is named by nothing else. So `lazy-dog.jpg` is none.
    """
    stem, _, ending = _strip_query(src[:MAX_URL_CHARS]).rpartition("/")[2].lower().rpartition(".")
    if (ending not in _DRAWINGS and ending not in _PHOTOS) or not _ROOT.search(stem):
        return False
    words = _SEPARATORS.split(stem)
    while words and not _names_stand_in(words[-1]):
        if not _is_beside_stand_ins(words.pop()):
            return False
    return bool(words) and (
        ending in _DRAWINGS or all(_names_stand_in(word) or _is_beside_stand_ins(word) for word in words)
    )


def _names_stand_in(word: str) -> bool:
    return word in _STAND_INS or word.strip("0123456789") in _STAND_INS


def _is_beside_stand_ins(word: str) -> bool:
    return word in _BESIDE_STAND_INS or _NUMBER.fullmatch(word) is not None


def _is_more_than_a_word(value: str) -> bool:
    """Else it is a flag or a number."""
    return "/" in value or "." in value


def _is_of_another_kind(url: str) -> bool:
    return _NOT_AN_IMAGE.search(_strip_query(url)) is not None


def _width_of(url: str) -> int:
    """The pixels of width that an address names; 0 if it names none."""
    match = _WIDTH.search(url)
    return int(next(filter(None, match.groups()))) if match else 0


@dataclass(frozen=True, slots=True)
class NamedInTag:
    """What the attributes of a tag name."""

    attributes: Mapping[str, str | None]

    def shown_url(self) -> str:
        """Return the URL as `image_url` does."""
        return image_url(self.attributes)

    @property
    def lazy(self) -> str:
        """The value of the attribute that scripts put in the place of `src` most often."""
        return (self.attributes.get(LAZY[0]) or "").strip(_WHITESPACE)

    @property
    def names_lazy(self) -> bool:
        """Whether anything may come in the place of `src`."""
        return not _IN_PLACE_OF_SRC.isdisjoint(self.attributes)


def names_several(attributes: Mapping[str, str | None]) -> bool:
    """Return whether a tag may show something else than its `src`."""
    return not _ALTERNATIVES.isdisjoint(attributes)


# Wherever `grade_of` may not give PLAUSIBLE or IMAGE_FILE, and little else.
_FEW = r"0*(?:[1-5]?[0-9]|6[0-4])"  # up to _SMALL
_DOUBTFUL = (
    f"{NO_ADDRESS}|\\.(?:svgz?|jxl|hei[cf]|tiff?|ico)(?:[?#]|$)"
    r"|(?:blank|empty|spacer|trans|placeholder|lazy|load|spinner|pixel|1x1|1px|clear|dummy)[^/?#]*\.[a-z]+(?:[?#]|$)"
    r"|[?&](?:q|quality|blur)=|[/,]q_|/w[0-9]+q|e_blur|[/_.=-](?:lqip|blur|low|lq)"
    rf"|[?&](?:w|width|wid|imwidth)={_FEW}(?:[^0-9]|$)|[/,]w_{_FEW}[/,]|/(?:w|max/){_FEW}[/q]"
    rf"|[_-]{_FEW}x[0-9]{{0,4}}(?:[._@?/]|$)|/{_FEW}(?:x[0-9]{{0,4}}/|px-)"
)
# Where `grade_of` cannot give IMAGE_FILE: no ending, or the name of a stand-in, of a format of drawings.
_ANY_ENDING = rf"(?i)\.(?:{_STORED})(?:[^0-9a-z]|$)"
_CLEAR_STAND_IN = rf"^(?:[^?#]*[/_.-])?(?:{'|'.join(sorted(_STAND_INS))})\.(?:{'|'.join(sorted(_DRAWINGS))})(?:[?#]|$)"
# Wherever `_width_of` may give more than 0.
_SIZED = r"(?i)[?&](?:w|width|wid|imwidth)=|[/,]w_|/(?:w|max/)[0-9]|[_/-][0-9]{1,4}x|/[0-9]{1,4}px-"
# Where `_IMAGE_FILE` is found, for RE2, and where it is not the picture's whatever else it names.
_HOLDS_IMAGE_FILE = rf"(?i)[^/?#]\.(?:{_STORED})(?:[^0-9a-z]|$)"
_OF_ANOTHER_KIND = r"(?i)\n|\.(?:x?html?|pdf|docx?|m?js|css|json|xml|txt|mp[34]|m4v|webm|og[gv]|mov|zip)(?:[?#]|$)"


def are_no_addresses(urls: pa.Array) -> np.ndarray:
    """Return which of URLs, string of shape (n,), are no address of an image, or not yet one; bool of shape (n,)."""
    return np.array(pc.match_substring_regex(urls, NO_ADDRESS), bool)


def what_is_clear(src: pa.Array, lazy: pa.Array, names_lazy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of images that name several addresses are beyond doubt.

    Args:
        src: string of shape (n,), stripped, as are `lazy`.
        lazy: string of shape (n,), the values of LAZY[0].
        names_lazy: bool of shape (n,), whether anything may come in the place of `src`.

    Returns:
        Those that show `src`, and those that show `lazy`, bool of shape (n,); the others' tags are to be looked at.
    """
    shows_src = ~names_lazy
    rest = np.flatnonzero(shows_src)
    shows_src[rest] = ~_are_doubtful(src.take(pa.array(rest)))
    is_file = np.array(pc.match_substring_regex(lazy, _HOLDS_IMAGE_FILE), bool)
    shows_lazy = np.zeros(len(src), bool)
    files = np.flatnonzero(is_file)
    if len(files):
        values, others = lazy.take(pa.array(files)), src.take(pa.array(files))
        is_less = pc.or_(pc.starts_with(others, "data:"), pc.match_substring_regex(others, _CLEAR_STAND_IN))
        replaces = np.array(pc.or_(is_less, pc.invert(pc.match_substring_regex(others, _ANY_ENDING))), bool)
        rest = np.flatnonzero(~replaces)
        if len(rest):
            first_values, shown = values.take(pa.array(rest)), others.take(pa.array(rest))
            is_sized = np.array(pc.match_substring_regex(first_values, _SIZED), bool)
            replaces[rest] = ~is_sized & np.array(
                pc.not_equal(_strip_queries(first_values), _strip_queries(shown)), bool
            )
        is_of_another_kind = np.array(pc.match_substring_regex(values, _OF_ANOTHER_KIND), bool)
        shows_lazy[files] = replaces & ~is_of_another_kind & ~_are_doubtful(values)
    return shows_src, shows_lazy


def _strip_queries(urls: pa.Array) -> pa.Array:
    return pc.list_element(pc.split_pattern(urls, "?", max_splits=1), 0)


def _are_doubtful(urls: pa.Array) -> np.ndarray:
    """Which of URLs may not be PLAUSIBLE or IMAGE_FILE."""
    is_doubtful = np.array(pc.binary_length(urls)) > MAX_URL_CHARS
    rest = np.flatnonzero(~is_doubtful)
    urls = urls.take(pa.array(rest))
    has_scheme = np.array(pc.match_substring_regex(urls, "(?i)^[a-z][a-z0-9+.-]*:"), bool)
    is_of_web = np.array(pc.match_substring_regex(urls, "(?i)^https?:"), bool)
    is_doubtful[rest] = np.array(pc.match_substring_regex(urls, _DOUBTFUL), bool) | (has_scheme & ~is_of_web)
    return is_doubtful
