"""Byte ranges of a file by few reads: those that lie close together are read as one."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dataset import usage

GAP_BYTES = 64 * 1024
"""Reading past a small gap is cheaper than another request."""


def read_coalesced(file: pa.NativeFile, ranges: Sequence[tuple[int, int]], gap: int = GAP_BYTES) -> list[bytes]:
    """Return the bytes at several (offset, length) of an open file, in the order asked; short at its end.

    gap: up to so many bytes between two ranges are read with them.
    """
    answer: list[bytes] = [b""] * len(ranges)
    order = sorted(range(len(ranges)), key=lambda i: ranges[i])
    length = file.size()
    first = 0
    while first < len(order):
        start = ranges[order[first]][0]
        end = start + ranges[order[first]][1]
        last = first + 1
        while last < len(order) and ranges[order[last]][0] <= end + gap:
            end = max(end, sum(ranges[order[last]]))
            last += 1
        # What is asked for may be more than there is, and memory is taken for all of it.
        chunk = file.read_at(min(end, length) - start, start) if start < length else b""
        usage.count_read(len(chunk))
        for i in order[first:last]:
            offset = ranges[i][0] - start
            answer[i] = bytes(chunk[offset : offset + ranges[i][1]])
        first = last
    return answer
