"""`python -m train.duplicate_detector DATASET FILE.onnx`: the paper's near-duplicate detector, on a dataset's shards.

Radford et al. 2021, appendix C: a ResNet-50 tells an image and a transformed variant of it from all other images, by
InfoNCE at a fixed temperature of 0.07. Variants are cropped, stretched, made smaller and larger again, slightly
rotated, compressed as JPEG and jittered in hue, saturation and brightness; every resampling step chooses its filter at
random. Convolutions are weight-normalised and the network is anti-aliased (Zhang 2019) and uses GELU: a batch norm
would tell duplicates by the statistics of their batch (Hénaff 2020). The paper's batch was 1,712 images, of 30 million.

The file is ONNX, or TorchScript if it ends in `.pt`; `decontaminate.model` reads either. What is printed last is the
piece of config that does so.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageEnhance
from timm.layers import GELU, BlurPool2d
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from dataset.ids import hash64
from dataset.shards import DamagedSampleError, Index, read_index, read_samples
from dataset.storage import Storage
from train.images import decode, image_part
from train.loss import softmax_loss
from train.model import pick_device
from train.order import FullShuffle

TEMPERATURE = 0.07
EMBEDDING = 512
"""Numbers in an embedding; the paper does not say."""
_FILTERS = (
    Image.Resampling.NEAREST,
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
_LEAST_CROP = 0.5  # of a side; the paper gives no ranges: these are ours
_STRETCH = 4 / 3
_LEAST_SCALE = 0.3
_DEGREES = 8
_JPEG = (20, 95)
_JITTER = 0.4  # of saturation and brightness
_HUE = 0.05  # of the circle


@dataclass(frozen=True)
class Recipe:
    """A training of the detector."""

    steps: int = 17_500
    """30 million images in batches of 1,712."""
    batch_size: int = 1_712
    size: int = 224
    learning_rate: float = 1e-3
    layers: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks in each of the network's stages: ResNet-50's."""
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def network(layers: tuple[int, ...] = Recipe.layers) -> nn.Module:
    """float32 (n, 3, size, size), pixels of -1..1 -> embeddings (n, EMBEDDING), of any length."""
    model = ResNet(
        Bottleneck,  # type: ignore[arg-type]  # timm means the class
        layers,
        num_classes=EMBEDDING,
        act_layer=GELU,
        norm_layer=_none,
        aa_layer=BlurPool2d,
    )
    for module in model.modules():
        if isinstance(module, Bottleneck):  # a block begins as the identity, as no norm holds its sum in bounds
            module.conv3.weight.data.mul_(0.1)
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrizations.weight_norm(module)
    return model


def _none(*_: object, **__: object) -> nn.Module:
    return nn.Identity()


def variant(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A transformed copy of an RGB image, size × size."""

    def resampling() -> Image.Resampling:
        return _FILTERS[rng.integers(len(_FILTERS))]

    side = rng.uniform(_LEAST_CROP, 1, 2) * image.size
    left, top = (np.array(image.size) - side) * rng.random(2)
    stretch = _STRETCH ** rng.uniform(-0.5, 0.5)
    scale = rng.uniform(_LEAST_SCALE, 1) * size
    small = (max(1, round(scale * stretch)), max(1, round(scale / stretch)))
    box = (left, top, min(image.width, left + side[0]), min(image.height, top + side[1]))
    image = image.resize(small, resampling(), box).resize((size, size), resampling())
    turn = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[rng.integers(3)]
    image = image.rotate(rng.uniform(-_DEGREES, _DEGREES), turn)
    image = ImageEnhance.Color(image).enhance(rng.uniform(1 - _JITTER, 1 + _JITTER))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(1 - _JITTER, 1 + _JITTER))
    hue, saturation, value = image.convert("HSV").split()
    shift = round(rng.uniform(-_HUE, _HUE) * 256)
    turned = Image.fromarray(np.asarray(hue) + np.uint8(shift % 256))
    image = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=int(rng.integers(*_JPEG)))
    return Image.open(sink).convert("RGB")


def tensor(images: list[Image.Image]) -> Tensor:
    """RGB images of one size as the network takes them."""
    pixels = np.stack([np.asarray(image, np.float32) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


def train(dataset: str, recipe: Recipe) -> tuple[nn.Module, list[float]]:
    """A trained network, and the share of images told from all others of their batch, step by step.

    Raises:
        FileNotFoundError: there is no dataset.
        ValueError: a batch is larger than the dataset.
    """
    storage = Storage(dataset)
    index = read_index(storage, "train")
    if len(index) < recipe.batch_size:
        raise ValueError(f"batch_size must be at most the dataset's {len(index)} samples, not {recipe.batch_size}")
    torch.manual_seed(recipe.seed)
    device = pick_device(recipe.device)
    model = network(recipe.layers).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    warm = max(1, recipe.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
    )
    scale = torch.tensor(1 / TEMPERATURE, device=device)
    right: list[float] = []
    for step in range(recipe.steps):
        images, copies = _batch(storage, index, recipe, step)
        features = [nn.functional.normalize(model(tensor(side).to(device)), dim=1).float() for side in (images, copies)]
        loss = softmax_loss(features[0], features[1], scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        nearest = (features[0] @ features[1].T).argmax(1).cpu()
        right.append(float((nearest == torch.arange(len(nearest))).float().mean()))
        if step % 100 == 99 or step + 1 == recipe.steps:
            print(f"step {step + 1}/{recipe.steps}  loss {loss.item():.3f}  told apart {right[-1]:.1%}", flush=True)
    return model.eval().cpu(), right


def _batch(storage: Storage, index: Index, recipe: Recipe, step: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Images as they are and a variant of each; damaged samples are passed over."""
    epoch, place = divmod(step, len(index) // recipe.batch_size)
    positions = np.arange(place * recipe.batch_size, (place + 1) * recipe.batch_size)
    images, copies = [], []
    for row in FullShuffle(len(index), recipe.seed).rows(positions, epoch):
        try:
            (parts,) = read_samples(storage, index, [int(row)])
            image = decode(image_part(parts), 2 * recipe.size)
        except DamagedSampleError:
            continue
        images.append(image.resize((recipe.size, recipe.size), Image.Resampling.BICUBIC))
        copies.append(variant(image, recipe.size, np.random.default_rng(hash64("variant", recipe.seed, epoch, row))))
    if not images:
        raise ValueError(f"no sample of step {step + 1} can be read")
    return images, copies


def save(model: nn.Module, path: str, size: int) -> dict[str, object]:
    """Write the network as ONNX, or as TorchScript if the path ends in .pt; returns `decontaminate.model` for it."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    example = torch.zeros(1, 3, size, size)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".pt"):
        with torch.inference_mode():
            torch.jit.trace(model, example).save(path)
    else:
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_axes={"pixels": {0: "images"}, "embedding": {0: "images"}},
            dynamo=False,
        )
    half = [0.5, 0.5, 0.5]
    return {"path": path, "size": size, "resize": "stretch", "mean": half, "std": half}


def main(arguments: list[str] | None = None) -> int:
    """Train and write; returns the exit status: 0, or 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="python -m train.duplicate_detector", description=__doc__)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("file", metavar="FILE", help="where the model goes: .onnx or .pt")
    for name in ("steps", "batch_size", "size", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Recipe, name))
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--device", default=Recipe.device, choices=["auto", "cpu", "cuda"])
    options = vars(parser.parse_args(arguments))
    dataset, file = options.pop("dataset"), options.pop("file")
    try:
        recipe = Recipe(**options)
        model, _ = train(dataset, recipe)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    settings = save(model, file, recipe.size)
    print(yaml.safe_dump({"decontaminate": {"model": settings}}, sort_keys=False), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
