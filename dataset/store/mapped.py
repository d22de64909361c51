"""Large read-only files, mapped into memory: what many processes of a machine read lies in its memory once."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pyarrow as pa

from dataset.ids import checksum
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import check, content
from dataset.store.local_files import replacing
from dataset.store.scratch import own_folder
from dataset.store.storage import Storage

UNUSED_DAYS = 7
"""How long a kept file stays without a reader that begins; whoever maps it then still reads it to its end."""


def map_file(storage: Storage, file: FileRef) -> pa.Buffer:
    """Return a file's bytes; one that is not on this machine is kept in its temporary folder, by its checksum.

    Files that nobody has asked for in UNUSED_DAYS are deleted when another is kept.

    Raises:
        OSError: the file cannot be read, or the temporary folder is another user's.
    """
    if storage.local:
        return content(storage, file)
    folder = own_folder()
    path = folder / file.checksum
    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):  # not there yet, or empty after a lost disk
        os.utime(path)  # in use, before another process looks for what is not
        data = pa.memory_map(str(path)).read_buffer()
        if checksum(data) == file.checksum:
            return data
    delete_unused(folder)
    with replacing(path) as draft:
        content_ = storage.read(file.name)
        check(storage, file, pa.py_buffer(content_))
        draft.write_bytes(content_)
    return pa.memory_map(str(path)).read_buffer()


def delete_unused(folder: Path) -> None:
    """Delete what was last used, or left half written, too long ago. A mapped file's bytes outlive its name."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            if path.lstat().st_mtime < oldest:
                path.unlink()
