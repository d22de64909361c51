"""Where this user's temporary files lie: in a folder that nobody else can enter, below TMPDIR."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def own_folder() -> Path:
    """Return the folder, made if it is not there.

    Raises:
        OSError: it is another user's, or cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"openwit-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} is another user's; set TMPDIR to a folder of your own")
    return folder


def spill_folder() -> str:
    """Return where a database of this process puts what does not fit into its memory. DuckDB makes it, and
    deletes it.
    """
    return str(own_folder() / f"duckdb-{os.getpid()}")
