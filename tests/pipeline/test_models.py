"""Models in a run: what they measure, what is dropped by it, and what a changed threshold reruns."""

from __future__ import annotations

import json
import re
import shlex
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
from dataset.views import Dataset
from filters.embeddings import from_column
from filters.semantic import unit
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import ConfigError
from pipeline.config import build as make_config
from pipeline.executor import PhaseFailedError
from pipeline.explain import explain
from tests.filters import models
from tests.filters.test_faces import boxes_model
from tests.pipeline import pages
from tests.pipeline.stories import told

HOST = "http://images.example"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
PROVOKES = frozenset({"nsfw_image", "clip_score_low", "semantic_duplicate", "unlike_target_images", "image_has_face"})
"""Reasons that the runs below give, each asserted, and its story."""


def tinted(seed: int, red: float) -> np.ndarray:
    """A picture of its own with this much red, 0..1. uint8 (96, 96, 3)."""
    pixels = pages.texture(seed).copy()
    pixels[:, :, 0] = round(255 * red)
    return pixels


PLAIN: dict[str, Any] = {"image": {"nsfw_model": ""}}
REDS = [place / 16 for place in range(16)]


class World:
    """Sixteen pictures from no red to nearly all red, one of them with two texts, and models that see it."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "queries.txt").write_text("kettle\n")
        images = {
            f"{HOST}/{place}.jpg": ("image/jpeg", pages.encoded(tinted(place, red))) for place, red in enumerate(REDS)
        }
        tags = "".join(f'<img src="{url}" alt="a kettle that is number {n}">' for n, url in enumerate(images))
        again = f'<img src="{HOST}/15.jpg" alt="another text of the kettle">'
        self.archive = pages.write(
            folder / "a.warc.gz", [("http://page.example/", f"<html lang=en>{tags}{again}")], images
        )
        self.redness = {"name": "redness", "path": models.mean_colour(folder / "red.onnx"), "size": 8, "answer": 0}
        self.run = models.tiny_run(folder)

    def config(self, out: Path | str, **sections: Any) -> dict[str, Any]:
        return {
            "sources": [str(self.archive)],
            "out": str(out),
            "match": {"queries": str(self.folder / "queries.txt")},
            "fetch": {"origins": ["archive"]},
            "pack": {"heldout_share": 0.0},
            "run": {"workers": 0, "pairs_per_partition": 6},
            **sections,
        }

    def build(self, out: Path | str, **sections: Any) -> dict[str, int]:
        """Build; the tasks that were done, by phase."""
        return build(make_config(self.config(out, **sections)), quiet=True).did

    def built(self, out: Path, **sections: Any) -> Path:
        """Build without a model of NSFW; where."""
        self.build(out, **PLAIN, **sections)
        return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("models"))


def dropped(out: Path, stage: str = "image") -> dict[str, tuple[str, dict[str, Any]]]:
    """text -> (reason, evidence)."""
    rows = dataset.open(str(out)).sql(f"SELECT text, reason, evidence FROM dropped WHERE stage = '{stage}'").fetchall()
    return {text: (reason, json.loads(evidence)) for text, reason, evidence in rows}


def texts(places: Sequence[int]) -> set[str]:
    more = {"another text of the kettle"} if 15 in places else set()
    return {f"a kettle that is number {place}" for place in places} | more


def test_an_image_over_the_threshold_is_dropped_and_says_why(world: World, tmp_path: Path) -> None:
    image = {"models": [world.redness], "nsfw_model": "redness", "max_nsfw_probability": 0.8}
    assert world.build(tmp_path / "out", image=image)["image.nsfw"] > 1
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
    did = world.build(tmp_path / "out", image=image)
    assert "image.decide" in did and "image.nsfw" not in did and "fetch.get" not in did
    assert set(dropped(tmp_path / "out")) == texts(range(9, 16))


def test_by_default_open_nsfw_looks_and_finds_nothing_in_noise(world: World, tmp_path: Path) -> None:
    world.build(tmp_path / "out")
    made = dataset.open(str(tmp_path / "out"))
    ((count, most),) = made.sql("SELECT count(nsfw_probability), max(nsfw_probability) FROM images").fetchall()
    assert count == 16 and 0 < most < 0.8
    assert dropped(tmp_path / "out") == {}
    did = world.build(tmp_path / "out", image={"nsfw_model": ""})
    assert "image.nsfw" not in did
    assert dataset.open(str(tmp_path / "out")).sql("SELECT count(nsfw_probability) FROM images").fetchall() == [(0,)]


def test_a_predicate_decides_by_a_models_column_and_a_quantile_of_it(world: World, tmp_path: Path) -> None:
    image = {"models": [world.redness], "nsfw_model": "", "quantiles": {"reddest": "top 25% of redness"}}
    rule = {"name": "too_red", "stage": "image", "drop_when": "redness >= reddest"}
    world.build(tmp_path / "out", image=image, filters=[rule])
    given = dropped(tmp_path / "out")
    assert set(given) == texts([12, 13, 14, 15])
    assert {reason for reason, _ in given.values()} == {"too_red"}
    least = min(evidence["redness"] for _, evidence in given.values())
    assert least == pytest.approx(12 / 16, abs=0.02)
    image["quantiles"] = {"reddest": "top 50% of redness"}
    did = world.build(tmp_path / "out", image=image, filters=[rule])
    assert {name for name in did if name.startswith("image.")} == {"image.cutoffs", "image.decide"}
    assert set(dropped(tmp_path / "out")) == texts(range(8, 16))


def test_pairs_that_agree_least_are_dropped_by_number_or_share(world: World, tmp_path: Path) -> None:
    image = {"nsfw_model": "", "embedding_model": world.run, "min_clip_score": "top 30%"}
    for name, run in (("many", {"pairs_per_partition": 6}), ("one", {"pairs_per_partition": 100})):
        world.build(tmp_path / name, image=image, run={"workers": 0, **run})
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
    did = world.build(tmp_path / "many", image=image)
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
    world.build(tmp_path / "out", image=image, filters=[rule])
    assert len(dropped(tmp_path / "out")) in (8, 9)  # of 16 images, one of which has two texts
    image |= {"nsfw_model": "aesthetic", "quantiles": {}, "max_nsfw_probability": 0.0}
    did = world.build(tmp_path / "out", image=image)
    assert "image.embed" not in did
    assert {reason for reason, _ in dropped(tmp_path / "out").values()} <= {"nsfw_image"}
    assert dataset.open(str(tmp_path / "out")).sql("SELECT count(nsfw_probability) FROM images").fetchall() == [(16,)]


class Elsewhere(Dataset):
    """A dataset read as if it lay on another storage than a disk."""

    def _make(self) -> None:
        self.storage.local = False
        super()._make()


def scores(out: Path, columns: str) -> list[tuple[Any, ...]]:
    """Columns of the view, in the order of the texts."""
    found: list[tuple[Any, ...]] = dataset.open(str(out)).sql(f"SELECT {columns} FROM scores ORDER BY text").fetchall()
    return found


def test_every_score_is_a_column_of_a_view(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the models that come along, and by their names of those of the config; wherever the dataset lies."""
    import torch

    torch.save(torch.nn.Linear(16, 1).state_dict(), tmp_path / "head.pth")
    (tmp_path / "own.py").write_text(  # a column that has no values, and so no type, in some partitions
        "def size(rows):\n"
        "    texts = rows['text'].to_pylist()\n"
        "    bodies = rows['image'].to_pylist()\n"
        "    rare = [0.5 if text.endswith('number 3') else None for text in texts]\n"
        "    return {'stored_bytes': [len(body) for body in bodies], 'rare': rare}\n"
    )
    image = {
        "models": [world.redness],
        "embedding_model": world.run,
        "heads": [{"name": "aesthetic", "path": str(tmp_path / "head.pth")}],
        "nsfw_model": "aesthetic",
        "max_nsfw_probability": 1.0,
    }
    out = tmp_path / "out"
    own = {"name": "heavy", "stage": "image", "measure": f"{tmp_path}/own.py:size", "drop_when": "redness > 0.9"}
    faces = {"yunet": models.red_yunet(tmp_path / "yunet.onnx"), "min_score": 0.5, "action": "mark"}
    text = {"max_profanity_probability": 0.999}
    world.build(out, image=image, filters=[own], faces=faces, semantic={"min_cosine": 0.9999}, text=text)
    known = "language, profanity_probability, nsfw_probability, clip_score, len(face_scores), cell_cosine"
    rows = scores(out, f"{known}, redness, stored_bytes")
    assert len(rows) == 17  # of all pairs with an image, the dropped one's too
    for language, profane, nsfw, clip, faces_found, cosine, red, size in rows:
        assert language == "en" and 0 <= profane < 1 and np.isfinite(nsfw) and -1 <= clip <= 1
        assert faces_found >= 0 and cosine <= 1.001 and 0 <= red <= 1 and size > 0
    assert len(dropped(out)) == 2
    made = dataset.open(str(out))
    (command,) = re.findall(r"^    wit sql OUT (.*)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert main(["sql", str(out), *shlex.split(command), "--format", "json"]) == 0
    told_scores = [row["clip_score"] for row in json.loads(capsys.readouterr().out)]
    assert len(told_scores) == 15 and told_scores == sorted(told_scores)
    reds = dict(made.sql("SELECT text, redness FROM scores").fetchall())
    for of_pair, (_, evidence) in dropped(out).items():
        assert reds[of_pair] == pytest.approx(evidence["redness"])
    for there in (made, Elsewhere(str(out))):
        rare = there.sql("SELECT text, rare FROM scores WHERE rare IS NOT NULL").fetchall()
        assert rare == [("a kettle that is number 3", 0.5)]
    assert Elsewhere(str(out)).sql("SELECT * FROM scores ORDER BY text").fetchall() == scores(out, "*")


def test_without_models_the_view_is_there_and_says_nothing(world: World, tmp_path: Path) -> None:
    out = world.built(tmp_path / "out")
    rows = scores(out, "language, profanity_probability, nsfw_probability, clip_score, face_bboxes, face_scores, cell")
    assert rows == [("en", None, None, None, None, None, None)] * 17
    build(make_config(world.config(tmp_path / "early", **PLAIN)), to="match", quiet=True)
    assert scores(tmp_path / "early", "*") == []


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
        world.build(tmp_path / "out", image=image)
    run = {"workers": 0, "pairs_per_partition": 6, "max_quarantined": 20}
    world.build(tmp_path / "out", image=image, run=run)
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

    did = world.build(out, **PLAIN, faces={"yunet": yunet, "min_score": 0.5, "action": "drop"})
    assert "image.faces" not in did
    given = dropped(out)
    assert set(given) == with_faces
    assert {reason for reason, _ in given.values()} == {"image_has_face"} == told(str(out))
    assert all(evidence["face_score"] >= evidence["min_score"] == 0.5 for _, evidence in given.values())
    world.build(out, **PLAIN, faces={"yunet": yunet, "min_score": 1.0, "action": "drop"})
    assert dropped(out) == {}


def test_a_detector_of_any_other_make_does_the_same(world: World, tmp_path: Path) -> None:
    everywhere = boxes_model(tmp_path / "boxes.onnx", [[0.25, 0.5, 0.5, 0.75, 0.9]])
    model = {"path": everywhere, "size": 32, "resize": "pad"}
    out = world.built(tmp_path / "out", faces={"model": model})
    assert {str(data["face_bboxes"]) for _, data in shards(out).values()} == {"[[0.25, 0.5, 0.5, 0.75]]"}
    with pytest.raises(ConfigError, match=r"faces.yunet: .* is not OpenCV's YuNet"):
        world.build(tmp_path / "bad", faces={"yunet": everywhere})
    with pytest.raises(ConfigError, match=r"faces names no.onnx, which does not exist"):
        world.build(tmp_path / "bad", faces={"yunet": "no.onnx"})


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
        world.build(tmp_path / name, image=image, semantic=semantic, run={"workers": 0, **run})
    given = dropped(tmp_path / "many", "neardup")
    assert given == dropped(tmp_path / "one", "neardup")
    vectors = embeddings(tmp_path / "many")
    made = dataset.open(str(tmp_path / "many"))
    ids = dict(made.sql("SELECT url, url_id FROM images").fetchall())
    kept = {ids[url] for (url,) in made.sql("SELECT DISTINCT url FROM pairs").fetchall()}
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

    did = world.build(tmp_path / "many", image=image, semantic={"min_cosine": 0.999})
    assert {name for name in did if name.startswith(("image.", "neardup."))} == {"neardup.semantic", "neardup.decide"}


def test_only_cells_near_a_target_set_are_kept(world: World, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "like.png").write_bytes(pages.encoded(tinted(3, REDS[3]), "PNG"))
    image = {"nsfw_model": "", "embedding_model": world.run}
    semantic = {"target_folders": [str(tmp_path / "target")], "images_per_cell": 4}
    world.build(tmp_path / "out", image=image, semantic=semantic)
    given = dropped(tmp_path / "out")
    assert 0 < len(given) < 17
    assert "a kettle that is number 3" not in given
    assert {reason for reason, _ in given.values()} == {"unlike_target_images"}
    assert {evidence["target_images"] for _, evidence in given.values()} == {0}
    number = next(iter(given)).split()[-1]
    story = explain(str(tmp_path / "out"), f"{HOST}/{number if number.isdigit() else 15}.jpg")[0]
    assert "cell_cosine" in story.steps[-1].facts
    assert told(str(tmp_path / "out")) == {"unlike_target_images"}
    did = world.build(tmp_path / "out", image=image, semantic={**semantic, "images_per_cell": 1000})
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
        world.build(tmp_path / "out", image=image)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_the_model_does_not_have_is_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image.models.redness.answer is 3, but .* answers 3 numbers"):
        world.build(tmp_path / "out", image={"models": [{**world.redness, "answer": 3}]})


@pytest.mark.slow
def test_a_model_gets_its_share_of_a_gpu_from_ray(world: World, tmp_path: Path) -> None:
    import ray

    from dataset.commits import Commit
    from pipeline.executor import RayExecutor
    from pipeline.phase import Task
    from tests.pipeline import gpu_phase

    tasks = [Task(gpu_phase.which.name, number, {}, {}) for number in range(2)]
    ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)  # as if it had one
    try:
        (tmp_path / "out").mkdir()
        given = [answer for _, answer in RayExecutor(None, None, gpus=0.5).run(str(tmp_path / "out"), tasks)]
        assert [isinstance(answer, Commit) and answer.facts["gpus"] for answer in given] == [[0], [0]]
        with pytest.raises(ConfigError, match=r"run.gpus_per_model_task is 2, but Ray has 1 GPUs"):
            list(RayExecutor(None, None, gpus=2).run(str(tmp_path / "out"), tasks))
        executor = RayExecutor(None, None, gpus=0.5)
        build(make_config(world.config(tmp_path / "ray")), executor=executor, to="image", quiet=True)
    finally:
        ray.shutdown()
    build(make_config(world.config(tmp_path / "inline")), to="image", quiet=True)
    scores = "SELECT url, nsfw_probability FROM images ORDER BY url"
    here, there = (dataset.open(str(tmp_path / name)).sql(scores).fetchall() for name in ("inline", "ray"))
    assert here == there and len(here) == 16
