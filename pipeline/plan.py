"""The plan of partitions: from the inputs' names, sizes and contents and the config alone, never from the number of
workers.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import xxhash
from pyarrow import fs

from crawl.archives import Piece, split
from dataset.storage import Storage, absolute, filesystem, is_local, s3_client
from pipeline.config import ConfigError

CACHE = "log/checksums.json"
_READ_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Source:
    """An archive: its name as the config gives it, and what is in it."""

    archive: str
    location: str  # absolute
    size: int
    identity: str  # changes when the file does; cheap to know
    checksum: str = ""  # of the content


def expand(patterns: Sequence[str], key: str = "sources") -> list[Source]:
    """The archives (or other files) that a key of the config names, in the order given, globs sorted.

    Raises:
        ConfigError: a source does not exist, or a glob matches nothing.
    """
    found: dict[str, Source] = {}
    for pattern in patterns:
        for source in _matching(pattern, key):
            found.setdefault(source.location, source)
    return list(found.values())


def _matching(pattern: str, key: str) -> list[Source]:
    local = is_local(pattern)
    magic = any(char in pattern for char in "*?[")
    try:
        filesystem_, path = filesystem(pattern)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{key}: {pattern}: {error}") from None
    if magic:
        base = path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        infos = [info for info in filesystem_.get_file_info(selector) if fnmatch.fnmatchcase(info.path, path)]
    else:
        infos = [filesystem_.get_file_info(path)]
    infos = sorted((info for info in infos if info.type == fs.FileType.File), key=lambda info: info.path)
    if not infos:
        near = ""
        if local and not magic:
            folder = Path(path).parent
            names = difflib.get_close_matches(Path(path).name, [p.name for p in folder.glob("*")], n=1)
            near = f"; did you mean {Path(pattern).parent / names[0]}?" if names else ""
        raise ConfigError(f"{key}: {pattern} {'matches nothing' if magic else 'does not exist'}{near}")
    answer = []
    for info in infos:
        if local:
            # The name as the user wrote it, so that a dataset does not depend on where its user's files lie.
            name = info.path if magic and Path(pattern).is_absolute() else _as_written(pattern, info.path, magic)
            answer.append(Source(name, info.path, info.size, f"{info.path}:{info.size}:{info.mtime_ns}"))
        else:
            scheme = urlsplit(pattern).scheme
            location = f"{scheme}://{info.path}"
            answer.append(Source(location, location, info.size, f"{location}:{info.size}:{_remote_version(location)}"))
    return answer


def _as_written(pattern: str, path: str, magic: bool) -> str:
    if not magic:
        return pattern.removeprefix("file://")
    head = pattern[: re.search(r"[*?\[]", pattern).start()].rpartition("/")[0]  # type: ignore[union-attr]
    base = absolute(head or ".")
    return f"{head}/{path[len(base) + 1 :]}" if head else path[len(base) + 1 :]


def _remote_version(location: str) -> str:
    """What the server says of a remote file's content: its ETag, or its time of change."""
    parts = urlsplit(location)
    if parts.scheme in ("s3", "s3a"):
        return str(s3_client().head_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))["ETag"]).strip('"')
    import fsspec

    filesystem_, path = fsspec.url_to_fs(location)
    info = filesystem_.info(path)
    return str(info.get("ETag") or info.get("mtime") or info.get("LastModified") or "")


def checksums(sources: Sequence[Source], storage: Storage) -> list[Source]:
    """The sources with their content's checksum; what is unchanged since the last run is not read again."""
    try:
        known: dict[str, str] = json.loads(storage.read(CACHE))
    except (FileNotFoundError, ValueError):
        known = {}

    def one(source: Source) -> Source:
        checksum = known.get(source.identity)
        if checksum is None:
            checksum = _content(source.location) if is_local(source.location) else xxhash.xxh3_128_hexdigest(
                source.identity.encode()
            )  # fmt: skip
        return Source(source.archive, source.location, source.size, source.identity, checksum)

    with ThreadPoolExecutor(8) as pool:
        answer = list(pool.map(one, sources))
    fresh = {source.identity: source.checksum for source in answer}
    if fresh != known:
        storage.write(CACHE, json.dumps(fresh, sort_keys=True, indent=1).encode())
    return answer


def _content(path: str) -> str:
    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class PlannedPartition:
    """Pieces of archives that one task extracts."""

    pieces: tuple[Piece, ...]
    checksums: tuple[str, ...]  # of each piece's archive


def partitions(sources: Sequence[Source], piece_bytes: int) -> list[PlannedPartition]:
    """Large files split, small ones coalesced in order, about `piece_bytes` a partition."""
    planned: list[PlannedPartition] = []
    pieces: list[Piece] = []
    sums: list[str] = []
    filled = 0
    for source in sources:
        for piece in split(source.archive, source.location, source.size, piece_bytes):
            size = (piece.end if piece.end >= 0 else source.size) - piece.start
            if pieces and filled + size > piece_bytes:
                planned.append(PlannedPartition(tuple(pieces), tuple(sums)))
                pieces, sums, filled = [], [], 0
            pieces.append(piece)
            sums.append(source.checksum)
            filled += size
    if pieces:
        planned.append(PlannedPartition(tuple(pieces), tuple(sums)))
    return planned


def file_checksum(path: str) -> str:
    """The checksum of a small file that the config names, at any URL; of a folder, of all that is in it.

    Raises:
        FileNotFoundError: it does not exist.
    """
    filesystem_, root = filesystem(path)
    info = filesystem_.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(path)
    infos = [info]
    if info.type == fs.FileType.Directory:
        infos = filesystem_.get_file_info(fs.FileSelector(root, recursive=True))
    digest = xxhash.xxh3_128()
    for item in sorted((item for item in infos if item.type == fs.FileType.File), key=lambda item: item.path):
        digest.update(item.path[len(root) :].encode() + b"\0")
        with filesystem_.open_input_stream(item.path, compression=None) as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
