"""HTTP connections to servers whose answers are what browsers take, not what the standard has.

A head is put right before aiohttp's parser, which is strict, sees it (RFC 9110 and 9112; Chromium for what they leave
open): lines that are no header are passed over, and what tells where the body ends is told once. After an answer that
was odd in any way, and after any byte behind a body, the connection is closed, so that no bytes of one answer are ever
taken for a part of the next.
"""

from __future__ import annotations

import re
import ssl
from functools import cache, partial
from typing import Any

from aiohttp import ClientPayloadError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

MAX_HEAD_BYTES = 256 * 1024
"""The largest head of a response (status line and headers), as in Chromium."""
_MAX_INTERIM = 16  # answers of status 1xx before the one that counts
_LONGEST = 10**18 - 1  # a length that no body has and every parser can count

_START_BYTES = 8
_START = re.compile(rb".{0,4}?(?=HTTP|ICY)", re.DOTALL | re.IGNORECASE)  # Chromium, too, passes over four bytes
_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(
    rb"(?:HTTP(?:[ \t]*/[ \t]*(\d+)(?:\.(\d+))?)?|ICY)[ \t]+(\d{3})(?!\d)[ \t]*([^\n]*)", re.IGNORECASE
)
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_NAME = re.compile(_TOKEN)
_STRICT = re.compile(rb"HTTP/1\.[01] \d{3}(?: [^\r\n\0]*+)?\r\n(?:" + _TOKEN + rb":[^\r\n\0]*+\r\n)*+\r\n")
_FRAMING = re.compile(
    rb"\n(?:content-length:[ \t]*(\d{1,18})[ \t]*\r|transfer-encoding:[ \t]*(chunked)[ \t]*\r"
    rb"|(content-length|transfer-encoding):)",
    re.IGNORECASE,
)


class OddHeadError(ValueError):
    """An answer's head that cannot be put right: it is not HTTP, or says of its body what cannot both be true."""


def put_right(head: bytes) -> tuple[bytes, bool]:
    """Return a head, with its blank line, as a strict parser takes it, and whether it was so already.

    Raises:
        OddHeadError: it cannot be put right.
    """
    if _STRICT.fullmatch(head):
        framing = _FRAMING.findall(head)
        if not framing:
            return head, True
        if len(framing) == 1:
            length, chunked, _ = framing[0]
            if length or (chunked and head.startswith(b"HTTP/1.1")):
                return head, True
    status = _STATUS_LINE.match(head)
    if status is None:
        raise OddHeadError("the answer has no status line")
    major, minor, code, reason = status.groups()
    is_old = major is None or (major, minor or b"0") < (b"1", b"1")
    lines = [b"HTTP/1.%d %s %s" % (not is_old, code, _value(reason))]
    lengths: set[int] = set()
    is_chunked = False
    for name, raw in _fields(head[status.end() :]):
        key, value = name.lower(), _value(raw)
        if key == b"content-length":
            lengths.update(_lengths(value))
        elif key == b"transfer-encoding":
            is_chunked |= b"chunked" in re.split(rb"[\s,;]+", value.lower())
        else:
            lines.append(name + b": " + value)
    if is_chunked:
        lines.append(b"Transfer-Encoding: chunked")  # whatever length stands beside it (RFC 9112, section 6.3)
    elif len(lengths) > 1:
        raise OddHeadError(f"the answer names two lengths, {' and '.join(map(str, sorted(lengths)[:2]))}")
    elif lengths:
        lines.append(b"Content-Length: %d" % lengths.pop())
    return b"\r\n".join([*lines, b"", b""]), False


def _fields(lines: bytes) -> list[tuple[bytes, bytearray]]:
    """The names and values of the lines that are headers."""
    fields: list[tuple[bytes, bytearray]] = []
    value: bytearray | None = None  # of the line before, were it a header or not
    for line in lines.split(b"\n")[1:]:
        if line[:1] in (b" ", b"\t"):  # folded: it continues the line before it
            if value is not None:
                value += b" " + line
            continue
        name, colon, rest = line.partition(b":")
        name, value = name.rstrip(b" \t"), bytearray(rest)
        if colon and _NAME.fullmatch(name):
            fields.append((name, value))
    return fields


def _value(raw: bytes | bytearray) -> bytes:
    """A header's value; what may not stand in one is a space (RFC 9110, section 5.5)."""
    return bytes(raw).replace(b"\0", b" ").replace(b"\r", b" ").strip(b" \t")


def _lengths(value: bytes) -> set[int]:
    """The lengths that a Content-Length names. What is no number says nothing: the body ends with the connection."""
    numbers = [part.strip() for part in value.split(b",")]
    return {int(number) if len(number) <= 18 else _LONGEST for number in numbers if number.isdigit()}


class Connection(ResponseHandler):
    """One connection; one answer to each request, and nothing behind it."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self._expect()

    def _expect(self) -> None:
        self._head: bytearray | None = bytearray()  # what has come of a head; None once it was passed on
        self._interim = 0
        self._is_answered = False

    def set_response_params(self, **options: Any) -> None:
        """Note that a request is about to be sent."""
        self._expect()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._parser is None:  # before the first request
            super().data_received(data)
            return
        while data and self._head is not None:
            data = self._take_head(data)
        if self._head is not None:
            return
        if data and self._is_answered and (self._payload is None or self._payload.is_eof()):
            self._leave()  # bytes behind the body
        else:
            super().data_received(data)

    def _take_head(self, data: bytes) -> bytes:
        """Add to the head; if it ends, pass it on and answer what is behind it."""
        assert self._head is not None
        head, known = self._head, len(self._head)
        head += data
        try:
            if known < _START_BYTES <= len(head):
                start = _START.match(head)
                if start is None:
                    raise OddHeadError("the answer has no status line")
                del head[: start.end()]
                known = 0
            end = _END.search(head, max(0, known - 2)) if len(head) >= _START_BYTES - 4 else None
            if (len(head) if end is None else end.end()) > MAX_HEAD_BYTES:
                raise OddHeadError(f"the answer's head has more than {MAX_HEAD_BYTES} bytes")
            if end is None:
                return b""
            right, was_right = put_right(bytes(head[: end.end()]))
        except OddHeadError as error:
            self._leave()
            self.set_exception(HttpProcessingError(code=400, message=str(error)), error)
            return b""
        if not was_right:
            self.force_close()
        self._head = None
        super().data_received(right)
        if not self._is_answered:
            self._head = bytearray()  # an interim answer; another head follows
        return bytes(head[end.end() :])

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head that was parsed; what follows the answer that counts is no answer to anything."""
        if self._is_answered:
            self._leave()
            return
        code = data[0].code
        self._interim += 1
        self._is_answered = not 100 <= code < 200 or code == 101 or self._interim > _MAX_INTERIM
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the connection, and a body that it was about to bring."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError(str(exc)), *cause)
        super().set_exception(exc, *cause)

    def _leave(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


@cache
def _tls() -> ssl.SSLContext:
    """How certificates are checked: a site's name stands among those that one is issued for, as in browsers; a common
    name is none (RFC 9525, section 6.3), which Python alone would take."""
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector(TCPConnector):
    """Opens such connections; see aiohttp.TCPConnector."""

    def __init__(self, **options: Any):
        super().__init__(ssl=_tls(), **options)
        self._factory = partial(Connection, loop=self._loop)  # type: ignore[assignment]
