"""Ctrl-C ends a query within a moment.

DuckDB looks for signals only between its own steps, of which one may take minutes; but it heeds `interrupt` at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

import duckdb

Answer = TypeVar("Answer")
_LOOK_S = 0.1  # between two looks at whether Ctrl-C was pressed


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], Answer]) -> Answer:
    """Return what `work` returns, done in another thread. On Ctrl-C its query is stopped, and KeyboardInterrupt is
    raised.
    """
    done: Future[Answer] = Future()
    begun, stopped = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        try:
            if stopped.is_set():
                done.cancel()
            else:
                done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        while not done.done():  # in turns: a Ctrl-C just before a wait without end is not noticed until it is over
            wait([done], _LOOK_S)
        return done.result()
    except KeyboardInterrupt:
        stopped.set()  # a thread that has not begun by now does nothing
        while begun.is_set() and not done.done():  # its query may be just about to begin
            connection.interrupt()
            wait([done], _LOOK_S)  # no Thread.join: Python 3.11 takes one that Ctrl-C ends for the thread's end
        raise
