"""A trained model as files that open_clip, ONNX Runtime or the Hugging Face Hub take, without this repository.

>>> model, _, transform = open_clip.create_model_and_transforms("local-dir:DIR")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn

from train.checkpoints.load import load_clip
from train.models.clip import Clip, preprocess_dict

PARITY = 1e-4
"""The most by which a feature, of unit length, may differ between torch and ONNX Runtime, both in float32."""
_OPSET = 18


def export(checkpoint: str, directory: str | Path, weights: str = "auto") -> list[Path]:
    """Write `open_clip_config.json` and `open_clip_model.safetensors`; returns their paths.

    Args:
        checkpoint: a run's directory (its latest checkpoint) or one of its checkpoints.
        weights: model, those of the last step; ema, their moving average; auto, the average if the run kept one.
    Raises:
        FileNotFoundError, ValueError: it is no checkpoint, or has not these weights.
    """
    clip = load_clip(checkpoint, weights)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    config, file = target / "open_clip_config.json", target / "open_clip_model.safetensors"
    described = {"model_cfg": clip.config, "preprocess_cfg": preprocess_dict(clip)}
    config.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if isinstance(clip.tokenize, HFTokenizer):  # open_clip looks for any tokenizer but its own beside the config
        clip.tokenize.save_pretrained(target)
    save_file({name: value.contiguous() for name, value in clip.model.state_dict().items()}, file)
    file.chmod(config.stat().st_mode)  # safetensors gives it to its owner alone
    return [config, file]


class _Tower(nn.Module):
    def __init__(self, encode: Any, model: nn.Module):
        super().__init__()
        self.model, self.encode = model, encode

    def forward(self, batch: Tensor) -> Tensor:
        features: Tensor = self.encode(batch, normalize=True)
        return features


def export_onnx(checkpoint: str, directory: str | Path, weights: str = "auto") -> list[Path]:
    """Write `image.onnx` and `text.onnx`, and check them in ONNX Runtime against the model; returns their paths.

    `image.onnx` takes `pixels`, float32 of shape (n, 3, size, size), normalised as `open_clip_config.json` says;
    `text.onnx` takes `tokens`, int64 of shape (n, context length). Both give `features`, float32 of shape (n, d), of
    unit length. n is free.

    Raises:
        ValueError: a package is missing; the model cannot be written so, or gives other features (by more than PARITY).
        FileNotFoundError: there is no checkpoint.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx writes through it
    except ImportError as error:
        raise ValueError(f"--onnx needs the package {error.name}, which is not installed") from None
    clip = load_clip(checkpoint, weights)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    model: Any = clip.model.eval()
    paths = []
    for tower, name, encode in (("image", "pixels", model.encode_image), ("text", "tokens", model.encode_text)):
        path = target / f"{tower}.onnx"
        module = _Tower(encode, model).eval()
        inputs = _examples(clip, tower, 3)
        with torch.inference_mode():
            # Sizes of 0 and 1 are special to torch.export, so the example has two.
            torch.onnx.export(
                module, (inputs[:2],), str(path), dynamo=True, opset_version=_OPSET, external_data=False, verbose=False,
                input_names=[name], output_names=["features"], dynamic_shapes={"batch": {0: torch.export.Dim("n")}},
            )  # fmt: skip
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            for count in (1, 3):
                expected = module(inputs[:count])
                features = torch.from_numpy(session.run(["features"], {name: inputs[:count].numpy()})[0])
                apart = (features - expected).abs().max().item() if features.shape == expected.shape else float("inf")
                if not apart <= PARITY:
                    raise ValueError(f"{path} gives other features than the model, by {apart:.1e}; more than {PARITY}")
        paths.append(path)
    return paths


def _examples(clip: Clip, tower: str, count: int) -> Tensor:
    if tower == "text":
        return clip.tokenize(["a photograph of a cat", "dog", "two lines of text, the longer one of these"][:count])
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, clip.image_size, clip.image_size, generator=generator)
