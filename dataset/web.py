"""Remote files over http and https, read by ranges, patiently: a server that says it is busy is asked again later.

These are files that the config names (archives, lists of archives), not what pages point to: see `crawl.http` for that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from dataset.secrets import authorization, public, without

log = logging.getLogger("wit")

ATTEMPTS = 8
BACKOFF_S = 1.0
"""The first wait; each later one is twice as long. Common Crawl answers 403 and 503 to those who ask too fast."""
_MAX_WAIT_S = 120.0  # a longer Retry-After is cut to this: the task is tried again as a whole
_SAID_WAIT_S = 2.0  # a wait as long or longer is said
_BUSY = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_REDIRECTS = 5
_DRAIN_BYTES = 2**16
_TIMEOUT = Timeout(connect=10, read=60)
_FIRST_READ_BYTES, _MOST_READ_BYTES = 2**18, 2**23  # of one request; the longer a file is read on, the more


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
    if not length.isdigit():
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
        status, _, body = _ask("GET", self._url, {"Range": f"bytes={self._at}-{last}"}, wanted, self._at)
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
    failure, wait = "", 0.0
    for attempt in range(ATTEMPTS):
        if attempt:
            wait = min(_MAX_WAIT_S, max(wait, BACKOFF_S * 2 ** (attempt - 1)))
            if wait >= _SAID_WAIT_S:
                words = "%s cannot be read now (%s); asked again in %.0f s, time %d of %d"
                log.warning(words, public(url), failure, wait, attempt + 1, ATTEMPTS)
            time.sleep(wait)
        wait = 0.0
        try:
            response = _pool(os.getpid()).request(
                method,
                url,
                headers={**_pool(os.getpid()).headers, **authorization(url), **headers},
                preload_content=False,
                retries=Retry(total=_REDIRECTS, connect=0, read=0, status=0, other=0, respect_retry_after_header=False),
                timeout=_TIMEOUT,
            )
            try:
                if response.status in _GONE:
                    raise FileNotFoundError(f"{public(url)} does not exist (status {response.status})")
                if response.status in (200, 206):
                    left = skip if response.status == 200 else 0
                    while left and (part := response.read(min(left, _MOST_READ_BYTES))):
                        left -= len(part)
                    return response.status, response.headers, response.read(count) if count else b""
                failure = f"status {response.status}"
                wait = _seconds(response.headers.get("Retry-After", ""))
                if response.status not in _BUSY:
                    break
            finally:
                if response.length_remaining is None or response.length_remaining > _DRAIN_BYTES:
                    response.close()
                else:  # the connection can be used again
                    response.drain_conn()
                    response.release_conn()
        except HTTPError as error:
            failure = without(str(error), url)
    raise OSError(f"{public(url)} cannot be read ({failure}); try again later")


def _seconds(retry_after: str) -> float:
    """A Retry-After in seconds; its other form, a date, waits as if there were none."""
    return float(retry_after) if retry_after.strip().isdigit() else 0.0
