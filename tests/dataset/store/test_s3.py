"""A busy S3 server is asked again, later and later; a public bucket is read without credentials."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from dataset.store import s3, waits
from dataset.store.storage import Storage, open_input
from tests.s3_server import forget_clients

BODY = b"an archive" * 20
SLOW = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Busy(ThreadingHTTPServer):
    """Answers 503 SlowDown to the first requests of each method, then serves one object of any name."""

    def __init__(self, refusals: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals = refusals
        self.asked: Counter[str] = Counter()
        self.signed: list[bool] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Busy

    def do_GET(self) -> None:
        self.server.asked[self.command] += 1
        self.server.signed.append("Authorization" in self.headers)
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        busy = self.server.asked[self.command] <= self.server.refusals
        body = SLOW if busy else b"" if self.command == "PUT" else BODY
        part = "Range" in self.headers and not busy
        first, last = map(int, self.headers.get("Range", "bytes=0-0").removeprefix("bytes=").split("-"))
        body = body[first : last + 1] if part else body
        self.send_response(503 if busy else 206 if part else 200)
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(BODY)}")
        self.send_header("Last-Modified", "Wed, 01 May 2024 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    server = Busy(4)  # one more than clients that give up after three tries bear
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE", "OPENWIT_S3_ANONYMOUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    forget_clients()
    yield server
    forget_clients()
    server.shutdown()
    server.server_close()


def test_a_busy_server_is_asked_until_it_answers(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    assert s3.version("s3://bucket/file", "bucket", "file") == "1"
    with open_input("s3://bucket/file") as file:
        assert file.read() == BODY
    assert Storage("s3://bucket").read_ranges("file", [(3, 7)]) == [b"archive"]
    assert Storage("s3://bucket").create("record", b"x")
    assert busy.asked["PUT"] == 5
    assert all(busy.signed)


def test_one_that_stays_busy_is_said_to_be(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    busy.refusals = 1_000
    with pytest.raises(ConnectionError, match="busy"):
        Storage("s3://bucket").create("record", b"x")
    assert busy.asked["PUT"] == s3.ATTEMPTS


def test_a_long_wait_says_for_whom_how_long_and_why(
    busy: Busy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: threading.Event().wait(0.3)))
    s3.client()  # which takes its time to be made
    monkeypatch.setattr(waits, "FIRST_S", 0.4)
    assert Storage("s3://bucket").create("record", b"x")
    said = [record.getMessage() for record in caplog.records]
    assert 1 <= len(said) <= 6  # each after twice as long, while boto3 slows itself down
    line = r"still waiting for s3://bucket, for \d+ s now \(SlowDown, try [1-4] of 10\)"
    assert all(re.fullmatch(line, text) for text in said), said
    caplog.clear()
    busy.refusals = 0
    assert Storage("s3://bucket").read("file") == BODY  # answers at once
    assert not caplog.records


@pytest.mark.parametrize(
    "ask",
    [
        lambda storage: storage.replace("a", b"old", b"new"),
        lambda storage: storage.delete_same("a", b"old"),
        lambda storage: storage.delete(["a"]),
        lambda storage: storage.create("a", b"new"),
        lambda storage: storage.size("a"),
        lambda storage: storage.exists("a"),
        lambda storage: storage.list(),
        lambda storage: storage.read("a"),
        lambda storage: storage.write("a", b"new"),
        lambda storage: storage.open_output("a"),
        lambda storage: s3.version("s3://bucket/a", "bucket", "a"),
    ],
)
def test_every_request_says_that_it_waits(ask: Callable[[Storage], object], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextmanager
    def said(who: str) -> Iterator[None]:
        told.append(who)
        yield

    def refuse(*_: object, **__: object) -> NoReturn:
        assert told, "nobody would know for whom is waited"
        raise KeyError

    monkeypatch.setattr(waits, "announce_wait", said)
    storage = Storage("s3://bucket")
    names = ("get_file_info", "open_input_file", "open_output_stream")
    storage._fs = SimpleNamespace(**dict.fromkeys(names, refuse))
    monkeypatch.setattr(s3, "client", refuse)
    with pytest.raises(KeyError):
        ask(storage)


def test_a_public_bucket_needs_no_credentials(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    busy.refusals = 0
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("OPENWIT_S3_ANONYMOUS", "1")
    assert s3.version("s3://bucket/file", "bucket", "file") == "1"
    with open_input("s3://bucket/file") as file:
        assert file.read() == BODY
    assert not any(busy.signed)


def test_a_file_that_the_server_does_not_delete_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeleteObjects answers 200 and says within which objects it has left."""
    asked = []

    def delete_objects(**request: Any) -> dict[str, Any]:
        asked.append(len(request["Delete"]["Objects"]))
        gone = {"Key": "a/gone.jpg", "Code": "NoSuchKey", "Message": ""}
        return (
            {"Errors": [gone, {"Key": "a/secret.jpg", "Code": "AccessDenied", "Message": "no"}]}
            if len(asked) == 2
            else {"Errors": [gone]}
        )

    monkeypatch.setattr(s3, "client", lambda: SimpleNamespace(delete_objects=delete_objects))
    with pytest.raises(PermissionError, match=r"s3://bucket/a/secret.jpg cannot be deleted \(AccessDenied: no\)"):
        s3.delete("s3://bucket/a", "bucket", [f"a/{number}" for number in range(1_500)])
    assert asked == [1_000, 500]
