"""Models come from open_clip; our own tiny ones are open_clip configs too (`train/models/*.json`)."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from train.models import foreign_config
from train.models.names import MODELS, check_name
from train.models.patch_dropout import without_waits
from train.sections import ModelConfig

MAX_LOGIT_SCALE = 100.0
"""Radford et al. 2021, §2.5: logits are never scaled by more."""
SIGMOID_START = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}
"""Zhai et al. 2023, §3.2: the many pairs that do not match would else weigh too much at first."""


@dataclass(frozen=True)
class Clip:
    """A model with what it needs to be used."""

    name: str
    config: dict[str, Any]  # the open_clip model config: embed_dim, vision_cfg, text_cfg
    preprocess: PreprocessCfg
    model: nn.Module  # forward(images, texts) -> (image features, text features, logit scale[, logit bias])
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


def known_name(model: str) -> str:
    """Return the name by which open_clip knows a model: one of its own, one of ours, or that of a JSON file's config.

    Raises:
        ValueError: there is no such model, or the file is no open_clip model config.
    """
    if model.endswith(".json"):
        path = Path(model)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"model must be a readable JSON file, not {model!r}: {error}") from None
        if not isinstance(config, dict) or not set(config) >= foreign_config.REQUIRED:
            raise ValueError(f"model must have embed_dim, vision_cfg and text_cfg; {model} has not")
        foreign_config.check(config, {}, f"model {model}")
        open_clip.add_model_config(path)
        return path.stem
    if model not in open_clip.list_models():
        open_clip.add_model_config(MODELS)
    check_name(model, open_clip.list_models())
    return model


def create(
    model: str,
    seed: int = 0,
    *,
    loss: str = "softmax",
    image_size: int = 0,
    context_length: int = 0,
    patch_dropout: float = 0.0,
    tokenizer: str = "",
    device: str = "cpu",
) -> Clip:
    """Make a model with fresh weights; the same ones for the same seed.

    Args:
        model: an open_clip model name, one of ours, or the path of a JSON file with an open_clip model config.
        loss: what it will be trained by: softmax; or sigmoid, which gives it SigLIP's logit scale and bias, unless its
            config has a bias.
        image_size, context_length: pixels and tokens, if not those of the model's config.
        patch_dropout: the share of an image's patches that training leaves out.
        tokenizer: a folder with a Hugging Face tokenizer, if not the model's own.
        device: cpu; or meta, for a model whose weights have shapes alone.
    Raises:
        ValueError: there is no such model or tokenizer, or the model is not trained by that loss alone.
    """
    name = known_name(model)
    config: dict[str, Any] = open_clip.get_model_config(name)
    if "multimodal_cfg" in config:
        raise ValueError(f"model must be trained by contrast alone; {name!r} is not, as its multimodal_cfg says")
    if loss == "softmax" and "init_logit_bias" in config:
        raise ValueError(f"loss must be sigmoid for {name!r}, as its init_logit_bias says")
    if loss == "sigmoid" and "init_logit_bias" not in config:
        config.update(SIGMOID_START)
    if image_size:
        config["vision_cfg"]["image_size"] = image_size
    if context_length:
        config["text_cfg"]["context_length"] = context_length
    if tokenizer:
        config["text_cfg"].update(_add_tokenizer(tokenizer))
    fetching = foreign_config.offline() if model.endswith(".json") else contextlib.nullcontext()
    with _register_model(config) as source, fetching:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(seed)
            fresh = _make_without_weights(source, force_patch_dropout=patch_dropout or None, device=device)
        return _clip(name, config, fresh, source)


def create_configured(
    config: ModelConfig, seed: int = 0, loss: str = "softmax", *, final: bool = False, device: str = "cpu"
) -> Clip:
    """Make the model of a config, with fresh weights. Raises ValueError as `create`.

    Args:
        final: for the part of the run in which images and texts have the model's own sizes.
    """
    return create(
        config.name,
        seed,
        loss=loss,
        image_size=0 if final else config.image_size,
        context_length=0 if final else config.context_length,
        patch_dropout=config.patch_dropout,
        tokenizer=config.tokenizer,
        device=device,
    )


def _add_tokenizer(folder: str) -> dict[str, Any]:
    """What a Hugging Face tokenizer changes in a text tower's config: its words, and the token at which it is read."""
    if not Path(folder).is_dir():
        raise ValueError(f"tokenizer must be a folder with a Hugging Face tokenizer, not {folder!r}")
    try:
        words = HFTokenizer(folder, trust_remote_code=False).tokenizer
    except ImportError:
        raise ValueError(f"tokenizer {folder!r} needs the package transformers, which is not installed") from None
    except Exception as error:  # transformers raises anything on files that it did not write
        raise ValueError(f"tokenizer {folder!r} cannot be read: {' '.join(str(error).split())}") from None
    end = words.eos_token_id if words.eos_token_id is not None else words.sep_token_id
    if end is None or end not in words("a")["input_ids"]:
        raise ValueError(f"tokenizer {folder!r} must end a text with a token (eos or sep), where its feature is read")
    keys = {"hf_tokenizer_name": str(Path(folder).absolute()), "vocab_size": len(words)}
    return {**keys, "pool_type": "eos", "eos_id": end}


def restore(
    name: str,
    config: dict[str, Any],
    preprocess: dict[str, Any],
    weights: dict[str, Tensor] | None,
    where: str = "the model's config",
    tokenizer: str = "",
) -> Clip:
    """Make a model from what a file says of it, whether or not its name still means the same config.

    Nothing that the file says is run or fetched.

    Args:
        weights: None leaves them to the caller.
        where: the file, for messages.
        tokenizer: the folder of the tokenizer's files, if not the one that the config names.
    Raises:
        ValueError: the config says what `train.models.foreign_config` does not allow, or makes no model.
        RuntimeError: the weights are not those of the config.
    """
    text = config.get("text_cfg") if isinstance(config, dict) else None
    if tokenizer and isinstance(text, dict) and "hf_tokenizer_name" in text:
        config = {**config, "text_cfg": {**text, "hf_tokenizer_name": tokenizer}}
    foreign_config.check(config, preprocess, where)
    with _register_model(config, preprocess) as source, foreign_config.offline():
        try:
            clip = _clip(name, config, _make_without_weights(source), source)
        except Exception as error:  # open_clip, timm, transformers: anything, on values that do not fit together
            raise ValueError(f"{where} makes no model: {' '.join(str(error).split())[:300]}") from None
    if weights is not None:
        clip.model.load_state_dict(weights)
    return clip


@contextlib.contextmanager
def _register_model(config: dict[str, Any], preprocess: dict[str, Any] | None = None) -> Iterator[str]:
    """A model as the name by which open_clip makes it."""
    with tempfile.TemporaryDirectory() as folder:
        described = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess or {}})
        (Path(folder) / "open_clip_config.json").write_text(described, encoding="utf-8")
        yield f"local-dir:{folder}"


def _make_without_weights(source: str, **more: Any) -> nn.Module:
    """A model without weights, and without open_clip's warning that it has none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return without_waits(open_clip.create_model(source, load_weights=False, pretrained_text=False, **more))
    finally:
        logging.disable(before)


def _clip(name: str, config: dict[str, Any], model: nn.Module, source: str) -> Clip:
    preprocess = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    text = config["text_cfg"]
    if "hf_tokenizer_name" in text:  # at a local source open_clip would look for it beside the config
        more = {"context_length": text.get("context_length", 77), "tokenizer_mode": text.get("tokenizer_mode")}
        more |= {**(text.get("tokenizer_kwargs") or {}), "trust_remote_code": False}
        tokenize = HFTokenizer(text["hf_tokenizer_name"], **more)
    else:
        tokenize = open_clip.get_tokenizer(source)
    return Clip(name, config, preprocess, model, tokenize)


def pick_device(wanted: str) -> torch.device:
    """Return the device that auto, cpu or cuda means here. Raises ValueError if there is no such device."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError("device must be auto or cpu here: this machine has no usable GPU")
    if wanted == "cpu" or not available:
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if count == 1:  # also where a scheduler shows each process its own alone
        number = 0
    if number >= count:
        raise ValueError(f"this machine has {count} GPUs, too few for its process number {number + 1}")
    return torch.device("cuda", number)


def preprocess_dict(clip: Clip) -> dict[str, Any]:
    """Return the preprocessing as plain values, as checkpoints and exports keep it."""
    return dict(json.loads(json.dumps(asdict(clip.preprocess))))
