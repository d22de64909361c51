"""Robustness, hierarchy, counting, composition and bias: by hand where a figure can be, else by what must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo import composition
from pipeline.cli import main
from tests.train import tiny
from tests.train.evaluate import helpers
from train.evaluate.evaluators import counting
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set


def sets(root: Path) -> tuple[Any, Any]:
    """An in-distribution set of six classes and a shifted one of four of them."""
    known = helpers.class_folders(root / "known", each=3)
    shifted = helpers.class_folders(root / "shifted", each=2, classes=helpers.CLASSES[:4])
    for folder in (known, shifted):
        (folder / "templates.txt").write_text("{}")
    return open_set(known), open_set(shifted)


def test_robustness_asks_the_common_classes_and_says_what_it_lacks(tmp_path: Path) -> None:
    known, shifted = sets(tmp_path)
    found = helpers.run("robustness", shifted, in_distribution=[known])
    assert (found.figures["acc1"].n, found.figures["acc1"].chance) == (8, 1 / 4)
    assert found.figures["acc1_in_distribution[known]"].n == 12
    assert found.metrics["effective_robustness"] is None
    assert any("needs reference models" in note for note in found.notes)


def test_effective_robustness_is_the_distance_from_the_references_line(tmp_path: Path) -> None:
    known, shifted = sets(tmp_path)

    def line(x: float) -> float:
        return float(1 / (1 + np.exp(-(2 * np.log(x / (1 - x)) - 1))))

    rows = [
        f"m{n},{name},{value}"
        for n, x in enumerate((0.2, 0.5, 0.7, 0.9))
        for name, value in (("known", x), ("shifted", line(x)))
    ]
    (tmp_path / "models.csv").write_text("\n".join(["model,dataset,acc1", *rows]))
    found = helpers.run("robustness", shifted, in_distribution=[known], references=str(tmp_path / "models.csv"))
    y, x = found.metrics["acc1"], found.metrics["acc1_in_distribution[known]"]
    assert y is not None and x is not None and 0 < x < 1
    expected = float(np.clip(y, 1 / 16, 15 / 16)) - line(x)
    assert found.metrics["effective_robustness"] == pytest.approx(expected, abs=1e-6)
    (tmp_path / "models.csv").write_text("model,dataset,acc1\na,known,120\n")
    with pytest.raises(SetError, match=r"models.csv has the accuracy '120' in line 2"):
        helpers.run("robustness", shifted, in_distribution=[known], references=str(tmp_path / "models.csv"))


def test_levels_of_a_hierarchy_are_at_least_as_accurate_as_what_is_below(tmp_path: Path) -> None:
    folder = helpers.class_folders(tmp_path / "set", each=2)
    lines = [f"{name},{'bright' if 'pink' in name or 'yellow' in name else 'dark'},thing" for name in helpers.CLASSES]
    (folder / "hierarchy.csv").write_text("\n".join(["class,tone,all", *lines]))
    found = helpers.run("hierarchy", open_set(folder))
    acc1, tone = found.figures["acc1"], found.figures["acc1[tone]"]
    assert acc1.value is not None and tone.value is not None and acc1.value <= tone.value
    assert tone.chance == pytest.approx((2 * 2 + 4 * 4) / 36)
    assert found.metrics["acc1[all]"] == 1 == found.figures["acc1[all]"].chance
    (folder / "hierarchy.csv").write_text("class,tone\nred blue,dark\n")
    with pytest.raises(SetError, match="has no row for 5 classes"):
        helpers.run("hierarchy", open_set(folder))


def test_wordnet_gives_levels_by_depth(tmp_path: Path) -> None:
    lines = [
        "  1 This software and database is being provided",
        "00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | all",
        "00000002 05 n 02 animal 0 beast 0 001 @ 00000001 n 0000 | lives",
        "00000003 05 n 01 dog 0 001 @ 00000002 n 0000 | barks",
        "00000004 05 n 01 cat 0 001 @ 00000002 n 0000 | purrs",
        "00000005 06 n 01 car 0 001 @ 00000001 n 0000 | drives",
    ]
    (tmp_path / "data.noun").write_text("\n".join(lines))
    folder = helpers.class_folders(tmp_path / "set", each=1, classes=["red blue", "blue red", "pink gray"])
    (folder / "classes.txt").write_text("dog\nn00000004\ncar\n")
    found = helpers.run("hierarchy", open_set(folder), hierarchy=str(tmp_path / "data.noun"), depths=[1, 2])
    assert found.figures["acc1[depth 1]"].chance == pytest.approx((2 * 2 + 1) / 9)
    assert found.figures["acc1[depth 2]"].chance == pytest.approx(1 / 3)


def test_counting_tells_how_far_off_it_is(tmp_path: Path) -> None:
    assert counting.numbers(["3", "two cats", "a dog", "one of two"]) == [3, 2, None, None]
    made = composition.write(tmp_path, each=6)
    found = helpers.run("counting", open_set(tmp_path / "number-1"))
    assert found.figures["acc1"].n == 6 and found.figures["acc1"].chance == pytest.approx(1 / 6)
    assert found.figures["mean_absolute_error"].chance == pytest.approx(70 / 36)
    assert len(made) == 15


@pytest.mark.parametrize("kind", ["position", "binding", "size", "negation"])
def test_a_bag_of_words_is_at_chance_where_the_captions_have_the_same_words(tmp_path: Path, kind: str) -> None:
    composition.write(tmp_path, each=8)
    found = helpers.run("counting", open_set(tmp_path / f"{kind}-0.json"))
    assert found.metrics["acc_bag_of_words"] == 0.5
    assert found.metrics[f"acc[{kind}]"] == found.metrics["acc"]
    assert "acc_text_alone" in found.figures and "8 of 8 questions" in found.notes[-1]


def test_winograds_questions_have_two_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(helpers.picture({"a": "red blue", "b": "blue red"}[name]))
    entry = {"image_0": "a.png", "image_1": "b.png", "caption_0": "red, blue", "caption_1": "blue, red", "tag": "order"}
    lost = {**entry, "image_1": "lost.png"}
    found = helpers.run("counting", open_set(helpers.write_json(tmp_path / "w.json", [entry, lost])))
    assert [found.figures[name].chance for name in ("text_acc", "image_acc", "acc")] == [1 / 4, 1 / 4, 1 / 6]
    assert found.figures["acc"].n == 1 and found.damaged == 1
    scores = np.array([[0.9, 0.1], [0.8, 0.2]])  # each image's nearest caption is the first
    assert counting._credits([scores]) == {"text_acc": [0.0], "image_acc": [1.0], "acc": [0.0]}


def test_bias_refuses_without_an_acknowledgement_and_prints_its_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["file,age,gender,race"]
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(helpers.picture(tiny.CAPTIONS[number]))
        rows.append(
            f"{number}.jpg,{['20-29', '60-69'][number % 2]},{['Male', 'Female'][number // 4]},{'ABCD'[number % 4]}"
        )
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    words = ["eval", f"open_clip:{tiny.MODEL}", "--tasks", str(tmp_path / "faces.csv"), "--evaluators", "bias"]
    words += ["--features", str(tmp_path / "f"), "--format", "json"]
    assert main(words) == 2
    assert "give --acknowledge-bias" in capsys.readouterr().err
    assert main([*words, "--acknowledge-bias"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["figures"]["acc1_gender"]["n"] == 8 and row["figures"]["acc1_gender[race=A]"]["n"] == 2
    assert {"answered_crime", "answered_denigrating"} <= set(row["metrics"])
    assert any("do not use a model to identify or to judge people" in note for note in row["notes"])
    assert {line["threshold"] for line in row["tables"]["label_probe"]} == {0.0, 0.1, 0.25, 0.5, 0.9}
    assert sum(line["share"] for line in row["tables"]["occupations"] if line["value"] == "Male") == pytest.approx(1)


def test_each_is_run_by_its_name_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, shifted = sets(tmp_path)
    words = ["eval", f"open_clip:{tiny.MODEL}", "--tasks", str(known.path), str(shifted.path), "--no-baseline"]
    words += ["--features", str(tmp_path / "f"), "--format", "json", "--evaluators", "robustness,zero_shot"]
    assert main(words) == 0
    printed = capsys.readouterr()
    tasks = [(row["dataset"], row["task"]) for row in json.loads(printed.out)]
    assert sorted(tasks) == [("known", "zero_shot"), ("shifted", "robustness"), ("shifted", "zero_shot")]
    assert "robustness passes over known" in printed.err
