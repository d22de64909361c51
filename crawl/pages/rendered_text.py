"""The texts of parts of a page, as a browser renders them."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from crawl.clean_text import MAX_TEXT_CHARS

BLOCKS = frozenset(
    [
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "br",
            "caption",
            "center",
            "dd",
            "details",
            "dir",
            "div",
        ),
        *(
            "dl",
            "dt",
            "fieldset",
            "figcaption",
            "figure",
            "footer",
            "form",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "header",
        ),
        *("hgroup", "hr", "html", "legend", "li", "listing", "main", "menu", "nav", "ol", "optgroup", "option", "p"),
        *("plaintext", "pre", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr"),
        *("ul", "xmp"),
    ]
)
"""Elements that begin and end a line, or stand apart from their neighbours as cells do."""
NOT_RENDERED = frozenset(
    [
        *("annotation", "annotation-xml", "area", "audio", "base", "basefont", "canvas", "datalist", "dialog", "embed"),
        *("head", "iframe", "link", "meta", "noembed", "noframes", "noscript", "object", "param", "rp", "script"),
        *("select", "source", "style", "svg", "template", "textarea", "title", "track", "video"),
    ]
)
"""Elements whose text no reader sees where scripts, pictures and forms work."""
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_CHARS = 4 * MAX_TEXT_CHARS
_MAX_STEPS = 500_000
"""Elements, and stretches of _STEP_CHARS characters, that are looked at for the texts of one page: a second's worth."""
_STEP_CHARS = 256


class RenderedTexts:
    """The texts of elements of one page, as a browser renders them.

    Elements may stand in each other, and each has the text of all that stand in it. So a page with more such elements
    than any honest one is cut: then further texts are cut off, too.
    """

    def __init__(self) -> None:
        self._left = _MAX_STEPS
        self._hidden: dict[int, bool] = {}

    @property
    def is_cut(self) -> bool:
        """Whether a text may lack something because the page has too many elements in each other."""
        return self._left <= 0

    def of(self, node: LexborNode, but: frozenset[str] = frozenset()) -> str:
        """Return the text in an element, with a space at the bounds of blocks and none at those of inline elements.

        Args:
            node: an element.
            but: further elements to leave out, with all that is in them.

        Returns:
            White space is left as it stands; what exceeds some tens of thousands of characters may be cut off.
        """
        parts: list[str] = []
        size = 0
        above: list[tuple[LexborNode, bool]] = []
        current = node.first_child
        while current is not None and size < _MAX_CHARS and self._left > 0:
            self._left -= 1
            if current.is_text_node:
                text = current.text_content or ""
                parts.append(text[:_MAX_CHARS])
                size += len(text)
                self._left -= len(text) // _STEP_CHARS
            elif (
                current.is_element_node
                and (tag := current.tag or "") not in NOT_RENDERED
                and tag not in but
                and not self._is_hidden(current)
            ):
                is_block = tag in BLOCKS
                if is_block:
                    parts.append(" ")
                if (child := current.first_child) is not None:
                    above.append((current, is_block))
                    current = child
                    continue
            while (after := current.next) is None and above:
                current, is_block = above.pop()
                if is_block:
                    parts.append(" ")
            current = after
        return "".join(parts)

    def _is_hidden(self, node: LexborNode) -> bool:
        known = self._hidden.get(node.mem_id)
        if known is None:
            attributes = node.attributes
            known = bool(attributes) and (
                "hidden" in attributes or _HIDING_STYLE.search(attributes.get("style") or "") is not None
            )
            self._hidden[node.mem_id] = known
        return known
