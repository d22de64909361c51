"""A perfect encoder scores everything, a collapsed one nothing, and chance is stated beside both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train import tiny
from train.evaluate import Result, evaluate, format_table, retrieval, zero_shot
from train.evaluate.zero_shot import class_features, rank_of, read_task

NAMES = list(tiny.COLOURS)
SIDES = len(NAMES)


class Perfect:
    """Reads the colours of a picture's halves, and of a text's first two colour words."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        palette = np.array(list(tiny.COLOURS.values()))
        rows = [np.zeros((0, 2 * SIDES), np.float32)]
        for image in images:
            pixels = [np.array(image.getpixel((x, 18))) for x in (5, 34)]
            rows.append(self._row([int(((palette - pixel) ** 2).sum(1).argmin()) for pixel in pixels]))
        return np.concatenate(rows)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        words = [
            [NAMES.index(word) for word in text.casefold().replace(".", " ").split() if word in NAMES] for text in texts
        ]
        return np.concatenate([self._row(found) for found in words])

    def _row(self, colours: list[int]) -> np.ndarray:
        row = np.zeros((1, 2 * SIDES), np.float32)
        row[0, [colours[0], SIDES + colours[1]]] = 2**-0.5
        return row


class Collapsed:
    """Gives everything the same features."""

    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        return np.concatenate([self.texts([""]) for _ in images])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 4), 0.5, np.float32)


class Random:
    """Gives each text its own unit vector."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


def task(root: Path, captions: Sequence[str], each: int = 2) -> Path:
    for caption in captions:
        folder = root / caption.replace(" ", "_")
        folder.mkdir(parents=True)
        for number in range(each):
            (folder / f"{number}.jpg").write_bytes(tiny.picture(caption))
    return root


def by_metric(results: list[Result]) -> dict[str, Result]:
    return {result["metric"]: result for result in results}


def test_a_perfect_encoder_gets_every_image_and_chance_is_one_of_the_classes(tmp_path: Path) -> None:
    directory = task(tmp_path / "colours", tiny.CAPTIONS[:20])
    perfect: Any = Perfect()
    found = by_metric(zero_shot(perfect, directory))
    assert {metric: (row["value"], row["chance"]) for metric, row in found.items()} == {
        "top1": (1.0, 1 / 20),
        "top5": (1.0, 5 / 20),
    }
    assert all((row["task"], row["samples"], row["candidates"]) == ("colours", 40, 20) for row in found.values())


def test_a_collapsed_encoder_gets_nothing(tmp_path: Path) -> None:
    collapsed: Any = Collapsed()
    found = by_metric(zero_shot(collapsed, task(tmp_path, tiny.CAPTIONS[:6])))
    assert (found["top1"]["value"], found["top5"]["value"]) == (0, 0)


def test_chance_is_never_above_one(tmp_path: Path) -> None:
    perfect: Any = Perfect()
    found = by_metric(zero_shot(perfect, task(tmp_path, tiny.CAPTIONS[:3])))
    assert (found["top1"]["chance"], found["top5"]["chance"]) == (1 / 3, 1)


def test_unreadable_images_are_counted_and_not_asked(tmp_path: Path) -> None:
    directory = task(tmp_path, tiny.CAPTIONS[:4])
    (directory / "black_black" / "0.jpg").write_bytes(b"no image")
    (directory / "black_black" / "notes.md").write_text("no image either, but does not say it is one")
    perfect: Any = Perfect()
    results = zero_shot(perfect, directory)
    assert {(row["value"], row["samples"], row["damaged"]) for row in results} == {(1.0, 7, 1)}
    assert "1 images could not be read" in format_table(results)


def test_templates_are_ensembled_as_the_unit_mean_of_unit_features() -> None:
    encoder: Any = Random()
    templates = ["{}", "a photo of a {}.", "{} and {}"]
    features = class_features(encoder, ["cat", "dog"], templates)
    for row, name in zip(features, ["cat", "dog"], strict=True):
        mean = np.mean([encoder.texts([template.replace("{}", name)])[0] for template in templates], axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), rel=1e-5)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, rel=1e-6)


def test_classes_and_templates_can_be_named(tmp_path: Path) -> None:
    directory = task(tmp_path, ["red blue", "blue red"])
    assert read_task(directory).classes == ["blue red", "red blue"]  # of the sorted folders
    (directory / "templates.txt").write_text("only {}\n\n")
    for text in ("first\nsecond\n", "red_blue\tsecond\nblue_red\tfirst\n"):
        (directory / "classes.txt").write_text(text)
        read = read_task(directory)
        assert (read.classes, read.templates) == (["first", "second"], ["only {}"])


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("classes.txt", "one\n", "a line for each of the 2 folders, not 1"),
        ("classes.txt", "red_blue\tx\n", "no line for the folder blue_red"),
        ("templates.txt", "a photo\n", "template with {}"),
        ("templates.txt", "", "template with {}"),
    ],
)
def test_files_that_do_not_fit_the_task_are_named(tmp_path: Path, file: str, text: str, words: str) -> None:
    directory = task(tmp_path, ["red blue", "blue red"])
    (directory / file).write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_task(directory)
    assert file in str(caught.value)


def test_a_task_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_task(tmp_path / "none")
    with pytest.raises(ValueError, match="no folders of images"):
        read_task(tmp_path)


def test_ranks_count_the_better_and_the_equal() -> None:
    similarity = np.array([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.1, 0.3, 0.3]])
    assert rank_of(similarity, np.array([0, 1, 1, 2])).tolist() == [1, 3, 3, 2]


def test_retrieval_asks_only_captions_that_occur_once(tmp_path: Path) -> None:
    once = tiny.CAPTIONS[:12]
    twice = ["red blue", "Red  Blue", "pink gray", "pink gray"]  # in any case and spacing
    url = tiny.write_dataset(tmp_path, heldout=[*twice, *once])
    perfect: Any = Perfect()
    found = by_metric(retrieval(perfect, url))
    assert sorted(perfect.asked) == sorted(once)
    for direction in ("image_to_text", "text_to_image"):
        for k in (1, 5, 10):
            row = found[f"{direction}_r{k}"]
            assert (row["value"], row["chance"], row["samples"]) == (1.0, k / 12, 12)
        median = found[f"{direction}_median_rank"]
        assert (median["value"], median["chance"]) == (1.0, 6.5)


def test_retrieval_ranks_a_similarity_made_by_hand(tmp_path: Path) -> None:
    """Both directions: image 0 has its own text second, text 0 its own image first."""

    class ByHand:
        def images(self, images: Iterable[Image.Image]) -> np.ndarray:
            return np.array([[0.6, 0.8, 0], [0, 1, 0], [0, 0, 1]][: len(list(images))])

        def texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(3)

    by_hand: Any = ByHand()
    found = by_metric(retrieval(by_hand, tiny.write_dataset(tmp_path, heldout=tiny.CAPTIONS[:3])))
    assert found["image_to_text_r1"]["value"] == pytest.approx(2 / 3)
    assert found["text_to_image_r1"]["value"] == 1
    assert found["image_to_text_r5"]["value"] == 1


def test_the_pairs_asked_are_the_same_for_every_model(tiny_dataset: str) -> None:
    first, second = Perfect(), Perfect()
    for encoder in (first, second):
        asked: Any = encoder
        assert retrieval(asked, tiny_dataset, samples=5)[0]["samples"] == 5
    assert first.asked == second.asked


def test_retrieval_needs_two_captions(tmp_path: Path) -> None:
    perfect: Any = Perfect()
    with pytest.raises(ValueError, match="retrieval needs at least 2"):
        retrieval(perfect, tiny.write_dataset(tmp_path, heldout=["red blue", "red blue", "pink gray"]))


def test_a_checkpoint_is_examined(tiny_run: str, tiny_dataset: str, tmp_path: Path) -> None:
    directory = task(tmp_path / "colours", tiny.CAPTIONS[:3], each=1)
    results = evaluate(tiny_run, [directory], tiny_dataset, device="cpu", batch_size=5)
    assert [row["task"] for row in results] == ["colours"] * 2 + ["retrieval"] * 8
    assert all(0 <= row["value"] <= 1 for row in results if "rank" not in row["metric"])
    table = format_table(results)
    assert len(table.splitlines()) == 11
    assert "chance" in table.splitlines()[0]
    with pytest.raises(FileNotFoundError, match="neither a run"):
        evaluate(str(tmp_path / "none"))
