"""Ctrl-C ends a query within a moment.

DuckDB looks for signals only between its own steps, of which one may take minutes; but it heeds `interrupt` at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
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
            if not stopped.is_set():
                done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        while thread.is_alive():  # in turns: a Ctrl-C just before a wait without end is not noticed until it is over
            thread.join(_LOOK_S)
        return done.result()
    except KeyboardInterrupt:
        stopped.set()  # a thread that has not begun by now does nothing
        while begun.is_set() and thread.is_alive():  # its query may be just about to begin
            connection.interrupt()
            thread.join(0.05)
        raise
