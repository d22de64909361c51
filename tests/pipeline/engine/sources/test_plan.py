"""The plan of partitions is a function of the sources alone, and takes each byte of them once."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.archives.records import MAX_PIECES
from dataset.store.storage import Storage
from pipeline.engine.sources import plan
from pipeline.engine.sources.inputs import Source


def source(name: str, size: int) -> Source:
    return Source(name, f"/{name}", size, name, f"checksum of {name}")


@given(
    sizes=st.lists(st.integers(0, 50_000_000), min_size=1, max_size=12), piece_bytes=st.integers(1_000_000, 60_000_000)
)
def test_each_byte_is_in_one_piece_in_the_sources_order(sizes: list[int], piece_bytes: int) -> None:
    sources = [source(f"{number}.warc", size) for number, size in enumerate(sizes)]
    planned = plan.partitions(sources, piece_bytes)
    pieces = [piece for partition in planned for piece in partition.pieces]
    assert [piece.archive for piece in pieces] == sorted(
        (piece.archive for piece in pieces), key=lambda name: int(name[:-5])
    )
    for one in sources:
        edges = [(piece.start, piece.end) for piece in pieces if piece.archive == one.archive]
        assert edges[0][0] == 0 and edges[-1][1] == -1
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert len(edges) <= MAX_PIECES
    for partition in planned:
        by_name = {one.archive: one for one in sources}
        assert partition.checksums == tuple(by_name[piece.archive].checksum for piece in partition.pieces)
        lengths = [
            (piece.end if piece.end >= 0 else by_name[piece.archive].size) - piece.start for piece in partition.pieces
        ]
        assert len(lengths) == 1 or sum(lengths) <= piece_bytes


@pytest.mark.parametrize(
    ("mebibytes", "piece", "partitions"), [(3, 32, 1), (40, 32, 8), (200, 32, 8), (3200, 32, 100), (40, 2, 20)]
)
def test_the_input_alone_decides_into_how_many_partitions_it_is_cut(
    mebibytes: int, piece: int, partitions: int
) -> None:
    assert len(plan.partitions([source("a.warc.gz", mebibytes * 2**20)], piece * 2**20)) == partitions


def test_a_source_is_read_once_while_it_looks_unchanged(tmp_path: Path) -> None:
    storage, file = Storage(str(tmp_path / "out")), tmp_path / "a.warc"
    file.write_bytes(b"one")

    def checksum(*, reread: bool = False, identity: str = "a 3 bytes, noon") -> str:
        (found,) = plan.checksums([Source("a", str(file), 3, identity)], storage, reread=reread)
        return found.checksum

    first = checksum()
    file.write_bytes(b"two")
    assert checksum() == first
    assert checksum(reread=True) != first
    file.write_bytes(b"one")
    assert checksum(identity="a 3 bytes, one o'clock") == first


def test_a_folders_checksum_is_of_its_files_names_and_contents(tmp_path: Path) -> None:
    def made(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return plan.file_checksum(str(tmp_path / name))

    first = made("a", {"x": "1", "deep/y": "2"})
    os.utime(tmp_path / "a" / "x", (0, 0))
    assert plan.file_checksum(str(tmp_path / "a")) == first == made("b", {"deep/y": "2", "x": "1"})
    others = [made("c", {"x": "2", "deep/y": "2"}), made("d", {"z": "1", "deep/y": "2"}), made("e", {"x": "1"})]
    assert len({first, *others}) == 4
    with pytest.raises(FileNotFoundError):
        plan.file_checksum(str(tmp_path / "nowhere"))
