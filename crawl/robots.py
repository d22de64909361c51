"""What a site asks of crawlers: robots.txt (RFC 9309) and the X-Robots-Tag header."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from protego import Protego

MAX_BYTES = 500 * 1024
"""Of robots.txt that are parsed; the least that RFC 9309, section 2.5, asks for."""
MAX_REDIRECTS = 5
"""From robots.txt to its place; RFC 9309, section 2.3.1.2."""
MAX_CRAWL_DELAY_S = 10.0
"""A longer Crawl-delay is taken for this; one host's images would otherwise take months."""

REFUSALS = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Directives of X-Robots-Tag that an image dataset must heed; `none` stands for noindex and nofollow."""

_USER_AGENT_LINE = re.compile(
    r"^([ \t]*user[- ]?agent[ \t]*(?::|[ \t])[ \t]*)([^#\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_AGENT_PREFIX = re.compile(r"([a-z*][a-z0-9_*-]*)\s*:\s*(.*)", re.DOTALL)
_VALUED_DIRECTIVES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def product_token(user_agent: str) -> str:
    """The name by which robots.txt addresses a crawler: `openwit` of `openwit/0.1 (+https://…)`."""
    return user_agent.split("/", 1)[0].split(" ", 1)[0].lower()


@dataclass(frozen=True, slots=True)
class Rules:
    """One site's rules for one crawler."""

    crawl_delay_s: float
    _rules: Protego
    _agent: str

    def allow(self, url: str) -> bool:
        """Whether the crawler may fetch an absolute URL of the site."""
        return self._rules.can_fetch(url, self._agent)


def parse(body: bytes, user_agent: str) -> Rules:
    """The rules that a robots.txt has for a user agent; bytes that are none of the format's allow everything."""
    agent = product_token(user_agent)

    def rename(line: re.Match[str]) -> str:
        named = line[2].replace("*", "").strip().lower()
        return line[1] + (line[2] if named in agent else "another")

    # The parser keeps rules for every agent of a group: ten thousand agents before ten thousand rules would
    # take gigabytes. Agents that are not us are one agent.
    text = _USER_AGENT_LINE.sub(rename, body[:MAX_BYTES].decode("utf-8", "replace"))
    rules = Protego.parse(text.removeprefix("\ufeff"))
    return Rules(min(rules.crawl_delay(agent) or 0.0, MAX_CRAWL_DELAY_S), rules, agent)


ALLOW_ALL = parse(b"", "*")


def refusal(headers: Iterable[str], user_agent: str) -> str | None:
    """The directive of X-Robots-Tag headers by which a response must not enter the dataset, if there is one.

    A directive counts if it is for all crawlers or names ours: `noai`, `openwit: noai`, `otherbot: noindex, *: noai`.
    """
    agent = product_token(user_agent)
    for header in headers:
        ours = True
        for part in header.lower().split(","):
            directive = part.strip()
            prefix = _AGENT_PREFIX.fullmatch(directive)
            if prefix is not None and prefix[1] not in _VALUED_DIRECTIVES:
                ours = prefix[1] in ("*", agent)  # for the rest of this header, or until another agent is named
                directive = prefix[2].strip()
            if ours and directive in REFUSALS:
                return directive
    return None
