"""`python -m train.duplicate_detector DATASET FILE.onnx`: the paper's near-duplicate detector, on a dataset's shards.

Radford et al. 2021, appendix C: a ResNet-50 tells an image and a transformed variant of it from all other images, by
InfoNCE at a fixed temperature of 0.07. Variants are cropped, stretched, made smaller and larger again, slightly
rotated, compressed as JPEG and jittered in hue, saturation and brightness; every resampling step chooses its filter at
random. Convolutions are weight-normalised and the network is anti-aliased (Zhang 2019) and uses GELU: a batch norm
would tell duplicates by the statistics of their batch (Hénaff 2020). The paper's batch was 1,712 images, of 30 million.

The file is ONNX, or TorchScript if it ends in `.pt`; `decontaminate.model` reads either. What is printed last, and kept
beside it as FILE.yaml, is the piece of config that does so, with a threshold from the dataset's held-out images.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageEnhance, ImageOps
from timm.layers import GELU, BlurPool2d
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from dataset.ids import hash64
from dataset.store.storage import Storage
from dataset.webdataset.shards import DamagedSampleError, Index, read_index, read_samples
from train.data.order import FullShuffle
from train.data.prefetch import read_ahead
from train.data.transforms import decode, image_part
from train.loss import softmax_loss
from train.models.clip import pick_device

TEMPERATURE = 0.07
EMBEDDING = 512
"""Numbers in an embedding; the paper does not say."""
PRECISION = 0.9
"""Where a threshold is proposed; DataComp compares detectors there (Gadre et al. 2023), on pairs judged by people."""
EXAMINED = 1_000
LOG_EVERY = 100
"""Steps between two lines of progress."""
PREFETCH = 4
"""Batches that each worker has ready or under way."""
NETWORKS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
}
"""Name -> the kind of block, and how many each stage has."""
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
    network: str = "resnet50"
    """One of NETWORKS; the paper's is ResNet-50."""
    width: int = 64
    """Channels of the first stage; each later one has twice those of the one before."""
    size: int = 224
    """Pixels of a side."""
    learning_rate: float = 1e-3
    border: float = 0.0
    """Widest frame that a variant may get, in sides of the image; half of them get one. The paper's have none."""
    workers: int = 2
    """Processes that read and transform ahead; 0 does it in this one. The batches are the same."""
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.border < 1:
            raise ValueError(f"border must be at least 0 and below 1, not {self.border}")
        if self.width % 2:
            raise ValueError(f"width must be even, not {self.width}")
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, not {self.workers}")
        if self.network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {self.network}")


def network(name: str = Recipe.network, width: int = Recipe.width) -> nn.Module:
    """Make the network: float32 (n, 3, size, size), pixels of -1..1 -> embeddings (n, EMBEDDING), of any length."""
    block, layers = NETWORKS[name]
    model = ResNet(
        block,  # type: ignore[arg-type]  # timm means the class
        layers,
        num_classes=EMBEDDING,
        stem_type="" if width == Recipe.width else "deep",  # the plain one has 64 channels whatever comes after it
        stem_width=width // 2,  # of a deep one's first two convolutions; the third has twice as many
        channels=tuple(width * 2**stage for stage in range(len(layers))),
        act_layer=GELU,
        norm_layer=_identity,
        aa_layer=BlurPool2d,
    )
    for module in model.modules():
        if isinstance(module, block):  # a block begins as the identity, as no norm holds its sum in bounds
            (module.conv3 if isinstance(module, Bottleneck) else module.conv2).weight.data.mul_(0.1)
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrizations.weight_norm(module)
    return model.to(memory_format=torch.channels_last)  # a CPU takes two thirds of the time so


def _identity(*_: object, **__: object) -> nn.Module:
    return nn.Identity()


def variant(image: Image.Image, size: int, rng: np.random.Generator, border: float = 0.0) -> Image.Image:
    """Return a transformed copy of an RGB image, size × size. border: see `Recipe`."""

    def draw_resampling() -> Image.Resampling:
        return _FILTERS[rng.integers(len(_FILTERS))]

    side = rng.uniform(_LEAST_CROP, 1, 2) * image.size
    left, top = (np.array(image.size) - side) * rng.random(2)
    if border and rng.random() < 0.5:
        image = image.crop((int(left), int(top), math.ceil(left + side[0]), math.ceil(top + side[1])))
        frame = math.ceil(border * rng.random() * min(image.size))
        image = ImageOps.expand(image, frame, tuple(int(value) for value in rng.integers(0, 256, 3)))
        (left, top), side = (0, 0), np.array(image.size)
    stretch = _STRETCH ** rng.uniform(-0.5, 0.5)
    scale = rng.uniform(_LEAST_SCALE, 1) * size
    small = (max(1, round(scale * stretch)), max(1, round(scale / stretch)))
    box = (left, top, min(image.width, left + side[0]), min(image.height, top + side[1]))
    image = image.resize(small, draw_resampling(), box).resize((size, size), draw_resampling())
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


def as_input(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return RGB images, uint8 (n, size, size, 3), as the network takes them."""
    return images.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(dataset: str, recipe: Recipe) -> tuple[nn.Module, list[float]]:
    """Return a trained network, and the share of images told from all others of their batch, step by step.

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
    model = network(recipe.network, recipe.width).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    warm = max(1, recipe.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
    )
    scale = torch.tensor(1 / TEMPERATURE, device=device)
    right: list[float] = []
    batches = _Batches(storage, index, recipe)
    stream = read_ahead(batches.batch, range(recipe.steps), recipe.workers, prefetch=PREFETCH)
    for step, (images, copies) in enumerate(stream):
        features = [nn.functional.normalize(model(as_input(side, device)), dim=1).float() for side in (images, copies)]
        loss = softmax_loss(features[0], features[1], scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        nearest = (features[0] @ features[1].T).argmax(1).cpu()
        right.append(float((nearest == torch.arange(len(nearest))).float().mean()))
        if step % LOG_EVERY == LOG_EVERY - 1 or step + 1 == recipe.steps:
            share = np.mean(right[-LOG_EVERY:])
            print(f"step {step + 1}/{recipe.steps}  loss {loss.item():.3f}  told apart {share:.1%}", flush=True)
    return model.eval().cpu(), right


class _Batches:
    """A run's batches: for each step images as they are, and a variant of each. Damaged samples are passed over."""

    def __init__(self, storage: Storage, index: Index, recipe: Recipe):
        self.storage, self.index, self.recipe = storage, index, recipe
        self._order = FullShuffle(len(index), recipe.seed)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """uint8 (n, size, size, 3), twice. Raises OSError, ValueError."""
        recipe = self.recipe
        epoch, place = divmod(step, len(self.index) // recipe.batch_size)
        positions = np.arange(place * recipe.batch_size, (place + 1) * recipe.batch_size)
        images, copies = [], []
        for row in self._order.rows(positions, epoch):
            try:
                (parts,) = read_samples(self.storage, self.index, [int(row)])
                image = decode(image_part(parts), 2 * recipe.size)
            except DamagedSampleError:
                continue
            rng = np.random.default_rng(hash64("variant", recipe.seed, epoch, row))
            images.append(np.asarray(image.resize((recipe.size, recipe.size), Image.Resampling.BICUBIC)))
            copies.append(np.asarray(variant(image, recipe.size, rng, recipe.border)))
        if not images:
            raise ValueError(f"no sample of step {step + 1} can be read")
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(copies))


def least_cosine(copies: np.ndarray, strangers: np.ndarray, precision: float = PRECISION) -> float:
    """Return the least threshold, to four digits, from which on a share of what passes are copies; 1 if there is none.

    Args:
        copies: cosines of copies and their originals, (n,).
        strangers: of each of these copies the highest cosine with another image, as if its original were not there.
    """
    limits = np.arange(0, 10_001) / 10_000
    right, wrong = (len(side) - np.searchsorted(np.sort(side), limits) for side in (copies, strangers))
    good = (right > 0) & (right >= precision * (right + wrong))
    return float(limits[np.argmax(good)]) if good.any() else 1.0


def examine(model: nn.Module, dataset: str, recipe: Recipe) -> tuple[float, float] | None:
    """Return the `least_cosine` of variants of held-out images, at most EXAMINED, and the share of them that are caught
    there; None if the dataset holds out fewer than two.
    """
    storage = Storage(dataset)
    index = read_index(storage, "heldout")
    count = min(len(index), EXAMINED)
    if count < 2:
        return None
    batches = _Batches(storage, index, replace(recipe, batch_size=min(count, 100)))
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for step in range(count // batches.recipe.batch_size):
        for side, images in zip(sides, batches.batch(step), strict=True):
            with torch.inference_mode():
                side.append(nn.functional.normalize(model(as_input(images)), dim=1).numpy())
    cosine = np.concatenate(sides[1]) @ np.concatenate(sides[0]).T
    copies = cosine.diagonal().copy()
    np.fill_diagonal(cosine, -1)
    least = least_cosine(copies, cosine.max(axis=1))
    return least, float((copies >= least).mean())


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
    return {"path": path, "size": size, "resize": "stretch", "mean": [0.5] * 3, "std": [0.5] * 3}


def main(arguments: list[str] | None = None) -> int:
    """Train and write; returns the exit status: 0, or 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="python -m train.duplicate_detector", description=__doc__)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("file", metavar="FILE", help="where the model goes: .onnx or .pt")
    parser.add_argument("--network", default=Recipe.network, choices=list(NETWORKS))
    for name in ("width", "size", "steps", "batch_size", "workers", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Recipe, name))
    for name in ("learning_rate", "border"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Recipe, name))
    parser.add_argument("--device", default=Recipe.device, choices=["auto", "cpu", "cuda"])
    options = vars(parser.parse_args(arguments))
    dataset, file = options.pop("dataset"), options.pop("file")
    try:
        recipe = Recipe(**options)
        model, _ = train(dataset, recipe)
        examined = examine(model, dataset, recipe)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    settings: dict[str, object] = {"model": save(model, file, recipe.size)}
    if examined is not None:
        settings["min_cosine"], caught = examined
        print(f"{caught:.1%} of the variants of held-out images are caught at a precision of {PRECISION}")
    config = yaml.safe_dump({"decontaminate": settings}, sort_keys=False)
    Path(file).with_suffix(".yaml").write_text(config)
    print(config, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
