"""Large read-only files, mapped into memory: what many processes of a machine read lies in its memory once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pyarrow as pa

from dataset.commits import FileRef
from dataset.ids import checksum
from dataset.storage import Storage


def mapped(storage: Storage, file: FileRef) -> pa.Buffer:
    """A file's bytes; one that is not on this machine is kept in its temporary folder, by its checksum.

    Raises:
        OSError: the file cannot be read, or the temporary folder is another user's.
    """
    if storage.local:
        return pa.memory_map(storage.path(file.name)).read_buffer()
    folder = Path(tempfile.gettempdir()) / f"openwit-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} is another user's; set TMPDIR to a folder of your own")
    path = folder / file.checksum
    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):  # not there yet, or empty after a lost disk
        data = pa.memory_map(str(path)).read_buffer()
        if checksum(data) == file.checksum:
            return data
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
        part.write(storage.read(file.name))
    Path(part.name).replace(path)
    return pa.memory_map(str(path)).read_buffer()
