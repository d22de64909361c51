"""Zero-shot and retrieval beside CLIP_benchmark: the same model on the same folders, to 1e-3, and how long each takes;
and whether its `build` makes of `--format clip-benchmark` the table of the same figures.

    python -m bench.clip_benchmark [--model NAME] [--sets DIR …]

Without --sets two folders of drawn pictures are made. CLIP_benchmark is installed into a folder of its own, without
what it depends on: torch, open_clip and scikit-learn are this environment's.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from bench.peers.measure import venv
from bench.record import print_record
from tests.train.evaluate import helpers
from train.evaluate.encoders import open_encoder
from train.evaluate.features import Features
from train.evaluate.registry import evaluators
from train.evaluate.results.formats import clip_benchmark_files
from train.evaluate.results.row import Row
from train.evaluate.sets import ImageSet
from train.evaluate.sets.open import open_set
from train.evaluate.view import View

TOLERANCE = 1e-3


def main() -> None:
    """Compare, and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="openwit-tiny", help="an open_clip model, with random weights")
    parser.add_argument("--sets", nargs="*", default=[], help="folders as CLIP_benchmark lays them out")
    options = parser.parse_args()
    python = venv("clip_benchmark", "--no-deps", "clip-benchmark==1.6.2")
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    sys.path.append(str(packages))
    with tempfile.TemporaryDirectory() as folder:
        folders = [
            helpers.clip_benchmark_folder(Path(folder) / "wds_colours", each=60),
            helpers.retrieval_folder(Path(folder) / "wds_captions", count=60),
        ]
        encoder = open_encoder(f"open_clip:{options.model}", "cpu", 64)
        apart, images, ours_s, theirs_s = 0.0, 0, 0.0, 0.0
        rows: list[Row] = []
        for place in map(Path, options.sets or folders):
            what = open_set(place)
            began = time.process_time()
            row = _run_ours(what, Features(encoder, None))
            ours = row.metrics
            rows.append(row)
            middle = time.process_time()
            theirs = _run_peer(what, place, encoder)
            ours_s, theirs_s = ours_s + middle - began, theirs_s + time.process_time() - middle
            images += len(what.test)
            for name, value in theirs.items():
                mine = ours[name]
                print(f"{place.name} {name}: ours {mine}, CLIP_benchmark's {value}")
                if value == value and mine is not None:  # its acc5 of fewer than five classes is no number
                    apart = max(apart, abs(value - mine))
        is_built = _built(rows, Path(folder) / "rows")
    print_record(
        {
            "bench": "clip_benchmark",
            "ours": images / ours_s,
            "peer": images / theirs_s,
            "unit": "images/CPU s",
            "ratio": theirs_s / ours_s,
            "equal": apart <= TOLERANCE and is_built,
            "apart": apart,
        }
    )


def _built(rows: Sequence[Row], folder: Path) -> bool:
    """Whether the table that CLIP_benchmark builds of our files has our figures."""
    # It imports the evaluation of captioning, whose package brings 100 MB of Java, and asks nothing of it here.
    sys.modules["clip_benchmark.metrics.captioning"] = ModuleType("captioning")
    from clip_benchmark.cli import main_build

    folder.mkdir()
    for row in rows:
        row.model, row.pretrained = "model", "random"
    for name, data in clip_benchmark_files(rows).items():
        (folder / name).write_bytes(data)
    main_build(SimpleNamespace(files=[str(folder)], output=str(folder / "table.csv")))
    with (folder / "table.csv").open(newline="") as file:
        lines = {line["dataset"]: line for line in csv.DictReader(file)}
    return len(lines) == len(rows) and all(
        float(lines[row.dataset][name]) == value
        for row in rows
        for name, value in row.metrics.items()
        if value is not None
    )


def _run_ours(what: ImageSet, features: Features) -> Row:
    (evaluator,) = evaluators({"zero_shot" if what.is_classified else "retrieval": {}})
    return evaluator.module.evaluate(View(evaluator.name, what, features, evaluator.options))


def _run_peer(what: ImageSet, place: Path, encoder: Any) -> dict[str, float]:
    from clip_benchmark.datasets.builder import build_wds_dataset
    from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval

    clip = encoder.clip
    zeroshot_classification.accuracy = _accuracy
    dataset = build_wds_dataset("x", clip.transform, split="test", data_dir=str(place))
    if what.is_classified:
        loader: Any = torch.utils.data.DataLoader(dataset.batched(64), batch_size=None)
        loader.dataset.classes = dataset.classes
        return dict(
            zeroshot_classification.evaluate(
                clip.model, loader, clip.tokenize, dataset.classes, dataset.templates, "cpu", amp=False
            )
        )
    pairs = list(dataset)
    batches = [
        (
            torch.stack([image for image, _ in pairs[first : first + 64]]),
            [texts for _, texts in pairs[first : first + 64]],
        )
        for first in range(0, len(pairs), 64)
    ]
    return dict(
        zeroshot_retrieval.evaluate(clip.model, batches, clip.tokenize, "cpu", amp=False, recall_k_list=[1, 5, 10])
    )


def _accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...]) -> list[float]:
    """CLIP_benchmark's own, whose last line fails with numpy 2.4: it makes a float of an array of one number."""
    answers = output.topk(max(topk), 1, True, True)[1].t()
    correct = answers.eq(target.view(1, -1).expand_as(answers))
    return [float(correct[:k].reshape(-1).float().sum()) / len(target) for k in topk]


if __name__ == "__main__":
    main()
