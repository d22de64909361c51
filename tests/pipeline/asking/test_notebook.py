"""A dataset in a notebook: what it shows, in which forms it gives its pairs, and the notebook of docs."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import openwit
from pipeline.asking.notebook import NotebookDataset, _import_or_explain, _WithImages
from pipeline.config_errors import ConfigError
from tests.pipeline.dataset_fixture import HandMade

NOTEBOOK = Path(__file__).parents[3] / "docs" / "notebook.ipynb"
PAIRS: list[dict[str, Any]] = [
    {"url": "http://a.example/1.jpg", "text": "a <script>red</script> rose"},
    {"url": "http://a.example/2.jpg", "text": "rose", "drop": ("text", "text_too_short", {"characters": 4})},
    {"url": "http://b.example/3.jpg", "text": "a tulip\u202e"},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    return HandMade(tmp_path_factory.mktemp("notebook") / "mine").write(PAIRS)


@pytest.fixture(scope="module")
def opened(made: str) -> NotebookDataset:
    return openwit.open(made)


def test_it_shows_itself(opened: NotebookDataset) -> None:
    page = opened._repr_html_()
    assert "3 candidates, 2 pairs" in page and "<td>text</td><td>3</td><td>2</td><td>1</td>" in page
    assert page.count("data:image/jpeg") == 2
    assert "<script>" not in page and "\u202e" not in page and "a &lt;script&gt;" in page


def test_audits_take_parameters_and_stories_show_themselves(opened: NotebookDataset) -> None:
    assert opened.audit("concept", concept="RED").fetchall() == [("en", 1, 1, 1)]
    assert opened.audit("shards").fetchall()[0][:3] == ("train-00000.tar", "train", 2)
    with pytest.raises(ConfigError, match="takes concept=photo"):
        opened.audit("concept", colour="red")
    assert "&lt;script&gt;" in opened.explain("script")._repr_html_()


def test_pairs_come_in_every_form(opened: NotebookDataset) -> None:
    pairs = opened.pairs("text LIKE '%rose%' -- or so")
    assert pairs.arrow().num_rows == len(pairs) == 1
    assert list(pairs.pandas()["url"]) == list(pairs.polars()["url"]) == [PAIRS[0]["url"]]
    samples = opened.pairs().torch()
    assert [text for _, text in samples] == [PAIRS[0]["text"], PAIRS[2]["text"]]
    assert samples[-1][0].size == (96, 64) and samples[-1][0].mode == "RGB"
    with pytest.raises(ImportError, match="pip install no_such_package"):
        _import_or_explain("no_such_package")


def test_pairs_are_a_dataset_of_hugging_face(opened: NotebookDataset) -> None:
    pytest.importorskip("datasets", reason="the package datasets (PyPI) is not installed, so .huggingface() is untried")
    made = opened.pairs().huggingface()
    assert made["text"][:] == [PAIRS[0]["text"], PAIRS[2]["text"]]
    assert made.filter(lambda row: "tulip" in row["text"]).num_rows == 1
    row = opened.pairs().huggingface(images=True)[1]
    assert row["text"] == PAIRS[2]["text"] and row["image"].size == (96, 64)


def test_what_puts_images_beside_rows_goes_to_other_processes(opened: NotebookDataset) -> None:
    """`datasets` copies it for `select`, and pickles it for a DataLoader's workers."""
    with_images = pickle.loads(pickle.dumps(copy.deepcopy(_WithImages(opened.storage.url))))
    columns = opened.pairs().arrow().to_pydict()
    assert [image.size for image in with_images(columns)["image"]] == [(96, 64), (96, 64)]
    assert with_images({"text": ["a"]}) == {"text": ["a"]}


def test_a_condition_is_a_question_as_any(opened: NotebookDataset) -> None:
    for where in ("true); COPY pairs TO 'x'; SELECT (1", "EXISTS (SELECT 1 FROM query('SELECT 1'))"):
        with pytest.raises(ValueError, match=r"more than answer|Parser"):
            opened.pairs(where)


def test_a_contact_sheet_shows_what_can_be_shown(opened: NotebookDataset) -> None:
    assert len(opened.images("text LIKE '%tulip%'")) == 1
    assert opened.images(most=1)._repr_html_().count("<figure") == 1


def test_the_notebook_of_the_docs_runs(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").symlink_to(made)
    names: dict[str, Any] = {}
    shown = []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            last = tree.body[-1]
            if isinstance(last, ast.Expr):
                tree.body.pop()
            exec(compile(tree, "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    assert any(hasattr(item, "_repr_html_") and "<img" in item._repr_html_() for item in shown)
    assert (tmp_path / "funnel.svg").read_text().startswith("<?xml")
