"""A checkpoint as something that embeds images and texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from dataset.storage import Storage, is_local
from train import checkpoint as checkpoints
from train.model import Clip, pick_device, restore


class Encoder:
    """Embeds images and texts by a trained model; all features have unit length."""

    def __init__(self, clip: Clip, device: str, batch_size: int):
        self.clip, self.device, self.batch_size = clip, pick_device(device), batch_size
        self.model: Any = clip.model.to(self.device).eval()
        self._transform = clip.transform

    @torch.inference_mode()
    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """Features of RGB images: float32 of shape (n, d). No more images than a batch are held at a time."""
        features = [np.empty((0, self.clip.config["embed_dim"]), np.float32)]
        rest = iter(images)
        while batch := [self._transform(image) for image in islice(rest, self.batch_size)]:
            pixels = torch.stack(batch).to(self.device)
            features.append(self.model.encode_image(pixels, normalize=True).float().cpu().numpy())
        return np.concatenate(features)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Features of texts: float32 of shape (n, d)."""
        features = []
        for first in range(0, len(texts), self.batch_size):
            batch = self.clip.tokenize(list(texts[first : first + self.batch_size]))
            features.append(self.model.encode_text(batch.to(self.device), normalize=True).float().cpu().numpy())
        return np.concatenate(features)


def load(checkpoint: str, device: str = "auto", batch_size: int = 256) -> Encoder:
    """An encoder from a run's directory (its latest checkpoint), a `.pt` file of one, or an exported directory.

    Raises:
        FileNotFoundError: there is nothing of that kind.
        ValueError: the file is no checkpoint.
    """
    return Encoder(load_clip(checkpoint), device, batch_size)


def load_clip(checkpoint: str) -> Clip:
    """The model of a checkpoint, on the CPU. Raises as `load` does."""
    if is_local(checkpoint) and (Path(checkpoint) / "open_clip_config.json").is_file():
        return _load_export(Path(checkpoint))
    if checkpoint.endswith(".pt"):
        folder, _, name = checkpoint.rpartition("/")
        state = checkpoints.read(Storage(folder or "."), name)
    elif Storage(checkpoint).exists(checkpoints.LATEST):
        state = checkpoints.read(Storage(checkpoint))
    else:
        raise FileNotFoundError(
            f"{checkpoint} is neither a run with checkpoints, nor a .pt file, nor an exported model"
        )
    return restore(state["name"], state["model_config"], state["preprocess"], state["model"])


def _load_export(directory: Path) -> Clip:
    config = json.loads((directory / "open_clip_config.json").read_text(encoding="utf-8"))
    name = f"local-dir:{directory}"
    model = open_clip.create_model(name)
    preprocess = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    return Clip(directory.name, config["model_cfg"], preprocess, model, open_clip.get_tokenizer(name))
