"""What others read of an examination: DataComp's metric of each of its sets, and CLIP_benchmark's files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from tests.train import tiny
from tests.train.evaluate import helpers
from train.evaluate.datacomp import TASKS, task_of
from train.evaluate.evaluators.association import chance, jaccard
from train.evaluate.evaluators.zero_shot import f1_macro, main_metric
from train.evaluate.features import Features
from train.evaluate.results.formats import clip_benchmark_files, datacomp
from train.evaluate.results.row import Figure, Row
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set


@pytest.fixture(scope="module", autouse=True)
def _known(tmp_path_factory: pytest.TempPathFactory) -> None:
    tiny.register(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("folder", "name", "metric"),
    [
        ("wds_vtab-caltech101_test", "Caltech-101", "mean_per_class_recall"),
        ("wds_imagenet-a_test", "ImageNet-A", "acc1"),
        ("imagenet_a", "ImageNet-A", "acc1"),
        ("mnist", "MNIST", "acc1"),
        ("wds_wilds-iwildcam_test", "iWildCam", "f1_macro"),
        ("wds_fairness-dollar_street_test", "Dollar Street", "acc5_worst_income_group"),
        ("wilds/fmow", "FMoW", "acc1_worst_region"),
    ],
)
def test_a_set_is_known_by_its_folders_name(folder: str, name: str, metric: str) -> None:
    task = task_of(folder)
    assert task is not None and (task.name, task.metric) == (name, metric)
    assert task_of("my pictures") is None


def test_all_that_are_counted_are_known() -> None:
    assert len({task.name for task in TASKS if task.metric}) == 38
    assert len({task.key for task in TASKS}) == len(TASKS)
    row = Row("wds_fairness-fairface_test", "zero_shot", {"acc1": Figure(0.5, 9)}, "acc1")
    assert json.loads(datacomp([row]))["metrics"]["main_metric"] is None


def test_an_examination_of_all_sets_is_what_datacomp_aggregates() -> None:
    """Its aggregate_scores.py wants 38 lines with a main_metric, and averages groups of them by their names."""
    rows = []
    for place, task in enumerate(TASKS):
        evaluator = {"mean_recall@1": "retrieval", "jaccard_score_10-12": "association"}.get(task.metric, "zero_shot")
        names = ["acc1", task.metric or "acc1"]
        if evaluator == "retrieval":
            names = ["image_retrieval_recall@1", "text_retrieval_recall@1"]
        figures = {name: Figure(place / 100, 9) for name in names}
        rows.append(Row(task.key, evaluator, figures, names[-1]))
    lines = [json.loads(line) for line in datacomp(rows).splitlines()]
    counted = {line["dataset"]: line["metrics"]["main_metric"] for line in lines}
    counted = {name: value for name, value in counted.items() if value is not None}
    assert len(counted) == 38
    assert counted == {task.name: place / 100 for place, task in enumerate(TASKS) if task.metric}
    groups = {"ImageNet 1k", "ImageNet Sketch", "ImageNet v2", "ImageNet-A", "ImageNet-O", "ImageNet-R", "ObjectNet"}
    groups |= {"Caltech-101", "CIFAR-100", "CLEVR Counts", "CLEVR Distance", "Describable Textures", "EuroSAT"}
    groups |= {"KITTI Vehicle Distance", "Oxford Flowers-102", "Oxford-IIIT Pet", "PatchCamelyon", "RESISC45"}
    assert groups | {"SVHN", "SUN397", "Flickr", "MSCOCO", "WinoGAViL"} <= set(counted)


def test_macro_f1_is_scikit_learns_over_the_classes_that_there_are() -> None:
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 5, 60), rng.integers(0, 7, 60)
    found = f1_macro(labels, answers, 7)
    assert found.value == pytest.approx(f1_score(labels, answers, average="macro", labels=np.unique(labels)))
    assert found.low is not None and found.high is not None and found.low <= found.value <= found.high


def test_the_worst_groups_accuracy_counts_where_datacomp_counts_it(tmp_path: Path) -> None:
    folder = tmp_path / "fmow"
    folder.mkdir()
    lines = ["path,label,region"]
    for number, caption in enumerate(helpers.CLASSES[:2] * 4):
        (folder / f"{number}.jpg").write_bytes(helpers.picture(caption, number))
        lines.append(f"{number}.jpg,{caption},{'north' if number < 4 else 'south'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    what = open_set(folder)
    assert main_metric(what) == "acc1_worst_region"
    row = helpers.run("zero_shot", what)
    right = np.array([each == "1" for each in row.right])
    assert row.main_metric == "acc1_worst_region"
    assert row.metrics["acc1_worst_region"] == min(right[:4].mean(), right[4:].mean())
    (line,) = map(json.loads, datacomp([row]).splitlines())
    assert (line["key"], line["dataset"]) == ("wilds/fmow", "FMoW")
    assert line["metrics"]["main_metric"] == row.metrics["acc1_worst_region"]


def numbered(folder: Path, fields: list[list[int]], classes: str) -> Path:
    """A set as DataComp lays it out: a label, and a row of numbers, for each image."""
    samples = {}
    for number, row in enumerate(fields):
        sink = io.BytesIO()
        np.save(sink, np.array(row))
        caption = helpers.CLASSES[number % 2]
        parts = {"jpg": helpers.picture(caption, number), "cls": str(number % 2).encode(), "npy": sink.getvalue()}
        samples[f"s{number}"] = parts
    helpers.tar(folder / "test" / "0.tar", samples)
    (folder / "classnames.txt").write_text(classes)
    (folder / "zeroshot_classification_templates.txt").write_text("race:a {c} face\ngender:a {c}")
    return folder


def test_groups_are_read_from_the_numbers_that_datacomps_sets_have(tmp_path: Path) -> None:
    folder = numbered(
        tmp_path / "wds_fairness-geode_test", [[each // 4, 9] for each in range(8)], "red blue\nblue red\n"
    )
    row = helpers.run("zero_shot", open_set(folder))
    right = np.array([each == "1" for each in row.right])
    assert row.main_metric == "acc1_worst_region"
    assert row.metrics["acc1_worst_region"] == min(right[:4].mean(), right[4:].mean())


def test_fairface_has_attributes_by_name(tmp_path: Path) -> None:
    names = "race:Black\nrace:White\ngender:Male\ngender:Female\nage:0-2\nage:3-9\ntoxic:thief\n"
    rows = [[each % 2, each // 2 % 2, each // 4, 0] for each in range(8)]
    what = open_set(numbered(tmp_path / "wds_fairness-fairface_test", rows, names))
    assert what.test.columns["age"] == ["0-2", "3-9"] * 4
    assert what.test.columns["race"] == ["Black"] * 4 + ["White"] * 4
    found = helpers.run("bias", what).figures
    assert found["acc1_gender"].n == 8 and found["acc1_gender[race=White]"].n == 4


def test_winogavil_is_counted_by_the_jaccard_index_of_its_larger_questions(tmp_path: Path) -> None:
    names = tiny.CAPTIONS[:12]
    (tmp_path / "winogavil_images").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "winogavil_images" / f"{name}.jpg").write_bytes(helpers.picture(name, number))
    with (tmp_path / "winogavil_dataset.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "candidates", "cue", "associations"])
        table.writerow([0, json.dumps(names), "Orange", json.dumps(names[:3])])
        table.writerow([1, json.dumps(names[:5]), "blue", json.dumps(names[3:5])])
    what = open_set(tmp_path)
    features = Features(helpers.encoder(), None)
    row = helpers.run("association", what, features)
    images, (orange, blue) = features.images(what.test).embeddings, features.texts(["An orange", "A blue"])
    expected = [
        jaccard_score(np.arange(size) < 3 if size == 12 else np.arange(size) >= 3, np.isin(np.arange(size), top))
        for size, top in ((12, np.argsort(images @ orange)[-3:]), (5, np.argsort(images[:5] @ blue)[-2:]))
    ]
    assert row.metrics["jaccard_score_10-12"] == pytest.approx(expected[0])
    assert row.metrics["jaccard_score"] == pytest.approx(np.mean(expected))
    (line,) = map(json.loads, datacomp([row]).splitlines())
    assert (line["key"], line["dataset"]) == ("misc/winogavil", "WinoGAViL")
    assert line["metrics"]["main_metric"] == row.metrics["jaccard_score_10-12"]
    rng = np.random.default_rng(0)
    drawn = [jaccard(rng.random(10), [0, 1, 2]) for _ in range(4000)]
    assert chance(10, 3) == pytest.approx(np.mean(drawn), abs=0.02)
    text = (tmp_path / "winogavil_dataset.csv").read_text()
    (tmp_path / "winogavil_dataset.csv").write_text(text.replace("blue,", ",", 1))
    with pytest.raises(SetError, match="no question in line 3"):
        open_set(tmp_path)


def test_retrieval_counts_by_both_recalls_and_a_probe_is_not_counted() -> None:
    recalls = {"image_retrieval_recall@1": Figure(0.2, 9), "text_retrieval_recall@1": Figure(0.4, 9)}
    rows = [
        Row("flickr30k", "retrieval", recalls, "image_retrieval_recall@1"),
        Row("mnist", "linear_probe", {"acc1": Figure(0.9, 9)}, "acc1"),
    ]
    retrieved, probed = map(json.loads, datacomp(rows).splitlines())
    assert retrieved["dataset"] == "Flickr" and retrieved["metrics"]["main_metric"] == pytest.approx(0.3)
    assert probed["key"] == "mnist/linear_probe" and probed["metrics"]["main_metric"] is None


def test_clip_benchmark_gets_a_file_a_row_and_none_stands_for_two() -> None:
    rows = [
        Row(name, "zero_shot", {"acc1": Figure(value, 9)}, "acc1", model="m", pretrained="../p")
        for name, value in (("a/b", 0.1), ("a:b", 0.2), ("..", 0.3))
    ]
    found = clip_benchmark_files(rows)
    assert len(found) == 3 and all("/" not in name and not name.startswith(".") for name in found)
    assert [json.loads(data)["metrics"]["acc1"] for data in found.values()] == [0.1, 0.2, 0.3]
