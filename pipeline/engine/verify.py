"""`wit verify`: whether a dataset is what was committed, and what a run would make anew.

Lengths are compared at once; `--deep` reads every byte and holds it against its checksum. A damaged file can be made
anew from what it was made of: `--repair` takes it away, so that the next `wit run` does its partition again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from crawl.images import store
from dataset.ids import checksum
from dataset.ledger.commits import (
    ALL_RECORDS,
    MANIFEST,
    Commit,
    FileRef,
    RecordError,
    read_manifest,
    read_records,
    records_of,
)
from dataset.ledger.committed import LOST, is_manifest_lost
from dataset.ledger.damage import DamagedError, content, read_table
from dataset.ledger.lease import Lease
from dataset.stages import path, tables
from dataset.store.storage import FileInfo, Storage
from pipeline.engine.unchanged import REREAD_BYTES

_BLOB = "blob:"

log = logging.getLogger("wit")


@dataclass(frozen=True)
class Damage:
    """A file that is not what was committed."""

    file: str
    what: str
    phase: str  # whose partition is to be done again


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what of it is damaged."""

    files: int
    bytes: int
    damages: tuple[Damage, ...]


def verify(out: str, *, deep: bool = False, repair: bool = False) -> Verified:
    """Look at every file that a dataset's commit records name.

    Args:
        out: the dataset.
        deep: read all of them; otherwise their lengths alone are looked at.
        repair: take away what is damaged, so that `wit run` makes it anew.

    Raises:
        FileNotFoundError: there is no dataset.
        RecordError: its manifest is damaged.
    """
    storage = Storage(out)
    if not storage.exists("manifest.json") and not storage.exists("config.yaml"):
        raise FileNotFoundError(f"{out} is no dataset: it has no manifest.json")
    seen: dict[str, int] = {}
    damages: dict[str, Damage] = {}
    if is_manifest_lost(storage):
        damages[MANIFEST] = Damage(MANIFEST, LOST, path()[0].phases[0])
    chunks = store.chunks(storage, recursive=True)
    manifest = read_manifest(storage)
    if (together := manifest.get("records")) is not None:
        seen[ALL_RECORDS] = together["bytes"]
        if (what := _check_listed_file(storage, ALL_RECORDS, together["checksum"])) is not None:
            damages[ALL_RECORDS] = Damage(ALL_RECORDS, what, manifest["phases"][-1]["phase"])
    for entry in manifest["phases"]:
        for file, bytes_, what in _phase(storage, entry, deep, chunks):
            seen[file] = bytes_
            if what is not None:
                damages.setdefault(file, Damage(file, what, entry["phase"]))
    for name, infos in chunks.items() if deep else ():
        seen.update((info.name, info.bytes) for info in infos)
        if (broken := chunk_damage(storage, infos)) is not None:
            damages.setdefault(name, Damage(*broken, _fetch_phase()))
    if repair and damages:
        with Lease(storage):
            for damage in damages.values():
                make_room(storage, damage.file)
    return Verified(len(seen), sum(seen.values()), tuple(damages.values()))


def _phase(
    storage: Storage, entry: dict[str, str], deep: bool, chunks: Mapping[str, Sequence[FileInfo]]
) -> Iterator[tuple[str, int, str | None]]:
    """Each file of a phase: its name, its bytes, and what is wrong with it."""
    name = entry["records"]
    try:
        yield name, len(storage.read(name)), _check_listed_file(storage, name, entry["checksum"])
        commits = read_records(storage, name)
    except FileNotFoundError:
        yield name, 0, "it is gone"
        return
    except RecordError as error:
        yield name, 0, str(error)
        return
    there: dict[str, int] = {}
    for folder in {file.name.rpartition("/")[0] for commit in commits for file in commit.files.values()}:
        there.update((info.name, info.bytes) for info in storage.list(folder))
    copies = {table.phase: table.published for stage in path() for table in stage.tables if table.published}
    for commit in commits:
        for role, file in commit.files.items():
            yield file.name, file.bytes, _length(there, file) or (damage(storage, commit, role) if deep else None)
        for chunk in store.named_by(commit.facts):
            if chunk not in chunks:
                yield f"{store.FOLDER}/{chunk}.parquet", 0, "it is gone"
        for file in commit.files.values() if commit.phase in copies else ():
            copy = replace(file, name=copies[commit.phase])
            there.update((info.name, info.bytes) for info in storage.list(copy.name.rpartition("/")[0]))
            yield copy.name, 0, _length(there, copy) or (_damage(storage, copy) if deep else None)


def _check_listed_file(storage: Storage, name: str, expected: str) -> str | None:
    """What is wrong with a file of which the manifest has the checksum."""
    try:
        is_whole = checksum(storage.read(name)) == expected
    except FileNotFoundError:
        return "it is gone"
    return None if is_whole else "its checksum is another than manifest.json says, or a run ended while it wrote it"


def _fetch_phase() -> str:
    """The phase that writes the fetch store."""
    return tables("images")[-1].phase


def _length(there: dict[str, int], file: FileRef) -> str | None:
    if file.name not in there:
        return "it is gone"
    size = there[file.name]
    return None if size == file.bytes else f"it has {size:,} bytes of {file.bytes:,}"


def damage(storage: Storage, commit: Commit, role: str) -> str | None:
    """Return what is wrong with a file of a commit, all of which is read; None if it is whole."""
    file = commit.files[role]
    if not role.startswith(_BLOB):
        return _damage(storage, file)
    try:
        _check_blob(storage, commit, file)
    except DamagedError as error:
        return error.what
    except FileNotFoundError:
        return "it is gone"
    return None


def _damage(storage: Storage, file: FileRef) -> str | None:
    try:
        content(storage, file)
    except DamagedError as error:
        return error.what
    except FileNotFoundError:
        return "it is gone"
    return None


def chunk_damage(storage: Storage, files: Sequence[FileInfo]) -> tuple[str, str] | None:
    """Return (file, what is wrong with it) of a chunk of the fetch store that is to be there; None if it is whole."""
    for info in files:
        try:
            store.read_files(storage, [info.name])
        except DamagedError as error:
            return info.name, error.what
        except FileNotFoundError:
            return info.name, "it is gone"
    return None


class Rereading:
    """Whether what a run finds done is what was committed, as far as the run still reads it for that alone."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._reread = 0  # bytes
        self._chunks: dict[str, list[FileInfo]] | None = None  # of the fetch store, when somebody has asked

    def is_whole(self, commit: Commit) -> bool:
        """Return whether every file of a commit, and what the fetch store holds of it, is as it was committed."""
        for role, file in commit.files.items():
            if self._reread + file.bytes > REREAD_BYTES:
                continue
            self._reread += file.bytes
            what = damage(self.storage, commit, role)
            if what is not None:
                log.warning("%s is damaged: %s; it is made anew", self.storage.url_of(file.name), what)
                return False
        return all(self._has_chunk(name) for name in store.named_by(commit.facts))

    def _has_chunk(self, name: str) -> bool:
        """Whether the fetch store has a chunk of which a commit was made. A damaged one is taken away."""
        if self._chunks is None:
            self._chunks = store.chunks(self.storage, recursive=True)
        files = self._chunks.get(name, [])
        what = None if files else (f"{store.FOLDER}/{name}", "it is gone")
        size = sum(info.bytes for info in files)
        if files and self._reread + size <= REREAD_BYTES:
            self._reread += size
            what = chunk_damage(self.storage, files)
        if what is not None:
            log.warning("%s is damaged: %s; it is made anew", self.storage.url_of(what[0]), what[1])
            self.storage.delete([info.name for info in files])
        return what is None


def _check_blob(storage: Storage, commit: Commit, file: FileRef) -> None:
    """A blob's name says its checksum, unless images in it were erased: then each that is left has its own."""
    data = content(storage, file)
    if checksum(data)[:16] in file.name:
        return
    images = read_table(storage, commit.files["images"])
    columns = [name for name in ("blob", "blob_offset", "blob_length", "blob_checksum") if name in images.column_names]
    mine = images.select(columns).filter(pa.compute.equal(images["blob"], file.name))
    store.read_images(storage, mine)


def make_room(storage: Storage, name: str) -> None:
    """Take a damaged file away, so that its partition is done again. Of a blob the whole images are kept: what is taken
    away is the table that names it, and `fetch` puts the others back where they lay."""
    if not name.startswith(f"{store.FOLDER}/") or name.endswith(".parquet"):
        storage.delete([name])
        return
    records = records_of(_fetch_phase())
    for commit in read_records(storage, records) if storage.exists(records) else []:
        if f"{_BLOB}{name}" in commit.files:
            storage.delete([commit.files["images"].name])
