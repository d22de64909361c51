"""Models come from open_clip; our own tiny ones are open_clip configs too (`train/models/*.json`)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

MODELS = Path(__file__).parent / "models"
MAX_LOGIT_SCALE = 100.0
"""Radford et al. 2021, §2.5: logits are never scaled by more."""


@dataclass(frozen=True)
class Clip:
    """A model with what it needs to be used."""

    name: str
    config: dict[str, Any]  # the open_clip model config: embed_dim, vision_cfg, text_cfg
    preprocess: PreprocessCfg
    model: nn.Module  # forward(images, texts) -> (image features, text features, logit scale)
    tokenize: Callable[[list[str]], Tensor]  # texts -> int64 of shape (n, context length)

    @property
    def image_size(self) -> int:
        """The side of the square input, in pixels."""
        size = self.preprocess.size
        return size if isinstance(size, int) else size[0]

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """An image as the model sees it in evaluation: float32 of shape (3, image_size, image_size)."""
        transform: Callable[[Image.Image], Tensor] = image_transform_v2(self.preprocess, is_train=False)
        return transform


def model_config(name: str) -> dict[str, Any]:
    """The open_clip config of a model name.

    Raises:
        ValueError: neither open_clip nor train/models has a model of that name.
    """
    if name not in open_clip.list_models():
        open_clip.add_model_config(MODELS)
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"model must be an open_clip model or one of {', '.join(our_models())}, not {name!r}{hint}")
    return dict(config)


def our_models() -> list[str]:
    """The names of the models in train/models."""
    return sorted(path.stem for path in MODELS.glob("*.json"))


def create(name: str, seed: int = 0) -> Clip:
    """A model with fresh weights; the same ones for the same seed.

    Raises:
        ValueError: there is no such model.
    """
    config = model_config(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    return Clip(name, config, _preprocess(model), model, open_clip.get_tokenizer(name))


def restore(name: str, config: dict[str, Any], preprocess: dict[str, Any], weights: dict[str, Tensor]) -> Clip:
    """A model from what a checkpoint says of it, whether or not this open_clip knows its name.

    Raises:
        RuntimeError: the weights are not those of the config.
    """
    open_clip.factory._MODEL_CONFIGS[name] = json.loads(json.dumps(config))  # the only way in without a file
    model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    model.load_state_dict(weights)
    open_clip.model.set_model_preprocess_cfg(model, preprocess)
    return Clip(name, config, PreprocessCfg(**preprocess), model, open_clip.get_tokenizer(name))


def _preprocess(model: nn.Module) -> PreprocessCfg:
    return PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))


def preprocess_dict(clip: Clip) -> dict[str, Any]:
    """The preprocessing as plain values, as checkpoints and exports keep it."""
    return dict(json.loads(json.dumps(asdict(clip.preprocess))))


def optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with the paper's betas; gains, biases and the logit scale are not decayed (Radford et al. 2021, §2.5).

    Betas and epsilon: Table 19; a tower with a convolution deeper than its stem counts as a ResNet.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    betas, epsilon = ((0.9, 0.98), 1e-6) if convolutions <= 1 else ((0.9, 0.999), 1e-8)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=True)
