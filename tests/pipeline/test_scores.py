"""The view of what models say of each pair."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dataset
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from tests.filters import models
from tests.pipeline.tinted import PLAIN, World, dropped

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"


def elsewhere(out: Path) -> Dataset:
    """A dataset copied to another storage than a disk."""
    here, there = Storage(str(out)), Storage("memory://scores")
    for info in here.list(recursive=True):
        there.write(info.name, here.read(info.name))
    return Dataset(there.url)


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
    world.build(
        out, image=image, filters=[own], faces=faces, semantic={"min_cosine": 0.9999}, text=text, allow_programs=True
    )
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
    for there in (made, elsewhere(out)):
        rare = there.sql("SELECT text, rare FROM scores WHERE rare IS NOT NULL").fetchall()
        assert rare == [("a kettle that is number 3", 0.5)]
    assert elsewhere(out).sql("SELECT * FROM scores ORDER BY text").fetchall() == scores(out, "*")


def test_without_models_the_view_is_there_and_says_nothing(world: World, tmp_path: Path) -> None:
    out = world.built(tmp_path / "out")
    rows = scores(out, "language, profanity_probability, nsfw_probability, clip_score, face_bboxes, face_scores, cell")
    assert rows == [("en", None, None, None, None, None, None)] * 17
    build(make_config(world.config(tmp_path / "early", **PLAIN)), to="match", quiet=True)
    assert scores(tmp_path / "early", "*") == []
