"""One run holds a dataset; a dead one does not hold it for ever."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dataset.ledger.lease import LEASE, Lease, LeaseFence, LeaseHeldError, LeaseLostError, _steady_clock
from dataset.store.local_files import TEMPORARY
from dataset.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def hold(storage: Storage, **changes: object) -> None:
    """Another run's lease: of another machine, and live, unless changed."""
    body = {"token": "other", "host": "elsewhere", "pid": 1, "started": "1", "expires": time.time() + 60, **changes}
    storage.write(LEASE, json.dumps(body).encode())


def test_it_is_there_while_held_and_gone_after(storage: Storage) -> None:
    with Lease(storage) as lease:
        held = json.loads(storage.read(LEASE))
        assert (held["pid"], held["host"]) == (os.getpid(), socket.gethostname())
        lease.check()
    assert not storage.exists(LEASE)


def test_an_error_in_the_run_gives_it_back(storage: Storage) -> None:
    with pytest.raises(KeyError), Lease(storage):
        raise KeyError
    with Lease(storage):
        pass


def test_a_second_holder_is_refused_with_the_name_of_the_first(storage: Storage) -> None:
    with Lease(storage):
        with (
            pytest.raises(LeaseHeldError, match=rf"process {os.getpid()} on .*its lease ends in \d+ s"),
            Lease(storage),
        ):
            raise AssertionError
        assert storage.exists(LEASE)


def test_another_machines_lease_holds_until_it_has_run_out(storage: Storage) -> None:
    hold(storage)
    with pytest.raises(LeaseHeldError, match="on elsewhere"), Lease(storage):
        raise AssertionError
    hold(storage, expires=time.time() - 1)
    with Lease(storage) as lease:
        lease.check()
    assert not storage.exists(LEASE)


def test_a_killed_process_of_this_machine_holds_nothing(storage: Storage) -> None:
    code = (
        "import os, signal; from dataset.ledger.lease import Lease; from dataset.store.storage import Storage\n"
        f"Lease(Storage({storage.url!r})).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=120)
    assert storage.exists(LEASE)
    storage.write("kept", b"x")
    (Path(storage.url) / f"{TEMPORARY}0-half").write_bytes(b"ha")
    with Lease(storage):
        files = sorted(path.name for path in Path(storage.url).rglob("*") if path.is_file())
        assert files == ["kept", LEASE]


def test_a_reused_pid_is_not_the_holder(storage: Storage) -> None:
    hold(storage, host=socket.gethostname(), pid=os.getpid(), started="some other time")
    with Lease(storage):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"token": "x"}',
        b"\xff\xfe",
        *(
            b'{"token": "x", "host": "h", "started": "", "pid": %s, "expires": %s}' % values
            for values in ((b"1", b"Infinity"), (b"1", b"NaN"), (b"1", b'"never"'), (b"[]", b"1e18"), (b'"1"', b"1e18"))
        ),
    ],
)
def test_a_lease_that_cannot_be_read_holds_nothing(storage: Storage, damage: bytes) -> None:
    storage.write(LEASE, damage)
    with Lease(storage):
        pass
    assert not storage.exists(LEASE)


def take_at_once(url: str, takers: int = 4) -> list[str]:
    """What became of each of several runs that want the same lease at the same moment."""
    together, done = threading.Barrier(takers), threading.Event()
    results: list[str] = []

    def take() -> None:
        together.wait()
        try:
            with Lease(Storage(url)):  # a storage of its own, as every run has: the winner's is fenced
                results.append("won")
                done.wait(60)
        except LeaseHeldError:
            results.append("refused")

    threads = [threading.Thread(target=take) for _ in range(takers)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while len(results) < takers and time.monotonic() < until:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    return sorted(results)


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_takers_of_a_dead_lease_one_wins(storage: Storage, attempt: int) -> None:
    hold(storage, expires=0.0)
    assert take_at_once(storage.url) == ["refused"] * 3 + ["won"]
    assert not storage.exists(LEASE)


def test_where_folders_cannot_be_locked_at_most_one_wins(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    hold(storage, expires=0.0)
    results = take_at_once(storage.url)
    assert len(results) == 4
    assert results.count("won") <= 1


@pytest.mark.parametrize("call", ["create", "replace"])
def test_who_is_in_the_way_may_sweep_away_a_draft(storage: Storage, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    hold(storage, expires=0.0)
    swept = [FileNotFoundError(2, "No such file or directory")]
    real = getattr(storage, call)

    def once(*arguments: object) -> object:
        if swept:
            raise swept.pop()
        return real(*arguments)

    monkeypatch.setattr(storage, call, once)
    with Lease(storage) as lease:
        assert json.loads(storage.read(LEASE))["token"] == lease.token


def test_where_no_file_can_be_made_it_is_said(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> bool:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(storage, "create", nowhere)
    with pytest.raises(FileNotFoundError), Lease(storage):
        pass


def test_it_is_renewed_while_it_is_held(storage: Storage) -> None:
    with Lease(storage, seconds=0.3):
        first = json.loads(storage.read(LEASE))["expires"]
        until = time.monotonic() + 60
        while json.loads(storage.read(LEASE))["expires"] == first:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_who_was_taken_over_is_told_and_leaves_the_other_in_peace(storage: Storage) -> None:
    with Lease(storage, seconds=0.3) as lease:
        hold(storage)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                lease.check()
            except LeaseLostError as error:
                assert "what this run committed is kept" in str(error)
                break
            time.sleep(0.02)
        else:
            raise AssertionError("it was never told")
    assert json.loads(storage.read(LEASE))["token"] == "other"


def test_who_lost_the_lease_writes_and_deletes_nothing_more(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped, and wakes when another has taken over."""
    with Lease(storage, seconds=60) as lease:
        storage.write("a/before", b"mine")
        taken = {"token": "other", "host": "elsewhere", "pid": 1, "started": "1", "expires": time.time() + 60}
        Storage(storage.url).write(LEASE, json.dumps(taken).encode())
        now = _steady_clock()
        monkeypatch.setattr("dataset.ledger.lease._steady_clock", lambda: now + 100)
        for call in (
            lambda: storage.write("a/after", b"x"),
            lambda: storage.create("a/after", b"x"),
            lambda: storage.open_output("a/after"),
            lambda: storage.delete(["a/before"]),
            lease.check,
        ):
            with pytest.raises(LeaseLostError, match="has taken over"):
                call()
        storage.fence = None
        assert [info.name for info in storage.list("a")] == ["a/before"]
        monkeypatch.undo()
    assert json.loads(storage.read(LEASE))["token"] == "other"  # and leaves the other's lease


def test_a_workers_writing_is_fenced_by_the_token_that_it_was_given(storage: Storage) -> None:
    with Lease(storage) as lease:
        fence = LeaseFence(storage.url, lease.token)
        fence()
        with pytest.raises(LeaseLostError):
            LeaseFence(storage.url, "another")()
    with pytest.raises(LeaseLostError):
        fence.ask()
