"""mteb itself runs a checkpoint of ours, by the lines that docs/evaluation.md has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train import tiny
from tests.train.evaluate import helpers

DOC = (Path(__file__).resolve().parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_mteb_asks_a_checkpoint_of_ours_and_finds_what_we_find(tiny_run: str) -> None:
    pytest.importorskip("mteb", reason="NO MTEB: the adapter in docs/evaluation.md is not tried; pip install mteb")
    import mteb
    from datasets import Dataset, DatasetDict
    from mteb.mocks.mock_tasks.zeroshot_classification import MockZeroShotClassificationTask
    from PIL import Image

    (lines,) = [block for block in re.findall(r"```python\n(.*?)```", DOC, flags=re.DOTALL) if "mteb" in block]
    known: dict[str, Any] = {}
    exec(lines, known)
    model = known["Checkpoint"](tiny_run, "cpu")
    pictures = [Image.open(helpers.io.BytesIO(tiny.picture(name))) for name in helpers.CLASSES]

    def load_data(self: Any, num_proc: int | None = None, **more: Any) -> None:
        columns = {"image": pictures, "label": list(range(len(pictures)))}
        self.dataset, self.data_loaded = DatasetDict({"test": Dataset.from_dict(columns)}), True

    own = {"load_data": load_data, "get_candidate_labels": lambda self: helpers.CLASSES}
    colours: Any = type("Colours", (MockZeroShotClassificationTask,), own)
    found = mteb.evaluate(model, [colours()], cache=None)
    images, texts = model.encoder.images(pictures), model.encoder.texts(helpers.CLASSES)
    right = (images @ texts.T).argmax(1) == np.arange(len(pictures))
    (score,) = found.task_results[0].scores["test"]
    assert score["accuracy"] == pytest.approx(right.mean())
    both = model.encode([{"image": pictures[:2], "text": helpers.CLASSES[:2]}])
    assert both == pytest.approx(images[:2] + texts[:2], abs=1e-6)
