"""Pages that a browser's parser might take too long for, or too much memory, made simple before they are parsed.

A parser's work grows faster than a page does in three ways: with the depth of the tree times its tags, with formatting
elements (`<b>`, `<font>`, …) left open, which are made anew in every block that follows, and with the square of a tag's
attributes. `is_affordable` bounds all three from above, so that no page evades it. A page beyond the bounds is not
refused: `simplified` keeps its images, captions, links and what it says of itself, in one pass and without what those
bounds are about.
"""

from __future__ import annotations

import re

from crawl.pages.rendered_text import BLOCKS

_MAX_TAGS = 20_000
"""At any depth that so many tags can reach, each takes some tens of microseconds at most."""
_MAX_MADE_ANEW = 1_000_000  # formatting elements, of about 350 bytes
_MAX_ATTRIBUTES_PARSED = 4_096  # of a tag
_PROBE = 4_096  # bytes, in which a tag cannot have more attributes than that
_MAX_READ_AGAIN = 8  # how often, on average, a byte is looked at as if a tag began before it
_MAX_ATTRIBUTES = 256  # that are kept of a tag
_MAX_DEPTH = 64  # of the elements that are kept

_FORMATTING = rb"(?:b|i|s|u|em|tt|big|font|code|small|strong|strike)"
_OPENED = re.compile(rb"<" + _FORMATTING + rb"[\s/]", re.IGNORECASE)
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
    """Whether parsing a page as it is takes no more than about a second, and a few hundred megabytes."""
    tags = page.count(b"<")
    if tags > _MAX_TAGS:
        return False
    if tags * tags > 4 * _MAX_MADE_ANEW:
        opened = len(_OPENED.findall(page))
        if opened * tags > _MAX_MADE_ANEW and (opened - len(_CLOSED.findall(page))) * tags > _MAX_MADE_ANEW:
            return False
    return not _has_tag_of_many_attributes(page)


def _has_tag_of_many_attributes(page: bytes) -> bool:
    """Whether a tag of a page may have more than some thousands of attributes.

    Here and there a `>` is looked for that ends whatever tag there is: one that cannot stand in a quoted value. No tag
    reaches beyond the next of these, and what is short holds few attributes.
    """
    begin, left = 0, _MAX_READ_AGAIN * len(page)
    while begin + _PROBE < len(page):
        end, step = page.find(b">", begin + _PROBE), 1
        while end >= 0 and not _ends_tag(page, begin, end):
            end, step = page.find(b">", end + step), 2 * step
        end = end + 1 or len(page)
        if end - begin > 2 * _PROBE and len(page[begin:end].translate(None, _NO_SEPARATORS)) > _MAX_ATTRIBUTES_PARSED:
            for start in _TAG_START.finditer(page, begin, end):
                tag = _TAG.match(page, start.start())
                left -= len(tag[0]) if tag else 0
                if left < 0 or (tag and len(_ATTRIBUTES.findall(tag[3])) > _MAX_ATTRIBUTES_PARSED):
                    return True
        begin = end
    return False


def _ends_tag(page: bytes, begin: int, at: int) -> bool:
    """Whether a `>` ends the tag that began somewhere behind a place, if it is in one.

    It does not if it stands in a quoted value: if the last quotation mark of either kind follows an equals sign.
    """
    for mark in (b'"', b"'"):
        quote = page.rfind(mark, begin, at)
        if quote >= 0 and page[max(begin, quote - _MAX_SPACES) : quote].rstrip()[-1:] in (b"=", b""):
            return False
    return True


def simplified(page: bytes) -> bytes:
    """A page's images, figures, links, metas, structured data and text, without all other tags."""
    parts: list[bytes] = []
    above: list[bytes] = []  # elements that are kept and not closed yet
    at, size = 0, len(page)
    while at < size:
        begin = page.find(b"<", at)
        if begin < 0:
            parts.append(page[at:])
            break
        if begin > at:
            parts.append(page[at:begin])
        tag = _TAG.match(page, begin)
        if tag is None:
            at = _behind_no_tag(page, begin, parts)
            continue
        at = tag.end()
        if page[at - 1] != ord(">"):
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
            end = _ENDS[name].search(page, at)
            behind = end.start() if end else size
            if name == b"script" and _JSON_LD.search(tag[3]):
                parts += (b'<script type="application/ld+json">', page[at:behind], b"</script>")
            at = behind
        elif name in _VOID:
            parts.append(_kept(tag))
        elif name in (b"amp-img", b"amp-anim"):
            parts += (_kept(tag), b"</", name, b">")
        elif name in _NESTED:
            if name == b"a" and above[-1:] == [b"a"]:
                _close(name, above, parts)
            parts.append(_kept(tag))
            if len(above) < _MAX_DEPTH and not (name == b"a" and name in above):
                above.append(name)
            else:
                parts += (b"</", name, b">")
        elif name == b"html":
            parts.append(_kept(tag))
    return b"".join(parts)


def _behind_no_tag(page: bytes, begin: int, parts: list[bytes]) -> int:
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


def _kept(tag: re.Match[bytes]) -> bytes:
    """A tag with its first attributes."""
    if len(tag[3]) <= 2 * _MAX_ATTRIBUTES:
        return tag[0]
    end = 0
    for _, attribute in zip(range(_MAX_ATTRIBUTES), _ATTRIBUTES.finditer(tag[3]), strict=False):
        end = attribute.end()
    return b"<" + tag[2] + tag[3][:end] + b">"
