"""Models in a run: what they measure, what is dropped by it, and what a changed threshold reruns."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import dataset
from dataset.tables import read_parquet
from filters.images.embeddings import from_column, unit
from pipeline.asking.explain import explain
from pipeline.config_errors import ConfigError
from pipeline.workers.failures import PhaseFailedError
from tests.filters import models
from tests.filters.images.test_faces import boxes_model
from tests.pipeline import pages
from tests.pipeline.stories import told
from tests.pipeline.tinted import HOST, PLAIN, REDS, World, dropped, tinted

IMAGE, NEARDUP = "image", "neardup"
"""The last stages of runs that ask of nothing behind them."""

PROVOKES = frozenset({"nsfw_image", "clip_score_low", "semantic_duplicate", "unlike_target_images", "image_has_face"})
"""Reasons that the runs below give, each asserted, and its story."""


def texts(places: Sequence[int]) -> set[str]:
    more = {"another text of the kettle"} if 15 in places else set()
    return {f"a kettle that is number {place}" for place in places} | more


def test_an_image_over_the_threshold_is_dropped_and_says_why(world: World, tmp_path: Path) -> None:
    image = {"models": [world.redness], "nsfw_model": "redness", "max_nsfw_probability": 0.8}
    assert world.build(tmp_path / "out", IMAGE, image=image)["image.nsfw"] > 1
    given = dropped(tmp_path / "out")
    assert set(given) == texts([13, 14, 15])
    for reason, evidence in given.values():
        assert reason == "nsfw_image"
        assert evidence["nsfw_probability"] > evidence["max_nsfw_probability"] == 0.8
    made = dataset.open(str(tmp_path / "out"))
    rows = made.sql("SELECT url, nsfw_probability FROM images").fetchall()
    assert len(rows) == 16  # an image of two texts is measured once
    for url, probability in rows:
        assert probability == pytest.approx(REDS[int(url.rpartition("/")[2][:-4])], abs=0.02)
    (story,) = explain(str(tmp_path / "out"), f"{HOST}/14.jpg")
    assert story.reason == "nsfw_image"
    assert told(str(tmp_path / "out")) == {"nsfw_image"}
    assert story.steps[-1].facts["nsfw_probability"] == pytest.approx(14 / 16, abs=0.02)
    kept = explain(str(tmp_path / "out"), f"{HOST}/1.jpg")[0]
    assert {step.stage: step.facts for step in kept.steps}["image"]["nsfw_probability"] < 0.1

    image["max_nsfw_probability"] = 0.53
    did = world.build(tmp_path / "out", IMAGE, image=image)
    assert "image.decide" in did and "image.nsfw" not in did and "fetch.get" not in did
    assert set(dropped(tmp_path / "out")) == texts(range(9, 16))


def test_by_default_open_nsfw_looks_and_finds_nothing_in_noise(world: World, tmp_path: Path) -> None:
    world.build(tmp_path / "out", IMAGE)
    made = dataset.open(str(tmp_path / "out"))
    ((count, most),) = made.sql("SELECT count(nsfw_probability), max(nsfw_probability) FROM images").fetchall()
    assert count == 16 and 0 < most < 0.8
    assert dropped(tmp_path / "out") == {}
    did = world.build(tmp_path / "out", IMAGE, image={"nsfw_model": ""})
    assert "image.nsfw" not in did
    assert dataset.open(str(tmp_path / "out")).sql("SELECT count(nsfw_probability) FROM images").fetchall() == [(0,)]


def test_a_predicate_decides_by_a_models_column_and_a_quantile_of_it(world: World, tmp_path: Path) -> None:
    image = {"models": [world.redness], "nsfw_model": "", "quantiles": {"reddest": "top 25% of redness"}}
    rule = {"name": "too_red", "stage": "image", "drop_when": "redness >= reddest"}
    world.build(tmp_path / "out", IMAGE, image=image, filters=[rule])
    given = dropped(tmp_path / "out")
    assert set(given) == texts([12, 13, 14, 15])
    assert {reason for reason, _ in given.values()} == {"too_red"}
    least = min(evidence["redness"] for _, evidence in given.values())
    assert least == pytest.approx(12 / 16, abs=0.02)
    image["quantiles"] = {"reddest": "top 50% of redness"}
    did = world.build(tmp_path / "out", IMAGE, image=image, filters=[rule])
    assert {name for name in did if name.startswith("image.")} == {"image.cutoffs", "image.decide"}
    assert set(dropped(tmp_path / "out")) == texts(range(8, 16))


def test_pairs_that_agree_least_are_dropped_by_number_or_share(world: World, tmp_path: Path) -> None:
    image = {"nsfw_model": "", "embedding_model": world.run, "min_clip_score": "top 30%"}
    for name, run in (("many", {"pairs_per_partition": 6}), ("one", {"pairs_per_partition": 100})):
        world.embedded(tmp_path / name, **run)
        world.build(tmp_path / name, IMAGE, image=image, run={"workers": 0, **run})
    given = dropped(tmp_path / "many")
    assert given == dropped(tmp_path / "one")  # whatever the partitions are
    assert len(given) == 17 - 5  # ⌊0.3 · 17⌋ are kept
    cutoff = {evidence["min_clip_score"] for _, evidence in given.values()}
    assert len(cutoff) == 1
    assert {reason for reason, _ in given.values()} == {"clip_score_low"}
    assert all(evidence["clip_score"] < min(cutoff) for _, evidence in given.values())
    (story,) = explain(str(tmp_path / "many"), f"{HOST}/{next(iter(given)).split()[-1]}.jpg")
    assert story.reason == "clip_score_low" and "clip_score" in story.steps[-1].facts
    assert told(str(tmp_path / "many")) == {"clip_score_low"}

    image["min_clip_score"] = min(cutoff)
    did = world.build(tmp_path / "many", IMAGE, image=image)
    assert {name for name in did if name.startswith("image.")} == {"image.decide"}
    assert set(dropped(tmp_path / "many")) == set(given)


def test_a_head_over_embeddings_is_a_column_like_any(world: World, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    torch.save(torch.nn.Linear(16, 1).state_dict(), tmp_path / "head.pth")
    head = {"name": "aesthetic", "path": str(tmp_path / "head.pth")}
    image = {
        "nsfw_model": "",
        "embedding_model": world.run,
        "heads": [head],
        "quantiles": {"floor": "top 50% of aesthetic"},
    }
    rule = {"name": "ugly", "stage": "image", "drop_when": "aesthetic < floor"}
    world.embedded(tmp_path / "out")
    world.build(tmp_path / "out", IMAGE, image=image, filters=[rule])
    assert len(dropped(tmp_path / "out")) in (8, 9)  # of 16 images, one of which has two texts
    image |= {"nsfw_model": "aesthetic", "quantiles": {}, "max_nsfw_probability": 0.0}
    did = world.build(tmp_path / "out", IMAGE, image=image)
    assert "image.embed" not in did
    assert {reason for reason, _ in dropped(tmp_path / "out").values()} <= {"nsfw_image"}
    assert dataset.open(str(tmp_path / "out")).sql("SELECT count(nsfw_probability) FROM images").fetchall() == [(16,)]


def shards(out: Path) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """text -> the image's pixels and the sample's json."""
    made = dataset.open(str(out))
    found = {}
    for shard, key, text in made.sql("SELECT shard, key, text FROM pairs").fetchall():
        with tarfile.open(out / "shards" / shard) as tar:
            image, data = (tar.extractfile(f"{key}.{part}") for part in ("jpg", "json"))
            assert image is not None and data is not None
            found[text] = np.asarray(Image.open(image)).astype(int), json.load(data)
    return found


def test_an_image_that_a_model_cannot_answer_is_quarantined(world: World, tmp_path: Path) -> None:
    nodes = [  # the logarithm of the mean red less 0.9, which is none of a negative number
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "less"], ["rest"]),
        helper.make_node("Log", ["rest"], ["out"]),
    ]
    less = helper.make_tensor("less", TensorProto.FLOAT, [1, 3], [0.9, 0, 0])
    path = models.save(tmp_path / "log.onnx", nodes, ["n", 3, 8, 8], {"out": ["n", 3]}, [less])
    model = {"name": "depth", "path": path, "size": 8, "answer": 0}
    image = {"nsfw_model": "", "models": [model]}
    with pytest.raises(PhaseFailedError, match=r"image.models.depth: .*log.onnx answers no finite number"):
        world.build(tmp_path / "out", IMAGE, image=image)
    run = {"workers": 0, "pairs_per_partition": 6, "max_quarantined": 20}
    world.build(tmp_path / "out", IMAGE, image=image, run=run)
    given = dropped(tmp_path / "out")
    assert {reason for reason, _ in given.values()} == {"quarantined"}
    assert set(given) == texts(range(15))


def test_faces_are_blurred_in_the_shards_or_marked_or_dropped(world: World, tmp_path: Path) -> None:
    yunet = models.red_yunet(tmp_path / "yunet.onnx")
    whole = shards(world.built(tmp_path / "plain"))
    assert all("face_bboxes" not in data for _, data in whole.values())
    out = world.built(tmp_path / "out", faces={"yunet": yunet, "min_score": 0.5})
    blurred = shards(out)
    assert set(blurred) == set(whole)
    with_faces = {text for text, (_, data) in blurred.items() if data["face_bboxes"]}
    assert 0 < len(with_faces) < 17
    for text, (rgb, data) in blurred.items():
        if not data["face_bboxes"]:
            assert (rgb == whole[text][0]).all()
        for x_min, y_min, x_max, y_max in data["face_bboxes"]:
            assert 0 <= x_min < x_max <= 1 and 0 <= y_min < y_max <= 1
            rows, columns = slice(int(y_min * 96), int(y_max * 96)), slice(int(x_min * 96), int(x_max * 96))
            change = abs(rgb[rows, columns] - whole[text][0][rows, columns])
            assert change.size == 0 or change.max() > 0

    did = world.build(out, **PLAIN, faces={"yunet": yunet, "min_score": 0.5, "action": "mark"})
    assert "image.faces" not in did and "image.decide" not in did
    marked = shards(out)
    assert {text for text, (_, data) in marked.items() if data["face_bboxes"]} == with_faces
    assert all((rgb == whole[text][0]).all() for text, (rgb, _) in marked.items())

    did = world.build(out, IMAGE, **PLAIN, faces={"yunet": yunet, "min_score": 0.5, "action": "drop"})
    assert "image.faces" not in did
    given = dropped(out)
    assert set(given) == with_faces
    assert {reason for reason, _ in given.values()} == {"image_has_face"} == told(str(out))
    assert all(evidence["face_score"] >= evidence["min_score"] == 0.5 for _, evidence in given.values())
    world.build(out, IMAGE, **PLAIN, faces={"yunet": yunet, "min_score": 1.0, "action": "drop"})
    assert dropped(out) == {}


def test_a_detector_of_any_other_make_does_the_same(world: World, tmp_path: Path) -> None:
    everywhere = boxes_model(tmp_path / "boxes.onnx", [[0.25, 0.5, 0.5, 0.75, 0.9]])
    model = {"path": everywhere, "size": 32, "resize": "pad"}
    out = world.built(tmp_path / "out", faces={"model": model})
    assert {str(data["face_bboxes"]) for _, data in shards(out).values()} == {"[[0.25, 0.5, 0.5, 0.75]]"}
    with pytest.raises(ConfigError, match=r"faces.yunet: .* is not OpenCV's YuNet"):
        world.anew(tmp_path / "bad", faces={"yunet": everywhere})
    with pytest.raises(ConfigError, match=r"faces names no.onnx, which does not exist"):
        world.anew(tmp_path / "bad", faces={"yunet": "no.onnx"})


def embeddings(out: Path) -> dict[str, np.ndarray]:
    """url_id -> the image's embedding, at unit length."""
    made = dataset.open(str(out))
    found = {}
    for commit in made.commits("image.embed"):
        table = read_parquet(made.storage, commit.files["images"].name)
        vectors = unit(from_column(table.column("embedding")))
        query = f"SELECT row, url_id FROM images WHERE partition = {commit.partition}"
        ids = dict(made.sql(query).fetchall())
        found |= {ids[row]: vector for row, vector in zip(table.column("row").to_pylist(), vectors, strict=True)}
    return found


def test_an_image_that_shows_what_another_shows_goes_for_it(world: World, tmp_path: Path) -> None:
    image = {"nsfw_model": "", "embedding_model": world.run}
    semantic = {"min_cosine": 0.93}
    for name, run in (("many", {"pairs_per_partition": 6}), ("one", {"pairs_per_partition": 100})):
        world.embedded(tmp_path / name, **run)
        world.build(tmp_path / name, NEARDUP, image=image, semantic=semantic, run={"workers": 0, **run})
    given = dropped(tmp_path / "many", "neardup")
    assert given == dropped(tmp_path / "one", "neardup")
    vectors = embeddings(tmp_path / "many")
    made = dataset.open(str(tmp_path / "many"))
    ids = dict(made.sql("SELECT url, url_id FROM images").fetchall())
    alive = "SELECT DISTINCT url FROM scores WHERE pair_id NOT IN (SELECT pair_id FROM dropped)"
    kept = {ids[url] for (url,) in made.sql(alive).fetchall()}
    assert 0 < len(kept) < 16
    rows = made.sql("SELECT url, reason, evidence FROM dropped WHERE stage = 'neardup'").fetchall()
    for url, reason, evidence in rows:
        said = json.loads(evidence)
        assert reason == "semantic_duplicate"
        assert said["duplicate_of_url_id"] in kept
        assert said["cosine"] >= said["min_cosine"] == 0.93
        assert said["cosine"] == pytest.approx(vectors[ids[url]] @ vectors[said["duplicate_of_url_id"]], abs=1e-5)
    assert {ids[url] for url, _, _ in rows} == set(ids.values()) - kept
    assert all(vectors[a] @ vectors[b] < 0.93 for a in kept for b in kept if a < b)
    assert told(str(tmp_path / "many")) == {"semantic_duplicate"}
    (story, *_) = explain(str(tmp_path / "many"), rows[0][0])
    assert story.steps[-1].facts["the image that stands for it"]["url"].startswith(HOST)

    did = world.build(tmp_path / "many", NEARDUP, image=image, semantic={"min_cosine": 0.999})
    assert {name for name in did if name.startswith(("image.", "neardup."))} == {"neardup.semantic", "neardup.decide"}


def test_only_cells_near_a_target_set_are_kept(world: World, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "like.png").write_bytes(pages.encoded(tinted(3, REDS[3]), "PNG"))
    image = {"nsfw_model": "", "embedding_model": world.run}
    semantic = {"target_folders": [str(tmp_path / "target")], "images_per_cell": 4}
    world.embedded(tmp_path / "out")
    world.build(tmp_path / "out", IMAGE, image=image, semantic=semantic)
    given = dropped(tmp_path / "out")
    assert 0 < len(given) < 17
    assert "a kettle that is number 3" not in given
    assert {reason for reason, _ in given.values()} == {"unlike_target_images"}
    assert {evidence["target_images"] for _, evidence in given.values()} == {0}
    number = next(iter(given)).split()[-1]
    story = explain(str(tmp_path / "out"), f"{HOST}/{number if number.isdigit() else 15}.jpg")[0]
    assert "cell_cosine" in story.steps[-1].facts
    assert told(str(tmp_path / "out")) == {"unlike_target_images"}
    did = world.build(tmp_path / "out", IMAGE, image=image, semantic={**semantic, "images_per_cell": 1000})
    assert "image.embed" not in did
    assert dropped(tmp_path / "out") == {}  # one cell, into which the target falls


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ({"nsfw_model": "other"}, "nsfw_model must be builtin, empty, or the name of one of models or heads"),
        ({"min_clip_score": 0.2}, "need an embedding_model"),
        ({"embedding_model": "m", "min_clip_score": "best"}, "min_clip_score must be like `top 30%`"),
        ({"embedding_model": "m", "min_clip_score": "top 100%"}, "above 0 and below 100"),
        ({"quantiles": {"a": "top 30%"}}, "quantiles.a must be like `top 30% of aesthetic`"),
        ({"models": [{"name": "Not", "path": "a"}]}, "lower_case_with_underscores"),
        ({"models": [{"name": "clip_score", "path": "a"}]}, "clip_score is a column that is there anyway"),
        ({"models": [{"name": "a", "path": "a"}] * 2}, "a occurs twice"),
        ({"models": [{"name": "a", "path": "a"}], "quantiles": {"a": "top 3% of a"}}, "quantiles: a occurs twice"),
        ({"models": [{"name": "a", "path": "no.onnx"}]}, "image.models.a names no.onnx, which does not exist"),
        ({"nsfw_model": "", "embedding_model": "nowhere"}, "image.embedding_model: .*nowhere"),
        ({"max_nsfw_probability": 1.5}, "must be from 0 to 1"),
    ],
)
def test_what_cannot_be_run_is_told_before_any_work(
    world: World, tmp_path: Path, image: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        world.anew(tmp_path / "out", image=image)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_the_model_does_not_have_is_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image.models.redness.answer is 3, but .* answers 3 numbers"):
        world.anew(tmp_path / "out", image={"models": [{**world.redness, "answer": 3}]})
