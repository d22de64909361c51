"""The sandbox of DuckDB: connections that open the files that they are given and no others, and whose settings no
question changes.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from dataset.store.scratch import spill_folder

MEMORY_LIMIT = "2GB"
_ALONE: dict[str, Any] = {
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,  # a name in a query is a table that was passed, never a local variable
}


def connect(
    *, threads: int = 1, memory_limit: str = MEMORY_LIMIT, temp_directory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that spills to `temp_directory` (below TMPDIR by default), loads no extension by itself,
    and opens no file: a query there is a function of the tables that it is given.
    """
    settings: dict[str, Any] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "temp_directory": temp_directory or spill_folder(),
    }
    connection = duckdb.connect(":memory:", config={**settings, **_ALONE})
    confine(connection, ())
    return connection


def connect_for_questions(*, progress: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB for questions about a dataset, on all CPUs; `confine` it as soon as its views are made.

    progress: show on the terminal how far a query is that takes more than two seconds.
    """
    folder = str(Path(tempfile.gettempdir()) / f"openwit-sql-{uuid.uuid4().hex}")  # made when it is needed
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = f"{_share(machine)}B"
    settings: dict[str, Any] = {"threads": os.cpu_count() or 1, "temp_directory": folder, "memory_limit": limit}
    connection = duckdb.connect(":memory:", config={**settings, **_ALONE})
    if progress:
        connection.execute("SET enable_progress_bar = true")
    return connection


def _share(machine: int) -> int:
    """How many bytes of a machine's memory a question may use: 3 GB, more where that is less than an eighth; the rest
    lies on disk. DuckDB's own share is four fifths."""
    return min(machine * 4 // 5, max(3 * 10**9, machine // 8))


def confine(connection: duckdb.DuckDBPyConnection, files: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Let a connection open these files and those in these folders alone, whatever it is asked, and let no question
    change that.
    """
    connection.execute("SET allowed_paths = ?", [list(files)])
    connection.execute("SET allowed_directories = ?", [list(folders)])
    for setting in ("home_directory", "secret_directory"):  # a question looks for nothing in one's own
        connection.execute(f"SET {setting} = current_setting('temp_directory')")
    connection.execute("SET enable_external_access = false")
    lock(connection)


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Let no question change what a connection may do."""
    connection.execute("SET lock_configuration = true")
