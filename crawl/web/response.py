"""What comes of one HTTP request: a response, read within bounds of bytes and time, or a refusal that says why."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from multidict import CIMultiDictProxy

from crawl.archives.decoding.content_encoding import ContentDecoder, codings
from crawl.web.address_guard import PrivateAddressError
from crawl.web.config import FetchConfig
from crawl.wishes import Wish

LARGE_BYTES = 256 * 1024
"""A body that is larger needs a place of its own; most images of the web are smaller."""
LARGE_BODIES = 64
"""Places; as many as the default of `concurrency`, which then nobody waits for."""
GRACE_S = 5.0
"""How long a body may take before its rate counts: a busy server's first bytes may take long."""

BACKOFF_S = 1.0
"""After the first failed attempt; doubled after each further one, up to eightfold."""

# Errors of this machine, which say nothing of a server.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN})


class Refused(Exception):  # noqa: N818 (an outcome, not an error)
    """A URL gave no body, and why: an outcome of the fetch stage, and a detail for people."""

    def __init__(
        self,
        outcome: str,
        detail: str,
        *,
        status: int | None = None,
        may_pass: bool = False,
        site_failed: bool = False,
        at_connection: bool = False,
        of_rules: bool = False,
        wish: Wish | None = None,
    ):
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail.encode("utf-8", "backslashreplace").decode()  # headers may hold what UTF-8 cannot
        self.status = status
        self.may_pass = may_pass  # whether another attempt in the same run may fare better
        self.site_failed = site_failed  # whether it speaks against the site, not only against the URL
        self.at_connection = at_connection  # whether no connection came about, so that the address had no part in it
        self.of_rules = of_rules  # whether it is the site's robots.txt that could not be had
        self.wish = wish  # of the owner, which is heeded by the refusal
        self.final_url: str | None = None

    def again(self, final_url: str | None = None) -> Refused:
        """Return the same for another URL, and where that has led."""
        refused = Refused(
            self.outcome,
            self.detail,
            status=self.status,
            may_pass=self.may_pass,
            site_failed=self.site_failed,
            at_connection=self.at_connection,
            of_rules=self.of_rules,
            wish=self.wish,
        )
        refused.final_url = final_url
        return refused


def wish_refusal(outcome: str, wish: Wish) -> Refused:
    """Return the refusal that heeds an owner's wish."""
    return Refused(outcome, f"{wish.signal}: {wish.value} ({wish.place})", wish=wish)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read to its end; `body` is empty unless the status is 2xx."""

    url: str
    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_large: bool = False  # whether the body has a place in the client's room
    unread: Wish | None = None  # what its owner asks, if that cannot be read


@dataclass(slots=True)
class Journey:
    """One attempt at an address, hop by hop: where it is, and the time that is left to it."""

    url: str
    left_s: float
    redirects: int = 0
    status: int | None = None  # of the last answer
    unread: Wish | None = None  # what the rules of a site on the way ask, if that cannot be read
    hops: list[tuple[str, float]] = field(default_factory=list)  # each URL that was asked, and how long it took. s

    @property
    def longest(self) -> str:
        """The URL that took longest; where it is, if nothing was asked yet."""
        return max(self.hops, key=lambda hop: hop[1], default=(self.url, 0.0))[0]


class Pace:
    """The deadline of a request: an end that does not move, and one before it that each byte of the body puts off."""

    def __init__(self, config: FetchConfig, seconds: float):
        self._rate = config.min_bytes_per_s
        self._timeout_s = config.timeout_s
        self._end = asyncio.get_running_loop().time() + seconds
        self._begun: float | None = None
        self.stopped_s = 0.0
        """How long it stood still."""
        self.deadline = asyncio.timeout_at(self._end)

    def advance(self, length: int) -> None:
        """Note that so many bytes of the body have come."""
        if self._begun is None:
            self._begun = asyncio.get_running_loop().time()
        if self._rate:
            self.deadline.reschedule(min(self._end, self._begun + GRACE_S + length / self._rate))

    @asynccontextmanager
    async def pause(self) -> AsyncIterator[None]:
        """Stop the clock while the block runs: this machine is waited for, and not the server."""
        clock = asyncio.get_running_loop().time
        since, deadline = clock(), self.deadline.when()
        self.deadline.reschedule(None)
        try:
            yield
        finally:
            waited = clock() - since
            self.stopped_s += waited
            self._end += waited
            if self._begun is not None:
                self._begun += waited
            if deadline is not None:
                self.deadline.reschedule(deadline + waited)

    @property
    def is_over(self) -> bool:
        """Whether it is the end that does not move which comes first."""
        return self.deadline.when() == self._end

    def words(self) -> str:
        """Return which of the two ends has come."""
        if self.is_over:
            return f"no whole answer in {self._timeout_s:g} s"
        return f"fewer than {self._rate} bytes a second"


def refusal(error: Exception, late: str) -> Refused:
    """Return what an error of the connection means; late: what a timeout does."""
    match error:
        case TimeoutError():
            return Refused("timeout", late, may_pass=True, site_failed=True)
        case aiohttp.ClientConnectorError(os_error=PrivateAddressError() as cause):
            return Refused("address_private", str(cause))
        case aiohttp.ClientConnectorError(os_error=OSError(errno=number) as cause) if number in _OURS:
            return Refused("connection_failed", f"of this machine: {_words(cause)}", may_pass=True)
        case aiohttp.ClientConnectorDNSError(os_error=cause):
            may_pass = cause.errno == socket.EAI_AGAIN
            return Refused("dns_failed", _words(cause), may_pass=may_pass, site_failed=True, at_connection=True)
        case aiohttp.ClientSSLError():
            return Refused("connection_failed", f"TLS: {_words(error)}", site_failed=True, at_connection=True)
        case aiohttp.ClientConnectorError(os_error=cause):
            return Refused("connection_failed", _words(cause), may_pass=True, site_failed=True, at_connection=True)
        case aiohttp.ClientConnectionError() | OSError():
            return Refused("connection_failed", _words(error), may_pass=True, site_failed=True)
        case aiohttp.ClientPayloadError():
            return Refused("connection_failed", f"the body broke off: {_words(error)}", may_pass=True)
        case aiohttp.ClientResponseError(message=message):
            return Refused("connection_failed", f"not HTTP: {' '.join(message.split())[:200]}")
    return Refused("connection_failed", f"not an address to ask at: {_words(error)}")


class LargeBodySlots:
    """Places for bodies that are large, so that ten thousand servers that send much at once do not fill the memory.

    One that has a place keeps it until it is let go; the others wait, which slows their servers down.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(LARGE_BODIES)

    async def take(self) -> None:
        """Take a place, when there is one."""
        await self._places.acquire()

    def leave(self) -> None:
        """Leave a place: the body is no longer needed."""
        self._places.release()


async def read_body(
    answer: aiohttp.ClientResponse, limit: int, pace: Pace, room: LargeBodySlots, *, cut: bool
) -> tuple[bytes, bool]:
    """Return the body, decoded, and whether it has a place in the room; of a longer one the first `limit` bytes if
    `cut`, else Refused. Of a body whose coding is damaged or cut off, what stands before that: its content is judged.
    """
    coding = ", ".join(answer.headers.getall("Content-Encoding", ()))
    decoder = ContentDecoder(coding, limit) if codings(coding) else None
    too_large = Refused("body_too_large", f"more than {limit} bytes")
    if decoder is None and not cut and (answer.content_length or 0) > limit:
        raise too_large
    pieces: list[bytes] = []
    length = received = 0
    is_large = False
    pace.advance(0)
    try:
        async for chunk in answer.content.iter_any():
            received += len(chunk)
            pace.advance(received)
            pieces.append(chunk if decoder is None else decoder.feed(chunk))
            length += len(pieces[-1])
            if length > LARGE_BYTES and not is_large:
                async with pace.pause():
                    await room.take()
                is_large = True
            if length > limit or (decoder is not None and decoder.is_done):
                break
        if decoder is not None:
            pieces.append(decoder.finish())
            if decoder.damage is not None and not any(pieces):
                raise Refused("connection_failed", decoder.damage)
        if (length > limit or (decoder is not None and decoder.is_too_large)) and not cut:
            raise too_large
        return b"".join(pieces)[:limit], is_large
    except BaseException:
        if is_large:
            room.leave()
        raise


def backoff_s(attempt: int) -> float:
    """Return the seconds to wait after the n-th failed attempt."""
    return float(min(2 ** (attempt - 1), 8)) * BACKOFF_S


def retry_after_s(header: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 if it is neither."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def _words(error: BaseException) -> str:
    """An error in at most 200 characters; its class if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
