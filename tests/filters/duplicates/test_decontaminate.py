"""Images of evaluation sets."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from filters.duplicates import evaluation_sets
from filters.duplicates.decontaminate import EMBEDDING, EMBEDDINGS, FOUND, INDEX, DecontaminateConfig, find, index
from filters.duplicates.evaluation_sets import read_image, read_set
from filters.images.embeddings import unit
from tests.filters.pictures import fixed, flip

CONFIG = DecontaminateConfig()


@dataclass
class Measured:
    sha256: bytes
    pdq: bytes
    pdq_quality: int = 100
    mean_rgb: bytes = b"rgb"
    body: bytes = b""


def measure(body: bytes) -> Measured | str:
    """A stand-in for the decoder: a body is its own hash."""
    if body == b"broken":
        return "image_truncated"
    return Measured(hashlib.sha256(body).digest(), body.ljust(32, b"\0"), body=body)


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
    rows = table.append_column("name", pa.array(names))
    for field in INDEX:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(names), field.type))
    return rows.select(INDEX.names).cast(INDEX)


def nearest(table: pa.Table) -> list[tuple[int, str, int]]:
    """FOUND without the model's columns."""
    assert table.schema.equals(FOUND)
    return [(row["row"], row["name"], row["pdq_hamming"]) for row in table.to_pylist()]


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
def test_it_finds_exactly_what_is_within_31_bits(bits: int) -> None:
    wanted = random_hashes(200)
    pairs = np.concatenate([random_hashes(500, 7), flip(wanted, bits, np.random.default_rng(0))])
    names = [f"set/{number:03}.png" for number in range(200)]
    got = find(images(pairs), evaluation(images(wanted, seed=2), names), CONFIG)
    assert nearest(got) == ([(500 + i, names[i], bits) for i in range(200)] if bits <= 31 else [])


def test_the_nearest_is_named_and_of_equals_the_first_by_name() -> None:
    one = random_hashes(1)
    near = flip(one, 4, np.random.default_rng(0))
    table = evaluation(images(np.concatenate([flip(one, 9, np.random.default_rng(1)), near, near])), ["a", "c", "b"])
    assert nearest(find(images(one, seed=3), table, CONFIG)) == [(0, "b", 4)]


def test_colour_and_quality_can_clear_an_image_but_not_of_equal_bytes() -> None:
    one = random_hashes(1)
    held = evaluation(images(one, seed=5, colour=100), ["set/a"])
    assert find(images(one, seed=6, colour=140), held, CONFIG).num_rows == 0
    assert find(images(one, seed=6, colour=140), held, DecontaminateConfig(max_colour_distance=40)).num_rows == 1
    assert find(images(one, seed=6, quality=40), held, CONFIG).num_rows == 0
    assert find(images(one, seed=6, quality=40), held, DecontaminateConfig(min_quality=40)).num_rows == 1
    same = find(images(one, seed=5, colour=0, quality=0), held, CONFIG)
    assert nearest(same) == [(0, "set/a", 0)]


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))


def test_a_set_of_clip_benchmark_is_what_it_examines_on(tmp_path: Path) -> None:
    root = tmp_path / "wds" / "cifar10"
    tar(root / "test" / "0.tar", {"s0.png": b"one", "s0.cls": b"3", "s1.webp": b"two"})
    tar(root / "test" / "1.tar", {"s0.jpg": b"three"})
    tar(root / "train" / "0.tar", {"s0.jpg": b"four"})
    (root / "classnames.txt").write_text("cat")
    got = index(str(root), measure)
    names = ["cifar10/test/0.tar/s0.png", "cifar10/test/0.tar/s1.webp", "cifar10/test/1.tar/s0.jpg"]
    assert got.column("name").to_pylist() == names
    assert index(str(root / "train"), measure).column("name").to_pylist() == ["train/0.tar/s0.jpg"]  # if it is named
    assert index(str(root / "test" / "1.tar"), measure).column("name").to_pylist() == ["1.tar/s0.jpg"]
    for location in (str(root), str(root / "test" / "1.tar")):
        for place, body in read_set(location):
            assert read_image(location, place) == body
    (root / "test" / "2.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ValueError, match=r"2\.tar cannot be read as a tar"):
        index(str(root), measure)


def test_a_member_that_claims_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_sets, "MAX_BYTES", 4)
    tar(tmp_path / "0.tar", {"a.jpg": b"fine", "b.jpg": b"large"})
    assert index(str(tmp_path), measure).column("error").to_pylist() == [None, "5 bytes are too many for an image"]


def test_a_model_names_the_nearest_whatever_the_distance() -> None:
    vectors = np.array([[2, 0], [0, 3], [1, 1]], np.float32)
    held = evaluation(images(random_hashes(3), seed=2), ["c", "a", "b"])
    held = held.set_column(INDEX.get_field_index("embedding"), "embedding", pa.array(list(unit(vectors)), EMBEDDING))
    rows = pa.array([0, 1], pa.uint32())
    mine = pa.table([rows, pa.array(list(unit(np.array([[5, 5], [0, 1]], np.float32))), EMBEDDING)], EMBEDDINGS)
    table = images(np.concatenate([random_hashes(2, 9), random_hashes(1)]))
    got = find(table, held, CONFIG, mine).to_pylist()
    assert got[:2] == [
        {"row": 0, "name": None, "pdq_hamming": None, "cosine_name": "b", "cosine": 1.0},
        {"row": 1, "name": None, "pdq_hamming": None, "cosine_name": "a", "cosine": 1.0},
    ]
    assert got[2] == {"row": 2, "name": "c", "pdq_hamming": 0, "cosine_name": None, "cosine": None}


def test_a_set_is_embedded_as_it_is_stored(tmp_path: Path) -> None:
    for number in range(130):
        (tmp_path / f"{number:03}.png").write_bytes(bytes([number, 1]))

    def embed(bodies: list[bytes]) -> np.ndarray:
        return np.array([[body[0], 0] for body in bodies], np.float32)

    got = index(str(tmp_path), measure, embed).column("embedding").to_pylist()
    assert got == [[0, 0], *[[1, 0]] * 129]


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
    with pytest.raises(ValueError, match=r"min_cosine must be from -1 to 1, not 2"):
        DecontaminateConfig(min_cosine=2)
