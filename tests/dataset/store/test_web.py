from __future__ import annotations

import random
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataset.store.web
from dataset.store.faults import ServiceError
from dataset.store.storage import open_input
from dataset.store.web import WebFile, info, is_web
from tests.range_server import RangeServer, running

CONTENT = random.Random(0).randbytes(1_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    folder = tmp_path_factory.mktemp("web")
    (folder / "file").write_bytes(CONTENT)
    with running(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_a_file_reads_seeks_and_tells(server: RangeServer) -> None:
    with open_input(f"{server.url}/file?x") as file:
        assert file.size() == len(CONTENT)
        assert file.read() == CONTENT
        assert file.read(5) == b""
        assert file.seek(-7, 2) == file.tell() == len(CONTENT) - 7
        assert file.read(100) == CONTENT[-7:]
        assert file.seek(3) == 3
        assert file.read(2) == CONTENT[3:5]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 700_000)), max_size=6))
def test_any_part_is_the_part(server: RangeServer, parts: list[tuple[int, int]]) -> None:
    check_parts(server, parts)


def check_parts(server: RangeServer, parts: list[tuple[int, int]]) -> None:
    file = WebFile(f"{server.url}/file")
    for offset, count in parts:
        file.seek(offset)
        assert file.read(count) == CONTENT[offset : offset + count]


def test_a_small_part_costs_little(server: RangeServer) -> None:
    file = WebFile(f"{server.url}/file")
    server.sent = 0
    file.seek(500_000)
    file.read(10)
    assert server.sent <= 2**18


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_busy_server_is_asked_again(server: RangeServer, status: int, waits: list[float]) -> None:
    server.busy = [(status, {}), (status, {"Retry-After": "7"}), (status, {"Retry-After": "999999"})]
    assert info(f"{server.url}/file").size == len(CONTENT)
    assert waits == [1.0, 7.0, 120.0]


def test_a_broken_transfer_is_asked_again(server: RangeServer) -> None:
    file = WebFile(f"{server.url}/file")
    server.cut = 1000
    assert file.read() == CONTENT


@pytest.fixture
def without_ranges(server: RangeServer) -> Iterator[RangeServer]:
    dataset.store.web._piece_cache.cache_clear()
    server.knows_ranges = False
    server.hits.clear()
    yield server
    server.knows_ranges = True


def test_a_server_without_ranges_sends_a_file_once_in_whatever_order_it_is_read(without_ranges: RangeServer) -> None:
    for offset, count in [(600_000, 9), (0, 300_000), (999_990, 50), (250_000, 600_000)]:
        with open_input(f"{without_ranges.url}/file") as file:  # as one piece of an archive after the other is
            file.seek(offset)
            assert file.read(count) == CONTENT[offset : offset + count]
    with open_input(f"{without_ranges.url}/file") as file:
        assert b"".join(iter(lambda: file.read(10_000), b"")) == CONTENT
    # Each time a file is opened its server is asked for a range; all but one of those answers are let go unread.
    assert without_ranges.hits["GET /file"] == 5 + 1


@settings(max_examples=10)
@given(parts=st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 700_000)), max_size=6))
def test_any_part_from_a_server_without_ranges_is_the_part(server: RangeServer, parts: list[tuple[int, int]]) -> None:
    server.knows_ranges = False
    dataset.store.web._piece_cache.cache_clear()
    try:
        check_parts(server, parts)
    finally:
        server.knows_ranges = True


def test_a_whole_answer_that_breaks_off_is_taken_up_again(without_ranges: RangeServer) -> None:
    file = WebFile(f"{without_ranges.url}/file")
    file._knows_ranges = False
    without_ranges.cut = 1000
    assert file.read() == CONTENT
    assert without_ranges.hits["GET /file"] == 2


def test_a_file_that_changes_between_two_whole_answers_is_an_error(without_ranges: RangeServer) -> None:
    path = without_ranges.folder / "changing"
    path.write_bytes(CONTENT)
    file = WebFile(f"{without_ranges.url}/changing")
    file._knows_ranges = False
    without_ranges.cut = 1000
    assert file.read(10) == CONTENT[:10]
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(OSError, match="changed while it was read"):
        file.read()


def test_what_cannot_be_read_says_so(server: RangeServer, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        info(f"{server.url}/none")
    with pytest.raises(OSError, match="status 401"):
        server.busy = [(401, {})]
        info(f"{server.url}/file")
    assert not waits
    server.busy = [(503, {})] * 9
    with pytest.raises(OSError, match=r"after 9 tries and 180 s of waiting.*status 503.*try again later"):
        info(f"{server.url}/file")
    assert waits == [1, 2, 4, 8, 16, 32, 64, 53]
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url}/file cannot be read now (status 503); asked again in {wait:.0f} s, try {number}, "
        f"after {sum(waits[: number - 1]):.0f} of 180 s of patience"
        for number, wait in enumerate(waits, 2)
        if wait >= 2
    ]


@pytest.mark.parametrize(("patience_s", "waited"), [(0, []), (5, [1, 2, 2]), (200, [1, 2, 4, 8, 16, 32, 64, 73])])
def test_patience_is_the_sum_of_all_waits(
    server: RangeServer, waits: list[float], patience_s: float, waited: list[float]
) -> None:
    server.busy = [(503, {})] * (len(waited) + 1)
    dataset.store.web.be_patient(patience_s)
    try:
        with pytest.raises(OSError, match="status 503"):
            info(f"{server.url}/file")
    finally:
        dataset.store.web.be_patient(dataset.store.web.PATIENCE_S)
    assert waits == waited
    assert not server.busy


def test_an_hour_that_a_server_asks_for_is_no_more_than_the_patience(server: RangeServer, waits: list[float]) -> None:
    server.busy = [(503, {"Retry-After": "3600"})] * 3
    with pytest.raises(OSError, match="status 503"):
        info(f"{server.url}/file")
    assert waits == [120, 60]
    with pytest.raises(ServiceError, match="cannot be read"):
        info("http://127.0.0.1:9/file")


def test_a_server_that_fails_while_a_file_is_read_is_an_error_of_the_environment(server: RangeServer) -> None:
    with open_input(f"{server.url}/file") as file:  # through Arrow
        server.busy = [(503, {"Retry-After": "3600"})] * 3
        with pytest.raises(ServiceError, match="status 503"):
            file.read()


def test_a_file_that_cannot_be_kept_is_not_begun(without_ranges: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset.store.web.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
    file = WebFile(f"{without_ranges.url}/file")
    with pytest.raises(ServiceError, match=r"knows no ranges.* has 1,000 bytes free; TMPDIR names another folder"):
        file.read(10)
    assert without_ranges.hits["GET /file"] == 1


def test_a_file_that_shrinks_is_an_error(server: RangeServer) -> None:
    path = server.folder / "shrinking"
    path.write_bytes(CONTENT)
    file = WebFile(f"{server.url}/shrinking")
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(OSError, match="it has changed"):
        file.read(5000)


def test_another_range_than_was_asked_for_is_an_error(server: RangeServer) -> None:
    (server.folder / "shifted").write_bytes(CONTENT * 2)
    file = WebFile(f"{server.url}/shifted")
    server.shifted = 10
    try:
        with pytest.raises(OSError, match="sent those from 15"):
            file.seek(5)
            file.read(20)
    finally:
        server.shifted = 0


def test_the_version_changes_with_the_file(server: RangeServer) -> None:
    path = server.folder / "other"
    path.write_bytes(b"a")
    before = info(f"{server.url}/other")
    path.write_bytes(b"b")
    assert (info(f"{server.url}/other") != before, before.size) == (True, 1)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("file:///etc/passwd", "no http or https address"),
        ("http://localhost:{port}/file", "private address"),
        ("http://10.0.0.1/file", "private address 10.0.0.1"),
        ("http://169.254.169.254/latest/meta-data", "private address"),
        ("http://[::1]/file", "private address"),
        ("/file", "more than 5 times"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_not_asked_again(
    to: str, words: str, server: RangeServer, waits: list[float]
) -> None:
    server.busy = [(302, {"Location": to.format(port=server.url.rpartition(":")[2])})] * 6
    with pytest.raises(OSError, match=words):
        info(f"{server.url}/file")
    assert not waits
    server.busy = []


def test_a_redirect_on_the_same_host_is_followed(server: RangeServer) -> None:
    server.busy = [(302, {"Location": "/file"})] * 5
    assert info(f"{server.url}/elsewhere").size == len(CONTENT)


@pytest.mark.parametrize("length", ["abc", "-1", "1e3", "9" * 400, "\u00b2"])
def test_a_length_that_is_none_is_a_sentence(length: str, server: RangeServer, waits: list[float]) -> None:
    server.busy = [(200, {"Content-Length": length})]
    with pytest.raises(OSError, match=r"cannot be read"):
        info(f"{server.url}/file")
    assert not waits


@pytest.mark.parametrize("said", ["\u00b2", "9" * 400, "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_pause_that_is_none_is_passed_over(said: str, server: RangeServer, waits: list[float]) -> None:
    server.busy = [(503, {"Retry-After": said})]
    assert info(f"{server.url}/file").size == len(CONTENT)
    assert waits == [1.0]


def test_a_body_that_drips_is_given_up(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    file = WebFile(f"{server.url}/file")
    clock = [0.0]

    def later() -> float:
        clock[0] += 40.0
        return clock[0]

    monkeypatch.setattr(dataset.store.web, "MIN_BYTES_PER_S", 10**9)
    monkeypatch.setattr(time, "monotonic", later)
    with pytest.raises(OSError, match="fewer than 1000000000 bytes a second"):
        file.read()


def test_waiting_has_an_end(server: RangeServer, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(dataset.store.web, "TOTAL_S", 2.5)
    monkeypatch.setattr(time, "monotonic", lambda: sum(waits))
    server.busy = [(503, {})] * 8
    with pytest.raises(OSError, match="status 503"):
        info(f"{server.url}/file")
    assert waits == [1.0]
    server.busy = []


def test_schemes() -> None:
    assert is_web("HTTPS://a.example/")
    assert not is_web("s3://a/b")
    assert not is_web("http")
