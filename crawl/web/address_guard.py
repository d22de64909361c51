"""Which machines may be connected to: those of the public internet, and those that the config names.

A page may name, redirect to, or resolve to an address of the network that the crawler stands in (server-side
request forgery). What counts is therefore the address that a socket is opened to, never a name: names are
resolved here, private answers are taken out, and the connection is made to what is left.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

from crawl.host_names import Names
from dataset.hosts import canonical_host

_NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments; one is a cloud's metadata service
        "192.88.99.0/24",  # relays of 6to4, which are no more (RFC 7526)
        "168.63.129.16/32",  # public by the registries, yet answered inside a cloud: Azure's WireServer
        "2001::/23",  # IETF protocol assignments, Teredo (RFC 4380) among them
        "3fff::/20",  # documentation (RFC 9637)
    )
)
"""Besides what Python knows, which depends on its version: the IANA special-purpose registries and their gaps."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_EMBEDDING = {IPv6Network("64:ff9b::/96"): 0, IPv6Network("2002::/16"): 80}
"""IPv6 prefixes that lead to an IPv4 address, and the bits right of it: NAT64 (RFC 6052), 6to4 (RFC 3056)."""

REFUSED_PORTS = frozenset(
    (
        # The Fetch standard's bad ports (section 2.9), where a request may be taken for another protocol's.
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526),
        *(530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659),
        *(4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
        # What it does not name: SQL Server, Oracle, Docker, MySQL, RDP, PostgreSQL, VNC, Redis, memcached, MongoDB.
        *(1433, 1521, 2375, 2376, 3306, 3389, 5432, 5900, 6379, 11211, 27017),
    )
)
"""Ports that are never asked, whoever names them."""

S = TypeVar("S", bound=socket.socket)
_ENDPOINT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::([0-9]{1,5}))?")


class PrivateAddressError(OSError):
    """Every address of a host is private, loopback, link-local, multicast, reserved or a cloud's metadata service."""


def is_public(address: str) -> bool:
    """Return whether an IP address, as text, is a host of the public internet. Text that is no address is not."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        for network, shift in _EMBEDDING.items():
            if ip in network:
                return is_public(str(IPv4Address(int(ip) >> shift & 0xFFFFFFFF)))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not any(ip in net for net in _NOT_PUBLIC)


def endpoint(text: str) -> tuple[str, int | None]:
    """Return the address and the port, if one is given, of `ip`, `ip:port` or `[ip]:port`.

    Raises:
        ValueError: it is neither.
    """
    match = _ENDPOINT.fullmatch(text)
    host, port = (match[1] or match[2] or "", match[3]) if match else (text, None)  # no match: IPv6 without a port
    ip_address(host)
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"{port} is not a port")
    return host, int(port) if port is not None else None


class Guard(AbstractResolver):
    """Resolves names to public addresses only, and opens sockets to nothing else.

    Args:
        resolve: host → `ip` or `ip:port`, like `curl --resolve`; such a host may be private, for the config says so.
    """

    def __init__(self, resolve: Mapping[str, str]):
        self._resolve = {canonical_host(host): endpoint(target) for host, target in resolve.items()}
        self._named = frozenset(address for address, _ in self._resolve.values())
        self._names = Names(_public_addresses)

    def check(self, host: str) -> None:
        """Refuse a host that is itself an address, before anything is sent there.

        Raises:
            PrivateAddressError: it is an address, and not a public one.
        """
        literal = host.strip("[]")
        if _is_address(host) and not is_public(literal):
            raise PrivateAddressError(f"{literal} is not a public address")

    def is_named(self, host: str) -> bool:
        """Return whether the config says where a host is."""
        return canonical_host(host) in self._resolve

    def is_known(self, host: str) -> bool:
        """Return whether nobody has to be asked for the addresses of a host."""
        return _is_address(host) or self.is_named(host) or self._names.is_known(host)

    def forget_failures(self) -> None:
        """Let names be asked for again that may resolve another time."""
        self._names.forget_failures()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses that may be connected to.

        Raises:
            socket.gaierror: the name does not resolve.
            PrivateAddressError: it resolves, to private addresses only.
        """
        named = self._named_address(host, port)
        if named is not None:
            return [_answer(host, *named)]
        return [_answer(host, address, port) for address in await self._names.addresses(host)]

    def _named_address(self, host: str, port: int) -> tuple[str, int] | None:
        """Where the config says that a host is."""
        named = self._resolve.get(canonical_host(host))
        return None if named is None else (named[0], named[1] or port)

    def connect(self, host: str, port: int, seconds: float, kind: type[S]) -> S:
        """Open a connection to a host, trying its addresses in turn, without a loop.

        Raises:
            socket.gaierror: the name does not resolve.
            PrivateAddressError: it resolves, to private addresses only.
            OSError: none of them answers.
        """
        self.check(host)
        ends = time.monotonic() + seconds
        failure = OSError(f"{host} has no address")
        named = self._named_address(host, port)
        for address, port_of in [named] if named else [(address, port) for address in _public_addresses(host)]:
            self._check(address)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            opened = kind(family, socket.SOCK_STREAM)
            try:
                opened.settimeout(max(0.001, ends - time.monotonic()))
                opened.connect((address, port_of))
            except OSError as error:
                opened.close()
                failure = error
            else:
                return opened
        raise failure

    def socket(self, info: tuple[Any, Any, int, str, Any]) -> socket.socket:
        """Open a socket for an address that is about to be connected to: the last check, which no name can evade.

        Raises:
            PrivateAddressError: neither public nor named by the config.
        """
        family, kind, protocol, _, address = info
        self._check(str(address[0]))
        return socket.socket(family, kind, protocol)

    def _check(self, address: str) -> None:
        if not is_public(address) and address not in self._named:
            raise PrivateAddressError(f"{address} is not a public address")

    async def close(self) -> None:
        """Do nothing: what is still asked ends by itself."""


def _public_addresses(host: str) -> list[str]:
    """See `Guard.resolve`; this waits for the name server."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except ValueError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r} cannot be a host's name") from error
    addresses = [str(address[0]) for _, _, _, _, address in answers]
    public = [address for address in addresses if is_public(address)]
    if not public:
        raise PrivateAddressError(f"{host} resolves to {', '.join(addresses)}")
    return public


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]").split("%", 1)[0])
    except ValueError:
        return False
    return True


def _answer(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
