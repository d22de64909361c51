"""Pages that a browser's parser might take too long for, or too much memory, made simple before they are parsed.

A parser's work grows faster than a page does in three ways: with the depth of the tree times its tags, with formatting
elements (`<b>`, `<font>`, …) left open, which are made anew in every block that follows, and with the square of a tag's
attributes. `is_affordable` bounds all three from above, so that no page evades it. A page beyond the bounds is not
refused: `simplify_page` keeps its images, captions, links and what it says of itself, in one pass and without what
those bounds are about.
"""

from __future__ import annotations

import re
from itertools import islice

import numpy as np

from crawl.pages.rendered_text import BLOCKS

_MAX_TAGS = 20_000
"""The most tags of a page: at any depth that so many can reach, each takes some tens of microseconds at most."""
_MAX_TAGS_DEEP = _MAX_TAGS**2
"""Tags times the elements that may be open at once: some nanoseconds each."""
_MAX_ROUNDS = 8  # in which closed elements are taken out of a page
_MAX_MADE_ANEW = 1_000_000  # formatting elements, of about 350 bytes
_MAX_ATTRIBUTES_PARSED = 4_096  # of a tag of a page of up to _MAX_BYTES_OF_THESE: all such tags together take a second
_MAX_BYTES_OF_THESE = 2**20
_LEAST_ATTRIBUTES_PARSED = 256  # of a tag of a larger one
_LARGE_BYTES = 2**17  # below which there is no room for so many attributes that they cost anything
_MAX_MERGED = 16  # of tags whose attributes a parser adds to the page's own
_MERGED = re.compile(rb"<(?:html|body)[\s/]", re.IGNORECASE)
_MAX_READ_AGAIN = 8  # how often, on average, a byte is looked at as if a tag began before it
_MAX_ATTRIBUTES = 256  # that are kept of a tag
_MAX_DEPTH = 64  # of the elements that are kept

_NAMES_OF_FORMATTING = ("b", "i", "s", "u", "em", "tt", "big", "font", "code", "small", "strong", "strike")
_FORMATTING = f"(?:{'|'.join(_NAMES_OF_FORMATTING)})".encode()
_OPENED = re.compile(rb"<" + _FORMATTING + rb"[\s/]", re.IGNORECASE)
_MAX_BRACKETS = 4
_BEFORE_VALUE = b"= \t\n\r\f\v"  # what may stand right before a quoted value
_MAX_SPACES = 32  # that are looked through
_NO_SEPARATORS = bytes(sign for sign in range(ord(" ") + 1, 256) if sign not in b"/\"'")
_TAG_START = re.compile(rb"<[a-z]", re.IGNORECASE)

_ATTRIBUTE = rb"""[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?+)?+"""
# … closed right behind its text. Of those without attributes, the parser itself makes no more than three anew.
_CLOSED = re.compile(rb"<(" + _FORMATTING + rb")(?=[\s/])(?:" + _ATTRIBUTE + rb")*+>[^<]*+</\1\s*+>", re.IGNORECASE)
_TAG = re.compile(rb"<(/?)([a-z][^\s/>]*+)((?:" + _ATTRIBUTE + rb")*+)(?:>|\Z)", re.IGNORECASE)
_TEXT = re.compile(rb"(?:[^<]++|<(?![a-z/!?]))*+", re.IGNORECASE)
_COMMENT_END = re.compile(rb"--!?>")
_ATTRIBUTES = re.compile(rb"(?:[\s/]++(?:" + _ATTRIBUTE.replace(rb"[\s/]++|", b"", 1) + rb")?+)", re.IGNORECASE)
_JSON_LD = re.compile(rb"application/ld\+json", re.IGNORECASE)

_TEXT_ALONE = frozenset(
    [b"script", b"style", b"textarea", b"title", b"iframe", b"noframes", b"noembed", b"xmp", b"plaintext"]
)
_ENDS = {name: re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE) for name in _TEXT_ALONE}
_VOID = frozenset([b"img", b"image", b"source", b"meta", b"base", b"link"])
_NESTED = frozenset(
    [
        b"figure",
        b"figcaption",
        b"picture",
        b"a",
        b"svg",
        b"video",
        b"audio",
        b"canvas",
        b"object",
        b"noscript",
        b"template",
    ]
)
_BLOCKS = frozenset(name.encode() for name in BLOCKS)
_KEPT = _TEXT_ALONE | _VOID | _NESTED | {b"amp-img", b"amp-anim", b"html"}


def is_affordable(page: bytes) -> bool:
    """Return whether parsing a page as it is takes no more than about a second, and a few hundred megabytes."""
    is_begin = np.frombuffer(page, np.uint8) == ord("<")
    tags = int(np.count_nonzero(is_begin))
    begins = np.flatnonzero(is_begin) if tags * tags > 4 * _MAX_MADE_ANEW else _NONE
    if tags > _MAX_TAGS and tags * _open_at_most(page, begins, _MAX_TAGS_DEEP // tags) > _MAX_TAGS_DEEP:
        return False
    if len(begins) and tags * _formatting_at_most(page, begins) > _MAX_MADE_ANEW:
        opened = len(_OPENED.findall(page))
        if opened * tags > _MAX_MADE_ANEW and (opened - len(_CLOSED.findall(page))) * tags > _MAX_MADE_ANEW:
            return False
    share = max(1, len(page) // _MAX_BYTES_OF_THESE)
    most = max(_MAX_ATTRIBUTES_PARSED // share, _LEAST_ATTRIBUTES_PARSED)
    return not _has_tag_of_many_attributes(page, most) and not _merges_many(page)


def _merges_many(page: bytes) -> bool:
    """Whether a page of any length has many `<html>` or `<body>`: each attribute of them is looked for among all that
    those before it had."""
    return len(page) > _LARGE_BYTES and sum(1 for _ in islice(_MERGED.finditer(page), _MAX_MERGED + 1)) > _MAX_MERGED


def _open_at_most(page: bytes, begins: np.ndarray, enough: int) -> int:
    """How many elements of a page a parser may hold open at once; it is not counted further down than to `enough`.

    Only what certainly is closed is taken out: elements that have nothing but text between their two tags, then those
    that these stood in, and so on. What stands in a quoted value, a comment or a script is not told from tags, but can
    only make the number greater: it counts where it seems to begin an element.

    Args:
        page: its bytes.
        begins: where a `<` stands, int64 of shape (tags,).
        enough: see above.
    """
    padded = page + bytes(2 + _MAX_NAME_BYTES)
    signs = np.frombuffer(padded, np.uint8)
    is_end = signs[begins + 1] == ord("/")
    left = len(begins) - int(np.count_nonzero(is_end))
    if left <= enough:
        return left
    names = np.ndarray((len(page) + 2, 2), np.uint64, padded, strides=(1, 8))  # of _MAX_NAME_BYTES, wherever they begin
    closing = np.append(np.flatnonzero(signs == ord(">")), len(page))
    quotes = np.flatnonzero((signs == ord('"')) | (signs == ord("'")))
    following = np.append(begins[1:], len(page))
    indices = np.searchsorted(closing, begins)
    ends = closing[indices]
    first, behind = np.searchsorted(quotes, begins), np.searchsorted(quotes, ends)
    is_end &= (ends < following) & (ends - begins < 2 + _MAX_NAME_BYTES) & (first == behind)
    is_start = _IS_LETTER[signs[begins + 1]]
    for _ in range(_MAX_BRACKETS):  # that stand in quoted values
        inside = np.flatnonzero(is_start & ((behind - first) % 2 == 1) & (closing[indices] < following))
        if not len(inside):
            break
        indices[inside] += 1
        behind[inside] = np.searchsorted(quotes, closing[indices[inside]])
    is_start &= (closing[indices] < following) & _leaves_none_open(signs, quotes, first, behind)
    stays = np.ones(len(begins), bool)
    stays[_is_void(names[:, 0], signs, begins, np.flatnonzero(is_start))] = False
    left -= len(begins) - int(np.count_nonzero(stays))
    for _ in range(_MAX_ROUNDS):
        begins, ends, is_start, is_end = begins[stays], ends[stays], is_start[stays], is_end[stays]
        if left <= enough:
            break
        first = np.flatnonzero(is_start[:-1] & is_end[1:])
        opening, closed_at = begins[first] + 1, begins[first + 1] + 2
        lengths = ends[first + 1] - closed_at
        lengths -= _IS_SPACE[signs[ends[first + 1] - 1]]
        differ = (names[opening] ^ names[closed_at]) & _FIRST_BYTES[lengths]
        first = first[((differ[:, 0] | differ[:, 1]) == 0) & _ENDS_NAME[signs[opening + lengths]]]
        left -= len(first)
        stays = np.ones(len(begins), bool)
        stays[first] = stays[first + 1] = False
    return left


def _leaves_none_open(signs: np.ndarray, quotes: np.ndarray, first: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Which tags certainly have no quoted value open behind some of their quotation marks.

    The mark that begins a value follows an equals sign, with nothing but white space between. So if there is an even
    number of marks, and every second one follows neither and is of its predecessor's kind, none is left open.

    Args:
        signs: of the page.
        quotes: where its quotation marks stand.
        first: the number of each tag's first mark, shape (tags,).
        behind: the number of the mark behind the last of them.

    Returns:
        bool of shape (tags,).
    """
    before = signs[quotes - 1]  # no mark of a tag is a page's first byte
    is_wrong = _IS_SPACE[before] | (before == ord("="))
    is_wrong[1:] |= signs[quotes[1:]] != signs[quotes[:-1]]
    wrong = np.zeros((2, len(quotes) + 1), np.int64)  # how many before each mark, of those at even and at odd places
    for place in range(2):
        is_wrong_here = is_wrong.copy()
        is_wrong_here[1 - place :: 2] = False
        np.cumsum(is_wrong_here, out=wrong[place, 1:])
    second = (first + 1) % 2
    is_pair: np.ndarray = ((behind - first) % 2 == 0) & (wrong[second, behind] == wrong[second, first])
    return is_pair


def _is_void(names: np.ndarray, signs: np.ndarray, begins: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Which of some start tags, by their numbers, are of elements without content, even in SVG."""
    first_bytes = names[begins[starts] + 1]
    tags = []
    for name in _VOID_NAMES:
        word = np.frombuffer(name.ljust(8, b"\0"), np.uint64)
        same = starts[(first_bytes & _FIRST_BYTES[len(name), 0]) == word]
        tags.append(same[_ENDS_NAME[signs[begins[same] + 1 + len(name)]]])
    return np.concatenate(tags)


def _formatting_at_most(page: bytes, begins: np.ndarray) -> int:
    """How many tags of formatting elements with attributes a page may have: as _OPENED, but for some of other names."""
    begins = begins[: np.searchsorted(begins, len(page) - _LONGEST_TAG_BYTES)]
    pairs = np.ndarray(max(len(page) - 1, 0), np.uint16, page, strides=(1,))  # of each byte and the next
    lengths = _LENGTHS[pairs[begins + 1]]
    elements = np.flatnonzero(lengths)
    behind = np.frombuffer(page, np.uint8)[begins[elements] + 1 + lengths[elements]]
    return int(np.count_nonzero(_IS_SEPARATOR[behind])) + _LONGEST_TAG_BYTES


def _lengths() -> np.ndarray:
    """The length of the name of a formatting element, by the first two characters behind the `<`; 0 of others."""
    lengths = np.zeros(2**16, np.uint8)
    for name in _NAMES_OF_FORMATTING:
        for first in {name[0], name[0].upper()}:
            for second in {name[1], name[1].upper()} if name[1:] else map(chr, _SEPARATORS):
                lengths[np.frombuffer((first + second).encode(), np.uint16)] = len(name)
    return lengths


_NONE = np.zeros(0, np.int64)
_SEPARATORS = list(b" \t\n\r\f\v/")
_BYTES = np.arange(256)
_IS_SEPARATOR = np.isin(_BYTES, _SEPARATORS)
_IS_SPACE = np.isin(_BYTES, list(b" \t\n\r\f"))  # as HTML has it
_IS_LETTER = np.isin(_BYTES | 0x20, range(ord("a"), ord("z") + 1)) & (_BYTES < 0x80)
_ENDS_NAME = _IS_SPACE | np.isin(_BYTES, list(b"/>"))
_MAX_NAME_BYTES = 16  # that are compared: no name of HTML has more
_FIRST_BYTES = np.frombuffer(
    b"".join((b"\xff" * length).ljust(_MAX_NAME_BYTES, b"\0") for length in range(_MAX_NAME_BYTES)), np.uint64
).reshape(-1, 2)
_VOID_NAMES = (b"br", b"embed", b"hr", b"img", b"meta", b"BR", b"IMG")
_LENGTHS = _lengths()
_LONGEST_TAG_BYTES = 1 + max(map(len, _NAMES_OF_FORMATTING)) + 1


def _has_tag_of_many_attributes(page: bytes, most: int) -> bool:
    """Whether a tag of a page may have more attributes than so many.

    Here and there a `>` is looked for that ends whatever tag there is: one that cannot stand in a quoted value. No tag
    reaches beyond the next of these, and one of less than twice as many bytes has fewer attributes.
    """
    begin, left = 0, _MAX_READ_AGAIN * len(page)
    while begin + 2 * most < len(page):
        end = page.rfind(b">", begin + most, begin + 2 * most)
        if end >= 0:
            double, single = page.rfind(b'"', begin, end), page.rfind(b"'", begin, end)
            is_clear = (double < 0 or page[double - 1] not in _BEFORE_VALUE) and (
                single < 0 or page[single - 1] not in _BEFORE_VALUE
            )
            if (is_clear and begin not in (double, single)) or _ends_tag(page, begin, end):
                begin = end + 1
                continue
        end, step = page.find(b">", begin + most), 1
        while end >= 0 and not _ends_tag(page, begin, end):
            end, step = page.find(b">", end + step), 2 * step
        end = end + 1 or len(page)
        last = end - 2 * most  # where a tag must begin to have room for too many
        if (
            last > begin
            and (first := _TAG_START.search(page, begin, last))
            and _may_be_many(page, first.start(), end, most)
        ):
            for start in _TAG_START.finditer(page, begin, last):
                tag = _TAG.match(page, start.start())
                left -= len(tag[0]) if tag else 0
                if left < 0 or (tag and len(_ATTRIBUTES.findall(tag[3])) > most):
                    return True
        begin = end
    return False


def _may_be_many(page: bytes, begin: int, end: int, most: int) -> bool:
    """Whether a part of a page holds as many separators as a tag of too many attributes."""
    return len(page[begin:end].translate(None, _NO_SEPARATORS)) > most


def _ends_tag(page: bytes, begin: int, position: int) -> bool:
    """Whether a `>` ends the tag that began somewhere behind a place, if it is in one.

    It does not if it stands in a quoted value: if the last quotation mark of either kind follows an equals sign.
    """
    for mark in (b'"', b"'"):
        quote = page.rfind(mark, begin, position)
        if quote >= 0 and (quote == begin or page[quote - 1] in _BEFORE_VALUE):
            before = page[max(begin, quote - _MAX_SPACES) : quote].rstrip()
            if before[-1:] in (b"=", b""):
                return False
    return True


def simplify_page(page: bytes) -> bytes:
    """Return a page's images, figures, links, metas, structured data and text, without all other tags."""
    parts: list[bytes] = []
    above: list[bytes] = []  # elements that are kept and not closed yet
    position, size, merged = 0, len(page), 0
    while position < size:
        begin = page.find(b"<", position)
        if begin < 0:
            parts.append(page[position:])
            break
        if begin > position:
            parts.append(page[position:begin])
        tag = _TAG.match(page, begin)
        if tag is None:
            position = _end_of_no_tag(page, begin, parts)
            continue
        position = tag.end()
        if page[position - 1] != ord(">"):
            break  # a tag that does not end is none
        name = tag[2].lower()
        if above and above[-1] == b"svg" and (name in _BLOCKS or name == b"img"):
            _close(b"svg", above, parts)  # which HTML's elements end
        if name not in _KEPT:
            if name in _BLOCKS:
                parts.append(b" ")
        elif tag[1]:
            if name in above:
                _close(name, above, parts)
        elif name in _TEXT_ALONE and b"svg" not in above:  # where they are elements like others
            end = _ENDS[name].search(page, position)
            behind = end.start() if end else size
            if name == b"script" and _JSON_LD.search(tag[3]):
                parts += (b'<script type="application/ld+json">', page[position:behind], b"</script>")
            position = behind
        elif name in _VOID:
            parts.append(_cut_attributes(tag))
        elif name in (b"amp-img", b"amp-anim"):
            parts += (_cut_attributes(tag), b"</", name, b">")
        elif name in _NESTED:
            if name == b"a" and above[-1:] == [b"a"]:
                _close(name, above, parts)
            parts.append(_cut_attributes(tag))
            if len(above) < _MAX_DEPTH and not (name == b"a" and name in above):
                above.append(name)
            else:
                parts += (b"</", name, b">")
        elif name == b"html" and (merged := merged + 1) <= _MAX_MERGED:
            parts.append(_cut_attributes(tag))
    return b"".join(parts)


def _end_of_no_tag(page: bytes, begin: int, parts: list[bytes]) -> int:
    """Where a comment ends, or text; a `<` in it stays text beside whatever follows it."""
    if page.startswith(b"<!--", begin):
        end = _COMMENT_END.search(page, begin + 2)
        return end.end() if end else len(page)
    if page[begin + 1 : begin + 2] in (b"!", b"?", b"/"):
        return page.find(b">", begin) + 1 or len(page)
    text = _TEXT.match(page, begin)
    assert text is not None, "what begins no tag"
    parts.append(text[0].replace(b"<", b"&lt;"))
    return text.end()


def _close(name: bytes, above: list[bytes], parts: list[bytes]) -> None:
    while above:
        last = above.pop()
        parts += (b"</", last, b">")
        if last == name:
            break


def _cut_attributes(tag: re.Match[bytes]) -> bytes:
    """A tag with its first attributes."""
    if len(tag[3]) <= 2 * _MAX_ATTRIBUTES:
        return tag[0]
    end = 0
    for _, attribute in zip(range(_MAX_ATTRIBUTES), _ATTRIBUTES.finditer(tag[3]), strict=False):
        end = attribute.end()
    return b"<" + tag[2] + tag[3][:end] + b">"
