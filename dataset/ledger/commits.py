"""Commit records: what makes a partition's files part of the dataset.

A phase of a stage keeps its files in a folder of its own, `STAGE/PHASE/`. File names carry the partition and its
fingerprint, so that a rewrite is idempotent and a stale file is never taken for a fresh one. After the files, one
record per partition is created if absent; when all partitions of a phase are there, the phase is *closed*: its records
become one Parquet file, which `manifest.json` names. Readers follow the manifest, never a glob. Both may come from
anybody: what they say is checked for its form before it is used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from dataset.ids import checksum
from dataset.ledger.damage import DamagedError, parse_parquet
from dataset.store.storage import Storage
from dataset.tables import GrowingParquet, to_parquet

log = logging.getLogger("wit")

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_MOST_MANIFEST_BYTES = 2**22
"""The most bytes of a manifest that is read: some 40,000 phases, of which a build has about a hundred."""
_NAME = re.compile(r"[0-9A-Za-z_][\w.+=-]*(?:/[0-9A-Za-z_][\w.+=-]*)+", re.ASCII)  # no file lies at the top
_PHASE = re.compile(r"[a-z_]+\.[a-z0-9_]+")
_MOST = 2**63
_one_line = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

ALL_RECORDS = "records.parquet"
"""The records of all closed phases in one file, for who asks a bucket; what it says stands in the phases' own, too."""
MOST_BYTES_OF_ALL = 32 * 2**20
"""The most bytes of a file of records that is read whole: some 30,000 partitions."""
RECORDS = pa.schema([("partition", pa.int32()), ("fingerprint", pa.string()), ("record", pa.string())])


class RecordError(ValueError):
    """A commit record or manifest is not of the form that openwit writes."""


@dataclass(frozen=True)
class FileRef:
    """A file as its writer saw it."""

    name: str
    bytes: int
    checksum: str  # see dataset.ids.checksum
    rows: int = 0


@dataclass(frozen=True)
class Commit:
    """One partition of one phase, done."""

    phase: str  # "text.measure"
    partition: int
    fingerprint: str
    files: Mapping[str, FileRef]  # role -> file
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)  # small results that later phases need, as JSON
    spent: Mapping[str, float] = field(default_factory=dict, compare=False)  # what it cost to make; not of the record

    def to_json(self) -> str:
        """Return one line, keys sorted, so that equal records are equal bytes."""
        files = {
            role: {"name": file.name, "bytes": file.bytes, "checksum": file.checksum, "rows": file.rows}
            for role, file in self.files.items()
        }
        known = {"phase": self.phase, "partition": self.partition, "fingerprint": self.fingerprint}
        return _one_line({**known, "files": files, "counts": dict(self.counts), "facts": dict(self.facts)})

    @staticmethod
    def from_json(text: str | bytes) -> Commit:
        """Return the record that `to_json` wrote.

        Raises:
            RecordError: it is none: a name leads elsewhere, a size is below zero, something is missing or no text.
        """
        try:
            raw = json.loads(text)
            files = {_text(role): _file(file) for role, file in _object(raw["files"]).items()}
            counts = {_text(name): _count(count) for name, count in _object(raw["counts"]).items()}
            phase, partition = _text(raw["phase"]), _count(raw["partition"])
            return Commit(phase, partition, _text(raw["fingerprint"]), files, counts, _object(raw["facts"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(f"a commit record is not as openwit writes them: {_in_words(error)}") from None


def _file(raw: Any) -> FileRef:
    name = _text(_object(raw)["name"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:200]!r} is no file's name in a dataset")
    return FileRef(name, _count(raw["bytes"]), _text(raw["checksum"]), _count(raw["rows"]))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object is wanted, not {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is wanted, not {type(value).__name__}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError(f"a whole number is wanted, not {str(value)[:50]}")
    return value


def _in_words(error: BaseException) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def fingerprint(phase: str, version: int, options: Mapping[str, Any], inputs: Iterable[str]) -> str:
    """Return what a partition's result depends on: the phase and its version, the config keys it reads, its inputs'
    checksums.
    """
    text = _one_line([phase, version, options, list(inputs)])
    return xxhash.xxh3_64_hexdigest(text.encode())


def folder(phase: str) -> str:
    """Return where a phase keeps its files: `text.measure` in `text/measure`."""
    return phase.replace(".", "/")


def records_of(phase: str) -> str:
    """Return where the records of a closed phase are."""
    return f"{folder(phase)}/commits.parquet"


REASON = "reason:"
"""The prefix of those counts of a deciding phase that say how many rows it dropped for each reason."""


def dropped_by_reason(commits: Iterable[Commit]) -> dict[str, int]:
    """Return how many rows some deciding tasks dropped, by reason, the most first."""
    total: Counter[str] = Counter()
    for commit in commits:
        counts = {name: count for name, count in commit.counts.items() if name.startswith(REASON)}
        total.update({name.removeprefix(REASON): count for name, count in counts.items()})
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


class Ledger:
    """The commit records of one phase."""

    def __init__(self, storage: Storage, phase: str):
        self.storage = storage
        self.phase = phase
        self.folder = folder(phase)
        self.closed_name = records_of(phase)
        self.loose = 0  # records of single partitions that `load` found: the phase was not closed, or not tidied up

    def load(self) -> dict[tuple[int, str], Commit]:
        """Return every record whose files are all there, with the length that the record gives, by (partition,
        fingerprint).

        Of two, the one counts that the phase was closed with: later stages have read it. The other came late.
        """
        there = {info.name: info.bytes for info in self.storage.list(self.folder)}
        listed = {self.folder}
        commits = []
        with contextlib.suppress(FileNotFoundError):  # not closed yet
            try:
                commits = read_records(self.storage, self.closed_name)
            except RecordError as error:
                log.warning("%s: its partitions are done again", error)
        loose = [info.name for info in self.storage.list(f"{self.folder}/commits")]
        self.loose = len(loose)
        for text in self.storage.read_all([name for name in loose if name.endswith(".json")]):
            with contextlib.suppress(RecordError):  # a disk that lost power may hold an empty record: not committed
                commits.append(Commit.from_json(text))
        commits = [commit for commit in commits if commit.phase == self.phase]

        def has_all_files(commit: Commit) -> bool:
            for file in commit.files.values():  # some phases name files elsewhere: the fetch store's, the shards
                folder = file.name.rpartition("/")[0]
                if folder not in listed:
                    there.update((info.name, info.bytes) for info in self.storage.list(folder))
                    listed.add(folder)
            return all(there.get(file.name) == file.bytes for file in commit.files.values())

        records: dict[tuple[int, str], Commit] = {}
        for commit in filter(has_all_files, commits):
            records.setdefault((commit.partition, commit.fingerprint), commit)
        return records

    def record_name(self, partition: int, fingerprint: str) -> str:
        """Return where a partition's own record lies until the phase is closed."""
        return f"{self.folder}/commits/{partition:06d}-{fingerprint}.json"

    def add(self, commit: Commit) -> Commit:
        """Commit a partition.

        A record that is there already was made by another attempt at the same work, or its files have been lost since:
        only the lease's holder commits, so the newest attempt is the right one.
        """
        name = self.record_name(commit.partition, commit.fingerprint)
        data = commit.to_json().encode()
        if not self.storage.create(name, data):
            put(self.storage, name, data)
        return commit

    def close(self, commits: Sequence[Commit]) -> str:
        """Write all records as one file; returns its checksum. What they do not name stays until `collect`."""
        return self.write(record_table(commits))

    def write(self, records: pa.Table) -> str:
        """Write the records as `close` does, from a table that `record_table` made."""
        data = to_parquet(records)
        put(self.storage, self.closed_name, data.to_pybytes())
        return checksum(data)

    def collect(self, commits: Sequence[Commit]) -> int:
        """Delete the files of this phase that none of the commits names; returns how many."""
        keep = {file.name for commit in commits for file in commit.files.values()} | {self.closed_name}
        folders = (self.folder, f"{self.folder}/commits")
        there = [info.name for folder in folders for info in self.storage.list(folder)]
        orphans = [name for name in there if name not in keep]
        self.storage.delete(orphans)
        return len(orphans)


def record_table(commits: Iterable[Commit]) -> pa.Table:
    """Return the records of a phase that is closed, RECORDS, by partition."""
    ordered = sorted(commits, key=lambda commit: commit.partition)
    return pa.table(
        {
            "partition": [commit.partition for commit in ordered],
            "fingerprint": [commit.fingerprint for commit in ordered],
            "record": [commit.to_json() for commit in ordered],
        },
        schema=RECORDS,
    )


def read_records(storage: Storage, name: str) -> list[Commit]:
    """Return the records of a closed phase, by partition. Raises FileNotFoundError, RecordError."""
    texts = record_texts(storage, name, storage.read(name)).to_pylist()
    return [parsed_record(storage.url_of(name), text) for text in texts]


def record_texts(storage: Storage, name: str, data: bytes) -> pa.Array:
    """Return a file's records as JSON, in their order. string (n,). Raises RecordError: it is no file of them."""
    try:
        column = parse_parquet(storage, name, pa.BufferReader(data), ["record"]).column("record")
        return column.cast(pa.string()).combine_chunks()
    except (pa.ArrowException, KeyError, DamagedError) as error:
        raise _damage_error(storage.url_of(name), error.what if isinstance(error, DamagedError) else error) from None


def parsed_record(where: str, text: str) -> Commit:
    """Return one of these records. Raises RecordError, which says where it stands."""
    try:
        return Commit.from_json(text)
    except RecordError as error:
        raise _damage_error(where, error) from None


def _damage_error(where: str, what: object) -> RecordError:
    return RecordError(f"{where} is damaged: {what}; `wit run` makes it anew")


def new_records() -> GrowingParquet:
    """Return a file for the records of all phases; see ALL_RECORDS."""
    return GrowingParquet(pa.schema([RECORDS.field("record")]))


def write_records(storage: Storage, data: pa.Buffer) -> dict[str, Any]:
    """Write the file of all records; what the manifest says of it."""
    put(storage, ALL_RECORDS, data.to_pybytes())
    return {"bytes": data.size, "checksum": checksum(data)}


def read_manifest(storage: Storage) -> dict[str, Any]:
    """Return the dataset's manifest; an empty one where there is none yet. Raises RecordError."""
    try:
        text = storage.read(MANIFEST)
    except FileNotFoundError:
        return {"format": FORMAT_VERSION, "complete": False, "phases": []}
    try:
        if len(text) > _MOST_MANIFEST_BYTES:
            raise ValueError(f"it has {len(text):,} bytes, and {_MOST_MANIFEST_BYTES:,} are the most")
        manifest = _object(json.loads(text))
        for entry in manifest["phases"]:
            if not _PHASE.fullmatch(_text(entry["phase"])):
                raise ValueError(f"{entry['phase'][:200]!r} is no phase's name")
            if entry["records"] != records_of(entry["phase"]):
                raise ValueError(f"{str(entry['records'])[:200]!r} is not where {entry['phase']} keeps its records")
            _text(entry["checksum"])
        if manifest.pop("checksum", None) not in (None, _manifest_checksum(manifest)):
            raise ValueError("its checksum is another")
        if (records := manifest.get("records")) is not None:
            _count(_object(records)["bytes"])
            _text(records["checksum"])
        for counts in _object(manifest.get("funnel", {})).values():
            for name in ("input", "kept", "dropped"):
                _count(_object(counts)[name])
        manifest["complete"] = bool(manifest["complete"])
        return manifest
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{storage.url_of(MANIFEST)} is not as openwit writes it: {_in_words(error)}; "
            "delete it, and `wit run` with the same config makes it again"
        ) from None


def _manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """The checksum of what a manifest says, by which a change by hand or by a disk is noticed. Older ones have none."""
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())


def write_manifest(storage: Storage, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest, if it differs."""
    whole = {**manifest, "checksum": _manifest_checksum(manifest)}
    data = (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()
    put(storage, MANIFEST, data)


def put(storage: Storage, name: str, data: bytes) -> None:
    """Have a file hold these bytes; whoever has lost the lease leaves it as its successor wrote it.

    The lease is asked for after the file was read, and the file is replaced if it is still what was read: who is told
    that the lease is its own has not read what a successor wrote.
    """
    while True:
        try:
            there = storage.read(name)
        except FileNotFoundError:
            if storage.create(name, data):
                return
            continue
        if there == data:
            return
        if storage.fence is not None:
            storage.fence.ask()
        if storage.replace(name, there, data):
            return
