"""What reaches a person's eyes: a stranger's text without what a terminal or a page would obey.

Files (tables, CSV, JSON) keep their data as it is; what is printed for people, and shown on a page, goes through here.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, escape sequences among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what reorders text
    "\u2028\u2029\ufff9-\ufffb"  # breaks of lines and paragraphs, annotations
    "\U000e0000-\U000e0fff"  # tags: a text that no one sees
    "\ud800-\udfff"  # halves of characters, which no encoding can write
    "]"
)
_FORMULA = tuple("=+-@\t\r＝＋－＠")  # spreadsheets take the wide ones, too


def clean(text: str) -> str:
    """Return a text of several lines without control characters, marks that reorder, tags and surrogates: each is �."""
    return UNSAFE.sub("�", text)


def line(text: str) -> str:
    """Clean a text as `clean` does, for a text that must stay on its line."""
    return clean(text).replace("\n", "�")


def say(text: object, *, to_errors: bool = False, file: TextIO | None = None) -> None:
    """Print a text for people."""
    print(clean(str(text)), file=file or (sys.stderr if to_errors else sys.stdout), flush=True)


def escaped_json(text: str) -> str:
    """Return JSON in which what a terminal would obey is written as escapes: the same data."""

    def escape(match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[offset : offset + 2].hex()}" for offset in range(0, len(units), 2))

    return UNSAFE.sub(escape, text)


def no_formula(value: Any) -> Any:
    """Return a cell that a spreadsheet shows and does not compute: a text that begins as a formula is put
    behind a `'`.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
