"""Images taken in by threads."""

import threading
from collections.abc import Callable, Iterator

import pytest

from crawl.images.parallel import Allowance, in_order

LONG = 60.0


def test_results_come_in_the_order_of_the_work_whoever_is_first() -> None:
    later = threading.Event()

    def first() -> int:
        assert later.wait(LONG)
        return 0

    def second() -> int:
        later.set()
        return 1

    work: list[tuple[str, int, Callable[[], int]]] = [("a", 1, first), ("b", 1, second)]
    assert list(in_order(work)) == [("a", 0), ("b", 1)]


def test_little_of_the_work_is_drawn_ahead() -> None:
    drawn = 0

    def bodies(size: int) -> Iterator[tuple[int, int, Callable[[], int]]]:
        nonlocal drawn
        for number in range(1_000):
            drawn += 1
            yield number, size, lambda number=number: number

    for size, most in ((1, 18), (40 * 2**20, 3)):
        drawn = 0
        for number, result in in_order(bodies(size)):
            assert number == result and drawn <= number + most


def test_what_a_piece_raises_ends_the_work() -> None:
    def fails() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order([(0, 1, fails), (1, 1, lambda: 1)]))


def test_threads_use_no_more_room_than_there_is() -> None:
    room, lock = Allowance(10), threading.Lock()
    used, most = 0, 0

    def use(amount: int) -> int:
        nonlocal used, most
        with room.of(amount):
            with lock:
                used += amount
                most = max(most, used)
            with lock:
                used -= amount
        return amount

    amounts = [1, 6, 5, 30, 2, 10] * 30
    assert [result for _, result in in_order((n, 0, lambda n=n: use(n)) for n in amounts)] == amounts
    assert most <= 10 or most == 30, "who wants more than all of it is alone"
