"""Reads C2PA manifests for `crawl.images.c2pa`, in a process of its own: a damaged one may crash the library.

From standard input, again and again: the length of a media type (1 byte) and of a body (4, big-endian), then both. To
standard output: the length of an answer (4), then the training and data mining assertions as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import struct
import sys

_MEMORY_BYTES = 2 * 2**30
_LABELS = ("c2pa.training-mining", "cawg.training-mining")
# Nothing is asked of the network: neither manifests that lie elsewhere, nor whether a certificate was revoked.
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False}}


def assertions(media_type: str, body: bytes) -> dict[str, dict[str, object]]:
    """Return entries of all assertions of training and data mining, of the active manifest and of those before it."""
    import c2pa

    entries: dict[str, dict[str, object]] = {}
    context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
    with c2pa.Reader(media_type, io.BytesIO(body), context=context) as reader:
        store = json.loads(reader.json())
    for manifest in store.get("manifests", {}).values():
        for assertion in manifest.get("assertions", ()):
            label = assertion.get("label", "").partition("__")[0]
            if label.removesuffix(".v2") in _LABELS:
                for name, entry in (assertion.get("data", {}).get("entries") or {}).items():
                    use = str(entry.get("use", ""))
                    entries.setdefault(name, {}).setdefault(use, str(entry.get("constraint_info") or ""))
    return entries


def confine() -> None:
    """Let this process open nothing more, no file and no connection, whatever the library is made to try."""
    with contextlib.suppress(Exception):  # what is loaded at the first use is loaded now
        assertions("image/jpeg", b"")
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    spare = os.dup(0)  # the lowest that is free: descriptors from it on cannot be had
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, spare))


def main() -> None:
    """Answer until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library prints is no answer
    confine()
    while head := sys.stdin.buffer.read(5):
        kind, length = struct.unpack(">BI", head)
        media_type, body = sys.stdin.buffer.read(kind).decode(), sys.stdin.buffer.read(length)
        try:
            answer: object = assertions(media_type, body)
        except Exception as error:  # whatever a damaged manifest makes of it
            answer = {"error": " ".join(str(error).split())[:100] or type(error).__name__}
        data = json.dumps(answer).encode()
        out.write(struct.pack(">I", len(data)) + data)
        out.flush()


if __name__ == "__main__":
    main()
