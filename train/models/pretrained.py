"""The weights that a run begins with: which tower keeps them, and how those of another resolution are made to fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import resize_pos_embed, resize_text_pos_embed
from torch import Tensor, nn

from dataset.store.storage import Storage, is_local
from train.checkpoints import checkpoint
from train.checkpoints.load import load_clip
from train.models.clip import Clip, preprocess_dict
from train.sections import ModelConfig


def begin(clip: Clip, config: ModelConfig, preprocess: dict[str, Any] | None = None) -> Clip:
    """Make a fresh model with the weights of `pretrained`, their images' mean and std, and the tower of `lock` locked.

    Args:
        preprocess: that of the checkpoint with which the run goes on, and from which its weights come then.
    Raises:
        ValueError: there are no such weights, or they are another model's.
    """
    if preprocess is None and config.pretrained:
        preprocess = _take(clip, config.pretrained)
    if preprocess is not None:
        same = {"mean": preprocess["mean"], "std": preprocess["std"]}
        clip = replace(clip, preprocess=replace(clip.preprocess, **same))
    if config.lock != "none":
        getattr(clip.model, f"lock_{config.lock}_tower")(config.unlocked_groups)
    return clip


def set_training_mode(clip: Clip, config: ModelConfig) -> None:
    """Put the model in training mode, but a locked tower, whose statistics and dropout stay as in evaluation."""
    clip.model.train()
    towers: Any = clip.model
    if config.lock == "image":
        towers.visual.eval()
    elif config.lock == "text":
        (towers.text if hasattr(towers, "text") else towers.transformer).eval()


def _take(clip: Clip, source: str) -> dict[str, Any] | None:
    """Copy weights into a model; returns how their images were prepared, where that is known."""
    if is_local(source) and Path(source).is_file():
        preprocess_of_file: dict[str, Any] | None = None
        other: nn.Module | None = None
    elif (Path(source) / "open_clip_config.json").is_file() or (
        "/" in source and checkpoint.latest_checkpoint(Storage(source))
    ):
        loaded = load_clip(source)
        preprocess_of_file, other = preprocess_dict(loaded), loaded.model
    elif source in (tags := open_clip.list_pretrained_tags_by_model(clip.name)):
        other = open_clip.create_model(clip.name, source)
        preprocess_of_file = open_clip.get_model_preprocess_cfg(other)
    else:
        raise ValueError(
            "pretrained must be a file, an exported folder, a run, or a tag of open_clip's for "
            f"{clip.name} ({', '.join(tags) or 'it has none'}), not {source!r}"
        )
    try:
        if other is None:
            open_clip.load_checkpoint(clip.model, source)
        else:
            state = other.state_dict()
            resize_pos_embed(state, clip.model)
            resize_text_pos_embed(state, clip.model)
            clip.model.load_state_dict(state)
    except Exception as error:  # open_clip and torch raise anything on another model's weights, or on no weights
        raise ValueError(f"pretrained {source!r} does not fit {clip.name}: {' '.join(str(error).split())}") from None
    return preprocess_of_file


def adapt_tensor(model: nn.Module, name: str, values: Tensor) -> Tensor:
    """Return a checkpoint's tensor as a model of another resolution has it: position embeddings and their moments.

    Args:
        name: `model.…`, `ema.…` or `optimizer.state.…` with the parameter's name in it.
    Raises:
        KeyError: the tensor is of another kind.
    """
    if "positional_embedding" not in name:
        raise KeyError(name)
    moment = name.startswith("optimizer.")  # a cubic would make some second moments negative
    if "visual." in name:
        state = {"visual.positional_embedding": values}
        resize_pos_embed(state, model, "bilinear" if moment else "bicubic")
    else:
        key = "text.positional_embedding" if "text.positional_embedding" in name else "positional_embedding"
        state = {key: values}
        resize_text_pos_embed(state, model)
    (resized,) = state.values()
    return torch.as_tensor(resized)
