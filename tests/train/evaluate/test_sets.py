"""Evaluation sets are read as they exist, and what is wrong with one is said in a sentence that names the file."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.train import tiny
from tests.train.evaluate import helpers
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set
from train.evaluate.sets.templates import IMAGENET, fill_template


def test_class_folders_and_their_splits(tmp_path: Path) -> None:
    plain = open_set(helpers.class_folders(tmp_path / "colours"))
    assert (plain.name, len(plain.test), sorted(plain.splits)) == ("colours", 12, ["test"])
    assert plain.classes == [name.replace("_", " ") for name in sorted(c.replace(" ", "_") for c in helpers.CLASSES)]
    assert (len(plain.templates), plain.template_source) == (80, IMAGENET)
    for split in ("train", "val", "test"):
        helpers.class_folders(tmp_path / "parts" / split, each={"train": 3, "val": 1, "test": 2}[split])
    parts = open_set(tmp_path / "parts")
    assert {name: len(split) for name, split in parts.splits.items()} == {"train": 18, "val": 6, "test": 12}
    assert parts.test.labels is not None and parts.test.labels.tolist() == [n for n in range(6) for _ in range(2)]


def test_classes_called_train_and_test_are_classes(tmp_path: Path) -> None:
    helpers.class_folders(tmp_path / "vehicles", classes=["red blue", "blue red"])
    (tmp_path / "vehicles" / "red_blue").rename(tmp_path / "vehicles" / "train")
    (tmp_path / "vehicles" / "blue_red").rename(tmp_path / "vehicles" / "test")
    assert open_set(tmp_path / "vehicles").classes == ["test", "train"]


def test_clip_benchmarks_folder_is_read_as_it_is(tmp_path: Path) -> None:
    what = open_set(helpers.clip_benchmark_folder(tmp_path / "wds_colours_test"))
    assert (len(what.test), what.classes, len(what.templates)) == (18, helpers.CLASSES, 3)
    assert what.test.labels is not None and what.test.labels.tolist() == [n % 6 for n in range(18)]
    assert what.test.pictures[10].read() == helpers.picture(helpers.CLASSES[4], 10)


def test_a_retrieval_set_has_several_captions_an_image(tmp_path: Path) -> None:
    what = open_set(helpers.retrieval_folder(tmp_path / "r", 4))
    assert what.test.captions is not None and [len(own) for own in what.test.captions] == [2, 3, 2, 3]
    assert not what.is_classified


def test_several_labels_an_image(tmp_path: Path) -> None:
    samples = {}
    for number in range(4):
        sink = io.BytesIO()
        np.save(sink, np.array([number % 2, 1 - number % 2, 1]))
        samples[str(number)] = {"jpg": helpers.picture("red blue", number), "npy": sink.getvalue()}
    helpers.tar(tmp_path / "many" / "test" / "0.tar", samples)
    (tmp_path / "many" / "classnames.txt").write_text("a\nb\nc")
    what = open_set(tmp_path / "many")
    assert what.is_multilabel and what.test.labels is not None and what.test.labels.sum() == 8


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_a_table_of_paths_and_labels(tmp_path: Path, form: str) -> None:
    rows = [(f"{number}.jpg", ["dog", "cat"][number % 2], "young") for number in range(4)]
    for name, _, _ in rows:
        (tmp_path / name).write_bytes(helpers.picture("red blue"))
    path = tmp_path / f"pets.{form}"
    if form == "parquet":
        pq.write_table(pa.table(dict(zip(("path", "label", "age"), zip(*rows, strict=True), strict=True))), path)
    else:
        mark = "," if form == "csv" else "\t"
        path.write_text("\n".join(mark.join(line) for line in [("path", "label", "age"), *rows]))
    what = open_set(path)
    assert (what.name, what.classes) == ("pets", ["cat", "dog"])
    assert what.test.labels is not None and what.test.labels.tolist() == [1, 0, 1, 0]
    assert what.test.columns["age"] == ["young"] * 4


def test_a_table_of_captions_and_cocos_json(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(helpers.picture("red blue"))
    (tmp_path / "b.jpg").write_bytes(helpers.picture("blue red"))
    (tmp_path / "captions.csv").write_text('path,caption\na.jpg,"red, then blue"\na.jpg,two colours\nb.jpg,\n')
    what = open_set(tmp_path / "captions.csv")
    assert what.test.captions == [["red, then blue", "two colours"]]
    assert what.notes == ["1 of 2 images have no caption and are not asked"]
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "lost.jpg"}]
    told = [{"image_id": number, "caption": f"image {number}"} for number in (1, 2, 2, 3)]
    path = helpers.write_json(tmp_path / "captions_val.json", {"images": images, "annotations": told})
    coco = open_set(path)
    assert coco.test.captions == [["image 1"], ["image 2", "image 2"]]
    assert "1 captioned images are not in" in coco.notes[0]


def test_both_marks_stand_for_the_class() -> None:
    assert fill_template("a {} or {c}", r"c\1") == r"a c\1 or c\1"


def broken(root: Path, kind: str) -> Path:
    folder = helpers.clip_benchmark_folder(root / "set")
    if kind == "template":
        (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na photo\n")
    elif kind == "label":
        (folder / "classnames.txt").write_text("one\ntwo\n")
    elif kind == "no names":
        (folder / "classnames.txt").unlink()
    elif kind == "shard":
        (folder / "test" / "1.tar").unlink()
    elif kind == "tar":
        data = (folder / "test" / "1.tar").read_bytes()
        (folder / "test" / "1.tar").write_bytes(data[: len(data) // 2 + 77])
    elif kind == "one class":
        shutil.rmtree(folder)
        helpers.class_folders(folder, classes=["red blue"])
    elif kind == "captions":
        shutil.rmtree(folder)
        helpers.tar(folder / "test" / "0.tar", {"0": {"jpg": helpers.picture("red blue")}})
        (folder / "dataset_type.txt").write_text("retrieval")
    elif kind in ("too few names", "no name"):
        shutil.rmtree(folder)
        helpers.class_folders(folder, classes=["red blue", "blue red"])
        (folder / "classes.txt").write_text("one\n" if kind == "too few names" else "red_blue\tx\n")
    elif kind == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif kind == "table":
        folder = folder / "x.csv"
        folder.write_text("a,b\n1,2\n")
    elif kind == "json":
        folder = helpers.write_json(folder / "x.json", [{"filename": "a.jpg"}])
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("template", "zeroshot_classification_templates.txt must have a template"),
        ("label", "it must be a number below 2"),
        ("no names", "no classnames.txt"),
        ("shard", "1.tar is not there, and nshards.txt says 2"),
        ("tar", "1.tar cannot be read at byte"),
        ("one class", "has 1 class; a choice needs at least two"),
        ("too few names", "classes.txt must have a line for each of the 2 folders, not 1"),
        ("no name", "classes.txt has no line for the folder blue_red"),
        ("captions", "no image with a caption"),
        ("empty", "no folders of images, one per class"),
        ("table", "x.csv must have a column of paths"),
        ("json", "neither SugarCrepe's, ARO's nor Winoground's"),
    ],
)
def test_what_is_wrong_with_a_set_is_a_sentence(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(SetError, match=words) as caught:
        open_set(broken(tmp_path, kind))
    assert "\n" not in str(caught.value)


def test_classes_are_named_by_the_order_of_folders_or_by_the_folder(tmp_path: Path) -> None:
    folder = helpers.class_folders(tmp_path / "set", classes=["red blue", "blue red"])
    assert open_set(folder).classes == ["blue red", "red blue"]
    (folder / "templates.txt").write_text("only {}\n\n")
    for text in ("first\nsecond\n", "red_blue\tsecond\nblue_red\tfirst\n"):
        (folder / "classes.txt").write_text(text)
        what = open_set(folder)
        assert (what.classes, what.templates) == (["first", "second"], ["only {}"])


def test_classes_without_images_are_counted_and_can_be_answered(tmp_path: Path) -> None:
    folder = helpers.class_folders(tmp_path / "more", each=1, classes=tiny.CAPTIONS[:3])
    for number in range(40):  # more classes than images
        (folder / f"empty {number}").mkdir()
    what = open_set(folder)
    assert len(what.classes) == 43
    assert "40 of 43 classes have no test image" in what.notes[0]
