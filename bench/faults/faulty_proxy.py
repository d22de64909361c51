"""A proxy before an S3 server that fails at chosen requests, or ends a process group at one."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KINDS = ("500", "SlowDown", "cut", "cut-after", "half-answer")
FULL = "full"  # what MinIO answers when its disks are
_STATUS = {"500": (500, "InternalError"), "SlowDown": (503, "SlowDown"), FULL: (507, "XMinioStorageFull")}
_PASSED_OVER = ("/log/", "/lease.json")


@dataclass
class Plan:
    """Which requests fail, and how. Requests about logs and the lease are none."""

    kind: str = ""  # one of KINDS, FULL, "kill" or "kill-after"
    first: int = 0  # the first request that fails; the first of all is 1
    times: int = 1  # how many fail, one after the other
    every: int = 0  # instead: each so-many-th request fails, in each of KINDS in turn
    only_writes: bool = False
    group: int = 0  # the process group that is ended
    asked: list[str] = field(default_factory=list)  # what was counted: METHOD PATH
    answered: int = 0  # bytes that came back
    met: list[str] = field(default_factory=list)  # how `every` so-many-th request failed

    def meets(self, method: str, path: str) -> str:
        """Return what this request meets; nothing if it is to pass."""
        if any(part in path for part in _PASSED_OVER) or (self.only_writes and method in ("GET", "HEAD")):
            return ""
        self.asked.append(f"{method} {path}")
        if self.every and len(self.asked) % self.every == 0:
            self.met.append(KINDS[len(self.met) % len(KINDS)])
            return self.met[-1]
        return self.kind if self.first <= len(self.asked) < self.first + self.times and self.first else ""


class FaultyProxy(ThreadingHTTPServer):
    """See the module. `plan` may be changed between two runs."""

    daemon_threads = True

    def __init__(self, endpoint: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(endpoint).netloc
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.plan = Plan()
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        body = self._body()
        with self.server.lock:
            met = self.server.plan.meets(self.command, self.path)
        if met == "kill":
            os.killpg(self.server.plan.group, signal.SIGKILL)
        elif met in _STATUS:
            self._refuse(*_STATUS[met])
        elif met == "cut":
            self.close_connection = True
        else:
            self._forward(body, met)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _body(self) -> bytes:
        if not self._is_chunked:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()

    def _forward(self, body: bytes, met: str) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                upstream.putheader(name, value)
        upstream.endheaders([body] if self._is_chunked else body, encode_chunked=self._is_chunked)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        with self.server.lock:
            self.server.plan.answered += len(data)
        if met == "kill-after":
            os.killpg(self.server.plan.group, signal.SIGKILL)
            return
        if met == "cut-after":
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if met == "half-answer":
            data = data[: len(data) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by the bench</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self) -> None:
        """A client that is killed hangs up in the middle; so it shall."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def before(endpoint: str) -> Iterator[FaultyProxy]:
    """Yield a proxy before a server."""
    proxy = FaultyProxy(endpoint)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
