"""A checkpoint as something that embeds images and texts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import xxhash
from PIL import Image
from torch import Tensor, nn

from dataset.store.storage import is_local
from train.checkpoints import checkpoint as checkpoints
from train.config import by_place
from train.models.clip import MAX_LOGIT_SCALE, Clip, pick_device, preprocess_dict, restore

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""An exported folder's weights: ours, and those that open_clip's own exports have."""


AMPLE = 2
"""Times the side of a model's input that a JPEG's shorter side keeps when it is decoded at a fraction of its scale.
What the model then sees differs by 0.9 of 255 on average (40 photographs of 1,600 pixels); at 1 it would be 2.3."""


class Encoder:
    """Embeds images and texts by a trained model; all features have unit length.

    Attributes:
        enough: pixels of an image's shorter side; more of them change nothing visible.
    """

    def __init__(self, clip: Clip, device: str, batch_size: int):
        self.clip, self.device, self.batch_size = clip, pick_device(device), batch_size
        self.model: Any = clip.model.to(self.device).eval()
        self._transform = clip.transform
        self.enough = AMPLE * clip.image_size
        self.autocast = False  # whether a GPU computes in 16 bits where torch says that it may

    @torch.no_grad()
    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """Return features of RGB images: float32 of shape (n, d). No more images than a batch are held at a time."""
        features = [np.empty((0, self.clip.config["embed_dim"]), np.float32)]
        rest = iter(images)
        while batch := [self._transform(image) for image in islice(rest, self.batch_size)]:
            features.append(self.towers(torch.stack(batch))[0])
        return np.concatenate(features)

    def pixels(self, image: Image.Image) -> Tensor:
        """Return an RGB image as the model sees it: float32 of shape (3, side, side)."""
        return self._transform(image)

    @torch.no_grad()
    def towers(self, pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return (features of unit length, features before the projection) of images: float32 of shape (n, d), (n,
        width).

        The latter are what linear probes take (Radford et al. 2021, §3.2). A ResNet's attention pool has no projection
        of its own, so there its output is taken.
        """
        with self._precision(), _capture_pooled(self.model.visual) as seen:
            embedding = self.model.encode_image(pixels.to(self.device), normalize=True)
        (before,) = seen or [embedding]
        return embedding.float().cpu().numpy(), before.float().cpu().numpy()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=self.autocast and self.device.type == "cuda")

    @property
    def logit_scale(self) -> float:
        """What similarities are multiplied by before a softmax."""
        return min(float(self.model.logit_scale.detach().exp()), MAX_LOGIT_SCALE)

    def identity(self) -> str:
        """Return a checksum of all weights and of how images are made ready: what tells one encoder from another."""
        hashed = xxhash.xxh3_128(json.dumps([self.clip.config, preprocess_dict(self.clip)], sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return hashed.hexdigest() + ("" if self.device.type == "cpu" else f"-{self.device.type}")

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return features of texts: float32 of shape (n, d)."""
        features = []
        for first in range(0, len(texts), self.batch_size):
            batch = self.clip.tokenize(list(texts[first : first + self.batch_size]))
            with self._precision():
                encoded = self.model.encode_text(batch.to(self.device), normalize=True)
            features.append(encoded.float().cpu().numpy())
        return np.concatenate(features)


@contextlib.contextmanager
def _capture_pooled(visual: Any) -> Iterator[list[Tensor]]:
    """Keeps what an image tower's projection is given, in a list of one; of none where there is no such projection."""
    seen: list[Tensor] = []
    if isinstance(getattr(visual, "proj", None), nn.Parameter):  # open_clip's transformer multiplies by it itself
        pool = visual._pool

        def capture(*inputs: Any) -> Any:
            pooled, tokens = pool(*inputs)
            seen.append(pooled)
            return pooled, tokens

        visual._pool = capture
        try:
            yield seen
        finally:
            del visual._pool
        return
    head = getattr(visual, "head", None)  # of a timm tower, or of Hugging Face's
    if not isinstance(head, nn.Module) or not list(head.children()):
        yield seen
        return
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def load(checkpoint: str, device: str = "auto", batch_size: int = 256, weights: str = "auto") -> Encoder:
    """Load an encoder from a run's directory (its latest checkpoint), one of its checkpoints, or an exported directory.

    Args:
        weights: model, those of the last step; ema, their moving average; auto, the average if the run kept one.
    Raises:
        FileNotFoundError: there is nothing of that kind.
        ValueError: it is no checkpoint, or has not these weights.
    """
    return Encoder(load_clip(checkpoint, weights), device, batch_size)


def load_clip(checkpoint: str, weights: str = "auto") -> Clip:
    """Load the model of a checkpoint, on the CPU. Arguments and errors are those of `load`."""
    if is_local(checkpoint) and (Path(checkpoint) / "open_clip_config.json").is_file():
        if weights == "ema":
            raise ValueError(f"{checkpoint} is an exported model, which has one kind of weights")
        return _load_export(Path(checkpoint))
    run, name = checkpoints.find(checkpoint)
    about = checkpoints.about(run, name)
    if (file := checkpoints.damage(run, name)) is not None:
        raise ValueError(f"{run.url_of(name)} is not a checkpoint of this trainer, or is damaged ({file})")
    averaged = bool(by_place(about["config"]).get("optimizer.ema"))
    if weights == "ema" and not averaged:
        raise ValueError(f"{checkpoint} has no moving average of its weights; it was trained with optimizer.ema 0")
    clip = restore(about["name"], about["model_config"], about["preprocess"], None, where=run.url_of(name))
    prefix = "model" if weights == "model" or not averaged else "ema"
    parameters = {key for key, _ in clip.model.named_parameters()}
    state = clip.model.state_dict()
    wanted = {f"{prefix if key in parameters else 'model'}.{key}": tensor for key, tensor in state.items()}
    checkpoints.load(run, name, wanted, None)
    return clip


def _load_export(directory: Path) -> Clip:
    """A model from a folder of open_clip's form, which may be a stranger's."""
    path = directory / "open_clip_config.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        config, preprocess = described["model_cfg"], described.get("preprocess_cfg", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is no model config of open_clip's") from None
    weights = [directory / name for name in WEIGHTS if (directory / name).is_file()]
    if not weights:
        raise ValueError(f"{directory} has no weights: {' or '.join(WEIGHTS)}")
    clip = restore(directory.name, config, preprocess, None, where=str(path), tokenizer=str(directory))
    try:
        open_clip.load_checkpoint(clip.model, str(weights[0]))  # unpickles tensors alone
    except Exception as error:  # torch, safetensors and open_clip raise anything on other weights, or on none
        raise ValueError(f"{weights[0]} does not fit {path.name}: {' '.join(str(error).split())[:300]}") from None
    return clip
