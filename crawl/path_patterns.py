"""Path patterns as robots.txt has them (RFC 9309, section 2.2.3): prefixes, `*` for anything, `$` for the end.

Hundreds of kilobytes of them may be one site's, so they are kept in one piece of bytes with their places in it, and a
path is held against the plain prefixes by search, against the others part by part, in linear time.
"""

from __future__ import annotations

import re
import string
from array import array
from bisect import bisect_right
from collections.abc import Iterable

_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_NORMAL = {
    triplet: bytes([byte]) if byte in _UNRESERVED else b"%%%02X" % byte
    for byte in range(256)
    for text in (f"{byte:02x}", f"{byte:02X}", f"{byte:02x}".title(), f"{byte:02x}"[0] + f"{byte:02X}"[1])
    for triplet in (b"%" + text.encode(),)
} | {bytes([byte]): b"%%%02X" % byte for byte in (*range(0x21), *range(0x7F, 0x100))}
_STARS = re.compile(rb"\*+")
_PATH = re.compile(r"[a-z]+://[^/?#]*([^#]*)")
_TO_NORMAL = re.compile(rb"%[0-9a-fA-F]{2}|[^\x21-\x7e]")


def normalize_path(path: bytes) -> bytes:
    """Return a path or pattern with its percent-encoding in the one form in which both are compared."""
    return _TO_NORMAL.sub(lambda match: _NORMAL[match[0]], path)


def path_of(url: str) -> bytes:
    """Return what patterns are held against: the path and the query of an absolute URL, normal."""
    match = _PATH.match(url)
    path = normalize_path(match[1].encode("utf-8", "replace")) if match else b""
    return path if path.startswith(b"/") else b"/" + path


def matches(pattern: bytes, path: bytes) -> bool:
    """Return whether a pattern matches a path; both normal.

    Part by part at its first place, which for such patterns is enough, and takes linear time where a regular expression
    may not end.
    """
    if b"**" in pattern:
        pattern = _STARS.sub(b"*", pattern)
    to_end = pattern.endswith(b"$")
    first, *parts = pattern.removesuffix(b"$").split(b"*", len(path) + 1)
    if not path.startswith(first):
        return False
    position = len(first)
    for number, part in enumerate(parts, 1):
        if to_end and number == len(parts):
            return len(path) - len(part) >= position and path.endswith(part)
        position = path.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return not to_end or position == len(path)


class Patterns:
    """Patterns that allow or disallow paths: the longest that matches counts; of equally long ones, one that allows."""

    __slots__ = ("_allows", "_cores", "_ends", "_plain", "_text")

    def __init__(self, patterns: Iterable[tuple[bytes, bool]] = ()):
        """patterns: normal, and whether they allow."""
        known: dict[bytes, bool] = {}
        for pattern, allows in patterns:
            known[pattern] = allows or known.get(pattern, False)
        plain = sorted(pattern for pattern in known if not _is_special(pattern))
        special = sorted((pattern for pattern in known if _is_special(pattern)), key=lambda one: (-len(one), one))
        self._plain = len(plain)
        self._text = b"".join([*plain, *special])
        self._ends = array("I", [0])  # where each ends; before all, where the first begins
        # The longest part without a star of each that is special: what a path does not hold, such a pattern does not
        # match. A normal pattern has no line feed.
        self._cores = b"\n".join(max(pattern.removesuffix(b"$").split(b"*"), key=len) for pattern in special)
        self._allows = bytearray()
        for pattern in (*plain, *special):
            self._ends.append(self._ends[-1] + len(pattern))
            self._allows.append(known[pattern])

    def __len__(self) -> int:
        return len(self._allows)

    @property
    def special(self) -> int:
        """How many have to be tried one by one."""
        return len(self) - self._plain

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        return 500 + len(self._text) + 4 * len(self._ends) + len(self._allows) + len(self._cores)

    def allow(self, path: bytes) -> bool:
        """Return whether a normal path is allowed; what no pattern matches is."""
        length, allows = self._longest_prefix(path)
        if len(self) == self._plain:
            return allows
        for number, core in enumerate(self._cores.split(b"\n"), self._plain):
            if core in path:
                pattern = self._pattern_at(number)
                if len(pattern) < length:
                    break  # and so are all that follow
                if (len(pattern) > length or not allows) and matches(pattern, path):
                    length, allows = len(pattern), bool(self._allows[number])
        return allows

    def _longest_prefix(self, path: bytes) -> tuple[int, bool]:
        """The length of the longest plain pattern that a path begins with, and whether it allows; -1, True if none."""
        limit = path
        while limit:
            index = bisect_right(range(self._plain), limit, key=self._pattern_at) - 1
            if index < 0:
                break
            pattern_ = self._pattern_at(index)
            if limit.startswith(pattern_):
                return len(pattern_), bool(self._allows[index])
            shared = (index for index, (one, other) in enumerate(zip(pattern_, limit, strict=False)) if one != other)
            limit = limit[: next(shared, len(pattern_))]
        return -1, True

    def _pattern_at(self, number: int) -> bytes:
        return self._text[self._ends[number] : self._ends[number + 1]]


def _is_special(pattern: bytes) -> bool:
    return b"*" in pattern or pattern.endswith(b"$")
