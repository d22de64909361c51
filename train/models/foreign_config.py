"""What a model's config may say that comes from a file: a checkpoint's, an exported folder's, anyone's JSON.

It may come from a stranger. open_clip would fetch what it names and, by `tokenizer_kwargs`, run code that it fetched.
So each key and value must stand in a list of those that build a model from the code of open_clip and timm and from
nothing else. A tokenizer's files come from beside the config or from this machine; what would have to be fetched, only
a key of the user's own config brings (`model`, `tokenizer`).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import open_clip

REQUIRED = frozenset({"embed_dim", "vision_cfg", "text_cfg"})
Check = Callable[[Any], bool]


def _number(least: float, most: float) -> Check:
    return lambda value: _is_number(value) and least <= value <= most


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    )


def _is_whole_number(least: int, most: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _list_of(check: Check, lengths: tuple[int, ...]) -> Check:
    return lambda value: isinstance(value, (list, tuple)) and len(value) in lengths and all(map(check, value))


def _is_any_of(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _is_one_of(*values: Any) -> Check:
    return lambda value: isinstance(value, (str, type(None))) and value in values


def _is_mapping_of(keys: Mapping[str, Check]) -> Check:
    return lambda value: (
        value is None
        or (isinstance(value, dict) and all(key in keys and keys[key](item) for key, item in value.items()))
    )


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_none_value(value: Any) -> bool:
    return value is None


@cache
def _named_by_open_clip() -> dict[str, set[str]]:
    """What open_clip's own model configs name in other packages or on the Hub, by key."""
    named: dict[str, set[str]] = {key: set() for key in ("timm_model_name", "hf_model_name", "hf_tokenizer_name")}
    config_folder = Path(open_clip.__file__).parent / "model_configs"
    for name in open_clip.list_models():
        if (config_folder / f"{name}.json").is_file():  # not what was registered since, from anywhere
            for section in ("vision_cfg", "text_cfg"):
                for key, value in open_clip.get_model_config(name)[section].items():
                    if key in named:
                        named[key].add(value)
    return named


def _is_known_name(key: str) -> Check:
    return lambda value: value is None or (isinstance(value, str) and value in _named_by_open_clip()[key])


def _tokenizer(value: Any) -> bool:
    """A folder of this machine, or one that open_clip's own models have; it is not fetched."""
    return isinstance(value, str) and (_is_known_name("hf_tokenizer_name")(value) or os.path.isdir(value))  # noqa: PTH112  Path raises


_WIDTH, _LAYERS, _SIDE, _SHARE = (
    _is_whole_number(1, 16_384),
    _is_whole_number(1, 512),
    _is_whole_number(1, 4096),
    _number(0, 1),
)
_OPTIONAL_NUMBER = _is_any_of(_is_none_value, _number(-1e6, 1e6))
_FORMS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
_BLOCK: dict[str, Check] = {
    "width": _WIDTH,
    "mlp_ratio": _number(0.01, 64),
    "ls_init_value": _OPTIONAL_NUMBER,
    "final_ln_after_pool": _flag,
    "output_tokens": _flag,
    "act_kwargs": _is_mapping_of({"approximate": _is_one_of("tanh", "none")}),
    "norm_kwargs": _is_mapping_of({"eps": _number(0, 1)}),
    "block_type": _is_one_of(None, "default", "custom"),
    **dict.fromkeys(_FORMS, _flag),
}
_VISION: dict[str, Check] = {
    **_BLOCK,
    "layers": _is_any_of(_LAYERS, _list_of(_LAYERS, (4,))),
    "head_width": _WIDTH,
    "patch_size": _is_any_of(_is_none_value, _SIDE, _list_of(_SIDE, (2,))),  # none: a ResNet's
    "image_size": _is_any_of(_SIDE, _list_of(_SIDE, (2,))),
    "patch_dropout": _SHARE,
    "attentional_pool": _is_any_of(_flag, _is_one_of("parallel", "cascade")),
    "attn_pooler_queries": _WIDTH,
    "attn_pooler_heads": _WIDTH,
    "no_ln_pre": _flag,
    "pos_embed_type": _is_one_of("learnable", "sin_cos_2d"),
    "pool_type": _is_one_of("tok", "avg", "none", ""),
    "timm_model_name": _is_known_name("timm_model_name"),
    "timm_model_pretrained": lambda value: value is False,
    "timm_pool": _is_one_of("avg", "token", "map", "abs_attn", "rot_attn", ""),
    "timm_proj": _is_one_of("linear", "mlp", "none", "", None),
    "timm_proj_bias": _flag,
    "timm_drop": _SHARE,
    "timm_drop_path": _is_any_of(_is_none_value, _SHARE),
}
_TEXT: dict[str, Check] = {
    **_BLOCK,
    "context_length": _is_whole_number(1, 16_384),  # what masks each place from each takes a gigabyte then
    "vocab_size": _is_whole_number(1, 4_000_000),
    "heads": _WIDTH,
    "layers": _LAYERS,
    "embed_cls": _flag,
    "pad_id": _is_whole_number(0, 4_000_000),
    "eos_id": _is_whole_number(0, 4_000_000),
    "no_causal_mask": _flag,
    "pool_type": _is_one_of("argmax", "first", "last", "eos", "avg", "none"),
    "proj_bias": _flag,
    "proj_type": _is_one_of("linear", "none"),
    "hf_tokenizer_name": _tokenizer,
    "tokenizer_mode": _is_one_of(None, "clips"),
    "tokenizer_kwargs": _is_mapping_of(
        {"clean": _is_one_of("lower", "whitespace", "canonicalize"), "strip_sep_token": _flag}
    ),
    "hf_model_name": _is_known_name("hf_model_name"),
    "hf_model_pretrained": _flag,  # open_clip is told not to, whatever it says
    "hf_proj_type": _is_one_of("linear", "mlp", None),
    "hf_pooler_type": _is_one_of("mean_pooler", "cls_pooler", "max_pooler", "cls_last_hidden_state_pooler"),
}  # fmt: skip
_MODEL: dict[str, Check] = {
    "embed_dim": _WIDTH,
    "quick_gelu": _flag,
    "custom_text": _flag,
    "init_logit_scale": _number(-100, 100),
    "init_logit_bias": _OPTIONAL_NUMBER,
}
_CHANNELS = _list_of(_number(-1e3, 1e3), (1, 3))
_PREPROCESS: dict[str, Check] = {
    "size": _is_any_of(_SIDE, _list_of(_SIDE, (2,))),
    "mode": _is_one_of("RGB"),
    "mean": _CHANNELS,
    "std": _list_of(_number(1e-3, 1e3), (1, 3)),
    "interpolation": _is_one_of("bicubic", "bilinear", "random"),
    "resize_mode": _is_one_of("shortest", "longest", "squash"),
    "fill_color": _is_whole_number(0, 255),
}


_MOST_PARAMETERS = 10**10
"""The most parameters of a model from a file; the largest that open_clip describes has half as many."""


def _parameters(section: Mapping[str, Any]) -> float:
    """About how many parameters a tower has, rather too many: four matrices and an MLP a layer, a vector for each word
    and for each place.
    """
    layers, width = section.get("layers", 12), section.get("width", 768)
    if isinstance(layers, list):  # a ResNet, whose last blocks are 32 times as wide as its first
        return float(sum(layers) * (32 * width) ** 2)
    length, patch = section.get("context_length", 0), _sides(section.get("patch_size") or 16)
    patches = math.prod(-(-side // of) for side, of in zip(_sides(section.get("image_size", 0)), patch, strict=True))
    vectors = (section.get("vocab_size", 0) + length + patches) * width
    return float(layers * width**2 * (4 + 2 * (section.get("mlp_ratio") or 4)) + vectors)


def _sides(size: int | Sequence[int]) -> Sequence[int]:
    """Height and width of what may be given as one number."""
    return (size, size) if isinstance(size, int) else size


def check(config: Any, preprocess: Any, where: str) -> None:
    """Raise ValueError, in a sentence, if a model's config or how its images are prepared says what it may not.

    Args:
        where: the file or folder that says it.
    """
    if not isinstance(config, dict) or not set(config) >= REQUIRED:
        raise ValueError(f"{where} must have embed_dim, vision_cfg and text_cfg; it has not")
    top_level = {key: value for key, value in config.items() if key not in ("vision_cfg", "text_cfg")}
    for name, section, checks in (
        ("", top_level, _MODEL),
        ("vision_cfg.", config["vision_cfg"], _VISION),
        ("text_cfg.", config["text_cfg"], _TEXT),
        ("preprocess_cfg.", preprocess, _PREPROCESS),
    ):
        if not isinstance(section, dict):
            raise ValueError(f"{where} must have a mapping as {name.removesuffix('.')}")
        for key, value in section.items():
            if key not in checks:
                raise ValueError(f"{where} sets {_quote(name + str(key))}, which a model's config from a file may not")
            if not checks[key](value):
                shown = f"{_quote(name + str(key))} to {_quote(repr(value))}"
                raise ValueError(f"{where} sets {shown}, which a model's config from a file may not")
    count = _parameters(config["vision_cfg"]) + _parameters(config["text_cfg"])
    if count > _MOST_PARAMETERS:
        raise ValueError(f"{where} describes a model of some {count:.0e} parameters, more than {_MOST_PARAMETERS:.0e}")


def check_repository(name: str) -> None:
    """Raise ValueError if the model config of a repository of the Hugging Face Hub says what it may not.

    Args:
        name: as the user gave it; a tokenizer from the same repository is the user's wish as well.
    """
    from open_clip.factory import _get_hf_config

    config = dict(_get_hf_config(name))
    model = config.get("model_cfg")
    if isinstance(model, dict) and isinstance(text := model.get("text_cfg"), dict):
        text_config = {key: value for key, value in text.items() if (key, value) != ("hf_tokenizer_name", name)}
        model = {**model, "text_cfg": text_config}
    check(model, config.get("preprocess_cfg", {}), f"hf-hub:{name}")


def _quote(text: str) -> str:
    """Foreign text, short and in one line."""
    plain = re.sub(r"[^\x20-\x7e]", "?", text)
    return plain if len(plain) <= 80 else f"{plain[:80]} …"


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let nothing be fetched from the Hugging Face Hub while the block runs."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
