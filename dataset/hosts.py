"""One spelling of each host, wherever hosts are compared: lists of domains, opt-outs, turns, robots.txt, partitions.

It is the host as it stands in a canonical URL (lower case, IDNA by UTS 46, IPv4 in four numbers, IPv6 in brackets),
without port, and without the dot of the DNS's root, which names the same host.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import can_ada
import idna

HOST_SQL = r"rtrim(regexp_extract(url, '^https?://(\[[^\]]*\]|[^/:]+)', 1), '.')"
"""The host of a column `url` of canonical URLs, in DuckDB."""
_WEB = re.compile(r"https?://[^/\\?#]")
# What stands before the host in a URL that names one, and the host with its port.
_AUTHORITY = re.compile(r"([\x00-\x20]*(?:[Hh][Tt]{2}[Pp][Ss]?:)?[/\\]{2,}(?:[^?#/\\]*@)?)([^?#/\\@]+)")
_NO_HOST = re.compile(r"[^-.0-9:A-Z_a-z\x80-\U0010ffff]")


def hostname(url: str) -> str:
    """Return the host of an absolute http or https URL, as it is compared; empty for anything else."""
    if _WEB.match(url) is None:
        return ""
    try:
        return str(can_ada.parse(map_host(url)).hostname).rstrip(".")
    except ValueError:
        return ""


def canonical_host(name: str) -> str:
    """Return the spelling by which a host is compared, of a name that may have a port; lower case if it cannot be a
    host.
    """
    for written in (name, f"[{name}]"):  # an IPv6 address, too, may be given without its brackets
        if host := hostname(f"http://{written}/"):
            return host
    return name.lower().rstrip(".")


def site_of(url: str) -> str:
    """Return scheme://host[:port] of an http or https URL, with the host as it is compared: whose robots.txt speaks of
    it.
    """
    parsed = can_ada.parse(map_host(url))
    return f"{parsed.protocol}//{parsed.hostname.rstrip('.')}{f':{parsed.port}' if parsed.port else ''}"


def map_host(url: str) -> str:
    """Return a URL whose host is mapped as UTS 46 says today: can_ada's table is of before Unicode 15.1, when ẞ was ss,
    not ß.

    What the mapping cannot make a host of is left to be refused, such as a full-width slash.
    """
    if url.isascii() and "%" not in url:
        return url
    authority = _AUTHORITY.match(url)
    if authority is None or (host := unquote(authority[2])).isascii():
        return url
    try:
        ascii_host = idna.uts46_remap(host, std3_rules=False)
    except idna.IDNAError:
        return url
    if _NO_HOST.search(ascii_host) or ascii_host.count(":") != authority[2].count(":"):
        return url
    return authority[1] + ascii_host + url[authority.end() :]
