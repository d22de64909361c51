"""A folder's files served on loopback by a process of its own: nginx if it is on PATH, else a small server of ours."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NGINX = """
daemon off;
pid {home}/nginx.pid;
error_log stderr crit;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_timeout 60s;
    keepalive_requests 1000000;
    types {{ image/jpeg jpg; }}
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; }}
}}
"""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve while the block runs; yield the server's name and its port."""
    port = _free_port()
    nginx = shutil.which("nginx")
    with tempfile.TemporaryDirectory() as config_folder:
        if nginx:
            config = Path(config_folder) / "nginx.conf"
            config.write_text(_NGINX.format(home=config_folder, folder=folder.resolve(), port=port))
            command = [nginx, "-e", "stderr", "-p", config_folder, "-c", str(config)]
        else:
            command = [sys.executable, "-m", "bench.inputs.image_server", str(folder), str(port)]
        server = subprocess.Popen(command)
        try:
            _wait(port)
            yield ("nginx" if nginx else "a server of ours", port)
        finally:
            server.terminate()
            server.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(300):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"no server listens at port {port}")


class _Files(asyncio.Protocol):
    """HTTP/1.1 with keep-alive: GET alone, the answers ready in memory."""

    def __init__(self, answers: dict[bytes, bytes]):
        self._answers = answers
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while (end := self._asked.find(b"\r\n\r\n")) >= 0:
            head, self._asked = self._asked[:end], self._asked[end + 4 :]
            path = head.split(b" ", 2)[1]
            if path.startswith(b"http://"):  # to a proxy, whose answer is that of any host
                path = b"/" + path.split(b"/", 3)[3]
            self._transport.write(self._answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            if b"connection: close" in head.lower():
                self._transport.close()
                return


async def _serve(folder: Path, port: int) -> None:
    answers = {}
    for path in folder.iterdir():
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {path.stat().st_size}\r\n\r\n"
        answers[f"/{path.name}".encode()] = head.encode() + path.read_bytes()
    server = await asyncio.get_running_loop().create_server(lambda: _Files(answers), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
