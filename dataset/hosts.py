"""One spelling of each host, wherever hosts are compared: lists of domains, opt-outs, turns, robots.txt, partitions.

It is the host as it stands in a canonical URL (lower case, IDNA by UTS 46, IPv4 in four numbers, IPv6 in brackets),
without port, and without the dot of the DNS's root, which names the same host.
"""

from __future__ import annotations

import re

import can_ada

_WEB = re.compile(r"https?://[^/\\?#]")
# What stands before the path of a URL that names a host. Letters are told apart: ß is lower case of ẞ.
_BEFORE_PATH = re.compile(r"[\x00-\x20]*(?:[Hh][Tt]{2}[Pp][Ss]?:)?[/\\]{2}[^?#/\\]*")
_CAPITAL_SHARP_S = re.compile("\u1e9e|%[Ee]1%[Bb][Aa]%9[Ee]")


def hostname(url: str) -> str:
    """The host of an absolute http or https URL, as it is compared; empty for anything else."""
    if _WEB.match(url) is None:
        return ""
    try:
        return str(can_ada.parse(mapped(url)).hostname).rstrip(".")
    except ValueError:
        return ""


def canonical_host(name: str) -> str:
    """The spelling by which a host is compared, of a name that may have a port; lower case if it cannot be a host."""
    for written in (name, f"[{name}]"):  # an IPv6 address, too, may be given without its brackets
        if host := hostname(f"http://{written}/"):
            return host
    return name.lower().rstrip(".")


def site_of(url: str) -> str:
    """scheme://host[:port] of an http or https URL, with the host as it is compared: whose robots.txt speaks of it."""
    parsed = can_ada.parse(mapped(url))
    return f"{parsed.protocol}//{parsed.hostname.rstrip('.')}{f':{parsed.port}' if parsed.port else ''}"


def mapped(url: str) -> str:
    """A URL with ß for ẞ in its host: UTS 46 says so since Unicode 15.1, while can_ada's table is older and says ss."""
    if url.isascii() and "%" not in url:
        return url
    authority = _BEFORE_PATH.match(url)
    if authority is None:
        return url
    return _CAPITAL_SHARP_S.sub("\u00df", authority[0]) + url[authority.end() :]
