"""Files of a local folder: put in their place whole, or not at all; on whose word, a `Fence` says.

Whoever holds a lease writes its files in a folder of that lease first, and moves them from there. When another takes
over, it takes that folder away, so that nothing can be moved any more, at whatever moment its owner was stopped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

TEMPORARY = ".tmp-"
"""How the names begin of what is not in its place yet; readers pass it over."""
Data: TypeAlias = bytes | memoryview | pa.Buffer


class Fence(Protocol):
    """What lets a storage be written by the holder of a lease alone; see `dataset.ledger.lease`."""

    folder: str
    """Where the holder's files are written before they are moved to their places; a name at the storage's root."""

    def __call__(self) -> None:
        """Raises where this process may not write any more."""

    def ask(self) -> None:
        """Do as a call does, but read the lease anew, and do not take it as it was a moment ago."""

    def lost_error(self) -> Exception:
        """Return what to raise where the folder is gone."""


def check_folder(path: Path) -> None:
    """Raise NotADirectoryError if a folder's place, or that of one above it, is taken by what is none."""
    if not path.is_dir():
        there = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
        if os.path.lexists(there) and not there.is_dir():
            raise NotADirectoryError(f"{there} is no folder; name one that is there, or one that shall be made")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a draft, which takes a file's place as soon as it is written; after an error nothing has
    changed.

    For files of no dataset, which nobody holds by a lease. The file's folder is made if it is not there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def place(target: Path, data: Data, move: Callable[[Path, Path], object], root: str, fence: Fence | None) -> None:
    """Write a file where nobody reads it, then move it to its place.

    Args:
        move: an atomic operation on the names of the file: rename, or link.
        root: the folder that the fence is about.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(_temporary_name())
    draft = beside if fence is None else Path(root, fence.folder, beside.name)
    try:
        draft.write_bytes(data)
        move(draft, target)
    except FileNotFoundError:
        if fence is not None:
            raise fence.lost_error() from None
        raise
    except OSError as error:
        if error.errno != errno.EXDEV or fence is None:
            # Nobody knows the other name. One that is set to None would be told, and lost when the error is sent on.
            raise OSError(error.errno, error.strerror, str(target)) from error
        try:  # a part of the folder is a disk of its own, to which nothing can be moved from outside
            beside.write_bytes(data)
            fence.ask()
            move(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    finally:
        draft.unlink(missing_ok=True)


def create(target: Path, data: Data, root: str, fence: Fence | None) -> bool:
    """Write a file if it is absent; False if it is there."""
    try:
        place(target, data, _link, root, fence)
    except FileExistsError:
        return False
    return True


def swap(target: Path, old: bytes, new: bytes, root: str) -> bool:
    """Write a file if it is still what was read, and return whether it was."""
    with lock_folder(target.parent) as is_alone:
        if not is_alone:
            return _swap_by_name(target, old, new)
        try:
            is_same = target.read_bytes() == old
        except FileNotFoundError:
            return False
        if is_same:
            place(target, new, os.replace, root, None)
        return is_same


def _swap_by_name(target: Path, old: bytes, new: bytes) -> bool:
    """The file is gone for a moment, and of many who try at once one gets it, or none."""
    taken = target.with_name(_temporary_name())
    try:
        target.rename(taken)
    except FileNotFoundError:
        return False
    try:
        if taken.read_bytes() == old:
            return create(target, new, str(target.parent), None)
        with contextlib.suppress(FileExistsError):
            _link(taken, target)
        return False
    finally:
        taken.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Keep out every process that asks the same of this folder, until the end or death of this one.

    Yields False, and keeps nobody out, where the file system has no such locks (some network file systems).
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def remove(path: Path, root: str, fence: Fence) -> None:
    """Delete a file: it is moved out of its place first, as `place` moves it in. Raises FileNotFoundError."""
    folder = Path(root, fence.folder)
    away = folder / _temporary_name()
    try:
        path.rename(away)
    except FileNotFoundError:
        if not folder.is_dir():
            raise fence.lost_error() from None
        raise
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        fence.ask()
        path.unlink()
        return
    away.unlink()


def revoke(root: str, mine: Fence | None) -> None:
    """Take away the folders of other leases, each at once and whole: from then on nothing is moved out of them."""
    for folder in _lease_folders(root, mine):
        with contextlib.suppress(FileNotFoundError):  # another takes over, too
            folder.rename(Path(root, _temporary_name()))
    for folder in _lease_folders(root, mine):
        shutil.rmtree(folder, ignore_errors=True)


def _lease_folders(root: str, mine: Fence | None) -> list[Path]:
    """The folders of leases, but for one's own."""
    entries = [entry for entry in os.scandir(root) if entry.name.startswith(TEMPORARY)]
    others = [entry for entry in entries if mine is None or entry.name != mine.folder]
    return [Path(entry.path) for entry in others if entry.is_dir(follow_symlinks=False)]


def _temporary_name() -> str:
    return f"{TEMPORARY}{uuid.uuid4().hex}"


def _link(draft: Path, target: Path) -> None:
    """Atomic, and fails if the target exists."""
    os.link(draft, target)
