"""What a site asks of crawlers: robots.txt (RFC 9309) and the X-Robots-Tag header."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from crawl.web.path_patterns import Patterns, normal, path_of

MAX_BYTES = 500 * 1024
"""How much of a robots.txt is parsed; the least that RFC 9309, section 2.5, asks for."""
MAX_REDIRECTS = 5
"""From robots.txt to its place; RFC 9309, section 2.3.1.2."""
MAX_CRAWL_DELAY_S = 10.0
"""A longer Crawl-delay is taken for this; one host's images would otherwise take months."""

REFUSALS = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Directives of X-Robots-Tag that an image dataset must heed; `none` stands for noindex and nofollow."""

_AGENT = ("user-agent", "useragent", "user agent")
_ALLOW = ("allow",)
_DISALLOW = ("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw")  # and as Google's parser takes it
_DELAY = ("crawl-delay", "crawl delay")
_LINE = re.compile(
    "({})(?:[ \t]*:|[ \t])[ \t]*(.*)".format("|".join((*_AGENT, *_ALLOW, *_DISALLOW, *_DELAY))).encode(),
    re.IGNORECASE | re.DOTALL,
)
_NAMED = re.compile(rb"[^\s/;(*]+")  # `openwit` of `openwit/0.1`, `openwit bot`, `openwit*`
_INDEX = re.compile(rb"(.*/)index\.html?", re.DOTALL)
_AGENT_PREFIX = re.compile(r"([a-z*][a-z0-9_*-]*)\s*:\s*(.*)", re.DOTALL)
_VALUED_DIRECTIVES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def product_token(user_agent: str) -> str:
    """The name by which robots.txt addresses a crawler: `openwit` of `openwit/0.1 (+https://…)`."""
    return user_agent.split("/", 1)[0].split(" ", 1)[0].lower()


@dataclass(frozen=True, slots=True)
class Rules:
    """One site's rules for one crawler."""

    crawl_delay_s: float
    patterns: Patterns

    def allow(self, url: str) -> bool:
        """Whether the crawler may fetch an absolute URL of the site."""
        return self.patterns.allow(path_of(url))


@dataclass(slots=True, eq=False)
class _Group:
    """What is said to some crawlers."""

    patterns: list[tuple[bytes, bool]]
    delay_s: float = 0.0
    is_named: bool = False  # whether there is one at all


def parse(body: bytes, user_agent: str) -> Rules:
    """The rules that a robots.txt has for a user agent; bytes that are none of the format's allow everything.

    Groups that name the crawler count together, else those for all (`*`). A group is some lines of agents and the rules
    behind them; other lines, known or not, neither begin nor end one. Nothing is kept of what is said to others.
    """
    agent = product_token(user_agent).encode("utf-8", "replace")
    ours, everyone = _Group([]), _Group([])
    groups: list[_Group] = []  # that the lines are about
    is_begun = False  # whether a rule has followed the agents
    for line in re.split(rb"[\r\n]+", body[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf")):
        match = _LINE.match(line.partition(b"#")[0].strip())
        if match is None:
            continue
        key, value = match[1].lower().decode(), match[2].strip()
        if key in _AGENT:
            if is_begun:
                groups, is_begun = [], False
            for name in value.lower().split(b","):
                groups += [group for group in _named(name.strip(), agent, ours, everyone) if group not in groups]
            continue
        is_begun = True
        for group in groups:
            if key in _DELAY:
                group.delay_s = max(group.delay_s, _seconds(value))
            elif value:
                group.patterns.extend(_patterns(value, key in _ALLOW))
    group = ours if ours.is_named else everyone
    return Rules(min(group.delay_s, MAX_CRAWL_DELAY_S), Patterns(group.patterns))


def _named(name: bytes, agent: bytes, ours: _Group, everyone: _Group) -> list[_Group]:
    """The group that an agent's name stands for, if it is one of ours."""
    token = _NAMED.match(name)
    if token is not None and token[0] == agent:
        ours.is_named = True
        return [ours]
    return [everyone] if re.match(rb"\*(?:\s|$)", name) else []


def _patterns(value: bytes, allows: bool) -> list[tuple[bytes, bool]]:
    """What a rule's value says; to allow a folder's index is to allow the folder, as for Google and Scrapy."""
    pattern = normal(value)
    index = _INDEX.fullmatch(pattern) if allows else None
    return [(pattern, allows)] if index is None else [(pattern, True), (index[1] + b"$", True)]


def _seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


ALLOW_ALL = Rules(0.0, Patterns())


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
