"""A loopback server whose answers are bytes that a test writes."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from tests.crawl.hostile_images import picture

BODY = picture(1)
LENGTH = b"Content-Length: %d" % len(BODY)


def answer(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = BODY, end: bytes = b"\r\n") -> bytes:
    return end.join([status, *lines, b"", body])


class Asked(NamedTuple):
    """A request: the host and the path that it is for, and all of its head."""

    host: str
    path: str
    head: bytes


@contextmanager
def serving(reply: Callable[[Asked, socket.socket], bool]) -> Iterator[int]:
    """A server's port; reply: writes its answer to a request, and says whether it goes on listening."""

    def serve(opened: socket.socket) -> None:
        with opened, suppress(OSError):
            opened.settimeout(10)
            heard = b""
            while True:
                while b"\r\n\r\n" not in heard:
                    data = opened.recv(65536)
                    if not data:
                        return
                    heard += data
                request, _, heard = heard.partition(b"\r\n\r\n")
                host = re.search(rb"\r\nHost: ([^\r:]*)", request)
                asked = Asked(host[1].decode() if host else "", request.split(b" ")[1].decode(), request)
                if not reply(asked, opened):
                    return

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
