"""A trained model as files that open_clip loads without this repository.

>>> model, _, transform = open_clip.create_model_and_transforms("local-dir:DIR")
"""

from __future__ import annotations

import json
from pathlib import Path

from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from train.evaluate.load import load_clip
from train.model import preprocess_dict


def export(checkpoint: str, directory: str | Path) -> list[Path]:
    """Write `open_clip_config.json` and `open_clip_model.safetensors`; returns their paths.

    Args:
        checkpoint: a run's directory (its latest checkpoint) or one of its checkpoints.
    Raises:
        FileNotFoundError, ValueError: it is no checkpoint.
    """
    clip = load_clip(checkpoint)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    config, weights = target / "open_clip_config.json", target / "open_clip_model.safetensors"
    described = {"model_cfg": clip.config, "preprocess_cfg": preprocess_dict(clip)}
    config.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if isinstance(clip.tokenize, HFTokenizer):  # open_clip looks for any tokenizer but its own beside the config
        clip.tokenize.save_pretrained(target)
    save_file({name: value.contiguous() for name, value in clip.model.state_dict().items()}, weights)
    return [config, weights]
