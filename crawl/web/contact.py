"""Who asks: nobody is asked anything by a crawler whose owner cannot be reached."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crawl.web.address_guard import Guard, PrivateAddressError
from dataset.hosts import canonical_host, hostname

PLACEHOLDER = "openwit.example"
"""The host of the default's contact, which nobody has."""
_URL = re.compile(r"https?://([^\s/;,)]+\.[^\s/;,)]+)", re.IGNORECASE)
_MAIL = re.compile(r"[^\s@;,()<>+:]+@([^\s@;,()<>]+\.[^\s@;,()<>]+)")
_LOOPBACK = re.compile(r"(?:.*\.)?localhost|127\.\d+\.\d+\.\d+|\[::1\]")


class NoContactError(ValueError):
    """A host of the web would be asked, and `user_agent` names no contact of one's own."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"fetch.user_agent names no contact of yours, and {self.host} is not asked without one: set it, such as "
            '"mybot/1.0 (+https://example.org/bot; me@example.org)" (docs/wishes.md has a page to publish there)'
        )


def is_own(user_agent: str) -> bool:
    """Return whether a user agent names a page or a mail address, and not the default's."""
    hosts = [match[1].lower() for pattern in (_URL, _MAIL) for match in pattern.finditer(user_agent)]
    return any(host != PLACEHOLDER and not host.endswith(f".{PLACEHOLDER}") for host in hosts)


class Contact:
    """Tells who may be asked.

    Args:
        user_agent: who asks.
        guard: knows the hosts whose addresses the config itself gives.
    """

    def __init__(self, user_agent: str, guard: Guard):
        self._is_own = is_own(user_agent)
        self._guard = guard

    def check(self, host: str) -> None:
        """Raise NoContactError if the host is one of the web and nobody says who asks."""
        if not self._is_own and not self._guard.is_named(host) and not _LOOPBACK.fullmatch(canonical_host(host)):
            raise NoContactError(host)

    def check_all(self, urls: Iterable[str]) -> None:
        """Do `check` for all hosts of addresses that would be asked. Raises NoContactError."""
        for host in sorted({hostname(url) for url in urls} - {""}):
            try:
                self._guard.check(host)
            except PrivateAddressError:
                continue  # it is not asked whoever asks
            self.check(host)
