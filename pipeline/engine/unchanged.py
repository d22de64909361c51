"""`wit run` where nothing has changed since the last run, which was complete: to say so takes a look, and no plan.

A run that makes its plan anew, to find that all of it is committed, imports what it would work with, and that is most
of its time. So a complete run leaves a note of all that a run looks at: what was asked, the code, the files that the
config names, and the dataset. While these are what they were, there is nothing to do, and the next run says what that
one said. A note decides no more than that: where anything is another, missing, remote or odd, a run goes its whole way.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from dataset.ledger.lease import LEASE
from dataset.stages import names
from dataset.store.local_files import TEMPORARY
from dataset.store.storage import Storage, absolute, is_local
from pipeline.config_files import CARRIED
from pipeline.engine.sources import cache
from pipeline.engine.sources.patterns import MAGIC, matches, split_pattern
from pipeline.paths import KEYS

NOTE = "log/unchanged.json"
NOTHING = "nothing to do: everything was committed already"
REREAD_BYTES = 2 * 2**30
"""So much of what is there already is read again and held against its checksums, in a second or two. Of the rest a run
knows the lengths, and checks what it reads; `wit verify --deep` reads all of it."""

_MOST_FILES = 20_000  # to look at more takes longer than a plan
_ROOT = Path(__file__).resolve().parents[2]
_CODE = (CARRIED, *(_ROOT / name for name in ("crawl", "dataset", "filters", "pipeline", "sql", "train")))
_READ_BYTES = 2**20


class _UnknownError(Exception):
    """What there is cannot be told by a look."""


@dataclass(frozen=True)
class Note:
    """What a run says in the end."""

    said: Sequence[str]
    """A line for each stage."""
    funnel: Sequence[Sequence[Any]]
    """(stage, input, kept, dropped) of each stage."""
    errors: Sequence[str]
    """What went wrong with the sources that could not be read to their end, a sentence each."""


def inputs_digest(raw: Mapping[str, Any], out: str) -> str | None:
    """Return a digest of what a run looks at beside its dataset: its config, the files that this names, and the code.

    Args:
        raw: the config, overrides and presets included, before it is checked.
        out: the dataset.

    Returns:
        None if that cannot be told by a look: something is remote, a model has a name and no file, files are many.
    """
    try:
        if not is_local(out):
            return None
        named = [value for key in sorted(KEYS["run"] - {"out"}) for value in _values(raw, key.split("."))]
        files = [entry for name in named for entry in _stamp_files(name)]
        code = [entry for folder in _CODE for entry in _entries(folder)]
        installed = Path(sysconfig.get_paths()["purelib"]).stat().st_mtime_ns
        facts = [raw, out, str(Path.cwd()), sys.version, installed, names(), files, code]
        return xxhash.xxh3_128_hexdigest(json.dumps(facts, sort_keys=True, default=str).encode())
    except (OSError, _UnknownError, RecursionError, TypeError, ValueError):
        return None


def read(out: str, question: str) -> Note | None:
    """Return what a run of a dataset has to say that is asked this, if nothing has changed since one was complete."""
    storage = Storage(out)
    try:
        kept = cache.read(storage, NOTE)
        if kept.get("asked") != question or kept.get("dataset") != _dataset(storage):
            return None
        return Note(kept["said"], kept["funnel"], kept["errors"])
    except (OSError, KeyError, _UnknownError):
        return None


def leave(out: str, question: str, note: Note) -> None:
    """Leave a note of a dataset that is complete."""
    storage = Storage(out)
    with contextlib.suppress(OSError, _UnknownError):  # the next run goes its whole way
        cache.write(storage, NOTE, {"asked": question, "dataset": _dataset(storage), **asdict(note)})


def _values(value: Any, key: Sequence[str]) -> Iterator[str]:
    """All texts at a key of a config, of which the sections may be lists."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item, key)
    elif isinstance(value, Mapping):
        for name in [key[0]] if key else list(value):
            if name in value:
                yield from _values(value[name], key[1:])
    elif isinstance(value, str):
        yield value


def _stamp_files(name: str) -> Iterator[Any]:
    """What there is of a path, of a glob, of the file of a `file.py:function`."""
    if name.startswith("builtin"):
        return  # part of the code
    path, _, function = name.partition(":")
    place = Path(path).expanduser()
    if function and place.suffix != ".py":
        raise _UnknownError(name)
    if place.exists():
        yield from _entries(place)
    elif MAGIC.search(str(place)):
        base, below = split_pattern(absolute(str(place)), os.path.isdir)
        yield from (entry for entry in _entries(Path(base or "/")) if matches(entry[0], base, below))
    else:
        raise _UnknownError(name)


def _entries(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """(path, size, time of change, time of change of the file's own record) of a file, or of all in a folder."""
    for count, (file, info) in enumerate(_walk(path) if path.is_dir() else [(path, path.stat())]):
        if count > _MOST_FILES:
            raise _UnknownError(path)
        yield str(file), info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files of a folder in their order, without what Python compiles."""
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(info.st_mode):
            yield folder / entry.name, info
        elif stat.S_ISDIR(info.st_mode):
            if entry.name != "__pycache__":
                yield from _walk(folder / entry.name)
        else:
            raise _UnknownError(entry.path)


def _dataset(storage: Storage) -> str:
    """A digest of a dataset's files, but its logs, and their content; beyond REREAD_BYTES, of their times of change."""
    root = Path(storage.path(""))
    digest, left = xxhash.xxh3_128(), REREAD_BYTES
    for count, (path, info) in enumerate(_walk(root)):
        top, *below = path.relative_to(root).parts
        if top == LEASE or top.startswith(TEMPORARY) or count > _MOST_FILES:
            raise _UnknownError(path)
        if top == "log":
            continue
        digest.update(json.dumps([top, *below, info.st_size]).encode())
        if info.st_size > left:
            digest.update(json.dumps([info.st_mtime_ns, info.st_ctime_ns]).encode())
            continue
        left -= info.st_size
        with path.open("rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()
