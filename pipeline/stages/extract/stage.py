"""extract: archives to candidates."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pyarrow as pa

from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import Beside, read_candidates
from crawl.units import CUT_OFF, ENTERED_BEHIND, SKIPPED, Units, first_unit, place_of
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CANDIDATES, SOURCES
from dataset.tables import GrowingParquet
from pipeline.config import Config, options
from pipeline.engine.artifacts import Partition
from pipeline.engine.contract import roles, settings
from pipeline.engine.phase import Context, Result, Task, phase
from pipeline.engine.run import Run
from pipeline.engine.sources import inputs
from pipeline.engine.sources.plan import partitions
from pipeline.stages.artifacts import ARCHIVE_IMAGES_TABLE, ARCHIVE_LEADS_TABLE, ARCHIVE_LOCATIONS, CANDIDATE_FILES
from pipeline.stages.extract import EXTRACT
from pipeline.workers.failures import TIME

_LEFT_OUT = {
    SKIPPED: "it is left out",
    ENTERED_BEHIND: "it is left out with what stands between it and the next record that can be entered",
    CUT_OFF: "it is left out with the rest of its piece",
}


def _pieces(context: Context) -> list[tuple[Piece, Units]]:
    """What the task reads, with the units of each piece; some pieces in two parts, around what no reader comes past."""
    pieces = []
    for number, piece in enumerate(_planned_pieces(context)):
        base = first_unit(number)
        mine = {unit for unit in context.task.without if place_of(unit)[0] == number}
        cuts = sorted((place_of(unit)[1:] for unit in mine if place_of(unit)[2] != SKIPPED), key=lambda cut: cut[0])
        start, is_over = piece.start, False
        for offset, kind in cuts:
            if offset > start:
                pieces.append((replace(piece, start=start, end=offset), base, mine))
            start, is_over = offset + 1, is_over or kind == CUT_OFF
        if not is_over:
            pieces.append((replace(piece, start=start), base, mine))
    slow = {unit for unit, lost in context.task.without.items() if lost.reason == TIME}
    lengths = [_end(context, piece) - piece.start for piece, _, _ in pieces]
    before = [0, *itertools.accumulate(lengths)]
    return [
        (piece, Units(base, context.task.only, frozenset(mine), mine & slow, before[index], piece.start, before[-1]))
        for index, (piece, base, mine) in enumerate(pieces)
    ]


def _end(context: Context, piece: Piece) -> int:
    return piece.end if piece.end >= 0 else int(context.task.hints["sizes"][piece.archive])


def _planned_pieces(context: Context) -> list[Piece]:
    return [
        Piece(archive, location, start, end)
        for (archive, start, end, _), location in zip(
            context.options["pieces"], context.task.hints["locations"], strict=True
        )
    ]


@phase(
    EXTRACT,
    "extract.candidates",
    version=17,
    takes=("extract", "pieces"),
    gives=roles(candidates=CANDIDATES, sources=SOURCES, archive_images=ARCHIVE_IMAGES, archive_leads=ARCHIVE_LEADS),
)
def candidates(context: Context) -> Result:
    """Read the partition's pieces; everything that is lost is in `sources`."""
    config = settings(ExtractConfig, context.options["extract"])
    beside, rows = Beside(), GrowingParquet(CANDIDATES)
    pieces = _pieces(context)
    for table in read_candidates([piece for piece, _ in pieces], config, beside, [units for _, units in pieces]):
        rows.add(table)
    result = Result(counts={"input": rows.rows, "kept": rows.rows, "dropped": 0}, parquets={"candidates": rows})
    result.table("sources", pa.concat_tables([beside.sources, _quarantined_rows(context)]), SOURCES)
    checksums = {archive: checksum for archive, _, _, checksum in context.options["pieces"]}
    of_images = [checksums[archive] for archive in beside.archive_images.column("archive").to_pylist()]
    images = beside.archive_images.drop_columns(["archive_checksum"])
    result.table("archive_images", images.append_column("archive_checksum", [of_images]), ARCHIVE_IMAGES)
    return result.table("archive_leads", beside.archive_leads, ARCHIVE_LEADS)


def _quarantined_rows(context: Context) -> pa.Table:
    """A row of `sources` for every record that is left out: what it was, and why."""
    pieces = _planned_pieces(context)
    rows = []
    for unit, lost in sorted(context.task.without.items()):
        number, offset, kind = place_of(unit)
        piece = pieces[number]
        end = _end(context, piece)
        is_rest = kind == CUT_OFF
        rows.append(
            {
                **dict.fromkeys(SOURCES.names, 0),
                "archive": piece.archive,
                "type": "unknown",
                "start": offset,
                "end": end if is_rest else offset,
                "simplified_page": None,
                "damaged_records": 1,
                "lost_bytes": end - offset if is_rest else 0,
                "error": f"{lost.place or f'{piece.archive}, at {offset:,}'} {lost.sentence}: {_LEFT_OUT[kind]} "
                f"({lost.reason})",
            }
        )
    return pa.Table.from_pylist(rows, schema=SOURCES)


def check(config: Config) -> None:
    """Check whether the sources are there and can be read, before any work is done. Raises ConfigError."""
    inputs.check(config)


def run(run: Run) -> None:
    """Plan the partitions, extract each, and say which inputs failed."""
    sources = run.sources
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
            units=first_unit(len(partition.pieces)),
            hints={
                "locations": [piece.location for piece in partition.pieces],
                "sizes": {piece.archive: sizes[piece.archive] for piece in partition.pieces},
            },
        )
        for number, partition in enumerate(planned)
    ]
    commits = run.do(candidates, tasks, bytes_=sum(source.size for source in sources))
    run.partitions = [
        Partition(
            commit.partition,
            commit.files["candidates"],
            alive=commit.counts["kept"],
        )
        for commit in commits
    ]
    for table in (ARCHIVE_IMAGES_TABLE, ARCHIVE_LEADS_TABLE):
        run.leave(table, commits, table.role)
    run.count(EXTRACT.name, commits)
    run.artifacts.leave(CANDIDATE_FILES, [commit.files["candidates"] for commit in commits])
    run.artifacts.leave(ARCHIVE_LOCATIONS, {source.archive: source.location for source in sources})
