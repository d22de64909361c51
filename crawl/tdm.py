"""Reservations by the TDM Reservation Protocol (W3C community group report, 10 May 2024): mining is not permitted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

PATH = "/.well-known/tdmrep.json"
MAX_BYTES = 256 * 1024
HEADER = "tdm-reservation"
_MAX_RULES = 1_000


@dataclass(frozen=True, slots=True)
class Reservations:
    """One site's rules: locations, and whether they are reserved."""

    rules: tuple[tuple[str, bool], ...] = ()

    def reserved(self, url: str) -> bool:
        """Whether an absolute URL of the site is reserved: by the first rule whose location it matches."""
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        return next((reserved for location, reserved in self.rules if _matches(location, path)), False)


NONE = Reservations()


def parse(body: bytes) -> Reservations:
    """The rules of a tdmrep.json; bytes that are none of the format's reserve nothing."""
    try:
        listed = json.loads(body[:MAX_BYTES])
    except (ValueError, RecursionError):
        return NONE
    rules = []
    for rule in listed[:_MAX_RULES] if isinstance(listed, list) else ():
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str):
            rules.append((location, str(rule.get(HEADER, 0)).strip() == "1"))
    return Reservations(tuple(rules))


def _matches(location: str, path: str) -> bool:
    """Whether a location as in robots.txt matches: a prefix, `*` for anything, `$` for the end (RFC 9309, 2.2.3).

    Part by part at its first place, which for such patterns is enough, and takes linear time where a regular expression
    may not end.
    """
    first, *parts = location.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    to_end = location.endswith("$")
    for number, part in enumerate(parts, 1):
        if to_end and number == len(parts):
            return len(path) - len(part) >= at and path.endswith(part)
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not to_end or at == len(path)
