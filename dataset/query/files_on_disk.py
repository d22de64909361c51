"""A dataset's files on this machine, as DuckDB opens them: of each folder it is asked once what is there."""

from __future__ import annotations

from collections.abc import Iterable

from dataset.ledger.commits import FileRef
from dataset.ledger.damage import check_length
from dataset.query import sql
from dataset.store.storage import Storage


class FilesOnDisk:
    """Files of one dataset. Raises OutsideError: a link leads out of it."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._folders: dict[str, tuple[str, dict[str, int]]] = {}  # where it is, and the lengths of its files

    def path(self, file: FileRef) -> str:
        """Return where a file is."""
        folder, _, name = file.name.rpartition("/")
        return f"{self._folder(folder)[0]}/{name}"

    def check(self, files: Iterable[FileRef]) -> None:
        """Raise DamagedError where a file is not there, or has another length than was committed."""
        for file in files:
            if self._folder(file.name.rpartition("/")[0])[1].get(file.name) != file.bytes:
                check_length(self._storage, file)

    def allowed_paths(self, names: Iterable[str]) -> set[str]:
        """Return the paths of the files of some names that are there, as they are and as patterns that mean nothing
        else.
        """
        paths = set()
        for name in names:
            path, lengths = self._folder(name.rpartition("/")[0])
            if name in lengths:
                paths.add(f"{path}/{name.rpartition('/')[2]}")
        return paths | {sql.exactly(path) for path in paths}

    def _folder(self, name: str) -> tuple[str, dict[str, int]]:
        if name not in self._folders:
            lengths = {info.name: info.bytes for info in self._storage.list(name)}
            self._folders[name] = self._storage.path(name), lengths
        return self._folders[name]
