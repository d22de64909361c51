"""Records and rows can be left out one by one, and a probe looks at some alone; the others are as they were."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import Beside, read_candidates
from crawl.units import CUT_OFF, NUMBERS, Units, first_unit, place_of
from dataset import heartbeat
from tests.pipeline import pages


@pytest.fixture(params=["a.warc.gz", "a.csv"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Eight texts: of pages, or of a table's rows."""
    path = tmp_path / request.param
    if path.suffix == ".csv":
        path.write_text("url,text\n" + "".join(f"http://a.example/{n}.jpg,a kettle {n}\n" for n in range(8)))
        return path
    listed = [(f"http://a.example/{n}", f'<img src="/{n}.jpg" alt="a kettle {n}">') for n in range(8)]
    return pages.write(path, listed)


def read(source: Path, units: Units) -> pa.Table:
    piece = Piece(source.name, str(source), 0, -1)
    return pa.concat_tables(read_candidates([piece], ExtractConfig(), Beside(), [units]))


def test_what_is_left_out_is_alone(source: Path) -> None:
    whole = read(source, Units())
    offsets = whole["offset"].to_pylist()
    assert len(set(offsets)) == 8
    base = first_unit(3)
    for number in (0, 4, 7):
        unit = base + NUMBERS * offsets[number]
        left = read(source, Units(base, without={unit}))
        assert left == pa.concat_tables([whole[:number], whole[number + 1 :]])
        assert read(source, Units(base, only=(unit, unit + 1))) == whole[number : number + 1]
        assert place_of(unit + CUT_OFF) == (3, offsets[number], CUT_OFF)
    span = (base + NUMBERS * offsets[2], base + NUMBERS * offsets[5])
    assert read(source, Units(base, only=span)) == whole[2:5]


def test_the_heartbeat_names_the_record(source: Path) -> None:
    memory = bytearray(heartbeat.SIZE)
    heartbeat.attach(memory)
    try:
        whole = read(source, Units(first_unit(1)))
        (at,) = heartbeat.read(memory).at
    finally:
        heartbeat.attach(None)
    assert at.is_guarded and place_of(at.first)[0] == 1 and at.place.startswith(source.name)
    last = whole["offset"].to_pylist()[-1]
    assert at.first <= first_unit(1) + NUMBERS * last < at.last


def test_pages_of_a_host_of_which_three_took_too_long_are_not_read_any_more(tmp_path: Path) -> None:
    listed = [
        (f"http://{host}.example/{n}", f'<img src="/{n}.jpg" alt="a kettle {n}">')
        for n in range(5)
        for host in ("slow", "good")
    ]
    source = pages.write(tmp_path / "a.warc.gz", listed)
    offsets = read(source, Units())["offset"].to_pylist()
    for count, left in ((2, 8), (3, 5)):
        slow = frozenset(NUMBERS * offset for offset in offsets[: 2 * count : 2])
        assert read(source, Units(without=slow)).num_rows == 10 - count  # left out for something else
        beside = Beside()
        piece = Piece(source.name, str(source), 0, -1)
        rows = pa.concat_tables(read_candidates([piece], ExtractConfig(), beside, [Units(without=slow, slow=slow)]))
        assert rows.num_rows == left
        assert rows["host"].to_pylist().count("good.example") == 5
    assert beside.sources["damaged_records"].to_pylist() == [2]
    said = f"a.warc.gz: the record at byte {offsets[6]:,} is of slow.example, of which 3 took too long: left out"
    assert beside.sources["error"].to_pylist() == [said]
