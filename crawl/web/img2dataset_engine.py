"""img2dataset's downloader as the engine of a fetch: its threads and requests, our guard, our limits, our store.

img2dataset asks through `urllib.request.urlopen`, which uses the opener that is installed. Ours opens sockets to public
addresses only, follows so many redirects, and stops at a deadline and at a size. What it cannot give img2dataset is
manners: `FetchConfig` refuses this engine together with those that it does not have. What an answer's headers ask is
looked at here, before its body is read.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any

from crawl.images.observations import OK, Ingested, Observation, RefusedBody, now, observe
from crawl.units import ingest_watched
from crawl.web.address_guard import REFUSED_PORTS, Guard, PrivateAddressError
from crawl.web.client import opted_out as on_list
from crawl.web.config import FetchConfig
from crawl.web.contact import Contact, NoContactError
from crawl.web.fetch import apply_licenses
from crawl.web.response import Refused
from crawl.web.rules.headers import check, licenses
from crawl.web.rules.robots import product_token
from crawl.wishes import Wish
from dataset.hosts import canonical_host, hostname

_PIECE_BYTES = 64 * 1024
_OURS = re.compile(
    r"(?:<urlopen error )?"
    r"(address_private|port_not_allowed|domain_opted_out|dns_failed|timeout|body_too_large): (.*?)>?$",
    re.DOTALL,
)
_STATUS = re.compile(r"HTTP Error (\d{3})")


def fetch(
    urls: Sequence[str],
    config: FetchConfig,
    ingest: Callable[[bytes], Ingested | RefusedBody],
    *,
    opted_out: Container[str] = frozenset(),
    done: Callable[[Observation], None] = lambda observation: None,
) -> list[Observation]:
    """See `crawl.web.fetch.fetch`. Where a redirect led is not known; `status` is that of an error alone."""
    from img2dataset.downloader import download_image_with_retry

    guard, asked = Guard(config.resolve), _Asked()
    download = partial(
        download_image_with_retry,
        timeout=config.timeout_s,
        retries=config.attempts - 1,
        user_agent_token=product_token(config.user_agent),
        disallowed_header_directives=None,  # ours are looked at where they come, with all others that ask something
    )
    observations: dict[str, Observation] = {}
    named: list[tuple[str, str, str]] = []  # licenses, where they are named, and by the answer at which URL
    distinct = list(dict.fromkeys(urls))
    # One at a time for all of the process, as urllib has it; a worker fetches one partition at a time.
    urllib.request.install_opener(_opener(config, guard, opted_out, asked))
    try:
        with ThreadPool(config.concurrency) as pool:
            for (number, stream, error), refused, wish, licenses in pool.imap_unordered(
                lambda row: (
                    _with_ingested(asked.by(download, row), partial(ingest_watched, ingest, row[1])),
                    asked.refused,
                    asked.wish,
                    asked.licenses,
                ),
                enumerate(distinct),
            ):
                url, size = distinct[number], None
                status = int(match[1]) if (match := _STATUS.match(error or "")) else None
                if stream is not None:
                    result, size = stream
                elif refused is not None:
                    result, status = RefusedBody(refused.outcome, refused.detail, refused.wish), refused.status
                else:
                    result = _refusal(error or "", status)
                seen = observe(
                    url, result, origin="http", fetched_at=now(), status=status, final_url=None, fetched_bytes=size
                )
                observations[url] = replace(seen, wish=seen.wish or wish)
                if licenses and seen.outcome == OK:
                    named += [(license_, place, url) for license_, place in licenses]
                else:
                    done(observations[url])
    finally:
        urllib.request.install_opener(None)  # type: ignore[arg-type]  # the default again
    for url, seen in apply_licenses(observations, named, config, opted_out).items():
        observations[url] = seen
        done(seen)
    return [observations[url] for url in urls]


def _with_ingested(
    answer: tuple[int, Any, str | None], ingest: Callable[[bytes], Ingested | RefusedBody]
) -> tuple[int, tuple[Ingested | RefusedBody, int] | None, str | None]:
    """A download with its bytes ingested, in the thread that got them."""
    number, stream, error = answer
    if stream is None:
        return number, None, error
    body = stream.getvalue()
    return number, (ingest(body), len(body)), None


def _refusal(error: str, status: int | None) -> RefusedBody:
    """What a message of img2dataset's means."""
    words = " ".join(error.split())[:200]
    if status is not None:
        outcome = {3: "too_many_redirects", 4: "http_client_error"}.get(status // 100, "http_server_error")
        return RefusedBody(outcome, words)
    ours = _OURS.match(error)
    if ours is not None:
        return RefusedBody(ours[1], " ".join(ours[2].split())[:200])
    return RefusedBody("timeout" if "timed out" in error else "connection_failed", words or "no answer")


class _Asked(threading.local):
    """What the headers of the answer that a thread reads ask; img2dataset passes on no more than words."""

    refused: Refused | None = None
    wish: Wish | None = None
    licenses: Sequence[tuple[str, str]] = ()

    def by(self, download: Callable[[Any], Any], row: Any) -> Any:
        """What a download comes to, with what was asked of the one before it forgotten."""
        self.refused = self.wish = None
        self.licenses = ()
        return download(row)

    def look(self, config: FetchConfig, response: http.client.HTTPResponse) -> None:
        """Refuse what does not want to be used."""

        def values(name: str) -> Sequence[str]:
            return response.headers.get_all(name) or ()

        try:
            self.wish = check(config, values)
            self.licenses = licenses(config, values, response.url or "")
        except Refused as refused:
            self.refused = refused
            raise


class _Deadline:
    """A socket that gives up at a moment, whatever comes before it: a byte now and then puts nothing off."""

    ends = 0.0

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timeout: no whole answer in time")
        self.settimeout(left)  # type: ignore[attr-defined]
        return int(super().recv_into(*arguments, **options))  # type: ignore[misc]


class _Socket(_Deadline, socket.socket):
    pass


class _TlsSocket(_Deadline, ssl.SSLSocket):
    pass


class _Connection(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, open_socket: Callable[[str, int, float], _Socket], **options: Any):
        super().__init__(*arguments, **options)
        self._open_socket = open_socket

    def connect(self) -> None:
        self.sock = self._open_socket(self.host, self.port, float(self.timeout or 0))


class _TlsConnection(_Connection):
    default_port = 443

    def __init__(self, *arguments: Any, tls: ssl.SSLContext, **options: Any):
        super().__init__(*arguments, **options)
        self._tls = tls

    def connect(self) -> None:
        super().connect()
        plain: Any = self.sock
        secure: Any = self._tls.wrap_socket(plain, server_hostname=self.host)
        secure.ends = plain.ends
        self.sock = secure


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https through the guard, and puts a limit on `read`."""

    def __init__(self, config: FetchConfig, guard: Guard, opted_out: Container[str], asked: _Asked):
        super().__init__()
        self._config = config
        self._asked = asked
        self._guard = guard
        self._opted_out = opted_out
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = _TlsSocket

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, open_socket=self._open_socket), request)  # type: ignore[arg-type]

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        connection = partial(_TlsConnection, open_socket=self._open_socket, tls=self._tls)
        return self.do_open(connection, request)  # type: ignore[arg-type]

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        return self.do_request_(request)  # type: ignore[no-any-return, attr-defined]

    https_request = http_request

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if response.status // 100 == 2:
            self._asked.look(self._config, response)
        response.read = partial(_read, response, self._config.max_body_bytes)
        return response

    https_response = http_response

    def _open_socket(self, host: str, port: int, seconds: float) -> _Socket:
        ends = time.monotonic() + seconds
        if port in REFUSED_PORTS:
            raise OSError(f"port_not_allowed: port {port} is another protocol's")
        domain = on_list(canonical_host(host), self._opted_out)
        if domain is not None:
            raise OSError(f"domain_opted_out: {domain} is on the opt-out list")
        try:
            opened = self._guard.connect(host, port, seconds, _Socket)
        except PrivateAddressError as error:
            raise OSError(f"address_private: {error}") from error
        except socket.gaierror as error:
            raise OSError(f"dns_failed: {error}") from error
        opened.ends = ends
        return opened


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, limit: int, contact: Contact):
        self._limit = limit
        self._contact = contact

    def redirect_request(self, request: urllib.request.Request, file: Any, code: int, *rest: Any) -> Any:
        """The request that a redirect leads to; None, which makes an error of it, if it is one too many."""
        after = super().redirect_request(request, file, code, *rest)
        if after is not None:
            try:
                self._contact.check(hostname(after.full_url))
            except NoContactError as error:
                raise OSError(f"connection_failed: {error}") from error
            after.redirects = getattr(request, "redirects", 0) + 1  # type: ignore[attr-defined]
            if after.redirects > self._limit:  # type: ignore[attr-defined]
                return None
        return after


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """A body, in pieces as they come; img2dataset asks for all of it at once."""
    pieces: list[bytes] = []
    length = 0
    while piece := response.read1(_PIECE_BYTES):
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            raise ValueError(f"body_too_large: more than {limit} bytes")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _opener(
    config: FetchConfig, guard: Guard, opted_out: Container[str], asked: _Asked
) -> urllib.request.OpenerDirector:
    """No proxies, no files, no ftp: http and https alone."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        _Handler(config, guard, opted_out, asked),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(config.max_redirects, Contact(config.user_agent, guard)),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
