"""The model card of a trained model: what a folder for the Hugging Face Hub says of itself in README.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dataset.store.storage import Storage
from train.checkpoints import checkpoint
from train.config import by_place

EVALUATION = "evaluation.json"
_FROM_THE_RUN = (
    *("dataset", "model.name", "training.batch_size", "training.samples_seen", "training.epochs"),
    *("optimizer.learning_rate", "compute.precision", "seed"),
)


def write(url: str, directory: str | Path) -> Path:
    """Write README.md into an exported folder; returns its path.

    Args:
        url: the run, or one of its checkpoints, that was exported.
    Raises:
        FileNotFoundError, ValueError: it is no checkpoint.
    """
    run, name = checkpoint.find(url)
    about = checkpoint.about(run, name)
    results = json.loads(run.read(EVALUATION)) if run.exists(EVALUATION) else []
    sheet = _datasheet(about["config"]["dataset"])
    path = Path(directory) / "README.md"
    if sheet is not None:
        (path.parent / "datasheet.md").write_bytes(sheet)
    path.write_text(card(about, results, sheet is not None), encoding="utf-8")
    return path


def _datasheet(dataset: str) -> bytes | None:
    try:
        return Storage(dataset).read("datasheet.md")
    except (OSError, ValueError, ImportError):  # a model may outlive the dataset it was trained on
        return None


def card(about: dict[str, Any], results: Sequence[dict[str, Any]], has_datasheet: bool) -> str:
    """Return the model card of a checkpoint, in Markdown with the Hub's front matter.

    Args:
        about: what `checkpoint.about` says.
        results: the rows of evaluation.json.
    """
    config, values = about["config"], by_place(about["config"])
    front: dict[str, Any] = {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "license": "other",
        "license_name": "see-datasheet" if has_datasheet else "unknown",
        "tags": ["clip", "openwit"],
    }
    if results:
        front["model-index"] = [{"name": config["name"], "results": [_result(row) for row in results]}]
    sizes = about["model_config"]
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {_escape(config['name'])}",
        f"A CLIP ({_escape(about['name'])}: images of {sizes['vision_cfg'].get('image_size')} pixels, embeddings of "
        f"{sizes['embed_dim']} numbers) trained by openwit for {about['step']:,} steps.",
        '```python\nimport open_clip\n\nmodel, _, transform = open_clip.create_model_and_transforms("local-dir:DIR")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:DIR")\n```',
        "## Figures",
        _table(results) if results else "It was not examined; `wit eval RUN` does that.",
        "## Training",
        "\n".join(["| key | value |", "|---|---|", *(f"| {key} | {_escape(values[key])} |" for key in _FROM_THE_RUN)]),
        "## Data",
        "The dataset's [datasheet](datasheet.md) says where its pairs come from, what was dropped and why, and what is "
        "known of their licences."
        if has_datasheet
        else f"The dataset {_escape(config['dataset'])} had no datasheet.",
        "Images and texts of the web carry its biases and errors, and so does what is learnt from them. Examine the "
        "model on your own task before you rely on it; do not use it to identify or to judge people.",
    ]
    return "\n\n".join(lines) + "\n"


def _result(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": {"type": "retrieval" if row["task"] == "retrieval" else "zero-shot-image-classification"},
        "dataset": {"name": str(row["task"]), "type": str(row["task"])},
        "metrics": [{"type": str(row["metric"]), "value": row["value"]}],
    }


def _table(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for row in results:
        figures = f"{row['value']:.4g} | {row['chance']:.4g} | {row['samples']:,}"
        rows.append(f"| {_escape(row['task'])} | {_escape(row['metric'])} | {figures} |")
    return "\n".join(["| task | metric | value | chance | samples |", "|---|---|---|---|---|", *rows])


def _escape(value: object) -> str:
    """A value as text within a line of Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in " ".join(str(value).split()))
