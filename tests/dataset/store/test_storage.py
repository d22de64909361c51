"""One behaviour on every kind of storage: a folder, a bucket, and whatever fsspec knows."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset.store import faults
from dataset.store.local_files import TEMPORARY
from dataset.store.storage import FileInfo, Storage, absolute, is_local, open_input
from tests import s3_server

Make = Callable[[], Storage]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server.running() as url:
        yield url


@pytest.fixture(params=["folder", "memory", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an empty storage of one kind."""
    root = {
        "folder": lambda: str(tmp_path),
        "memory": lambda: "memory://storage",
        "s3": lambda: str(request.getfixturevalue("bucket")),
    }[request.param]()
    return lambda: Storage(f"{root}/{uuid.uuid4().hex}")


def test_what_is_written_is_read_and_listed(make: Make) -> None:
    storage = make()
    assert storage.list() == []
    assert storage.list("no/such/folder", recursive=True) == []
    storage.write("b/two.bin", b"22")
    storage.write("b/one.bin", b"1")
    storage.write("top.bin", b"")
    storage.write("b/c/three.bin", memoryview(b"333"))
    assert storage.read("b/two.bin") == b"22"
    assert storage.list() == [FileInfo("top.bin", 0)]
    assert storage.list("b") == [FileInfo("b/one.bin", 1), FileInfo("b/two.bin", 2)]
    assert [info.name for info in storage.list(recursive=True)] == [
        "b/c/three.bin",
        "b/one.bin",
        "b/two.bin",
        "top.bin",
    ]
    names = ["top.bin", "b/c/three.bin", "b/one.bin"]
    assert storage.read_all(names) == [b"", b"333", b"1"]


@pytest.mark.parametrize("name", ["crawl.warc.gz", "list.zst", "rows.lz4", "a.bz2"])
def test_no_name_has_its_bytes_compressed(make: Make, name: str) -> None:
    storage = make()
    storage.write(name, b"as it is")
    assert storage.read(name) == b"as it is"


def test_a_write_replaces(make: Make) -> None:
    storage = make()
    storage.write("file", b"a long first version")
    storage.write("file", b"short")
    assert storage.read("file") == b"short"


def test_create_leaves_what_is_there(make: Make) -> None:
    storage = make()
    assert storage.create("a/record", b"first")
    assert not storage.create("a/record", b"second")
    assert storage.read("a/record") == b"first"
    storage.delete(["a/record"])
    assert storage.create("a/record", b"third")


def test_what_is_not_there_is_said_so(make: Make) -> None:
    storage = make()
    assert not storage.exists("nothing")
    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    with pytest.raises(FileNotFoundError):
        storage.read_all(["nothing", "nor this"])
    storage.write("folder/file", b"x")
    assert storage.exists("folder/file")
    assert not storage.exists("folder")


def test_deleting_what_is_gone_is_no_error(make: Make) -> None:
    storage = make()
    storage.write("here", b"x")
    storage.delete(["here", "gone"])
    storage.delete([])
    assert storage.list() == []


@pytest.mark.parametrize("name", ["../beside", "/etc/passwd", "a/../../beside", ".."])
def test_no_name_leaves_the_root(make: Make, name: str) -> None:
    storage = make()
    with pytest.raises(ValueError, match="outside the dataset"):
        storage.write(name, b"x")


def test_a_storage_travels_to_another_process(make: Make) -> None:
    storage = make()
    storage.write("file", b"x")
    again = pickle.loads(pickle.dumps(storage))
    assert again.url == storage.url
    assert again.read("file") == b"x"
    with open_input(storage.url_of("file")) as file:
        assert file.read() == b"x"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 70_000)), max_size=8),
)
def test_ranges_come_back_in_the_order_asked(make: Make, ranges: list[tuple[int, int]]) -> None:
    storage = make()
    data = bytes(i * i % 251 for i in range(270_000))
    storage.write("blob", data)
    assert storage.read_ranges("blob", ranges) == [data[first : first + length] for first, length in ranges]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_of_many_creators_one_wins(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root = str(tmp_path) if kind == "folder" else f"{request.getfixturevalue('bucket')}/race"
    together = threading.Barrier(8)
    winners = []

    def create(number: int) -> None:
        storage = Storage(root)
        together.wait()
        if storage.create("record", b"%d" % number):
            winners.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert Storage(root).read("record") == b"%d" % winners[0]


def test_more_files_than_one_request_may_delete(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset.store.s3.KEYS_PER_REQUEST", 3)
    storage = Storage(f"{bucket}/many")
    names = [f"file-{number}" for number in range(7)]
    for name in names:
        storage.write(name, b"x")
    storage.delete(names)
    assert storage.list() == []


def test_what_a_killed_writer_left_is_not_seen_and_is_swept(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/file", b"whole")
    (tmp_path / "a" / f"{TEMPORARY}0123-file").write_bytes(b"ha")
    assert [info.name for info in storage.list(recursive=True)] == ["a/file"]
    assert storage.sweep() == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("file", b"old")
    with pytest.raises(TypeError):
        storage.write("file", "no bytes")  # type: ignore[arg-type]
    assert storage.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("url", "local"),
    [("out", True), ("/out", True), ("file:///out", True), ("C:/out", True), ("s3://b/out", False), ("gs://b", False)],
)
def test_which_urls_are_paths(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_paths_are_made_absolute_and_urls_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("out") == str(tmp_path / "out")
    assert absolute(f"file://{tmp_path}/out") == str(tmp_path / "out")
    assert absolute("s3://bucket/out/") == "s3://bucket/out"


def test_an_unknown_kind_of_url_is_an_error() -> None:
    with pytest.raises((ImportError, ValueError)):
        Storage("nosuchscheme://somewhere/out")


@pytest.mark.parametrize("kind", ["file", "fifo", "link"])
def test_what_is_no_folder_is_no_storage(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out"
    if kind == "file":
        place.write_bytes(b"x")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "nowhere")
    for url in (place, place / "below" / "it"):
        with pytest.raises(NotADirectoryError, match=f"^{place} is no folder"):
            Storage(str(url))


def test_a_folder_is_deleted_with_all_below_it(make: Make) -> None:
    storage = make()
    for name in ("a/b/1", "a/2", "ab/3"):
        with storage.open_output(name) as file:
            file.write(name.encode())
    assert storage.read("a/b/1") == b"a/b/1"
    storage.delete_folder("a")
    storage.delete_folder("a")
    assert [info.name for info in storage.list(recursive=True)] == ["ab/3"]
    if storage.local:
        assert not Path(storage.path("a")).exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_file_that_cannot_be_written_is_named(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    storage = Storage(str(tmp_path))
    monkeypatch.setattr("dataset.store.local_files.Path.write_bytes", refused)
    for write in (storage.write, storage.create):
        with pytest.raises(OSError) as raised:
            write("a/b", b"x")
        assert raised.value.filename == str(tmp_path / "a" / "b")
        assert faults.sentence(raised.value).startswith(f"{tmp_path / 'a' / 'b'}: ")
        sent = pickle.loads(pickle.dumps(raised.value))  # from a child, which says otherwise that it crashed
        assert (type(sent), str(sent)) == (type(raised.value), str(raised.value))
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as raised:
        Storage(str(tmp_path)).write("a", b"x")
    assert "change its permissions or choose another place" in str(faults.sentence(raised.value))
