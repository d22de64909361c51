"""Images of evaluation sets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from filters.decontaminate import FOUND, INDEX, DecontaminateConfig, find, index
from tests.filters.images import fixed, flip

CONFIG = DecontaminateConfig()


@dataclass
class Measured:
    sha256: bytes
    pdq: bytes
    pdq_quality: int = 100
    mean_rgb: bytes = b"rgb"


def measure(body: bytes) -> Measured | str:
    """A stand-in for the decoder: a body is its own hash."""
    return "image_truncated" if body == b"broken" else Measured(hashlib.sha256(body).digest(), body.ljust(32, b"\0"))


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def images(pdq: np.ndarray, seed: int = 1, colour: int = 100, quality: int = 100) -> pa.Table:
    count = len(pdq)
    return pa.table(
        {
            "row": pa.array(np.arange(count), pa.uint32()),
            "sha256": fixed(random_hashes(count, seed)),
            "pdq": fixed(pdq),
            "pdq_quality": pa.array([quality] * count, pa.int32()),
            "mean_rgb": fixed(np.full((count, 3), colour)),
        }
    )


def evaluation(table: pa.Table, names: list[str]) -> pa.Table:
    rows = table.append_column("name", pa.array(names)).append_column("error", pa.nulls(len(names), pa.string()))
    return rows.select(INDEX.names).cast(INDEX)


def test_a_folder_is_searched_with_all_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "cifar"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "c" / "2.PNG").write_bytes(b"two")
    (folder / "a.jpg").write_bytes(b"one")
    (folder / "b" / "bad.webp").write_bytes(b"broken")
    (folder / "labels.txt").write_text("cat")
    got = index(str(folder), measure)
    assert got.schema.equals(INDEX)
    assert got.select(["name", "error"]).to_pylist() == [
        {"name": "cifar/a.jpg", "error": None},
        {"name": "cifar/b/bad.webp", "error": "image_truncated"},
        {"name": "cifar/b/c/2.PNG", "error": None},
    ]
    assert got.column("sha256").to_pylist()[1] is None


@pytest.mark.parametrize("files", [[], ["labels.txt"], ["a.png"]])
def test_a_folder_that_would_protect_nothing_is_an_error(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(ValueError, match="no image that can be read"):
        index(str(tmp_path), measure)
    with pytest.raises(ValueError, match="no image that can be read"):
        index(str(tmp_path / "absent"), measure)


@pytest.mark.parametrize("bits", [0, 15, 16, 31, 32])
def test_it_finds_exactly_what_is_within_the_distance(bits: int) -> None:
    wanted = random_hashes(200)
    pairs = np.concatenate([random_hashes(500, 7), flip(wanted, bits, np.random.default_rng(0))])
    names = [f"set/{number:03}.png" for number in range(200)]
    got = find(images(pairs), evaluation(images(wanted, seed=2), names), CONFIG)
    assert got.schema.equals(FOUND)
    rows = [{"row": 500 + i, "name": names[i], "pdq_hamming": bits} for i in range(200)] if bits <= 31 else []
    assert got.to_pylist() == rows
    assert find(
        images(pairs), evaluation(images(wanted, seed=2), names), DecontaminateConfig(max_hamming=0)
    ).num_rows == (200 if bits == 0 else 0)


def test_the_nearest_is_named_and_of_equals_the_first_by_name() -> None:
    one = random_hashes(1)
    near = flip(one, 4, np.random.default_rng(0))
    table = evaluation(images(np.concatenate([flip(one, 9, np.random.default_rng(1)), near, near])), ["a", "c", "b"])
    got = find(images(one, seed=3), table, CONFIG).to_pylist()
    assert got == [{"row": 0, "name": "b", "pdq_hamming": 4}]


def test_colour_and_quality_can_clear_an_image_but_not_of_equal_bytes() -> None:
    one = random_hashes(1)
    held = evaluation(images(one, seed=5, colour=100), ["set/a"])
    assert find(images(one, seed=6, colour=140), held, CONFIG).num_rows == 0
    assert find(images(one, seed=6, colour=140), held, DecontaminateConfig(max_colour_distance=40)).num_rows == 1
    assert find(images(one, seed=6, quality=40), held, CONFIG).num_rows == 0
    assert find(images(one, seed=6, quality=40), held, DecontaminateConfig(min_quality=40)).num_rows == 1
    same = find(images(one, seed=5, colour=0, quality=0), held, CONFIG)
    assert same.to_pylist() == [{"row": 0, "name": "set/a", "pdq_hamming": 0}]


def test_images_and_files_that_could_not_be_read_are_never_found() -> None:
    one = images(random_hashes(2))
    missing = pa.table({name: pa.nulls(1, one.schema.field(name).type) for name in one.column_names})
    held = pa.concat_tables([evaluation(one, ["a", "b"]), pa.Table.from_pylist([{"name": "0", "error": "x"}], INDEX)])
    rows = pa.concat_tables([missing, one]).set_column(0, "row", pa.array([0, 1, 2], pa.uint32()))
    assert find(rows, held, CONFIG).column("row").to_pylist() == [1, 2]
    assert find(rows, INDEX.empty_table(), CONFIG).num_rows == 0
    assert find(missing, held, CONFIG).num_rows == 0


def test_impossible_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"max_hamming must be 0\.\.31, not 32"):
        DecontaminateConfig(max_hamming=32)
