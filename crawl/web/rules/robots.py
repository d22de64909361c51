"""What a site asks of crawlers: robots.txt (RFC 9309), ai.txt, which is written alike, and the X-Robots-Tag header."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from crawl import rsl
from crawl.path_patterns import Patterns, normalize_path, path_of
from crawl.urls import url_in_header
from crawl.wishes import CONTENT_SIGNAL, CONTENT_USAGE, Wish, content_signal, content_usage, is_unreadable, refuses

MAX_BYTES = 500 * 1024
"""How much of a robots.txt is parsed; the least that RFC 9309, section 2.5, asks for."""
MAX_RULES_OF_OTHERS = 100_000
"""How many rules are kept of all groups of other crawlers together; one rule may be of as many groups as are heeded."""
AI_TXT = "/ai.txt"
"""Where a site's ai.txt is (Spawning, 2023): what may be trained on, in the lines of robots.txt."""
MAX_REDIRECTS = 5
"""The most redirects from robots.txt to its place; RFC 9309, section 2.3.1.2."""
MAX_CRAWL_DELAY_S = 10.0
"""A longer Crawl-delay is taken for this; one host's images would otherwise take months."""

REFUSALS = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Directives of X-Robots-Tag that an image dataset must heed; `none` stands for noindex and nofollow."""

_AGENT = ("user-agent", "useragent", "user agent")
_ALLOW = ("allow",)
_DISALLOW = ("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw")  # and as Google's parser takes it
_DELAY = ("crawl-delay", "crawl delay")
_LICENSE = "license"
_WISHES = {CONTENT_SIGNAL.lower(): CONTENT_SIGNAL, CONTENT_USAGE.lower(): CONTENT_USAGE}
_LINES = re.compile(rb"([\r\n]+)")
_EMPTY_LINE = re.compile(rb"\n\r?\n|\r\r")
_LINE = re.compile(
    "({})(?:[ \t]*:|[ \t])[ \t]*(.*)".format(
        "|".join((*_AGENT, *_ALLOW, *_DISALLOW, *_DELAY, *_WISHES, _LICENSE))
    ).encode(),
    re.IGNORECASE | re.DOTALL,
)
_AI_TXT = re.compile(rb"(?<![\w.-])ai\.txt(?![.-]?\w)", re.IGNORECASE)
_NAMED = re.compile(rb"[^\s/;(*]+")  # `openwit` of `openwit/0.1`, `openwit bot`, `openwit*`
_INDEX = re.compile(rb"(.*/)index\.html?", re.DOTALL)
_AGENT_PREFIX = re.compile(r"([a-z*][a-z0-9_*-]*)\s*:\s*(.*)", re.DOTALL)
_VALUED_DIRECTIVES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def product_token(user_agent: str) -> str:
    """Return the name by which robots.txt addresses a crawler: `openwit` of `openwit/0.1 (+https://…)`."""
    return user_agent.split("/", 1)[0].split(" ", 1)[0].lower()


class Refusal(NamedTuple):
    """Why an address may not be fetched, or what of its site's rules cannot be read: an outcome of the fetch stage."""

    outcome: str
    wish: Wish


class Asked(NamedTuple):
    """Patterns that refuse, apart from those for us, and what is said where they do."""

    refusal: Refusal
    patterns: Patterns


class Named(NamedTuple):
    """A license that a site names, as it is written, and where."""

    url: str
    place: str


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """One site's rules for one crawler."""

    crawl_delay_s: float
    patterns: Patterns
    asked: tuple[Asked, ...] = ()
    """What refuses beside: groups of other crawlers that are heeded, and what is said of training."""
    unreadable: tuple[Asked, ...] = ()
    """What is said of training but cannot be read."""
    licenses: tuple[Named, ...] = ()
    """RSL licenses that are named for us."""
    names_ai_txt: bool = False
    """Whether it speaks of the site's ai.txt, in a remark or otherwise."""

    def allow(self, url: str) -> bool:
        """Return whether the crawler may fetch an absolute URL of the site, and use what it gets."""
        return self.refusal(url) is None

    def refusal(self, url: str) -> Refusal | None:
        """Return why it may not; None if it may. What cannot be read refuses nothing here."""
        path = path_of(url)
        if not self.patterns.allow(path):
            return _DISALLOWED
        return next((asked.refusal for asked in self.asked if not asked.patterns.allow(path)), None)

    def unread(self, url: str) -> Refusal | None:
        """Return what of the rules for a URL cannot be read; None if all can."""
        path = path_of(url)
        return next((asked.refusal for asked in self.unreadable if not asked.patterns.allow(path)), None)

    def only(self, heeds: Callable[[str], bool]) -> RobotsRules:
        """Return the rules without what the config does not heed, told by the signal's name."""
        asked, unreadable = (
            tuple(item for item in items if heeds(item.refusal.wish.signal)) for items in (self.asked, self.unreadable)
        )
        return replace(self, asked=asked, unreadable=unreadable, licenses=self.licenses if heeds(rsl.SIGNAL) else ())

    @property
    def special(self) -> int:
        """How many patterns have to be tried one by one."""
        return self.patterns.special + sum(asked.patterns.special for asked in (*self.asked, *self.unreadable))

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        of_asked = sum(200 + asked.patterns.size for asked in (*self.asked, *self.unreadable))
        return self.patterns.size + of_asked + sum(200 + len(named.url) for named in self.licenses)


_DISALLOWED = Refusal("robots_disallowed", Wish("robots.txt", "Disallow", "robots.txt"))


@dataclass(slots=True, eq=False)
class _Group:
    """What is said to a crawler, or to all."""

    patterns: list[tuple[bytes, bool]] = field(default_factory=list)
    wishes: list[tuple[str, bytes, str]] = field(default_factory=list)  # field, pattern, what it says
    licenses: list[bytes] = field(default_factory=list)
    delay_s: float = 0.0
    is_named: bool = False  # whether there is one at all


def parse(body: bytes, user_agent: str, also_heed: Iterable[str] = ()) -> RobotsRules:
    """Return the rules that a robots.txt has for a user agent; bytes that are none of the format's allow everything.

    Groups that name the crawler count together, else those for all (`*`). A group is some lines of agents and the rules
    behind them; other lines, known or not, neither begin nor end one. What groups say that name a crawler of
    `also_heed` refuses too; nothing is kept of what is said to others. What is said of training before any group is
    said to all, and so is a license behind an empty line, for that is how they are written; licenses in our group come
    before those (RSL 1.0, section 4.4.3), and none ends a group.
    """
    agent = product_token(user_agent).encode("utf-8", "replace")
    ours, everyone, outside = _Group(), _Group(), _Group()
    others = {name.lower().encode("utf-8", "replace"): _Group() for name in also_heed}
    named = {**others, agent: ours}
    groups: list[_Group] = [outside]  # that the lines are about
    left = MAX_RULES_OF_OTHERS
    of_others = {id(group) for group in others.values()}
    is_begun = True  # whether a rule has followed the agents
    is_apart = False  # whether an empty line has followed the group
    for line in _LINES.split(body[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf")):
        match = _LINE.match(line.partition(b"#")[0].strip())
        if match is None:
            is_apart = is_apart or _EMPTY_LINE.search(line) is not None
            continue
        key, value = match[1].lower().decode(), match[2].strip()
        if key == _LICENSE:
            for of in (outside,) if is_apart else groups:
                of.licenses.append(value)
            continue
        is_apart = False
        many = sum(id(group) in of_others for group in groups) if key not in _AGENT else 0
        if many > left:
            groups = [group for group in groups if id(group) not in of_others]
        left -= min(many, left)
        if key in _AGENT:
            if is_begun:
                groups, is_begun = [], False
            for name in value.lower().split(b","):
                group = _named_group(name.strip(), named, everyone)
                if group is not None and group not in groups:
                    groups.append(group)
            continue
        is_begun = True
        for group in groups:
            if key in _DELAY:
                group.delay_s = max(group.delay_s, _seconds(value))
            elif key in _WISHES:
                group.wishes.extend(_wish(_WISHES[key], value))
            elif value:
                group.patterns.extend(_patterns(value, key in _ALLOW))
    our_group = ours if ours.is_named else everyone
    heeded = {name.decode("utf-8", "replace"): group for name, group in others.items() if group.is_named}
    heeded.pop(agent.decode("utf-8", "replace"), None)
    asked = _disallowed_to_others(heeded)
    unreadable: list[Asked] = []
    for who, group in {
        "": our_group,
        " before any group": outside,
        **{f" of {name}": heeded[name] for name in heeded},
    }.items():
        refused, unread = _training_signals(group, f"robots.txt{who}")
        asked += refused
        unreadable += unread
    delay_s = min(our_group.delay_s, MAX_CRAWL_DELAY_S)
    licenses = _licenses(
        {"": our_group.licenses or outside.licenses, **{f" of {n}": g.licenses for n, g in heeded.items()}}
    )
    names_ai_txt = _AI_TXT.search(body[:MAX_BYTES]) is not None
    return RobotsRules(delay_s, Patterns(our_group.patterns), tuple(asked), tuple(unreadable), licenses, names_ai_txt)


def _licenses(named: Mapping[str, Sequence[bytes]]) -> tuple[Named, ...]:
    """Licenses by who they are named for, distinct: one more than are read, so that it is known that there are more."""
    licenses: dict[str, Named] = {}
    for who, values in named.items():
        for value in values:
            words = url_in_header(value).split()
            if words and "/" in words[0] and len(licenses) <= rsl.MAX_LICENSES:  # a name alone (MIT) is no RSL
                licenses.setdefault(words[0], Named(words[0], f"robots.txt{who}"))
    return tuple(licenses.values())


def _named_group(name: bytes, named: Mapping[bytes, _Group], everyone: _Group) -> _Group | None:
    """The group that an agent's name stands for, if it is one that counts."""
    token = _NAMED.match(name)
    group = named.get(token[0]) if token is not None else None
    if group is not None:
        group.is_named = True
        return group
    return everyone if re.match(rb"\*(?:\s|$)", name) else None


def _wish(field_: str, value: bytes) -> list[tuple[str, bytes, str]]:
    """(field, pattern, what it says) of a rule that may begin with a path, as in `Content-Usage: /art/ train-ai=n`."""
    path, rest = b"/", value
    if value[:1] in (b"/", b"*"):
        path, _, rest = value.partition(b" ") if b" " in value else value.partition(b"\t")
    text = rest.decode("latin-1").strip()
    said = content_signal([text]) if field_ == CONTENT_SIGNAL else content_usage([text])
    return [] if said is None else [(field_, normalize_path(path), said)]


def _disallowed_to_others(groups: Mapping[str, _Group]) -> list[Asked]:
    """What groups of other crawlers disallow; those that disallow the same, as groups often do, count once."""
    known: dict[tuple[tuple[bytes, bool], ...], Asked] = {}
    for name, group in groups.items():
        rules = tuple(group.patterns)
        if rules not in known and not all(allows for _, allows in rules):
            wish = Wish("robots.txt", "Disallow", f"robots.txt of {name}")
            known[rules] = Asked(Refusal("robots_disallowed_others", wish), Patterns(rules))
    return list(known.values())


def _training_signals(group: _Group, place: str) -> tuple[list[Asked], list[Asked]]:
    """What a group's Content-Signal and Content-Usage refuse, and what of them cannot be read.

    The longest path counts, as for Disallow; but of equally long ones, one that refuses.
    """
    refused, unreadable = [], []
    for name, outcome in ((CONTENT_SIGNAL, "content_signal_refused"), (CONTENT_USAGE, "content_usage_refused")):
        rules = [(pattern, said) for field_, pattern, said in group.wishes if field_ == name]
        refusals = {pattern: said for pattern, said in rules if refuses(said)}
        readable = {pattern: pattern not in refusals for pattern, said in rules if not is_unreadable(said)}
        if refusals:
            wish = Wish(name, next(iter(refusals.values())), place)
            refused.append(Asked(Refusal(outcome, wish), Patterns(readable.items())))
        odd = {pattern: said for pattern, said in rules if is_unreadable(said)}
        if odd:
            wish = Wish(name, next(iter(odd.values())), place)
            unreadable.append(Asked(Refusal("wish_unreadable", wish), Patterns((pattern, False) for pattern in odd)))
    return refused, unreadable


def _patterns(value: bytes, allows: bool) -> list[tuple[bytes, bool]]:
    """What a rule's value says; to allow a folder's index is to allow the folder, as for Google and Scrapy."""
    pattern = normalize_path(value)
    index = _INDEX.fullmatch(pattern) if allows else None
    return [(pattern, allows)] if index is None else [(pattern, True), (index[1] + b"$", True)]


def _seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


ALLOW_ALL = RobotsRules(0.0, Patterns())


def refusal(headers: Iterable[str], user_agent: str, also_heed: Iterable[str] = ()) -> str | None:
    """Return the directive of X-Robots-Tag headers by which a response must not enter the dataset, if there is one.

    A directive counts if it is for all crawlers or names ours, or one of `also_heed`: `noai`, `openwit: noai`,
    `otherbot: noindex, *: noai`.
    """
    heeded = {"*", product_token(user_agent), *(name.lower() for name in also_heed)}
    for header in headers:
        ours = True
        for part in header.lower().split(","):
            directive = part.strip()
            prefix = _AGENT_PREFIX.fullmatch(directive)
            if prefix is not None and prefix[1] not in _VALUED_DIRECTIVES:
                ours = prefix[1] in heeded  # for the rest of this header, or until another agent is named
                directive = prefix[2].strip()
            if ours and directive in REFUSALS:
                return directive
    return None
