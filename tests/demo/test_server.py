"""The demo's servers, met over real sockets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pyarrow as pa
import pytest

from demo.server import Server
from demo.web import TRUTH, Answer, Web


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    answers = {
        ("a.example", "/"): Answer(b"page of a"),
        ("b.example", "/"): Answer(b"page of b", headers={"X-Robots-Tag": "noai"}),
        ("a.example", "/moved"): Answer(status=301, headers={"Location": "http://b.example/"}),
        ("a.example", "/reset"): Answer(behaviour="reset"),
        ("a.example", "/wait"): Answer(behaviour="wait"),
        ("a.example", "/endless"): Answer(media_type="image/jpeg", behaviour="endless"),
    }
    with Server(Web(answers, TRUTH.empty_table(), (), 0, 0, {}, {})) as running:
        yield running


def get(server: Server, host: str, path: str, timeout: float = 5) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    connection.request("GET", path, headers={"Host": host})
    return connection.getresponse()


def test_the_host_header_chooses_the_site(server: Server) -> None:
    assert get(server, "a.example", "/").read() == b"page of a"
    assert get(server, "b.example", "/").read() == b"page of b"
    assert get(server, "b.example", "/").getheader("X-Robots-Tag") == "noai"
    assert get(server, "c.example", "/").status == 404
    assert server.resolve == dict.fromkeys(("a.example", "b.example"), f"127.0.0.1:{server.port}")
    assert server.requests["b.example"] >= 2


def test_redirects_are_answered_and_not_followed(server: Server) -> None:
    answer = get(server, "a.example", "/moved")
    assert (answer.status, answer.getheader("Location")) == (301, "http://b.example/")


def test_a_server_can_reset_stall_and_never_end(server: Server) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(server, "a.example", "/reset")
    with pytest.raises(TimeoutError):
        get(server, "a.example", "/wait", timeout=0.3)
    assert len(get(server, "a.example", "/endless").read(3_000_000)) == 3_000_000


def test_a_port_that_is_taken_is_replaced_by_another(server: Server) -> None:
    with Server(Web({}, pa.table({}), (), 0, 0, {}, {}), server.port) as other:
        assert other.port != server.port
