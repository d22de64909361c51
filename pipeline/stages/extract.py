"""extract: archives to candidates."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa

from crawl.archives import Piece
from crawl.extract import Beside, ExtractConfig, read_candidates
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CANDIDATES, SOURCES
from dataset.tables import GrowingParquet
from pipeline.config import options
from pipeline.phase import Context, Result, Task, phase
from pipeline.plan import checksums, partitions
from pipeline.run import Partition, Run
from pipeline.sources import expand
from pipeline.stages.common import settings

_UNITS_PER_PIECE = 64  # how finely a piece is cut when something in it crashes a worker


def _pieces(context: Context) -> list[Piece]:
    if context.task.only is None and not context.task.without:
        return _planned(context)
    fine = _fine(context)
    return [fine[unit] for unit in context.units(len(fine))]


def _planned(context: Context) -> list[Piece]:
    return [
        Piece(archive, location, start, end)
        for (archive, start, end, _), location in zip(
            context.options["pieces"], context.task.hints["locations"], strict=True
        )
    ]


def _fine(context: Context) -> list[Piece]:
    """The partition's bytes in the units that poison is isolated in."""
    sizes = context.task.hints["sizes"]
    return [unit for piece in _planned(context) for unit in _cut(piece, sizes[piece.archive])]


def _cut(piece: Piece, size: int) -> list[Piece]:
    """A piece as exactly `_UNITS_PER_PIECE` byte ranges; together they hold the same records."""
    end = piece.end if piece.end >= 0 else size
    step = -(-(end - piece.start) // _UNITS_PER_PIECE)
    edges = [min(end, piece.start + step * i) for i in range(_UNITS_PER_PIECE)] + [piece.end]
    return [Piece(piece.archive, piece.location, a, b) for a, b in pairwise(edges)]


@phase("extract.candidates", version=7)
def candidates(context: Context) -> Result:
    """Read the partition's pieces; everything that is lost is in `sources`."""
    config = settings(ExtractConfig, context.options["extract"])
    beside, found = Beside(), GrowingParquet(CANDIDATES)
    for table in read_candidates(_pieces(context), config, beside):
        found.add(table)
    result = Result(counts={"input": found.rows, "kept": found.rows, "dropped": 0}, parquets={"candidates": found})
    result.table("sources", pa.concat_tables([beside.sources, _quarantined(context)]), SOURCES)
    result.table("archive_images", beside.archive_images, ARCHIVE_IMAGES)
    return result.table("archive_leads", beside.archive_leads, ARCHIVE_LEADS)


def _quarantined(context: Context) -> pa.Table:
    """A row of `sources` for every byte range that could not be read without losing the worker."""
    lost = [unit for unit in context.task.without if context.task.only is None]
    fine = _fine(context) if lost else []
    rows = [
        {
            **dict.fromkeys(SOURCES.names, 0),
            "archive": fine[unit].archive,
            "type": "unknown",
            "start": fine[unit].start,
            "end": fine[unit].end,
            "simplified_page": None,
            "lost_bytes": max(0, fine[unit].end - fine[unit].start),
            "error": "a record in these bytes crashed or exhausted its worker, repeatedly; they are quarantined",
        }
        for unit in lost
    ]
    return pa.Table.from_pylist(rows, schema=SOURCES)


def run(run: Run) -> None:
    """Plan the partitions, extract each, and say which inputs failed."""
    sources = checksums(expand(run.config, run.storage), run.storage)
    planned = partitions(sources, run.config.run.piece_bytes)
    sizes = {source.archive: source.size for source in sources}
    tasks = [
        Task(
            candidates.name,
            number,
            inputs={},
            options={
                "extract": options(run.config.extract),
                "pieces": [
                    (piece.archive, piece.start, piece.end, checksum)
                    for piece, checksum in zip(partition.pieces, partition.checksums, strict=True)
                ],
            },
            units=len(partition.pieces) * _UNITS_PER_PIECE,
            hints={
                "locations": [piece.location for piece in partition.pieces],
                "sizes": {piece.archive: sizes[piece.archive] for piece in partition.pieces},
            },
        )
        for number, partition in enumerate(planned)
    ]
    commits = run.do(candidates, tasks)
    run.partitions = [
        Partition(
            commit.partition,
            commit.files["candidates"],
            alive=commit.counts["kept"],
            beside={role: commit.files[role] for role in ("archive_images", "archive_leads")},
        )
        for commit in commits
    ]
    run.count("extract", commits)
    run.shared["locations"] = {source.archive: source.location for source in sources}
    run.shared["sources"] = [commit.files["sources"] for commit in commits]
