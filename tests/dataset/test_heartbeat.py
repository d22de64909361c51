"""What a process says of where it is, another reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dataset import heartbeat


@pytest.fixture
def memory() -> Iterator[bytearray]:
    made = bytearray(heartbeat.SIZE)
    heartbeat.attach(made)
    yield made
    heartbeat.attach(None)


def test_where_nobody_watches_nothing_is_said() -> None:
    heartbeat.attach(None)
    heartbeat.at(1)
    heartbeat.place("anywhere")
    heartbeat.progress(1, 2)
    with heartbeat.working_on("http://a.example/"):
        heartbeat.rest()


def test_units_places_and_progress(memory: bytearray) -> None:
    assert heartbeat.read(memory) == heartbeat.Pulse()
    heartbeat.place("a.warc.gz, the record at byte ")
    heartbeat.at(8, 12345)
    heartbeat.progress(3, 9)
    pulse = heartbeat.read(memory)
    (at,) = pulse.at
    assert (pulse.done, pulse.total, at.first, at.last, at.is_guarded) == (3, 9, 8, 9, True)
    assert at.place == "a.warc.gz, the record at byte 12,345"
    heartbeat.at(8, 12345)
    assert heartbeat.read(memory).at[0].beat != at.beat  # the same unit again is another beat
    heartbeat.rest()
    assert heartbeat.read(memory).at == ()


def test_threads_are_told_apart_and_names_are_units(memory: bytearray) -> None:
    heartbeat.name_units({"http://a.example/": 4})
    both, seen = threading.Barrier(2), []

    def work() -> None:
        with heartbeat.working_on("http://a.example/"):
            both.wait()
            both.wait()

    thread = threading.Thread(target=work)
    heartbeat.among(10, 20, is_guarded=False)
    thread.start()
    both.wait()
    seen = [(at.first, at.last, at.is_guarded, at.thread) for at in heartbeat.read(memory).at]
    both.wait()
    thread.join()
    assert [item[:3] for item in seen] == [(10, 20, False), (4, 5, True)]
    assert seen[0][3] == threading.get_native_id() != seen[1][3]
    assert len(heartbeat.read(memory).at) == 1


def test_a_place_from_the_web_cannot_write_on_the_terminal(memory: bytearray) -> None:
    heartbeat.place("a\x1b[31m\u202eb\n" + "c" * 1000)
    heartbeat.at(0)
    (at,) = heartbeat.read(memory).at
    assert at.place.isprintable() and len(at.place) < 256


def test_more_threads_than_slots_are_not_heard_and_harm_nothing(memory: bytearray) -> None:
    gate = threading.Barrier(heartbeat.THREADS + 9)

    def work() -> None:
        heartbeat.place("x" * 300)
        heartbeat.at(1)
        gate.wait()

    threads = [threading.Thread(target=work) for _ in range(heartbeat.THREADS + 8)]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    assert len(heartbeat.read(memory).at) == heartbeat.THREADS
