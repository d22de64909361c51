"""Who has lost the lease changes nothing more, at whatever moment it was stopped: on disk and in a bucket."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataset.ids import checksum
from dataset.ledger.commits import MANIFEST, Commit, FileRef, Ledger, put, write_manifest
from dataset.ledger.lease import LEASE, Lease, LeaseFence, LeaseHeldError, LeaseLostError
from dataset.store import s3
from dataset.store.storage import Storage
from tests import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server.running() as url:
        yield url


@pytest.fixture(params=["disk", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("dataset.ledger.lease._SETTLE_SECONDS", 0.0)
    if request.param == "disk":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def expire(url: str) -> None:
    """Have the lease run out, as if its holder had been stopped for a minute."""
    storage = Storage(url)
    held = json.loads(storage.read(LEASE))
    storage.write(LEASE, json.dumps({**held, "expires": 0.0}).encode())


class Stopped(LeaseFence):
    """The process stops right after it has been told that it may write; meanwhile another run takes over."""

    def __init__(self, url: str, token: str, then: Callable[[Storage], None] = lambda storage: None):
        super().__init__(url, token)
        self.then, self.others = then, list[Lease]()

    def __call__(self) -> None:
        super().__call__()
        if not self.others:
            expire(self.storage.url)
            storage = Storage(self.storage.url)
            self.others.append(Lease(storage).__enter__())
            self.then(storage)


@pytest.mark.parametrize(
    "change",
    [
        lambda storage: storage.write("a/new", b"mine"),
        lambda storage: storage.create("a/new", b"mine"),
        lambda storage: storage.replace("a/old", b"old", b"mine"),
        lambda storage: storage.delete(["a/old"]),
        lambda storage: storage.delete_same("a/old", b"old"),
        lambda storage: put(storage, "a/old", b"mine"),
    ],
    ids=["write", "create", "replace", "delete", "delete_same", "put"],
)
def test_nothing_comes_after_a_takeover_on_disk(tmp_path: Path, change: Callable[[Storage], object]) -> None:
    storage = Storage(str(tmp_path / "out"))
    with Lease(storage) as lease:
        storage.write("a/old", b"old")
        storage.fence = stopped = Stopped(storage.url, lease.token)
        with pytest.raises(LeaseLostError, match="has taken over"):
            change(storage)
        there = Storage(storage.url)
        assert [(info.name, there.read(info.name)) for info in there.list("a")] == [("a/old", b"old")]
    assert json.loads(there.read(LEASE))["token"] == stopped.others[0].token
    stopped.others[0].__exit__(None, None, None)
    assert [path.name for path in Path(storage.url).rglob("*") if path.is_file()] == ["old"]
    assert not list(Path(storage.url).glob(".*"))


def test_a_record_of_the_successor_is_not_overwritten(url: str) -> None:
    def commit(text: str) -> Commit:
        return Commit("text.measure", 0, "aa", {}, {}, {"by": text})

    def succeed(other: Storage) -> None:
        Ledger(other, "text.measure").add(commit("second"))
        write_manifest(other, {"by": "second"})

    storage = Storage(url)
    with Lease(storage) as lease:
        write_manifest(storage, {"by": "first"})
        storage.fence = stopped = Stopped(url, lease.token, succeed)
        for late in (
            lambda: Ledger(storage, "text.measure").add(commit("first")),
            lambda: write_manifest(storage, {"by": "late"}),
        ):
            with pytest.raises(LeaseLostError):
                late()
    (found,) = Ledger(Storage(url), "text.measure").load().values()
    assert found.facts == {"by": "second"}
    assert json.loads(Storage(url).read(MANIFEST))["by"] == "second"
    stopped.others[0].__exit__(None, None, None)


def test_a_record_that_came_late_does_not_count(url: str) -> None:
    storage = Storage(url)
    ledger = Ledger(storage, "text.measure")
    storage.write("text/measure/a", b"rows")
    files = {"rows": FileRef("text/measure/a", 4, checksum(b"rows"))}
    true, late = (Commit("text.measure", 0, "aa", files, {"input": count}) for count in (1, 2))
    ledger.close([true])
    ledger.add(late)
    assert list(ledger.load().values()) == [true]
    ledger.collect([true])
    assert list(ledger.load().values()) == [true]


def test_one_lease_after_the_other(url: str) -> None:
    storage = Storage(url)
    with Lease(storage, seconds=0.6):
        first = storage.read(LEASE)
        with pytest.raises(LeaseHeldError, match="its lease ends in"), Lease(Storage(url)):
            raise AssertionError
        until = time.monotonic() + 60
        while storage.read(LEASE) == first:  # it is renewed
            assert time.monotonic() < until
            time.sleep(0.05)
    assert not storage.exists(LEASE)


def test_a_lease_that_is_taken_by_two_is_one_s(url: str) -> None:
    """Both read a dead lease; what the slower one replaces is no more what it has read."""
    storage = Storage(url)
    with Lease(storage):
        expire(url)
        dead = storage.read(LEASE)
        other = Storage(url)
        with Lease(other) as second:
            assert not Storage(url).replace(LEASE, dead, b"a third")
            assert json.loads(other.read(LEASE))["token"] == second.token
            second.check()
        assert not other.exists(LEASE)


def test_a_fence_goes_with_its_storage_to_another_process(url: str) -> None:
    storage = Storage(url)
    with Lease(storage):
        travelled = pickle.loads(pickle.dumps(storage))
        travelled.write("a/b", b"x")
        expire(url)
        with Lease(Storage(url)), pytest.raises(LeaseLostError):
            travelled.fence.ask()


def test_what_a_server_without_conditions_answers_is_lived_with(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    storage = Storage(f"{bucket}/without")
    storage.write("a", b"old")
    client = s3.client()
    put_object = client.put_object

    def without(**asked: object) -> object:
        if "IfMatch" in asked:
            answer = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
            raise client.exceptions.ClientError(answer, "PutObject")
        return put_object(**asked)

    monkeypatch.setattr(client, "put_object", without)
    assert not storage.replace("a", b"another", b"new")
    assert storage.replace("a", b"old", b"new")
    assert storage.read("a") == b"new"
