"""One port on loopback that plays every host of the demo's web, by the Host header."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from types import TracebackType

from aiohttp import web

from demo.web import Answer, Web

_WAIT_S = 120.0


class Server:
    """Serves a `Web` from a thread of its own, between `with` and its end.

    `port` is the one that was asked for if it is free, else any other; `requests` counts what each host was asked.
    """

    def __init__(self, world: Web, port: int = 0):
        self._answers = world.answers
        self._hosts = world.hosts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.port = port
        self.requests: Counter[str] = Counter()

    @property
    def resolve(self) -> dict[str, str]:
        """What the config's `fetch.resolve` must be, so that every host is this server."""
        return dict.fromkeys(self._hosts, f"127.0.0.1:{self.port}")

    def __enter__(self) -> Server:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._runner = web.AppRunner(
            _application(self), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, "127.0.0.1", self.port)
            await site.start()
        except OSError:  # the port is taken
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:  # requests that nobody waits for any more
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer as the host would to whom the request is addressed."""
        host = request.host.partition(":")[0]
        self.requests[host] += 1
        answer = self._answers.get((host, request.path), Answer(b"<h1>Not Found</h1>", status=404))
        if answer.behaviour == "reset" and request.transport is not None:
            request.transport.abort()
        if answer.behaviour == "wait":
            await asyncio.sleep(_WAIT_S)
        headers = {"Content-Type": answer.media_type, **answer.headers}
        if answer.behaviour == "endless":
            return await _pour(request, headers)
        return web.Response(body=answer.body, status=answer.status, headers=headers)


def _application(server: Server) -> web.Application:
    application = web.Application()
    application.router.add_get("/{path:.*}", server.handle)
    return application


async def _pour(request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
    """A JPEG that never ends."""
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
    try:
        while True:
            await response.write(bytes(64 * 1024))
    except ConnectionError:  # the client had enough
        return response
