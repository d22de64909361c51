"""When the loss does not fall, the tools say why."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cli import main
from tests.train import tiny
from tests.train.test_loop import config_of
from train import loop
from train.config import with_changes
from train.data.loader import Batch
from train.diagnosis.diagnose import OverfitResult, judge, loss_floor, overfit, show_batch


def verdict(dataset: str, count: int = 16, **changes: Any) -> OverfitResult:
    return overfit(config_of(dataset, **changes), count)


def test_a_model_learns_a_few_samples_by_heart(tiny_dataset: str) -> None:
    found = verdict(tiny_dataset, learning_rate=5e-3)
    assert found.learnt
    assert found.sentence.startswith("the model learns: after 300 steps on 16 samples the loss is 0.0")


def record(loss: float, scale: float = 20.0, image: float = 1.0, text: float = 1.0) -> dict[str, Any]:
    norms = {"gradient_norm_image": image, "gradient_norm_text": text, "gradient_norm_all": image + text}
    return {"step": 300, "loss": loss, "logit_scale": scale, **norms}


def batch_of(texts: list[int], damaged: int = 0) -> Batch:
    images = torch.arange(len(texts), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return Batch(
        images, torch.tensor(texts)[:, None], torch.arange(len(texts)), [f"a.tar/{n}: cut" for n in range(damaged)]
    )


@pytest.mark.parametrize(
    ("records", "changes", "damaged", "words"),
    [
        ([record(2.07)] * 4, {}, 0, "no better than chance, 2.079"),
        ([record(2.07, image=1e-5, text=1e-5)] * 4, {}, 0, "all samples look the same to the model"),
        ([record(2.0, image=0.0)] * 4, {}, 0, "the image tower got no gradient;|the image tower got no gradient$"),
        ([record(2.0, text=0.0)] * 4, {"lock": "text", "pretrained": "x"}, 0, "which model.lock: text does"),
        ([record(1.0)] * 4, {}, 0, "the model may be too small"),
        (
            [record(2.0), record(1.5), record(1.2), record(1.0)],
            {},
            0,
            "falling: a higher optimizer.learning_rate",
        ),
        ([record(1.0, scale=100.0)] * 4, {}, 0, "logit scale is at its limit"),
        ([record(1.0)] * 4, {}, 7, "most of the samples are damaged, for example a.tar/0: cut"),
    ],
)
def test_why_is_told(records: list[dict[str, Any]], changes: dict[str, Any], damaged: int, words: str) -> None:
    found = judge(records, batch_of(list(range(8)), damaged), with_changes(config_of("out"), **changes))
    assert not found.learnt
    assert re.search(words, found.sentence)


def test_repeated_texts_leave_a_loss_that_is_not_the_models_fault() -> None:
    batch = batch_of([1, 1, 2, 2])
    assert loss_floor(batch) == pytest.approx(math.log(2) / 2)
    assert judge([record(0.36)], batch, config_of("out")).learnt
    assert "0.347, the least that their repeated texts" in judge([record(1.0)], batch, config_of("out")).sentence


def test_the_gate_fails_where_nothing_is_learnt(tiny_dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.diagnosis.diagnose.STEPS", 10)
    found = verdict(tiny_dataset, learning_rate=1e-9)
    assert not found.learnt
    assert "no better than chance" in found.sentence
    exact = loop.LOSSES["softmax"]
    monkeypatch.setitem(loop.LOSSES, "softmax", lambda *features, **more: exact(*features, **more) * float("nan"))
    assert verdict(tiny_dataset).sentence.startswith("16 samples could not be learnt: the loss is nan")
    with pytest.raises(ValueError, match="at least 2 samples"):
        verdict(tiny_dataset, 1)


def test_the_command_is_a_gate(
    tiny_dataset: str, tiny_model: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(f"dataset: {tiny_dataset}\nmodel: {tiny_model}\ndevice: cpu\nworkers: 0\nlearning_rate: 1e-9\n")
    monkeypatch.setattr("train.diagnosis.diagnose.STEPS", 10)
    before = set(Path(tiny_dataset).glob("runs/*"))  # other tests' own
    assert main(["train", str(file), "--overfit", "8"]) == 1
    assert "the model does not learn these samples" in capsys.readouterr().out
    assert main(["train", str(file), "--overfit", "80"]) == 2
    assert "batch_size must be at most" in capsys.readouterr().err
    page = tmp_path / "batch.html"
    assert main(["train", str(file), "--set", "batch_size=8", "--show-batch", str(page)]) == 0
    assert page.read_text().count("<figure>") == 8
    assert set(Path(tiny_dataset).glob("runs/*")) == before


def test_a_batch_is_shown_as_the_model_sees_it_and_nothing_in_it_acts(tmp_path: Path, monkeypatch: Any) -> None:
    hostile = "<script>alert(1)</script>"
    monkeypatch.setattr(tiny, "picture", lambda caption, exact=tiny.picture: exact("red blue"))
    url = tiny.write_dataset(tmp_path, [hostile, "red blue", "red blue", "pink gray"])
    page = show_batch(config_of(url, batch_size=4, name="<b>"))
    assert hostile not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64,") == 4
    assert "50.0% share their image or text" in page
    assert 'src="http' not in page
