"""What work uses: CPU time, and requests and bytes of storage, by kind. It is for logs, never for checksummed files.

    before = usage.so_far()
    …
    usage.since(before)     # {"cpu_s": 1.2, "get": 12, "put": 3, "bytes_read": 48_000_000, …}

Requests are those that an S3 server would be sent; they are counted for folders of this machine too, so that a trial on
a laptop tells what a build in a bucket will ask for.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sized
from typing import TypeVar

REQUESTS = ("get", "put", "list", "delete")
"""`get` is GET and HEAD, `put` is PUT and POST; AWS charges PUT, POST and LIST some twelve times what a GET costs."""
BYTES = ("bytes_read", "bytes_written")
CPU = "cpu_s"
IMAGES = "web_image_bytes"
"""Images that came over the network, as they came."""
LOADING = "loading_cpu_s"
"""The part of the CPU time that was spent on models and code before the first row was looked at."""
SAMPLED = "sampled_cpu_s"
"""The part of the CPU time that was spent on pages that a sample takes; the rest is reading past the others."""
_PART_BYTES = 10 * 2**20
"""Arrow's S3 filesystem writes less than this in one PUT, more in parts of this size between two POSTs (Arrow 20,
s3fs.cc: `kPartUploadSize`)."""

FIRST = (CPU, SAMPLED)
"""What a run's log counts apart for tasks that were the first of their phase in their process: `first_cpu_s`."""
KEYS_PER_REQUEST = 1000
"""How many keys a DeleteObjects request may name, or an answer of ListObjectsV2 has (AWS S3 API reference)."""

T = TypeVar("T", bound=Sized)
_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count(**amounts: float) -> None:
    """Count requests, bytes or seconds, by kind."""
    with _lock:
        for kind, amount in amounts.items():
            _counts[kind] += amount  # type: ignore[assignment]  # seconds are no whole numbers


def count_read(length: int, requests: int = 1) -> None:
    """Count bytes that were read, and the GET requests that they took."""
    count(get=requests, bytes_read=length)


def count_received(data: bytes) -> bytes:
    """Count a whole file that was read by one request, and return its bytes."""
    count_read(len(data))
    return data


def count_listed(files: T) -> T:
    """Count the requests that listed a folder, and return what it holds."""
    count(list=1 + len(files) // KEYS_PER_REQUEST)
    return files


def count_deleted(names: T) -> T:
    """Count the requests that deleting takes, and return what is to be deleted."""
    count(delete=-(-len(names) // KEYS_PER_REQUEST))
    return names


def count_written(length: int) -> None:
    """Count the requests by which Arrow's filesystem writes a file of so many bytes."""
    parts = -(-length // _PART_BYTES)
    count(put=1 if length < _PART_BYTES else parts + 2, bytes_written=length)


def so_far() -> dict[str, float]:
    """Return all that this process has used since it began, by kind."""
    with _lock:
        return {**_counts, CPU: time.process_time()}


def since(before: Mapping[str, float]) -> dict[str, float]:
    """Return what was used since `so_far` returned `before`, by kind; without what has not changed."""
    now = so_far()
    return {kind: now[kind] - before.get(kind, 0) for kind in sorted(now) if now[kind] != before.get(kind, 0)}


_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone


def give_back_memory() -> None:
    """Give back to the system what was freed, which the C library and Arrow would keep for what comes next.

    A run is many processes: what each keeps for later is what all of them cannot have. It takes milliseconds.
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:  # who has not imported it has nothing of it to give
        arrow.default_memory_pool().release_unused()
    if _TRIM is not None:
        _TRIM(0)
