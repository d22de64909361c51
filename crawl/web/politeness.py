"""What a client remembers of the hosts and sites that it asks: whose turn it is, who fails, who is left alone.

Manners are a host's: so many requests at once, so far apart. Failures are a site's (scheme, host and port), for one
port may be closed while the next serves. Anybody can write a page whose links fail at somebody else's site, or that
make us wait elsewhere and arrive there late, so failures have to be many in a row, over some time, and either of the
connection itself or of several kinds of address, before a site is left alone; and it is asked once more at the end.
"""

from __future__ import annotations

import asyncio
import re

from crawl.web.config import FetchConfig
from crawl.web.response import Refused

FAILURES = 10
"""The failures in a row after which a site, or one kind of its addresses, is left alone until all others are done."""
LAST_FAILURES = 3
"""The failures in a row, when it is asked once more, after which it is given up for the rest of the call."""
KINDS = 3
"""How many different addresses must have failed before a host is given up, unless none could be connected to."""
SILENT_SITES = 4
"""After so many ports of one host have never answered, its other ports that never did are left alone."""
PAUSE_S = 0.25
"""After the third failure in a row; doubled after each further one, up to eightfold."""

_PORT = re.compile(r":(\d+)$")


def kind_of(url: str) -> str:
    """Return the kind of an address: its folder and its file's ending, for what these share one program mostly
    serves.
    """
    folder, _, name = url.partition("#")[0].partition("?")[0].rpartition("/")
    return f"{folder}/{name[name.rfind('.') :].lower() if '.' in name else ''}"


class Host:
    """Whose turn it is: so many requests at once, so far apart."""

    __slots__ = ("active", "alone", "delay_s", "known", "name", "next_start", "silent", "turns")

    def __init__(self, name: str, config: FetchConfig):
        self.name = name  # as `dataset.hosts` spells it; empty for what is none
        self.turns = asyncio.Semaphore(config.per_host_concurrency)
        self.delay_s = config.per_host_delay_s
        self.next_start = 0.0  # in the loop's time
        self.known = False  # whether a request has come to an end, well or not
        self.active = 0  # addresses under way
        self.silent: set[str] = set()  # its sites that never answered, and took their time over it
        self.alone: str | None = None  # why it is left alone for the rest of the call


class Site:
    """How a site fares: failures in a row, and what of it is left alone.

    What is left alone of it, or all of it, rests. `once_more` ends that; when it rests again, it is given up.
    """

    __slots__ = (
        "_connections",
        "_is_last",
        "_kinds",
        "_resting",
        "_rests",
        "_row",
        "answered",
        "host",
        "pause_ends",
        "port",
        "url",
    )

    def __init__(self, url: str, host: Host):
        """url: scheme://host[:port]; host: which it is one of."""
        port = _PORT.search(url)
        self.url = url
        self.host = host
        self.port = int(port[1]) if port else None  # if it is not its scheme's own
        self.answered = False  # whether it ever did
        self.pause_ends = 0.0  # in the loop's time
        self._row: list[str] = []  # the kinds of what has failed since it last answered
        self._connections = 0  # how many of the last of these were failures of the connection itself
        self._kinds: dict[str, int] = {}  # failures by kind, since the kind was last answered
        self._resting: dict[str, Refused] = {}  # by kind
        self._rests: Refused | None = None
        self._is_last = False

    def answers(self, url: str) -> None:
        """Note that a request got an answer, whatever its status."""
        self.answered = True
        self._row.clear()
        self._connections = 0
        self._kinds.pop(kind_of(url), None)
        self.host.silent.discard(self.url)

    def fails(self, url: str, refused: Refused, now: float) -> None:
        """Note that a request failed in a way that speaks against the site; now: in the loop's time."""
        kind = kind_of(url)
        self._row.append(kind)
        self._connections = self._connections + 1 if refused.at_connection else 0
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if refused.outcome == "timeout" and not self.answered:
            self.host.silent.add(self.url)
        row, most, again = len(self._row), FAILURES, ""
        if self._is_last:
            most, again = LAST_FAILURES, "once more "
        if row > 2:
            self.pause_ends = now + PAUSE_S * min(2 ** (row - 3), 8)
        if self._connections >= most or (row >= most and len(set(self._row)) >= KINDS):
            self.rest(Refused("connection_failed", f"host given up: {again}{row} failures in a row"))
        elif self._kinds[kind] >= most:
            words = f"folder given up: {again}{self._kinds.pop(kind)} failures in a row"
            self._resting[kind] = Refused("connection_failed", words)

    def rest(self, why: Refused) -> None:
        """Leave it alone until all others are done."""
        self._rests = why
        self._row.clear()
        self._connections = 0
        self._kinds.clear()

    def resting(self, url: str) -> Refused | None:
        """Return why an address of the site is not asked for now, if it is not."""
        if self._rests is not None:
            return self._rests
        silent = len(self.host.silent - {self.url})
        if not self.answered and silent >= SILENT_SITES:
            return Refused("connection_failed", f"host given up: {silent} of its ports do not answer")
        return self._resting.get(kind_of(url)) if self._resting else None

    def given_up(self, url: str) -> Refused | None:
        """Return why an address of the site is asked for no more in this call, if it is not."""
        return self.resting(url) if self._is_last else None

    def once_more(self) -> bool:
        """Ask again what rests; False if that was done before."""
        if self._is_last:
            return False
        self._is_last = True
        self._rests = None
        self._resting.clear()
        self.host.silent.clear()
        return True
