"""Encoders as they exist: our runs and exports, open_clip's models, Hugging Face's CLIP folders, and random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dataset.store.storage import is_local
from train.checkpoints.load import Encoder, load
from train.models import pretrained
from train.models.clip import Clip, create, known_name, preprocess_dict, restore
from train.sections import ModelConfig

OPEN_CLIP = "open_clip:"
_HUGGING_FACE = "config.json"


def open_encoder(
    name: str, device: str = "auto", batch_size: int = 256, weights: str = "auto", seed: int = 0
) -> Encoder:
    """Return the encoder of a name.

    Args:
        name: a run, a checkpoint or an exported folder, as `train.checkpoints.load.load` takes them;
            `open_clip:MODEL` with random weights; `open_clip:MODEL:TAG` or `open_clip:MODEL:FILE`, with open_clip's
            weights or a file's; a folder with a CLIP of Hugging Face's (`config.json`).
        device: `auto`, or a device of torch's.
        batch_size: how many images or texts are encoded at once.
        weights: of a run, `auto`, `ema` or `model`: the averaged weights, if there are any, or those that were trained.
        seed: seed of the random weights.
    Raises:
        FileNotFoundError, ValueError: there is nothing of that kind, or it is not what it should be.
    """
    if name.startswith(OPEN_CLIP):
        model, _, source = name.removeprefix(OPEN_CLIP).partition(":")
        clip = create(model, seed, loss="sigmoid" if _is_sigmoid(model) else "softmax")
        if source:
            clip = pretrained.begin(clip, ModelConfig(pretrained=source))
        encoder = Encoder(clip, device, batch_size)
    elif is_local(name) and _is_hugging_face(Path(name)):
        encoder = Encoder(_from_hugging_face(Path(name)), device, batch_size)
    else:
        encoder = load(name, device, batch_size, weights)
    encoder.autocast = True
    return encoder


def random_init(encoder: Encoder, seed: int = 0) -> Encoder:
    """Return an encoder of the same architecture, with weights that nothing was learnt by: the baseline."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = encoder.clip
        fresh = restore(clip.name, clip.config, preprocess_dict(clip), None, where=f"the config of {clip.name}")
    untrained = Encoder(fresh, str(encoder.device.type), encoder.batch_size)
    untrained.autocast = encoder.autocast
    return untrained


def shown_name(name: str) -> tuple[str, str]:
    """Return (model, pretrained) as CLIP_benchmark's tables name an encoder."""
    if name.startswith(OPEN_CLIP):
        model, _, source = name.removeprefix(OPEN_CLIP).partition(":")
        return model, source or "random"
    return Path(name).name if is_local(name) else name.rstrip("/").rpartition("/")[2], name


def _is_sigmoid(model: str) -> bool:
    import open_clip

    return "init_logit_bias" in (open_clip.get_model_config(known_name(model)) or {})


def _is_hugging_face(folder: Path) -> bool:
    return (folder / _HUGGING_FACE).is_file() and not (folder / "open_clip_config.json").is_file()


def _from_hugging_face(folder: Path) -> Clip:
    """A `CLIPModel` that transformers has saved, as the open_clip model of the same weights."""
    raw = _config(folder)
    if raw.get("model_type") != "clip":
        raise ValueError(f"{folder / _HUGGING_FACE} is of a {raw.get('model_type')!r}; a CLIP's model_type is clip")
    try:
        vision, text = raw["vision_config"], raw["text_config"]
        sizes: dict[str, Any] = {
            "embed_dim": raw["projection_dim"],
            "quick_gelu": vision.get("hidden_act", "quick_gelu") == "quick_gelu",
            "vision_cfg": {
                "image_size": vision["image_size"],
                "layers": vision["num_hidden_layers"],
                "width": vision["hidden_size"],
                "head_width": vision["hidden_size"] // vision["num_attention_heads"],
                "patch_size": vision["patch_size"],
                "mlp_ratio": vision["intermediate_size"] / vision["hidden_size"],
            },
            "text_cfg": {
                "context_length": text.get("max_position_embeddings", 77),
                "vocab_size": text.get("vocab_size", 49408),
                "width": text["hidden_size"],
                "heads": text["num_attention_heads"],
                "layers": text["num_hidden_layers"],
                "mlp_ratio": text["intermediate_size"] / text["hidden_size"],
            },
        }
    except (KeyError, TypeError, ArithmeticError, AttributeError):
        raise ValueError(f"{folder / _HUGGING_FACE} lacks the sizes of a CLIP's towers") from None
    clip = restore(folder.name, sizes, {}, None, where=str(folder / _HUGGING_FACE))
    weights = _weights(folder)
    try:
        clip.model.load_state_dict(_convert_weights(weights, sizes, folder))
    except ValueError:
        raise
    except Exception as error:  # torch raises anything on what is no tensor, or one of another shape
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder} has weights that do not fit {_HUGGING_FACE}: {said}") from None
    return clip


def _config(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / _HUGGING_FACE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        raw = None
    if not isinstance(raw, dict):
        raise ValueError(f"{folder / _HUGGING_FACE} is no config of a model")
    return raw


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        if (folder / "model.safetensors").is_file():
            return load_file(folder / "model.safetensors")
        if (folder / "pytorch_model.bin").is_file():
            state: dict[str, torch.Tensor] = torch.load(
                folder / "pytorch_model.bin", map_location="cpu", weights_only=True
            )
            return state
    except Exception as error:  # torch and safetensors raise anything on other bytes
        raise ValueError(f"{folder} has weights that cannot be read: {' '.join(str(error).split())[:200]}") from None
    raise ValueError(f"{folder} has no weights: model.safetensors or pytorch_model.bin")


_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _convert_weights(weights: dict[str, torch.Tensor], sizes: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    """Hugging Face's names and shapes as open_clip has them. Raises ValueError if a tensor is missing."""
    try:
        converted = {
            "logit_scale": weights["logit_scale"],
            "visual.proj": weights["visual_projection.weight"].T.contiguous(),
            "text_projection": weights["text_projection.weight"].T.contiguous(),
            "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
            "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
            "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
            "token_embedding.weight": weights["text_model.embeddings.token_embedding.weight"],
            "positional_embedding": weights["text_model.embeddings.position_embedding.weight"],
        }
        norms = {
            "visual.ln_pre": "vision_model.pre_layrnorm",
            "visual.ln_post": "vision_model.post_layernorm",
            "ln_final": "text_model.final_layer_norm",
        }
        for ours, theirs in norms.items():
            converted |= {f"{ours}.{part}": weights[f"{theirs}.{part}"] for part in ("weight", "bias")}
        for ours, theirs, layers in (
            ("visual.transformer", "vision_model.encoder", sizes["vision_cfg"]["layers"]),
            ("transformer", "text_model.encoder", sizes["text_cfg"]["layers"]),
        ):
            for layer in range(layers):
                here, there = f"{ours}.resblocks.{layer}", f"{theirs}.layers.{layer}"
                for part in ("weight", "bias"):
                    for name, our_name in _BLOCK.items():
                        converted[f"{here}.{our_name}.{part}"] = weights[f"{there}.{name}.{part}"]
                    parts = [weights[f"{there}.self_attn.{each}_proj.{part}"] for each in "qkv"]
                    converted[f"{here}.attn.in_proj_{part}"] = torch.cat(parts)
    except KeyError as error:
        raise ValueError(f"{folder} has no weights called {error.args[0]}, which a CLIP has") from None
    return converted
