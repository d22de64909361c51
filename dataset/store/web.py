"""Remote files over http and https, read by ranges, patiently: a server that says it is busy is asked again later.

A server that knows no ranges sends a file from its first byte on, whatever it is asked for. What it sends is kept in a
temporary file, so that no byte is sent twice to a process, in whatever order the file is read.
These are files that the config names (archives, lists of archives), not what pages point to: for that see `crawl.web`.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError
from urllib3.util import Retry, Timeout

from dataset import usage
from dataset.store import rate_limit
from dataset.store.faults import ServiceError
from dataset.store.secrets import authorization, public, without
from dataset.store.seekable import Seekable

log = logging.getLogger("wit")
T = TypeVar("T")

PATIENCE_S = 180.0
"""How long, in all, a request waits between its tries. Common Crawl answers 403 and 503 to those who ask too fast."""
BACKOFF_S = 1.0
"""The first wait; each later one is twice as long."""
_MAX_WAIT_S = 120.0  # a longer Retry-After is cut to this: the task is tried again as a whole
_SAID_WAIT_S = 2.0  # a wait as long or longer is said
_BUSY = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_REDIRECTS = 5
TOTAL_S = 1800.0
"""The time of one request with all its attempts and waits."""
MIN_BYTES_PER_S = 1000
"""The least rate of a response after its first seconds; a worker waits for it."""
_GRACE_S = 30.0
_NUMBER = re.compile(r"[0-9]{1,18}")
_SHOWN_CHARS = 200
_FOR_ONE_HOST = frozenset({"authorization", "cookie", "if-match", "if-none-match"})
# What no other attempt changes: an address that leads nowhere, a length that is none.
_HOPELESS = (LocationValueError, InvalidHeader)
_DRAIN_BYTES = 2**16
_TIMEOUT = Timeout(connect=10, read=60)
_FIRST_READ_BYTES, _MOST_READ_BYTES = 2**18, 2**23  # of one request; the longer a file is read on, the more


_patience_s = PATIENCE_S


def be_patient(seconds: float) -> None:
    """Set how many seconds, in all, a request of this process waits between its tries."""
    global _patience_s
    _patience_s = seconds


@dataclass(frozen=True)
class WebInfo:
    """What a server says of a file: its length in bytes, and a version that changes with its content, if it has one."""

    size: int
    version: str


def is_web(url: str) -> bool:
    """Return whether a URL is of http or https."""
    return url[:8].lower().startswith(("http://", "https://"))


def info(url: str) -> WebInfo:
    """Return a file's length and version.

    Raises:
        FileNotFoundError: the server does not have it.
        ServiceError: the server cannot be reached, refuses, or does not say how long the file is.
    """
    headers = _ask("HEAD", url, {}, _headers)
    length = headers.get("Content-Length", "")
    if not _NUMBER.fullmatch(length.strip()):
        name = public(url)
        raise ServiceError(
            f"{name} cannot be read by ranges: its server does not say how long it is; download it first"
        )
    return WebInfo(int(length), _version(headers))


def _version(headers: Mapping[str, str]) -> str:
    return (headers.get("ETag") or headers.get("Last-Modified") or "").strip()


class WebFile(Seekable):
    """A seekable binary file behind a URL, for `pyarrow.PythonFile`. Raises as `info`."""

    def __init__(self, url: str):
        self._url = url
        self._info = info(url)
        self._size = self._info.size
        self._knows_ranges = True  # until it is seen that its server does not
        self._start, self._block = 0, b""
        self._ahead = _FIRST_READ_BYTES

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes from here on, fewer only at the end; all that is left if `count` is negative."""
        end = self._size if count < 0 else min(self._size, self._at + count)
        parts: list[bytes] = []
        while self._at < end:
            if not self._start <= self._at < self._start + len(self._block):
                self._load(end)
            part = self._block[self._at - self._start : end - self._start]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _load(self, end: int) -> None:
        follows = self._at == self._start + len(self._block)
        self._ahead = min(2 * self._ahead, _MOST_READ_BYTES) if follows else _FIRST_READ_BYTES
        last = min(self._size, max(self._at + self._ahead, min(end, self._at + _MOST_READ_BYTES))) - 1
        wanted = last + 1 - self._at
        body = self._range(wanted) if self._knows_ranges else None
        if body is None:
            self._knows_ranges = False
            body = _piece_cache(os.getpid(), self._url, self._info).read(self._at, wanted)
        if len(body) < wanted:
            name = public(self._url)
            raise ServiceError(
                f"{name} is shorter than its server said ({self._size:,} bytes); it has changed meanwhile"
            )
        self._start, self._block = self._at, body

    def _range(self, count: int) -> bytes | None:
        """The next bytes; None if the server would send the file from its beginning."""
        asked = {"Range": f"bytes={self._at}-{self._at + count - 1}"}
        headers, body = _ask("GET", self._url, asked, partial(_part, count))
        sent = re.match(r"\s*bytes\s+(\d{1,20})-", headers.get("Content-Range", ""), re.IGNORECASE)
        if body is not None and sent is not None and int(sent[1]) != self._at:
            raise ServiceError(
                f"{public(self._url)} was asked for its bytes from {self._at:,} and its server sent those from "
                f"{int(sent[1]):,}; a cache before it may be broken: download the file and name that"
            )
        return body

    def close(self) -> None:
        """Let go of what was read."""
        super().close()
        self._block = b""


class _Whole:
    """A file of a server that knows no ranges: what came so far, in a temporary file, and the answer that goes on.

    As much is taken from the server as is asked for; an answer that breaks is asked for again, from its beginning.
    """

    def __init__(self, url: str, size: int):
        if (free := shutil.disk_usage(tempfile.gettempdir()).free) < size:
            raise ServiceError(
                f"{public(url)} has {size:,} bytes and its server knows no ranges, so that it is kept in "
                f"{tempfile.gettempdir()}, which has {free:,} bytes free; TMPDIR names another folder; or download it"
            )
        self._url, self._size = url, size
        self._kept, self._file = 0, tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as this
        self._answer: urllib3.BaseHTTPResponse | None = None
        self._version = ""
        self._lock = threading.Lock()

    def read(self, start: int, count: int) -> bytes:
        """The bytes from an offset on; fewer only at the end."""
        with self._lock:
            end = min(start + count, self._size)
            if self._kept < end:
                self._advance(end)
            self._file.seek(start)
            return self._file.read(count)

    def _advance(self, end: int) -> None:
        if self._answer is not None:
            try:
                self._keep(end, self._answer, _Pace(time.monotonic() + TOTAL_S))
                return
            except HTTPError as error:
                log.warning(
                    "%s broke off (%s); asked again from its beginning", public(self._url), type(error).__name__
                )
        _ask("GET", self._url, {}, partial(self._begin, end), keep=True)

    def _begin(self, end: int, answer: urllib3.BaseHTTPResponse, pace: _Pace) -> None:
        version = _version(answer.headers)
        if self._kept and version != self._version:
            raise ServiceError(f"{public(self._url)} has changed while it was read; run again")
        self._version, left = version, self._kept
        for part in _parts(answer, left, pace):
            left -= len(part)
        self._keep(end, answer, pace)

    def _keep(self, end: int, answer: urllib3.BaseHTTPResponse, pace: _Pace) -> None:
        """Take an answer, which has come to the first byte that is not kept, further; it is let go when it ends."""
        self._answer = None
        try:
            self._file.seek(self._kept)
            for part in _parts(answer, end - self._kept, pace):
                self._file.write(part)
                self._kept += len(part)
            self._file.flush()
            if end <= self._kept < self._size:
                self._answer = answer
        except OSError as error:
            error.filename = tempfile.gettempdir()
            raise
        finally:
            if self._answer is None:
                _leave(answer)


@lru_cache(maxsize=1)
def _piece_cache(pid: int, url: str, said: WebInfo) -> _Whole:
    """The cache of this process, in which the next piece of a file finds what the one before has fetched."""
    return _Whole(url, said.size)


@lru_cache(maxsize=4)
def _pool(pid: int) -> urllib3.PoolManager:
    """One per process: connections do not survive a fork."""
    return urllib3.PoolManager(maxsize=16, headers={"User-Agent": "openwit", "Accept-Encoding": "identity"})


def _ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    take: Callable[[urllib3.BaseHTTPResponse, _Pace], T],
    *,
    keep: bool = False,
) -> T:
    """What is taken of the answer, asked for until the server gives one.

    Args:
        take: raises HTTPError if the answer breaks off.
        keep: whether the answer stays open for whoever takes it.
    """
    failure, asked_for, waited, tries = "", 0.0, 0.0, 0
    end = time.monotonic() + TOTAL_S
    while True:
        if tries:
            wait = min(_MAX_WAIT_S, max(asked_for, BACKOFF_S * 2 ** (tries - 1)), _patience_s - waited)
            if wait <= 0 or time.monotonic() + wait > end:
                break
            waited += wait
            if wait >= _SAID_WAIT_S:
                words = "%s cannot be read now (%s); asked again in %.0f s, try %d, after %.0f of %.0f s of patience"
                log.warning(words, public(url), failure, wait, tries + 1, waited, _patience_s)
            time.sleep(wait)
        tries += 1
        asked_for = 0.0
        try:
            response = _respond(method, url, headers)
            is_kept = False
            try:
                if response.status in _GONE:
                    raise FileNotFoundError(f"{public(url)} does not exist (status {response.status})")
                if response.status in (200, 206):
                    taken = take(response, _Pace(end))
                    is_kept = keep
                    return taken
                failure = f"status {response.status}"
                asked_for = _seconds(response.headers.get("Retry-After", ""))
                if response.status not in _BUSY:
                    break
            finally:
                if not is_kept:
                    _leave(response)
        except _HOPELESS as error:
            raise ServiceError(f"{public(url)} cannot be read ({without(str(error), url)})") from None
        except HTTPError as error:
            # urllib3 wraps what happened into what it was asked for, which the line names already.
            failure = without(str(getattr(error, "reason", None) or error).rpartition("): ")[2], url)
    patience = f" after {tries} tries and {waited:.0f} s of waiting (run.web_patience_s)" if waited else ""
    raise ServiceError(f"{public(url)} cannot be read{patience} ({failure}); try again later")


def _respond(method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    """The answer behind the redirects, of which none leads from a host of the net into somebody's own network."""
    address, sent = url, {**_pool(os.getpid()).headers, **authorization(url), **headers}
    for _ in range(_REDIRECTS + 1):
        retries = Retry(total=0, redirect=False, respect_retry_after_header=False)
        usage.count(web_requests=1)
        rate_limit.wait()
        response = _pool(os.getpid()).request(
            method, address, headers=sent, preload_content=False, retries=retries, redirect=False, timeout=_TIMEOUT
        )
        target = response.get_redirect_location()
        if not target:
            return response
        _leave(response)
        address = urljoin(address, target)
        if not is_web(address):
            raise LocationValueError(f"it redirects to {address[:_SHOWN_CHARS]!r}, which is no http or https address")
        if urlsplit(address).hostname != urlsplit(url).hostname:
            _check_public(urlsplit(address).hostname or "")
        if urlsplit(address).netloc != urlsplit(url).netloc:
            sent = {name: value for name, value in sent.items() if name.lower() not in _FOR_ONE_HOST}
    raise LocationValueError(f"it redirects more than {_REDIRECTS} times")


def _leave(response: urllib3.BaseHTTPResponse) -> None:
    """Let an answer go, of which more may come."""
    if response.length_remaining is None or response.length_remaining > _DRAIN_BYTES:
        response.close()
    else:  # the connection can be used again
        response.drain_conn()
        response.release_conn()


def _check_public(host: str) -> None:
    """Whether a host that the user did not name is one of the net. Raises LocationValueError, NewConnectionError."""
    try:
        addresses = {str(item[4][0]) for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise HTTPError(f"it redirects to {host[:_SHOWN_CHARS]}: {error}") from None
    for address in addresses:
        if not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise LocationValueError(f"it redirects to {host[:_SHOWN_CHARS]}, which has the private address {address}")


class _Pace:
    """What an answer may take: a whole time, and at least so many bytes a second once it has begun."""

    def __init__(self, end: float):
        self._begun, self._end, self._received = time.monotonic(), end, 0

    def advance(self, count: int) -> None:
        """So many bytes have come. Raises HTTPError if that was too slow."""
        self._received += count
        now = time.monotonic()
        if now > self._end:
            raise HTTPError(f"no whole answer in {TOTAL_S:.0f} s")
        if now - self._begun > _GRACE_S and self._received < MIN_BYTES_PER_S * (now - self._begun):
            raise HTTPError(f"fewer than {MIN_BYTES_PER_S} bytes a second")


def _parts(response: urllib3.BaseHTTPResponse, count: int, pace: _Pace) -> Iterator[bytes]:
    """The next `count` bytes of a body, as they come, fewer only at its end."""
    while count > 0 and (part := response.read1(min(count, _MOST_READ_BYTES))):
        pace.advance(len(part))
        usage.count(web_bytes=len(part))
        count -= len(part)
        yield part


def _headers(answer: urllib3.BaseHTTPResponse, _: _Pace) -> Mapping[str, str]:
    return answer.headers


def _part(count: int, answer: urllib3.BaseHTTPResponse, pace: _Pace) -> tuple[Mapping[str, str], bytes | None]:
    """The headers and the first bytes of an answer to a request for a range; no bytes if it is another."""
    return answer.headers, b"".join(_parts(answer, count, pace)) if answer.status == 206 else None


def _seconds(retry_after: str) -> float:
    """A Retry-After in seconds; its other form, a date, waits as if there were none."""
    return float(retry_after) if _NUMBER.fullmatch(retry_after.strip()) else 0.0
