"""A loopback web server that does to a crawler what the web does: some of it by accident, some of it on purpose.

Its hosts end in `.test` and are reached through `FetchConfig.resolve`; what it does is chosen by host and path.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

from crawl.web.config import FetchConfig
from crawl.web.rules import tdm
from crawl.web.rules.robots import AI_TXT as AI_TXT_PATH
from tests.crawl.hostile_images import animation, picture, png_bomb
from tests.crawl.hostile_wishes import AI_TXT, LICENSED, LICENSES, WISHES

HOSTS = (
    "images.test",
    "other.test",
    "dead.test",
    "silent.test",
    "disallow.test",
    "robots-500.test",
    "robots-moved.test",
    "robots-huge.test",
    "delay.test",
    "site.test",
    "reserved.test",
    "wishes.test",
    "licensed.test",
    "licenses.test",
    "below.opted-out.test",
)


class HostileServer:
    """What was asked of the server, and where it listens."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()  # "host/path" -> requests
        self.starts: defaultdict[str, list[float]] = defaultdict(list)  # host -> when each request came
        self.busy: Counter[str] = Counter()
        self.busiest: Counter[str] = Counter()  # host -> most requests at once
        self.agents: set[str] = set()
        self.secrets = 0  # connections to the server that must not be reached
        self.rules_status = 404  # of robots.txt where there is none
        self.more_robots = ""  # robots.txt of other.test
        self.version = 1  # of the images that have a validator
        self.unchanged = 0  # times that a 304 was enough
        self.more: dict[str, tuple[str, bytes]] = {}  # path -> media type and body, as a test wants them
        self.port = 0
        self.secret_port = 0
        self.closed_port = 0
        self.silent_port = 0
        self._redirects = {
            "/to/metadata": "http://169.254.169.254/latest/meta-data/",
            "/to/loopback": "",  # filled in when the port is known
            "/to/loopback6": "http://[::1]/",
            "/to/private": "http://10.0.0.1/a.jpg",
            "/to/decimal": "http://2130706433/a.jpg",
            "/to/short": "http://127.1/a.jpg",
            "/to/mapped": "http://[::ffff:7f00:1]/a.jpg",
            "/to/file": "file:///etc/passwd",
            "/to/data": "data:image/png;base64,AAAA",
            "/to/nowhere": "http://",
            "/to/image": "http://other.test/ok.jpg",
            "/to/relative": "../ok.jpg?moved",
            "/to/opted-out": "http://below.opted-out.test/ok.jpg",
            "/to/disallowed": "http://disallow.test/private/a.jpg",
            "/to/utf-8": "/ok.jpg?ü",
            "/to/self": "/to/self",
            "/to/ping": "/to/pong",
            "/to/pong": "/to/ping",
        }

    def config(self, **changes: Any) -> FetchConfig:
        """A config that reaches the server, in a hurry unless told otherwise."""
        resolve = dict.fromkeys(HOSTS, f"127.0.0.1:{self.port}")
        resolve["dead.test"] = f"127.0.0.1:{self.closed_port}"
        resolve["silent.test"] = f"127.0.0.1:{self.silent_port}"
        own = "openwit/0.1 (+https://crawler.test/; crawler@crawler.test)"  # for hosts that are not at the server
        options: dict[str, Any] = {
            "resolve": resolve,
            "user_agent": own,
            "timeout_s": 5.0,
            "attempts": 1,
            "max_body_bytes": 1_000_000,
        }
        return FetchConfig(**{**options, **changes})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        host, path = request.host.split(":")[0], request.path
        self.hits[f"{host}{path}"] += 1
        self.starts[host].append(time.monotonic())
        self.agents.add(request.headers.get("User-Agent", ""))
        self.busy[host] += 1
        self.busiest[host] = max(self.busiest[host], self.busy[host])
        try:
            if path == "/robots.txt":
                return self._robots(host)
            if path == AI_TXT_PATH:
                return web.Response(text=AI_TXT)
            if path == tdm.PATH:
                return self._reservations(host)
            if host == "site.test":
                return self._site(path)
            if host == "licenses.test":
                return await self._license(path)
            return await self._image(host, path, request)
        finally:
            self.busy[host] -= 1

    def _robots(self, host: str) -> web.Response:
        match host:
            case "disallow.test":
                return web.Response(
                    text="User-agent: *\nDisallow: /private/\n\nUser-agent: openwit\nDisallow: /private"
                )
            case "robots-500.test":
                return web.Response(status=503)
            case "robots-moved.test":
                return web.Response(status=301, headers={"Location": "http://disallow.test/robots.txt"})
            case "robots-huge.test":
                return web.Response(text="User-agent: *\nDisallow: /private/\n" + "# filler\n" * 200_000)
            case "delay.test":
                return web.Response(text="User-agent: *\nCrawl-delay: 0.2\n")
            case "site.test":
                return web.Response(text="User-agent: *\nDisallow: /hidden\n")
            case "wishes.test":
                return web.Response(text=WISHES)
            case "other.test" if self.more_robots:
                return web.Response(text=self.more_robots)
            case "licensed.test":
                return web.Response(text=LICENSED)
        return web.Response(status=self.rules_status)

    async def _license(self, path: str) -> web.Response:
        if path == "/slow.xml":
            await asyncio.sleep(30)
        if path == "/once.xml":
            is_first = self.hits["licenses.test/once.xml"] == 1
            return web.Response(status=503) if is_first else web.Response(text=LICENSES["/no.xml"])
        if path == "/moved.xml":
            return web.Response(status=302, headers={"Location": "/no.xml"})
        if path in LICENSES:
            return web.Response(text=LICENSES[path], content_type="application/rsl+xml")
        return web.Response(status=404)

    def _reservations(self, host: str) -> web.Response:
        if host != "reserved.test":
            return web.Response(status=404)
        rules = [("/free/*", 0), ("/*.png$", 1), ("/ok", 1)]
        return web.json_response([{"location": location, "tdm-reservation": flag} for location, flag in rules])

    def _site(self, path: str) -> web.Response:
        pages = {
            "/": '<a href="/b">b</a> <a href="a">a</a> <a href="/hidden/x">x</a> <a href="mailto:a@b">m</a>'
            '<a href="http://images.test/ok.jpg">off</a> <a href="/picture.jpg">p</a> <a href="/gone">g</a>',
            "/a": '<base href="/deep/"><a href="c#part">c</a> <a href="/old">old</a> <a href="/leave">leave</a>',
            "/b": '<p>no links, noai <meta name="robots" content="noai">',
            "/deep/c": '<a href="/">home</a> <a href="/z">z</a>',
            "/z": "<p>far",
        }
        if path == "/old":
            return web.Response(status=302, headers={"Location": "/b"})
        if path == "/leave":
            return web.Response(status=302, headers={"Location": "http://other.test/page.html"})
        if path == "/picture.jpg":
            return web.Response(body=picture(), content_type="image/jpeg")
        if path not in pages:
            return web.Response(status=404)
        headers = {"X-Robots-Tag": "noai"} if path == "/b" else {"X-Note": "ü"}
        return web.Response(
            text=f"<!doctype html><title>{path}</title>{pages[path]}", content_type="text/html", headers=headers
        )

    async def _image(self, host: str, path: str, request: web.Request) -> web.StreamResponse:
        if path in self.more:
            return web.Response(body=self.more[path][1], content_type=self.more[path][0])
        if path in self._redirects:
            return web.Response(status=302, headers={"Location": self._redirects[path]})
        if path.startswith("/status/"):
            return web.Response(status=int(path.rsplit("/", 1)[1]), text="no such thing")
        if path.startswith(("/ok", "/private", "/many/", "/free/")):
            await asyncio.sleep(0.02)
            return web.Response(body=picture(zlib.crc32(path.encode())), content_type="image/jpeg")
        if path.startswith("/licensed/"):  # an image whose license is of the same name
            where = f"http://licenses.test{path.removeprefix('/licensed')}"
            named = f'<http://cc.test/by>; rel=license, <{where}>; rel="license"; type="application/rsl+xml"'
            return web.Response(body=picture(), content_type="image/jpeg", headers={"Link": named})
        if path.startswith("/fail/"):
            raw(request, b"")
        match path:
            case "/page.html":
                return web.Response(text="<!doctype html><title>not here</title>", content_type="text/html")
            case "/html.jpg":
                return web.Response(text="<html>an error page", content_type="image/jpeg")
            case "/vector.svg":
                return web.Response(text='<svg xmlns="http://www.w3.org/2000/svg"/>', content_type="image/svg+xml")
            case "/empty":
                return web.Response(content_type="image/jpeg")
            case "/octets":
                return web.Response(body=picture(kind="PNG"), content_type="application/octet-stream")
            case "/animated.gif":
                return web.Response(body=animation(), content_type="image/gif")
            case "/bomb.png":
                return web.Response(body=png_bomb(), content_type="image/png")
            case "/half.jpg":
                body = picture(size=(600, 400))
                return web.Response(body=body[: len(body) // 2], content_type="image/jpeg")
            case "/noai":
                return web.Response(body=picture(), headers={"X-Robots-Tag": "noai, noimageai"})
            case "/noai-for-other":
                return web.Response(body=picture(), headers={"X-Robots-Tag": "otherbot: noai"})
            case "/noindex-for-us":
                return web.Response(body=picture(), headers={"X-Robots-Tag": "OpenWIT: noindex"})
            case "/reserved":
                return web.Response(body=picture(), headers={"TDM-Reservation": "1"})
            case "/signal":
                return web.Response(body=picture(), headers={"Content-Signal": "search=yes, ai-train=no"})
            case "/usage":
                return web.Response(body=picture(), headers={"Content-Usage": "train-ai=n"})
            case "/odd-usage":
                return web.Response(body=picture(), headers={"Content-Usage": "train-ai=perhaps"})
            case "/noai-for-ccbot":
                return web.Response(body=picture(), headers={"X-Robots-Tag": "CCBot: noai"})
            case "/not-reserved":
                return web.Response(body=picture(), headers={"TDM-Reservation": "0"})
            case "/noai-from-now-on":
                headers = {"X-Robots-Tag": "noai"} if self.hits[f"{host}{path}"] > 1 else {}
                return web.Response(body=picture(), headers=headers)
            case "/tagged" | "/dated":
                return self._conditional(path, request)
            case "/gzip":
                return web.Response(body=gzip.compress(picture()), headers={"Content-Encoding": "gzip"})
            case "/gzip-bomb":
                body = gzip.compress(bytes(50_000_000), 9)
                return web.Response(body=body, headers={"Content-Encoding": "gzip"})
            case "/gzip-cut":
                return web.Response(body=gzip.compress(picture())[:-300], headers={"Content-Encoding": "gzip"})
            case "/gzip-lie":
                return web.Response(body=picture(), headers={"Content-Encoding": "gzip"})
            case "/brotli":
                return web.Response(body=b"...", headers={"Content-Encoding": "br"})
            case "/declared-large":
                raw(request, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            case "/endless":
                return await self._stream(request, bytes(65_536), pause_s=0)
            case "/trickle":
                return await self._stream(request, b"\xff", pause_s=0.05)
            case "/slow.jpg":
                return await self._pieces(request, picture(), pause_s=0.05)
            case "/cut":
                raw(request, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + picture()[:500])
            case "/reset":
                raw(request, b"")
            case "/garbage":
                raw(request, b"\x00\x01\x02 this is not HTTP\r\n\r\n")
            case "/many-headers":
                raw(request, b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(20_000)))
            case "/long-header":
                raw(request, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1_000_000)
            case "/busy-once" if self.hits[f"{host}{path}"] == 1:
                return web.Response(status=429, headers={"Retry-After": "1"})
            case "/busy-once" | "/broken-once" if self.hits[f"{host}{path}"] > 1:
                return web.Response(body=picture(), content_type="image/jpeg")
            case "/broken-once":
                return web.Response(status=500)
            case "/busy-for-long":
                return web.Response(status=503, headers={"Retry-After": "86400"})
            case "/moved-without-place":
                return web.Response(status=302)
        return web.Response(status=404)

    def _conditional(self, path: str, request: web.Request) -> web.Response:
        """An image with a validator, which `version` changes."""
        tag, moment = f'"{self.version}"', f"Thu, 0{self.version} Jan 2026 00:00:00 GMT"
        name, value, condition = (
            ("ETag", tag, "If-None-Match") if path == "/tagged" else ("Last-Modified", moment, "If-Modified-Since")
        )
        if request.headers.get(condition) == value:
            self.unchanged += 1
            return web.Response(status=304, headers={name: value})
        return web.Response(body=picture(self.version), headers={name: value}, content_type="image/jpeg")

    async def _stream(self, request: web.Request, piece: bytes, pause_s: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(piece)
                await asyncio.sleep(pause_s)
        return response

    async def _pieces(self, request: web.Request, body: bytes, pause_s: float) -> web.StreamResponse:
        """A whole body, a tenth at a time."""
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
        await response.prepare(request)
        step = len(body) // 10 + 1
        with suppress(ConnectionError):
            for start in range(0, len(body), step):
                await response.write(body[start : start + step])
                await asyncio.sleep(pause_s)
        return response


def raw(request: web.Request, answer: bytes) -> None:
    """Answer with these very bytes, then close, or reset if there are none."""
    assert request.transport is not None
    if answer:
        request.transport.write(answer)
        request.transport.close()
    else:
        request.transport.abort()
    raise asyncio.CancelledError


@contextmanager
def in_a_thread(start: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """A loop of its own in a thread, in which `start` has been awaited; what runs in it ends with it."""
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def stop() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        loop.stop()

    async def begin() -> None:
        await start()
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(begin())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop)
        thread.join(10)


@contextmanager
def running() -> Iterator[HostileServer]:
    """The server, on a loop of its own in a thread."""
    server = HostileServer()

    async def secret(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.secrets += 1
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def start() -> None:
        web_server = web.Server(server.handle, access_log=None)
        listening = await asyncio.get_running_loop().create_server(web_server, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        hidden = await asyncio.start_server(secret, "127.0.0.1", 0)
        server.secret_port = hidden.sockets[0].getsockname()[1]
        server._redirects["/to/loopback"] = f"http://127.0.0.1:{server.secret_port}/a.jpg"
        quiet = await asyncio.start_server(silent, "127.0.0.1", 0)
        server.silent_port = quiet.sockets[0].getsockname()[1]
        closed = await asyncio.start_server(secret, "127.0.0.1", 0)
        server.closed_port = closed.sockets[0].getsockname()[1]
        closed.close()
        kept.extend([listening, hidden, quiet])

    kept: list[object] = []  # a server that nobody names is collected
    with in_a_thread(start):
        yield server
