"""The plan of partitions: from the inputs' names, sizes and contents and the config alone, never from the number of
workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash
from pyarrow import fs

from crawl.archives.open_source import MEMBER
from crawl.archives.records import Piece, split
from dataset.store.storage import Storage, filesystem, is_local
from pipeline.engine.sources import cache
from pipeline.engine.sources.inputs import Source

CACHE = "log/checksums.json"
_READ_BYTES = 8 * 2**20
LAPTOP_CPUS = 8
"""What is small is cut into so many parts, if they are worth a task each."""
_LEAST_BYTES = 4 * 2**20  # less is not worth a task of its own


def checksums(sources: Sequence[Source], storage: Storage, *, reread: bool = False) -> list[Source]:
    """Return the sources with their content's checksum.

    A file of this machine whose size and time of change are those of the last run is taken to be unchanged, and not
    read, unless `reread`. Of a remote one its server is believed: it is what its size and its ETag or date say.
    """
    known: dict[str, str] = {} if reread else cache.read(storage, CACHE)

    def add_checksum(source: Source) -> Source:
        checksum = known.get(source.identity)
        if checksum is None:
            path, _, member = source.location.partition(MEMBER)
            if is_local(path):
                checksum = _content(path) + member
            else:
                checksum = xxhash.xxh3_128_hexdigest(source.identity.encode())
        return replace(source, checksum=checksum)

    with ThreadPoolExecutor(8) as pool:
        answer = list(pool.map(add_checksum, sources))
    fresh = {source.identity: source.checksum for source in answer}
    if fresh != known:
        cache.write(storage, CACHE, fresh)
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
    """Split large files and coalesce small ones, in order: `piece_bytes` a partition at most, less for a
    laptop's CPUs.
    """
    piece_bytes = min(piece_bytes, max(_LEAST_BYTES, sum(source.size for source in sources) // LAPTOP_CPUS))
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


def stored_checksum(storage: Storage, name: str) -> str:
    """Return `dataset.ids.checksum` of a file of a storage, however large it is. Raises FileNotFoundError."""
    digest = xxhash.xxh3_128()
    with storage.open(name) as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_checksum(path: str) -> str:
    """Return the checksum of a small file that the config names, at any URL; of a folder, of all that is in it.

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
