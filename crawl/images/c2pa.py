"""What C2PA manifests in an image's file say of training and data mining (CAWG's assertion, and C2PA's before 2.0).

c2pa-python reads them, where it is installed (the extra `c2pa`). It is a large library, and its input a stranger's: it
runs in a process of its own, which can open no connection, and whose crash or silence costs one image's manifest.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import struct
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

import stringzilla

from crawl.wishes import UNREADABLE
from dataset.images import FORMATS, sniff

SIGNAL = "C2PA training-mining"
TIMEOUT_S = 10.0
"""How long one image's manifests may take."""
_MARK = b"jumdc2pa"  # how a manifest store's description begins (ISO 19566-5; C2PA 2.2, section 11.1.4)
_USES = ("ai_training", "ai_generative_training", "data_mining")  # of each, `c2pa.` or `cawg.` before it
_CHILD = Path(__file__).with_name("c2pa_child.py")


def training_mining(body: bytes) -> str | None:
    """Return what an image's manifests say, the strictest first: `notAllowed cawg.ai_training`, `constrained …`,
    `allowed …`, UNREADABLE with why; None: nothing, or there is no manifest, or nothing that reads them.
    """
    if stringzilla.find(body, _MARK) < 0 or not _is_installed():
        return None
    kind = sniff(body)
    if kind is None:
        return None
    return _wish_of(_READER.entries(FORMATS[kind][0], body))


def refuses(said: str) -> bool:
    """Return whether an answer of `training_mining` refuses; who publishes a dataset keeps nobody's constraints."""
    return said.startswith(("notAllowed", "constrained"))


def _wish_of(answer: dict[str, object]) -> str | None:
    if "error" in answer:
        return f"{UNREADABLE}{answer['error']}"
    for use in ("notAllowed", "constrained", "allowed"):
        for name, uses in sorted(answer.items()):
            if name.partition(".")[2] in _USES and isinstance(uses, dict) and use in uses:
                return f"{use} {name}{': ' if uses[use] else ''}{uses[use]}"[:200]
    return None


@lru_cache(maxsize=1)
def _is_installed() -> bool:
    return importlib.util.find_spec("c2pa") is not None


class _Reader:
    """The process that reads, started when it is first needed, and again when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it: a fork of ours starts another

    def entries(self, media_type: str, body: bytes) -> dict[str, object]:
        """What the process answers; `error` if it does not."""
        with self._lock:
            process = self._process if self._owner == os.getpid() else None
            if process is None or process.poll() is not None:
                self._owner = os.getpid()
                process = self._process = subprocess.Popen(  # noqa: S603 (our own file)
                    [sys.executable, "-P", str(_CHILD)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            timer = threading.Timer(TIMEOUT_S, process.kill)
            timer.start()
            try:
                return self._ask(process, media_type.encode(), body)
            except (OSError, ValueError, struct.error):
                self.close()
                return {"error": f"its reader died, or took {TIMEOUT_S:g} s"}
            finally:
                timer.cancel()

    def _ask(self, process: subprocess.Popen[bytes], media_type: bytes, body: bytes) -> dict[str, object]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(struct.pack(">BI", len(media_type), len(body)) + media_type)
        process.stdin.write(body)
        process.stdin.flush()
        (length,) = struct.unpack(">I", process.stdout.read(4))
        answer = json.loads(process.stdout.read(length))
        return answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            self._process = None


_READER = _Reader()
atexit.register(_READER.close)
