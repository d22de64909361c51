"""A loopback web server of a folder's files, with ranges as object stores have them, that is busy when told to be."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer:
    """Its URL, the requests that it got, and how it is to behave."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.url = ""
        self.hits: Counter[str] = Counter()
        self.busy: list[tuple[int, dict[str, str]]] = []
        """Answers (status, headers) to the next requests, instead of what they ask for."""
        self.knows_ranges = True
        self.shifted = 0  # how far behind what was asked for the sent ranges lie
        self.cut = 0  # bytes of the next bodies that are not sent
        self.sent = 0  # bytes of bodies
        self.authorizations: set[str | None] = set()  # that came with requests


@contextmanager
def running(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder."""
    state = RangeServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, with_body: bool) -> None:
            state.hits[f"{self.command} {self.path}"] += 1
            state.authorizations.add(self.headers.get("Authorization"))
            if state.busy:
                status, headers = state.busy.pop(0)
                self.reply(status, headers, b"busy", with_body)
                return
            path = folder / self.path.lstrip("/").partition("?")[0]
            if not path.is_file():
                self.reply(404, {}, b"", with_body)
                return
            data = path.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            etag = {"ETag": f'"{len(data)}-{path.stat().st_mtime_ns}"'}
            if wanted and state.knows_ranges:
                first, last = (int(place) + state.shifted for place in wanted.groups())
                said = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
                self.reply(206, {**etag, **said}, data[first : last + 1], with_body)
            else:
                self.reply(200, etag, data, with_body)

        def reply(self, status: int, headers: dict[str, str], body: bytes, with_body: bool) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                cut, state.cut = (state.cut, 0) if status < 400 else (0, state.cut)
                self.wfile.write(body[: len(body) - cut])
                state.sent += len(body) - cut
                self.close_connection = cut > 0

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client may hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
