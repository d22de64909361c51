"""Evaluation sets of colours, in every form that exists, and a model that reads them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.train import tiny
from train.checkpoints.load import Encoder
from train.evaluate.encoders import open_encoder
from train.evaluate.features import Features
from train.evaluate.registry import evaluators
from train.evaluate.results.row import Row
from train.evaluate.sets import ImageSet
from train.evaluate.view import View

CLASSES = ["red blue", "blue red", "pink gray", "black white", "green green", "yellow black"]


def class_folders(root: Path, each: int = 2, classes: Sequence[str] = tuple(CLASSES)) -> Path:
    """A folder of class folders, whose images differ a little."""
    for caption in classes:
        folder = root / caption.replace(" ", "_")
        folder.mkdir(parents=True)
        for number in range(each):
            (folder / f"{number}.jpg").write_bytes(picture(caption, number))
    return root


def picture(caption: str, number: int = 0) -> bytes:
    """A picture of two colours, and of a size of its own."""
    from PIL import Image

    image = Image.open(io.BytesIO(tiny.picture(caption))).resize((40 + number, 36 + number))
    sink = io.BytesIO()
    image.save(sink, "jpeg", quality=90 - number)
    return sink.getvalue()


def tar(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A WebDataset tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for key, parts in samples.items():
            for part, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{part}")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return path


def clip_benchmark_folder(root: Path, each: int = 3) -> Path:
    """A classification set as CLIP_benchmark lays it out, in two tars."""
    samples = {
        f"s{number:07d}": {
            "cls": str(number % len(CLASSES)).encode(),
            "jpg": picture(CLASSES[number % len(CLASSES)], number),
        }
        for number in range(each * len(CLASSES))
    }
    keys = list(samples)
    half = len(keys) // 2
    tar(root / "test" / "0.tar", {key: samples[key] for key in keys[:half]})
    tar(root / "test" / "1.tar", {key: samples[key] for key in keys[half:]})
    (root / "test" / "nshards.txt").write_text("2\n")
    (root / "classnames.txt").write_text("\n".join(CLASSES))
    (root / "zeroshot_classification_templates.txt").write_text("{c}\na photo of {c}.\nthe {c}, seen.")
    return root


def retrieval_folder(root: Path, count: int = 12) -> Path:
    """A retrieval set as CLIP_benchmark lays it out: two or three captions an image."""
    samples = {
        f"{number:05d}": {
            "jpg": picture(tiny.CAPTIONS[number], number),
            "txt": "\n".join(
                f"{words} {tiny.CAPTIONS[number]}" for words in ("a", "the", "some")[: 2 + number % 2]
            ).encode(),
        }
        for number in range(count)
    }
    tar(root / "test" / "0.tar", samples)
    (root / "test" / "nshards.txt").write_text("1")
    (root / "dataset_type.txt").write_text("retrieval")
    return root


def encoder(seed: int = 0) -> Encoder:
    """The tiny model with random weights."""
    return open_encoder(f"open_clip:{tiny.MODEL}", "cpu", 8, seed=seed)


def run(name: str, what: ImageSet, seen: Features | None = None, **options: object) -> Row:
    """What an evaluator finds of a set."""
    shared = {key: options.pop(key) for key in ("in_distribution", "references", "hierarchy") if key in options}
    (evaluator,) = evaluators({name: options})
    shared = {"seed": 0, "sets": [what], **shared}
    assert not evaluator.module.refuses(what, shared)
    features = seen or Features(encoder(), None)
    return evaluator.module.evaluate(View(name, what, features, evaluator.options, shared))


def write_json(path: Path, value: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(value))
    return path
