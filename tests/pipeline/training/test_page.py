"""An examination as a page: every figure with its interval, chance and random weights; names are text."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.cli import main
from pipeline.training.page import page
from tests.train import tiny
from tests.train.evaluate.helpers import class_folders
from train.evaluate.results.row import Figure, Row

EVIL = "<script>alert(1)</script>"


def row(task: str, figures: dict[str, Figure], main_metric: str = "acc1", **more: object) -> Row:
    return Row(EVIL, task, figures, main_metric, model=EVIL, **more)  # type: ignore[arg-type]


def test_shares_are_drawn_and_ranks_are_not() -> None:
    figures = {
        "acc1": Figure(0.5, 40, 0.1, 0.35, 0.65, random_init=0.12),
        "median_rank": Figure(3.0, 40, 20.5, unit="rank"),
    }
    text = page([row("retrieval", figures)]).decode()
    body = text.partition('class="card">')[2]
    assert body.count('<i style="left:35.00%;width:30.00%"></i>') == 2  # among the main figures, and in its own part
    assert '<u style="left:10.00%">' in body and '<s style="left:12.00%">' in body and "median rank" in body
    assert body.count("<b style=") == 2 and "35.0% to 65.0%" in body and "20.5" in body


def test_a_strangers_names_are_text() -> None:
    found = {"class": EVIL, "n": 2, "accuracy": 0.5, "low": 0.1, "high": 0.9, "mostly_taken_for": EVIL}
    tables = {"per_class": [found, {**found, "n": 0, "accuracy": None}], "confusion": [[1, 1], [0, 0]]}
    text = page([row("zero_shot", {"acc1": Figure(0.5, 2)}, tables=tables, notes=[EVIL])]).decode()
    assert "<script" not in text and "default-src 'none'" in text and "&lt;script&gt;" in text
    assert "Most frequent confusions" in text


def test_few_shots_are_a_curve_and_robustness_a_line_through_references() -> None:
    shots = {f"acc1@{n}": Figure(0.1 * n, 9, random_init=0.1) for n in (1, 2, 4)} | {"zero_shot_acc1": Figure(0.3, 9)}
    models = [[f"m{n}", 0.2 * n, 0.15 * n] for n in range(1, 5)]
    line = {"against": EVIL, "intercept": -0.5, "slope": 1.0, "models": models, "own": [0.5, 0.6]}
    rows = [
        row("few_shot", shots, "acc1@4"),
        row("robustness", {"acc1": Figure(0.6, 9)}, tables={"reference_lines": [line]}),
    ]
    text = page(rows).decode()
    assert text.count("<polyline") == 3 and "zero-shot</text>" in text  # two curves and the line
    assert text.count("<circle") == 5 and text.count('<circle class="p1"') == 1  # the model among four


def test_a_figure_that_there_is_none_of_is_said_to_be_none() -> None:
    text = page([row("zero_shot", {"acc1": Figure(None, 0)})]).decode()
    assert re.search(r"<td[^>]*><bdi>none</bdi>", text) and "Main figures" not in text
    assert "nothing was examined" in page([]).decode()


def test_it_is_a_form_of_wit_eval(tmp_path: Path) -> None:
    tiny.register(tmp_path)
    task, file = class_folders(tmp_path / "colours"), tmp_path / "page.html"
    words = ["eval", f"open_clip:{tiny.MODEL}", "--tasks", str(task), "--evaluators"]
    words += ["zero_shot,prompt_ablation", "--features", str(tmp_path / "kept"), "--format", "html"]
    assert main(words) == 2  # a page is not for a terminal
    assert main([*words, "--output", str(file)]) == 0
    text = file.read_text()
    assert "acc1 ensemble probability" in text and "random weights" in text and text.count('<s style="left:') >= 6
