"""What owners ask of training in header fields: Content-Signal, Content-Usage of the IETF's AI Preferences, and TDMRep.

The first two are lists of `name=value`, in robots.txt and in a response's headers. What may refuse is looked for in
each member by itself, so that neither a damaged neighbour nor a later contradiction hides it: any refusal wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from http_sfv import Dictionary, Token

CONTENT_SIGNAL, CONTENT_USAGE = "Content-Signal", "Content-Usage"
UNREADABLE = "unreadable: "
"""How what `content_signal` and `content_usage` answer begins if it cannot be read and nothing in it refuses."""
MAX_CHARS = 8 * 1024
"""How much of a field is read, all of its lines together; what is longer is unreadable from there."""
_SHOWN_CHARS = 100

# Training, training of models that generate, and (of earlier drafts) any automated processing; who publishes a dataset
# does not know what will be trained on it.
_NAMES = {CONTENT_SIGNAL: frozenset({"ai-train"}), CONTENT_USAGE: frozenset({"train-ai", "train-genai", "bots"})}
_MEANINGS = {"y": True, "yes": True, "n": False, "no": False}
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+', re.DOTALL)
_UNREADABLE_ERRORS = (ValueError, IndexError, KeyError, TypeError, OverflowError)


class Wish(NamedTuple):
    """What an owner asks, and where that stands."""

    signal: str  # Content-Signal, X-Robots-Tag, …
    value: str  # as it is written, or the part of it that counts
    place: str  # robots.txt, header, …


def content_signal(values: Iterable[str]) -> str | None:
    """Return what Content-Signal says of training: `ai-train=no`, `ai-train=yes`, UNREADABLE with its text, or None:
    nothing.

    values: of all its lines.
    """
    return _parse_wish(tuple(values), CONTENT_SIGNAL)


def content_usage(values: Iterable[str]) -> str | None:
    """Return what Content-Usage says of training: `train-ai=n`, `train-ai=y`, UNREADABLE with its text, or None:
    nothing.
    """
    return _parse_wish(tuple(values), CONTENT_USAGE)


def refuses(said: str | None) -> bool:
    """Return whether an answer of `content_signal` or `content_usage` refuses."""
    return said is not None and said.endswith(("=n", "=no")) and not said.startswith(UNREADABLE)


def is_unreadable(said: str | None) -> bool:
    """Return whether an answer of `content_signal` or `content_usage` is that the field cannot be read."""
    return said is not None and said.startswith(UNREADABLE)


def tdm_reservation(values: Iterable[str]) -> tuple[bool | None, str | None]:
    """Return what `tdm-reservation`, a header or a page's meta tags, says of text and data mining (W3C TDMRep).

    Returns:
        Whether it reserves them, None if it does not say; and what it says that is neither 0 nor 1, up to 100
        characters, None if there is no such thing or it reserves them anyway.
    """
    flags = {flag.strip() for value in values for flag in value.split(",")} - {""}
    if "1" in flags:
        return True, None
    odd = flags - {"0"}
    return (False if "0" in flags else None), (min(odd)[:_SHOWN_CHARS] if odd else None)


@lru_cache(maxsize=1_024)
def _parse_wish(values: tuple[str, ...], field: str) -> str | None:
    names = _NAMES[field]
    whole = ",".join(values).lower()  # a field's names are lower case; another case is a slip that is as clear
    text = whole[:MAX_CHARS].rpartition(",")[0] if len(whole) > MAX_CHARS else whole
    rest = whole[len(text) :]
    allowed: str | None = None
    unread = rest.strip(" \t,")
    for member in _MEMBER.findall(text):
        try:
            said = _member(member.strip(), names)
        except _UNREADABLE_ERRORS:
            unread = unread or member.strip()
            continue
        if refuses(said):
            return said
        allowed = allowed or said
    plain = (part.replace(" ", "") for part in rest.split(","))
    refusals = {f"{name}={value}" for name in names for value, allows in _MEANINGS.items() if not allows}
    return next(
        (part for part in plain if part in refusals), f"{UNREADABLE}{unread[:_SHOWN_CHARS]}" if unread else allowed
    )


def _member(text: str, names: frozenset[str]) -> str | None:
    """A member's `name=value` if it speaks of training. Raises _UNREADABLE_ERRORS: it is not as RFC 9651 has it."""
    if not text:
        return None
    parsed = Dictionary()
    parsed.parse(text.encode("ascii"))
    said: str | None = None
    for name, item in parsed.items():
        # `search=yes; ai-train=no` is one member with a parameter: a slip that is as clear.
        for key, value in ((name, getattr(item, "value", None)), *getattr(item, "params", {}).items()):
            if key in names:
                if not isinstance(value, Token) or str(value) not in _MEANINGS:
                    raise ValueError(text)
                if not _MEANINGS[str(value)]:
                    return f"{key}={value}"
                said = said or f"{key}={value}"
    return said
