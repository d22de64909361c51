"""Remote files over http and https, read by ranges, patiently: a server that says it is busy is asked again later.

These are files that the config names (archives, lists of archives), not what pages point to: for that see `crawl.web`.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError
from urllib3.util import Retry, Timeout

from dataset.secrets import authorization, public, without

log = logging.getLogger("wit")

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
"""For one request with all its attempts and waits."""
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
    """How long this process's requests wait between their tries, from now on."""
    global _patience_s
    _patience_s = seconds


@dataclass(frozen=True)
class WebInfo:
    """What a server says of a file: its length in bytes, and a version that changes with its content, if it has one."""

    size: int
    version: str


def is_web(url: str) -> bool:
    """Whether a URL is of http or https."""
    return url[:8].lower().startswith(("http://", "https://"))


def info(url: str) -> WebInfo:
    """A file's length and version.

    Raises:
        FileNotFoundError: the server does not have it.
        OSError: the server cannot be reached, refuses, or does not say how long the file is.
    """
    _, headers, _ = _ask("HEAD", url, {}, 0)
    length = headers.get("Content-Length", "")
    if not _NUMBER.fullmatch(length.strip()):
        name = public(url)
        raise OSError(f"{name} cannot be read by ranges: its server does not say how long it is; download it first")
    return WebInfo(int(length), (headers.get("ETag") or headers.get("Last-Modified") or "").strip())


class WebFile:
    """A seekable binary file behind a URL, for `pyarrow.PythonFile`. Raises as `info`."""

    def __init__(self, url: str):
        self._url = url
        self._size = info(url).size
        self._at = 0
        self._start, self._block = 0, b""
        self._ahead = _FIRST_READ_BYTES
        self.closed = False

    def read(self, count: int = -1) -> bytes:
        """Up to `count` bytes from here on, fewer only at the end; all that is left if `count` is negative."""
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
        status, headers, body = _ask("GET", self._url, {"Range": f"bytes={self._at}-{last}"}, wanted, self._at)
        sent = re.match(r"\s*bytes\s+(\d{1,20})-", headers.get("Content-Range", ""), re.IGNORECASE)
        if status == 206 and sent is not None and int(sent[1]) != self._at:
            raise OSError(
                f"{public(self._url)} was asked for its bytes from {self._at:,} and its server sent those from "
                f"{int(sent[1]):,}; a cache before it may be broken: download the file and name that"
            )
        if len(body) < wanted:
            name = public(self._url)
            raise OSError(f"{name} is shorter than its server said (status {status}); it has changed meanwhile")
        self._start, self._block = self._at, body

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset; see `io.IOBase.seek`."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False

    def flush(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Let go of what was read."""
        self.closed, self._block = True, b""


@lru_cache(maxsize=4)
def _pool(pid: int) -> urllib3.PoolManager:
    """One per process: connections do not survive a fork."""
    return urllib3.PoolManager(maxsize=16, headers={"User-Agent": "openwit", "Accept-Encoding": "identity"})


def _ask(
    method: str, url: str, headers: Mapping[str, str], count: int, skip: int = 0
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and `count` bytes of the body, asked for until the server answers.

    Args:
        skip: bytes of the whole file before those, for a server that does not know ranges and sends it whole.
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
            try:
                if response.status in _GONE:
                    raise FileNotFoundError(f"{public(url)} does not exist (status {response.status})")
                if response.status in (200, 206):
                    left = skip if response.status == 200 else 0
                    pace = _Pace(end)
                    for part in _parts(response, left, pace):
                        left -= len(part)
                    return response.status, response.headers, b"".join(_parts(response, count, pace))
                failure = f"status {response.status}"
                asked_for = _seconds(response.headers.get("Retry-After", ""))
                if response.status not in _BUSY:
                    break
            finally:
                _leave(response)
        except _HOPELESS as error:
            raise OSError(f"{public(url)} cannot be read ({without(str(error), url)})") from None
        except HTTPError as error:
            # urllib3 wraps what happened into what it was asked for, which the line names already.
            failure = without(str(getattr(error, "reason", None) or error).rpartition("): ")[2], url)
    patience = f" after {tries} tries and {waited:.0f} s of waiting (run.web_patience_s)" if waited else ""
    raise OSError(f"{public(url)} cannot be read{patience} ({failure}); try again later")


def _respond(method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    """The answer behind the redirects, of which none leads from a host of the net into somebody's own network."""
    at, sent = url, {**_pool(os.getpid()).headers, **authorization(url), **headers}
    for _ in range(_REDIRECTS + 1):
        retries = Retry(total=0, redirect=False, respect_retry_after_header=False)
        response = _pool(os.getpid()).request(
            method, at, headers=sent, preload_content=False, retries=retries, redirect=False, timeout=_TIMEOUT
        )
        target = response.get_redirect_location()
        if not target:
            return response
        _leave(response)
        at = urljoin(at, target)
        if not is_web(at):
            raise LocationValueError(f"it redirects to {at[:_SHOWN_CHARS]!r}, which is no http or https address")
        if urlsplit(at).hostname != urlsplit(url).hostname:
            _check_public(urlsplit(at).hostname or "")
        if urlsplit(at).netloc != urlsplit(url).netloc:
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
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise HTTPError(f"it redirects to {host[:_SHOWN_CHARS]}: {error}") from None
    for address in found:
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
        count -= len(part)
        yield part


def _seconds(retry_after: str) -> float:
    """A Retry-After in seconds; its other form, a date, waits as if there were none."""
    return float(retry_after) if _NUMBER.fullmatch(retry_after.strip()) else 0.0
