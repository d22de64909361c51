"""Reservations by the TDM Reservation Protocol (W3C community group report, 10 May 2024): mining is not permitted."""

from __future__ import annotations

import json
from dataclasses import dataclass

from crawl.path_patterns import matches, normalize_path, path_of

PATH = "/.well-known/tdmrep.json"
MAX_BYTES = 256 * 1024
HEADER = "tdm-reservation"
_MAX_RULES = 1_000


@dataclass(frozen=True, slots=True)
class Reservations:
    """One site's rules: locations, and whether they are reserved."""

    rules: tuple[tuple[bytes, bool], ...] = ()

    def is_reserved(self, url: str) -> bool:
        """Return whether an absolute URL of the site is reserved: by the first rule whose location it matches."""
        path = path_of(url)
        return next((reserved for location, reserved in self.rules if matches(location, path)), False)

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        return sum(150 + len(location) for location, _ in self.rules)


NONE = Reservations()


def is_unreadable(body: bytes) -> bool:
    """Return whether a file begins as JSON and is none, or none of rules; a page in its place says that there
    is none.
    """
    if body.lstrip()[:1] not in (b"[", b"{"):
        return False
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        return True
    return not isinstance(listed, list) or not all(isinstance(rule, dict) and "location" in rule for rule in listed)


def parse(body: bytes) -> Reservations:
    """Return the rules of a tdmrep.json; bytes that are none of the format's reserve nothing."""
    try:
        listed = json.loads(body[:MAX_BYTES])
    except (ValueError, RecursionError):
        return NONE
    rules: list[tuple[bytes, bool]] = []
    for rule in listed[:_MAX_RULES] if isinstance(listed, list) else ():
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str):
            rules.append((normalize_path(location.encode("utf-8", "replace")), str(rule.get(HEADER, 0)).strip() == "1"))
    return Reservations(tuple(rules))
