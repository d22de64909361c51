"""An index in parts, and one that is mapped, are the same index."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.ids import hash64
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset import index_parts, shards
from dataset.webdataset.shards import Index, read_index


def table(samples: list[tuple[int, str, bool]]) -> pa.Table:
    """Samples: the shard's number, the key, whether it is held out."""
    rows = [
        {
            "shard": f"{'heldout' if held else 'train'}-{shard:05d}.tar",
            "key": key,
            "split": "heldout" if held else "train",
            "offset": 512 * number,
            "size": 512,
            "pair_id": b"".join(hash64(number, half).to_bytes(8, "big") for half in "ab"),
            "checksum": hash64(number) if number % 3 else None,
        }
        for number, (shard, key, held) in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, SHARD_INDEX)


def written(storage: Storage, whole: pa.Table, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for number, (first, last) in enumerate(itertools.pairwise(places)):
        storage.write(f"shards/index/{number:05d}.parquet", to_parquet(whole.slice(first, last - first)))


def told(index: Index) -> list[object]:
    arrays = [index.shard, index.offset, index.size, index.checksum, index.pair_id]
    return [index.shards, index.keys.to_pylist(), index.fingerprint, *(array.tolist() for array in arrays)]


samples = st.lists(st.tuples(st.integers(0, 3), st.text("0123456789abcdefß", min_size=1, max_size=5), st.booleans()))


@settings(max_examples=10)
@given(samples, st.lists(st.integers(0, 20), max_size=3))
def test_parts_and_mapped_parts_are_the_index_of_one_file(of: list[tuple[int, str, bool]], cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        one, parts = Storage(f"{folder}/one"), Storage(f"{folder}/parts")
        one.write("shards/index.parquet", to_parquet(table(of)))
        written(parts, table(of), cuts)
        for split in ("train", "heldout"):
            plain = told(read_index(one, split))
            assert told(read_index(parts, split)) == plain
            patch.setattr(shards, "MAPPED_SAMPLES", -1)
            mapped = read_index(parts, split)
            assert told(mapped) == plain
            assert told(read_index(one, split)) == plain
            assert len(mapped.offset) == 0 or not mapped.offset.flags.owndata
            patch.undo()
            patch.setenv("TMPDIR", folder)
            patch.setattr(tempfile, "tempdir", None)


@pytest.mark.parametrize("most_in_memory", [-1, 10], ids=["mapped", "in memory"])
@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("shard", [None, "a"], "a shard is missing"),
        ("shard", [b"a", b"\xff"], "a shard is not UTF-8"),
        ("split", [b"train", b"\xff"], "a split is not UTF-8"),
        ("key", [b"a", b"\xff"], "a key is not UTF-8"),
    ],
)
def test_strings_that_are_none_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_in_memory: int, column: str, values: list[Any], words: str
) -> None:
    monkeypatch.setattr(shards, "MAPPED_SAMPLES", most_in_memory)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    damaged = pa.array(values, pa.binary()).view(pa.string())
    whole = table([(0, "a", False), (0, "b", False)])
    whole = whole.set_column(whole.column_names.index(column), column, damaged)
    pq.write_table(whole, (tmp_path / "index.parquet"))
    storage = Storage(str(tmp_path))
    storage.write("shards/index/00000.parquet", (tmp_path / "index.parquet").read_bytes())
    with pytest.raises(ValueError, match=f"is no index of shards as openwit writes it \\({words}"):
        read_index(storage, "train")


def test_a_changed_index_is_laid_out_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAPPED_SAMPLES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    storage = Storage(str(tmp_path / "data"))
    written(storage, table([(0, "a", False)]), [])
    assert len(read_index(storage, "train")) == 1
    written(storage, table([(0, "a", False), (0, "b", False)]), [])
    assert read_index(storage, "train").keys.to_pylist() == ["a", "b"]


def _sum(url: str, temporary: str) -> int:
    shards.MAPPED_SAMPLES, tempfile.tempdir = 0, temporary
    return int(np.sum(read_index(Storage(url), "train").offset))


def test_many_processes_lay_out_one_file(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    written(Storage(str(tmp_path / "data")), table([(n // 9, f"{n:x}", False) for n in range(99)]), [40])
    with multiprocessing.get_context("fork").Pool(3) as pool:
        sums = pool.starmap(_sum, [(str(tmp_path / "data"), str(tmp_path / "tmp"))] * 6)
    assert sums == [512 * 99 * 98 // 2] * 6
    assert len([path for path in (tmp_path / "tmp").rglob("index-*") if path.is_file()]) == 1


def test_a_dataset_without_an_index_is_told(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert not index_parts.has_index(storage)
    with pytest.raises(FileNotFoundError, match="has no shards/index"):
        read_index(storage, "train")
