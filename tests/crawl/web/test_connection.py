"""Answers as servers write them, over sockets: what browsers take is taken, and no answer becomes another's."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from ast import literal_eval

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.images.observations import Observation, RefusedBody
from crawl.web.config import FetchConfig
from crawl.web.connection import MAX_HEAD_BYTES, Connector, OddHeadError, put_right
from crawl.web.fetch import fetch
from tests.crawl.raw_server import BODY, LENGTH, Asked, answer, serving


def chunked(body: bytes, behind: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[at : at + 700] for at in range(0, len(body), 700)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + behind


def get(port: int, *paths: str) -> list[Observation]:
    """What comes of addresses, one after the other; the body of each stands in its detail."""
    config = FetchConfig(
        resolve={"a.test": f"127.0.0.1:{port}"},
        respect_robots=False,
        respect_tdm=False,
        timeout_s=5,
        per_host_concurrency=1,
        concurrency=1,
        attempts=1,
    )
    return fetch([f"http://a.test{path}" for path in paths], config, lambda body: RefusedBody("taken", repr(body)))


def body_of(raw: bytes) -> bytes | str:
    """The body that a client makes of an answer, or the outcome."""

    def reply(asked: Asked, opened: socket.socket) -> bool:
        opened.sendall(raw)
        return False

    with serving(reply) as port:
        (row,) = get(port, "/")
    return literal_eval(row.detail or "") if row.outcome == "taken" else row.outcome


@pytest.mark.parametrize(
    "line",
    [
        b"X-XSS-Protection=1;",
        b'"X-XSS-Protection: 0"',
        b'X-Echo stash: "curl"',
        b"X-Echo : curl",
        b": oops",
        b":",
        b" leading: space",
        b"Set-Cookie: a=\x01b\x7f",
        b"X-Null: a\0b",
        b"X-Return: a\rb",
        b'Content-Disposition: inline; filename="b\xfccher.jpg"',
        b"X-Long: a,\r\n b,\r\n\tc",
        b"no colon\r\n but folded: Content-Length: 3",
        b"Set-Cookie: a=" + b"x" * 70_000,
        b"\xff\xfe: x",
        b"<html>",
        b"X-(Comment): x",
        b"Sec-WebSocket-Version: 13",
        b"Content-Length: ",
        b"Content-Length: many",
        b"Content-Length: -1",
        b"Transfer-Encoding: identity",
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_that_is_no_header_is_passed_over(line: bytes, end: bytes) -> None:
    assert body_of(answer(line, LENGTH, end=end)) == BODY
    assert body_of(answer(LENGTH, line, end=end)) == BODY


@pytest.mark.parametrize(
    "raw",
    [
        answer(LENGTH, LENGTH),
        answer(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
        answer(b"Content-Length: 0%d" % len(BODY)),
        answer(b"Content-Length : %d" % len(BODY)),
        answer(LENGTH, body=BODY + b"behind the body"),
        answer(LENGTH, body=BODY + answer(b"Content-Length: 2", body=b"no")),
        answer(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=chunked(BODY)),
        answer(b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked", body=chunked(BODY)),
        answer(b"Transfer-Encoding : gzip, chunked", b"Content-Length: 3", body=chunked(BODY)),
        answer(b"Transfer-Encoding: chunked", body=chunked(BODY) + b"behind the last chunk"),
        answer(b"Transfer-Encoding: chunked", body=chunked(BODY, b"0\r\nX-Sum: 1\r\n\r\n")),
        answer(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK", body=chunked(BODY)),
        answer(),
        answer(LENGTH, status=b"HTTP/1.1 200"),
        answer(LENGTH, status=b"HTTP/1.1  200  all well"),
        answer(LENGTH, status=b"HTTP/1.1 200OK"),
        answer(LENGTH, status=b"http/1.1 200 ok"),
        answer(LENGTH, status=b"HTTP/2 200 OK"),
        answer(LENGTH, status=b"HTTP 200 OK"),
        answer(LENGTH, status=b"ICY 200 OK"),
        answer(LENGTH, status=b"HTTP/1.1 200 \xfc\0ber"),
        b"\r\n\r\n" + answer(LENGTH),
        answer(b"Link: </a>", status=b"HTTP/1.1 103 Early Hints", body=b"") + answer(LENGTH),
        answer(status=b"HTTP/1.1 100 Continue", body=b"") * 3 + answer(LENGTH),
    ],
)
def test_a_body_ends_where_browsers_end_it(raw: bytes) -> None:
    assert body_of(raw) == BODY


@pytest.mark.parametrize(
    "raw",
    [
        answer(LENGTH, b"Content-Length: 7"),
        answer(b"Content-Length: 7, %d" % len(BODY)),
        answer(b"Content-Length: %d" % (len(BODY) + 1)),
        answer(b"Transfer-Encoding: chunked", body=chunked(BODY, b"")),
        answer(b"Transfer-Encoding: chunked"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + BODY,
        BODY,
        answer(LENGTH, status=b"HTTP/1.1 OK"),
        answer(LENGTH, b"X-Long: " + b"x" * MAX_HEAD_BYTES),
        answer(status=b"HTTP/1.1 100 Continue", body=b"") * 40,
    ],
)
def test_what_no_browser_takes_is_refused(raw: bytes) -> None:
    assert body_of(raw) == "connection_failed"


@pytest.mark.parametrize(
    "name", [b"none", b"UTF-8", b"binary", b"aws-chunked", b"image/jpeg", b"", b"identity", b"gzip"]
)
def test_a_coding_that_the_body_does_not_have_means_nothing(name: bytes) -> None:
    assert body_of(answer(LENGTH, b"Content-Encoding: " + name)) == BODY


@pytest.mark.parametrize(
    ("names", "body"),
    [
        ([b"gzip"], gzip.compress(BODY)),
        ([b"x-gzip, none"], gzip.compress(BODY)),
        ([b"gzip, gzip"], gzip.compress(gzip.compress(BODY))),
        ([b"deflate", b"gzip"], gzip.compress(zlib.compress(BODY))),
        ([b"gzip"], gzip.compress(BODY[:99]) + gzip.compress(BODY[99:])),
        ([b"gzip"], gzip.compress(BODY) + b"behind"),
        ([b"gzip"], gzip.compress(BODY)[:-8]),  # its checksum is lost, nothing else
    ],
)
def test_codings_are_undone(names: list[bytes], body: bytes) -> None:
    assert body_of(answer(*[b"Content-Encoding: " + name for name in names], body=body)) == BODY


@pytest.mark.parametrize(
    ("content_range", "is_whole"),
    [
        ("bytes 0-{last}/{all}", True),
        ("bytes 0-{all}/{all}", True),
        ("bytes 0-{last}/*", True),
        ("", True),
        ("bytes 0-{last}/999999", False),
        ("bytes 7-{last}/{all}", False),
    ],
)
def test_an_answer_of_status_206_is_a_whole_if_it_says_so(content_range: str, is_whole: bool) -> None:
    told = content_range.format(last=len(BODY) - 1, all=len(BODY)).encode()
    got = body_of(answer(LENGTH, b"Content-Range: " + told, status=b"HTTP/1.1 206 Partial Content"))
    assert got == (BODY if is_whole else "connection_failed")
    assert body_of(answer(LENGTH, b"Content-Range: " + told)) == BODY  # which says nothing of a 200


@pytest.mark.parametrize(
    "first",
    [
        [answer(LENGTH, body=BODY + answer(b"Content-Length: 5", body=b"stale"))],
        [answer(LENGTH, body=b""), BODY + answer(b"Content-Length: 5", body=b"stale")],
        [answer(b"Transfer-Encoding: chunked", body=b""), chunked(BODY) + answer(b"Content-Length: 5", body=b"stale")],
        [
            answer(
                LENGTH, b"Transfer-Encoding: chunked", body=chunked(BODY) + answer(b"Content-Length: 5", body=b"stale")
            )
        ],
        [answer(b"Content-Length : %d" % len(BODY)), answer(b"Content-Length: 5", body=b"stale")],
    ],
)
def test_no_answer_is_taken_for_another_s(first: list[bytes]) -> None:
    """What stands behind an answer, in the same segment or in one of its own, is no answer to the next request."""

    def reply(asked: Asked, opened: socket.socket) -> bool:
        if asked.path == "/first":
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in first:
                opened.sendall(piece)
                threading.Event().wait(0.05)
        else:
            opened.sendall(answer(b"Content-Length: 6", body=b"second"))
        return True

    with serving(reply) as port:
        rows = get(port, "/first", "/second")
    assert [row.detail for row in rows] == [repr(BODY), repr(b"second")]


def test_a_connection_is_used_again_after_an_answer_without_oddities() -> None:
    connections: set[int] = set()

    def reply(asked: Asked, opened: socket.socket) -> bool:
        connections.add(opened.getpeername()[1])
        odd = b"X-Odd : 1" if asked.path.startswith("/odd") else b"X-Even: 1"
        opened.sendall(answer(LENGTH, odd))
        return True

    with serving(reply) as port:
        assert {row.outcome for row in get(port, "/a", "/b", "/c")} == {"taken"}
        assert len(connections) == 1
        assert {row.outcome for row in get(port, "/odd", "/odd2", "/odd3")} == {"taken"}
    assert len(connections) == 4


@pytest.mark.parametrize("rest", [b"Content-Length: 60000\r\n\r\nsome", b"Transfer-Encoding: chunked\r\n\r\n5\r\nsome"])
def test_an_error_page_that_does_not_end_is_an_error_page(monkeypatch: pytest.MonkeyPatch, rest: bytes) -> None:
    monkeypatch.setattr("crawl.web.client._DRAIN_S", 0.05)

    def reply(asked: Asked, opened: socket.socket) -> bool:
        opened.sendall(b"HTTP/1.1 404 Not Found\r\n" + rest)
        return True  # and it says no more

    with serving(reply) as port:
        (row,) = get(port, "/gone")
    assert (row.outcome, row.status) == ("http_client_error", 404)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"Content-Length: 5", b"Transfer-Encoding: chunked", b" fold", b"A: b", b"X :y"]),
        ),
        max_size=8,
    )
)
def test_what_is_put_right_stays_right_and_names_one_length(lines: list[bytes]) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *(line.replace(b"\n", b"") for line in lines if line.strip()), b"", b""])
    try:
        right, _ = put_right(head)
    except OddHeadError:
        return
    assert put_right(right) == (right, True)
    names = [line.partition(b":")[0].lower() for line in right.split(b"\r\n")]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


def test_a_head_costs_time_in_proportion_to_its_bytes() -> None:
    for line in (b" x\r\n", b"a:\r\n", b"\x01\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: x\r\n", b"::::\r\n"):
        head = b"HTTP/1.1 200 OK\r\n" + line * (MAX_HEAD_BYTES // len(line)) + b"\r\n"
        assert put_right(head)[1] in (True, False)


def test_a_certificate_is_its_sites_by_the_names_that_it_is_issued_for() -> None:
    async def context() -> ssl.SSLContext:
        connector = Connector()
        await connector.close()
        return connector._get_ssl_context(type("Request", (), {"is_ssl": lambda self: True, "ssl": True})())  # type: ignore

    made = asyncio.run(context())
    assert made.verify_mode == ssl.CERT_REQUIRED and made.check_hostname
    assert not made.hostname_checks_common_name
