"""`wit search`: the nearest images of a dataset, exactly and by an index, and whether an image is in the data."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset.query.views import Dataset
from pipeline.cli import main
from pipeline.examining import nearest as module
from pipeline.examining.embeddings import Embeddings, Part
from pipeline.examining.encoders import open_checkpoint, stage_identity
from pipeline.examining.nearest import exact_neighbours, search
from tests.pipeline import pages
from tests.pipeline.dataset_fixture import HandMade
from tests.pipeline.tinted import HOST, PLAIN, REDS, World, tinted

THIRD = {"name": "third", "stage": "image", "drop_when": "url LIKE '%/3.jpg'"}


@pytest.fixture(scope="module")
def plain(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen pictures and sixteen pairs, whose images nobody has embedded; one more picture was dropped."""
    return world.built(tmp_path_factory.mktemp("plain") / "out", filters=[THIRD])


def asked(capsys: Any, out: Path | str, *words: str) -> Any:
    capsys.readouterr()
    assert main(["search", str(out), *words, "--format", "json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def own(out: Path, world: World, folder: Path) -> Embeddings:
    encoder = open_checkpoint(world.run, "cpu", 5)
    return Embeddings(Dataset(str(out)), encoder, stage_identity(world.run), folder)


def test_what_the_stage_has_embedded_is_taken_and_what_it_has_not_is_encoded_once(
    world: World, plain: Path, tmp_path: Path, capsys: Any
) -> None:
    image = {**PLAIN["image"], "embedding_model": world.run}
    world.build(tmp_path / "kept", image=image, filters=[THIRD])
    kept, made = own(tmp_path / "kept", world, tmp_path / "a"), own(plain, world, tmp_path / "b")
    of_stage, own_made = (
        {key: vector for part in each.images() for key, vector in zip(part.ids.tolist(), part.vectors, strict=True)}
        for each in (kept, made)
    )
    assert len(of_stage) == 15 and set(own_made) == set(of_stage)
    assert all(float(vector @ of_stage[key]) > 0.999 for key, vector in own_made.items())
    assert not (tmp_path / "a").exists()

    words = ["a kettle", "--checkpoint", world.run, "--count", "5", "--features", str(tmp_path / "b")]
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "b").iterdir()}
    rows = asked(capsys, plain, *words)
    assert files == {file: file.stat().st_mtime_ns for file in (tmp_path / "b").iterdir()}
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    by_default = asked(capsys, tmp_path / "kept", "a kettle", "--count", "5")  # the config names the encoder
    assert [row["url"] for row in rows] == [row["url"] for row in by_default]
    assert rows[0]["score"] == pytest.approx(by_default[0]["score"], abs=2e-3)


def test_an_image_with_two_texts_is_found_once(world: World, plain: Path, tmp_path: Path, capsys: Any) -> None:
    rows = asked(capsys, plain, "kettle", "--checkpoint", world.run, "--features", str(tmp_path))
    assert len(rows) == 15 == len({row["url"] for row in rows})
    assert {row["url"]: row["pairs"] for row in rows}[f"{HOST}/15.jpg"] == 2
    assert all(row["same_bytes"] is None for row in rows)
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_whether_an_image_is_in_the_data(world: World, plain: Path, tmp_path: Path, capsys: Any) -> None:
    body = pages.encoded(tinted(4, REDS[4]))
    (tmp_path / "same.jpg").write_bytes(body)
    Image.open(io.BytesIO(body)).resize((160, 160)).save(tmp_path / "copy.png")
    (tmp_path / "other.jpg").write_bytes(pages.encoded(tinted(99, 0.5)))
    more = ("--checkpoint", world.run, "--features", str(tmp_path / "kept"), "--count", "4")

    same = asked(capsys, plain, "--image", str(tmp_path / "same.jpg"), *more)[0]
    assert (same["url"], same["same_bytes"], same["pdq_hamming"]) == (f"{HOST}/4.jpg", True, 0)
    assert same["score"] > 0.99 and same["pairs"] == 1 and same["dropped"] is None

    copy = asked(capsys, plain, "--image", str(tmp_path / "copy.png"), *more)[0]
    assert (copy["url"], copy["same_bytes"]) == (f"{HOST}/4.jpg", False) and copy["pdq_hamming"] <= 31

    others = asked(capsys, plain, "--image", str(tmp_path / "other.jpg"), *more)
    assert len(others) == 4 and all(row["pdq_hamming"] is None and not row["same_bytes"] for row in others)
    for name, said in (("same.jpg", "has the same bytes"), ("copy.png", "looks the same"), ("other.jpg", "is not in")):
        assert main(["search", str(plain), "--image", str(tmp_path / name), *more]) == 0
        assert said in capsys.readouterr().out.splitlines()[0]


def test_an_image_that_was_dropped_is_told_with_its_reason(
    world: World, plain: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "same.jpg").write_bytes(pages.encoded(tinted(3, REDS[3])))
    words = ["--image", str(tmp_path / "same.jpg"), "--checkpoint", world.run, "--features", str(tmp_path / "f")]
    first = asked(capsys, plain, *words)[0]
    assert first["same_bytes"] and first["dropped"] == "third" and first["pairs"] == 0 and first["pair_id"] is None
    page = tmp_path / "sheet.html"
    assert main(["search", str(plain), *words, "--output", str(page)]) == 0
    assert "it was fetched, and dropped (third)" in page.read_text()


def test_a_contact_sheet_shows_a_strangers_text_as_text(world: World, tmp_path: Path, capsys: Any) -> None:
    evil = "<script>alert(1)</script> a rose \u202e"
    made = HandMade(tmp_path / "out")
    out = made.write([{"url": "javascript:alert(1)", "text": evil}, {"url": "http://a.example/2.jpg", "text": "b"}])
    tiny_index(out)
    page = tmp_path / "sheet.html"
    more = ["--checkpoint", world.run, "--features", str(tmp_path / "f"), "--output", str(page)]
    assert main(["search", out, "<img src=x onerror=alert(2)>", *more]) == 0
    text = page.read_text()
    assert "<script" not in text and "onerror=alert(2)>" not in text and "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text and 'href="javascript' not in text
    assert text.count("data:image/jpeg;base64,") == 2 and "default-src 'none'" in text


def tiny_index(out: str) -> None:
    """The index of shards that HandMade leaves out."""
    from dataset.schema import SHARD_INDEX
    from dataset.store.storage import Storage
    from dataset.tables import to_parquet

    made = Dataset(out)
    table = made.sql(
        'SELECT shard, key, split, "offset", size, unhex(pair_id) AS pair_id, checksum FROM pairs'
    ).to_arrow_table()
    Storage(out).write("shards/index.parquet", to_parquet(table.cast(SHARD_INDEX), SHARD_INDEX).to_pybytes())


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 40))
def test_the_nearest_are_those_of_a_full_sort(seed: int, count: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (images, 3)).astype(np.float32)  # many are equal
    ids = rng.permutation(images).astype(np.uint64)
    queries = rng.integers(-1, 2, (2, 3)).astype(np.float32)
    cuts = sorted(rng.integers(0, images, 2).tolist())
    parts = [Part(ids[a:b], vectors[a:b]) for a, b in zip([0, *cuts], [*cuts, images], strict=True) if a < b]
    _, cosines = exact_neighbours(parts, queries, count)
    assert cosines.tolist() == np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, :count].tolist()


def test_a_million_images_are_found_by_a_kept_index(
    world: World, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("faiss")
    embeddings = own(plain, world, tmp_path)
    queries = embeddings.encoder.texts(["kettle", "red"])
    exact = search(embeddings, queries, 3)
    monkeypatch.setattr(module, "EXACT_BELOW", 10)
    monkeypatch.setattr(module, "_PROBED", 1)  # all lists
    ids, cosines, is_exact = search(embeddings, queries, 3)
    assert exact[2] and not is_exact and ids.tolist() == exact[0].tolist()
    assert cosines == pytest.approx(exact[1], abs=2e-3)
    (kept,) = tmp_path.glob("*.faiss")
    before = kept.stat().st_mtime_ns
    assert search(embeddings, queries, 3)[0].tolist() == ids.tolist() and kept.stat().st_mtime_ns == before
    kept.write_bytes(b"damaged")
    assert main(["search", str(plain), "kettle", "--checkpoint", world.run, "--features", str(tmp_path)]) == 2
    assert "is damaged; delete it" in capsys.readouterr().err
    assert asked(capsys, plain, "kettle", "--checkpoint", world.run, "--features", str(tmp_path), "--exact")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "wit search takes a TEXT"),
        (["a", "--image", "b"], "wit search takes a TEXT"),
        ([" "], "the text to search for is empty"),
        (["a", "--count", "0"], "--count must be from 1 to 10,000"),
        (["--image", "nowhere.jpg"], "there is no file"),
        (["a"], "does not say what encodes its images (it has no run of `wit train`); give --checkpoint"),
        (["a", "--checkpoint", "nowhere"], "there is no checkpoint"),
        (["--image", "IMAGE"], "is no image that the dataset would take"),
        (["a", "--checkpoint", "RUN", "--output", "OUT/x.html"], "is inside the dataset"),
    ],
)
def test_bad_input_is_one_sentence(
    world: World, plain: Path, tmp_path: Path, capsys: Any, words: list[str], said: str
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    names = {"IMAGE": str(tmp_path / "broken.jpg"), "RUN": world.run, "OUT/x.html": f"{plain}/x.html"}
    words = [names.get(word, word) for word in words]
    more = ["--checkpoint", world.run] if "IMAGE" not in words and "--image" in words else []
    more = ["--checkpoint", world.run] if said.startswith("is no image") else more
    assert main(["search", str(plain), *words, *more, "--features", str(tmp_path / "f")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert said in told[-1]


def test_a_damaged_image_is_counted_and_the_others_are_found(
    world: World, plain: Path, tmp_path: Path, capsys: Any
) -> None:
    out = shutil.copytree(plain, tmp_path / "out")
    place = "SELECT shard, \"offset\" + 600 FROM pairs WHERE url LIKE '%/4.jpg'"
    ((name, offset),) = Dataset(str(out)).sql(place).fetchall()
    shard = out / "shards" / name
    data = bytearray(shard.read_bytes())
    data[offset : offset + 50] = bytes(50)
    shard.write_bytes(data)
    assert main(["search", str(out), "a", "--checkpoint", world.run, "--features", str(tmp_path / "f")]) == 0
    told = capsys.readouterr()
    assert "cannot be read, and are not found: 1" in told.err and told.out.count(HOST) == 14
