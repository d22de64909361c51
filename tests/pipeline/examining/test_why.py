"""`wit why`: from what a dataset holds of each class to its accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset.query.views import Dataset
from pipeline.arguments import parser
from pipeline.cli import main
from pipeline.examining import coverage, geometry
from pipeline.examining.commands import Explained, explain_model
from pipeline.examining.conclusions import Class, verdict
from pipeline.examining.embeddings import Part
from pipeline.examining.why import limit_images
from tests.pipeline.dataset_fixture import HandMade
from tests.pipeline.examining.test_search import tiny_index
from tests.pipeline.tinted import World
from tests.train.evaluate.helpers import CLASSES, class_folders, picture
from train.evaluate.sets.open import open_set

EVIL = "</bdi><script>alert(1)</script>"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pairs of which two hold the words `red blue`, and one in another order; and a stranger's."""
    texts = ["a Red  blue flag", "red blue", "blue and red", f"pink gray {EVIL}", "green green green green"]
    made = HandMade(tmp_path_factory.mktemp("why") / "out")
    url = made.write([{"url": f"http://a.example/{n}.jpg", "text": text} for n, text in enumerate(texts)])
    tiny_index(url)
    return url


def found_by(world: World, out: str, task: Path, kept: Path) -> Explained:
    """What `wit why` finds."""
    words = ["why", world.run, "--task", str(task), "--dataset", out, "--features", str(kept)]
    return explain_model(parser().parse_args(words))


def test_the_words_of_classes_are_counted_as_queries_are_matched(out: str) -> None:
    counts = coverage.captions_with_words(Dataset(out), [*CLASSES, "<b>rose</b>"])
    assert dict(zip(CLASSES, counts.tolist(), strict=False)) == {
        "red blue": 2, "blue red": 0, "pink gray": 1, "black white": 0, "green green": 1, "yellow black": 0,
    }  # fmt: skip
    assert coverage.queries_of(Dataset(out), ["<B>Rose</b>", "red blue"]) == [(9, 5), None]


def test_an_image_looks_like_the_nearest_class_within_its_own_reach() -> None:
    images = geometry.unit(np.array([[1, 0.1], [1, -0.1], [1, 0.2], [0.1, 1], [-0.1, 1]], float))
    known = geometry.classes(images, np.array([0, 0, 0, 1, 1]), np.eye(3, 2, dtype=np.float32))
    near, middle, far = [1, 0.05], [1, 0.9], [-1, -1]
    vectors = geometry.unit(np.array([near, middle, far, [0, 1]], float))
    assert coverage.images_alike([Part(np.arange(4, dtype=np.uint64), vectors)], known).tolist() == [1, 1, 0]


def test_a_page_and_json_tell_of_every_class(world: World, out: str, tmp_path: Path) -> None:
    task = class_folders(tmp_path / "colours", each=6)
    (task / "red_blue" / "broken.jpg").write_bytes(b"no image")
    (task / "nothing").mkdir()
    asked = found_by(world, out, task, tmp_path / "kept")
    (found,) = json.loads(asked.json())
    assert found["training_images"] == 5 and found["damaged"] == 1 and found["chance"] == pytest.approx(1 / 7)
    classes = {each["name"]: each for each in found["classes"]}
    assert classes["red blue"]["captions"] == 2 and classes["red blue"]["test_images"] == 6
    assert classes["nothing"]["zero_shot"] is None and "No test image" in classes["nothing"]["verdict"]
    right = sum(each["zero_shot"] * each["test_images"] for each in found["classes"] if each["test_images"])
    assert found["accuracy"] == pytest.approx(right / 36)
    assert set(found["correlations"]) == {"captions", "images_alike", "nearest_cosine", "prompt_margin"}
    assert found["correlations"]["captions"]["n"] == 6
    assert 0 <= found["geometry"]["alignment_training_pairs"] <= 4
    assert all(each["probe"] is not None for each in found["classes"] if each["test_images"])

    text = asked.page()
    assert "<script" not in text and "default-src 'none'" in text and 'src="http' not in text
    assert "&lt;script&gt;" in text and text.count('class="first"') == 12 and "data:image/jpeg" in text
    table = asked.text()
    assert "Of 6 classes 3 have no caption with their words" in table and "1 images could not be read" in table


def test_more_classes_than_images_are_told_without_a_probe(world: World, out: str, tmp_path: Path) -> None:
    task = class_folders(tmp_path / "few", each=1)
    (task / "classes.txt").write_text("\n".join([*sorted(CLASSES)]))
    (found,) = json.loads(found_by(world, out, task, tmp_path / "kept").json())
    assert found["probe_accuracy"] is None and any(note.startswith("no probe: ") for note in found["notes"])
    assert all(each["probe"] is None and each["verdict"] for each in found["classes"])


def test_a_set_is_limited_to_the_same_share_of_each_class(tmp_path: Path) -> None:
    task = class_folders(tmp_path / "many", each=8, classes=CLASSES[:2])
    for number in range(8, 16):
        (task / "red_blue" / f"{number}.jpg").write_bytes(picture("red blue", number))
    what = limit_images(open_set(task), 6)
    assert what.test.labels is not None
    assert np.bincount(what.test.labels).tolist() == [2, 4] and "6 of 24 test images" in what.notes[-1]
    assert limit_images(open_set(task), 24).test.labels is not None and len(limit_images(open_set(task), 24).test) == 24


def known(**values: Any) -> Class:
    given: dict[str, Any] = {
        "name": "a", "test_images": 50, "zero_shot": 0.1, "zero_shot_low": 0.04, "zero_shot_high": 0.2,
        "mostly_taken_for": "b", "probe": 0.9, "probe_gap": 0.8, "captions": 3, "query_pairs_before": None,
        "query_pairs": None, "images_alike": 40, "nearest_cosine": 0.5, "spread": 0.9, "nearest_class": "b",
        "nearest_class_cosine": 0.8, "prompt_margin": -0.1,
    }  # fmt: skip
    return Class(**{**given, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "the prompt does not find it (zero-shot 10%), and is mostly taken for b: captions lack its words"),
        ({"captions": 500}, "its captions and these images do not meet. 500 captions hold its words"),
        ({"probe": 0.12, "probe_gap": 0.02, "images_alike": 0}, "nothing like it is in the data"),
        ({"probe": 0.12, "probe_gap": 0.02}, "Not even a probe tells it apart (12%)"),
        ({"zero_shot": 0.9, "zero_shot_low": 0.8, "probe_gap": 0.0}, "It is known: zero-shot is right on 90%."),
        (
            {"probe": None, "probe_gap": None, "captions": 1},
            "10%, and is mostly taken for b. 1 caption holds its words",
        ),
    ],
)
def test_a_verdict_follows_from_the_figures(values: dict[str, Any], said: str) -> None:
    assert said in verdict(known(**values), 0.1)


@pytest.mark.parametrize(
    ("task", "said"),
    [("nowhere", "there is no task directory"), ("one", "a choice needs at least two"), ("pairs", "one class each")],
)
def test_bad_sets_are_one_sentence(world: World, out: str, tmp_path: Path, capsys: Any, task: str, said: str) -> None:
    class_folders(tmp_path / "one", classes=CLASSES[:1])
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "a.jpg").write_bytes(picture(CLASSES[0]))
    (tmp_path / "pairs" / "captions.csv").write_text("path,caption\na.jpg,a flag\n")
    words = ["why", world.run, "--task", str(tmp_path / task), "--dataset", out, "--features", str(tmp_path / "kept")]
    assert main(words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_that_is_no_dataset_is_said_to_be_none(world: World, tmp_path: Path, capsys: Any) -> None:
    task = class_folders(tmp_path / "task", classes=CLASSES[:2])
    assert main(["why", world.run, "--task", str(task), "--dataset", str(task)]) == 2
    assert "is no dataset" in capsys.readouterr().err
