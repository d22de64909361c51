"""The section `data`: which samples a run reads, how, and which pixels and captions it takes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataset.config_check import require


@dataclass(frozen=True)
class DataConfig:
    """How samples are read and drawn. None of it depends on the number of processes."""

    mixture: dict[str, float] = field(default_factory=dict)
    """Further datasets to draw from, by URL, with their weights; `dataset` itself has weight 1."""
    captions: dict[str, float] = field(default_factory=lambda: {"txt": 1.0})
    """Where a sample's captions are, with their weights: a part's name, or `json.` and the path of a field."""
    crop: Literal["square", "resized", "center"] = "square"
    """square: a square, placed at random (the paper's). resized: torchvision's RandomResizedCrop, whose shape varies
    from 3:4 to 4:3 (open_clip's). center: the middle, as in evaluation."""
    crop_min: float = 0.9
    """The least side of the random square crop as a share of the image's shorter side; 1 is the paper's crop. Of a
    resized crop: its least share of the image's area."""
    flip: float = 0.0
    """The probability that a sample's left and right are exchanged."""
    decode: Literal["cpu", "gpu"] = "cpu"
    """cpu: the readers decode every image. gpu: nvJPEG decodes plain JPEGs, through torchvision, and the readers the
    rest; it was never run on a GPU so far."""
    shuffle: Literal["full", "blocks"] = "full"
    """full: any sample may follow any other, for disks with random access. blocks: a few shards are read at a time, for
    spinning disks and object stores."""
    shuffle_shards: int = 16
    """The shards of a block; two samples of a batch are from the same shard with probability 1/shuffle_shards."""
    damaged: Literal["replace", "stop"] = "replace"
    """What to do about a sample that cannot be read: replace it (always by the same one), or stop."""
    workers: int = 2
    """Processes per rank that read and decode samples; 0 does it in the training process."""
    cache: str = ""
    """A folder of a fast local disk that keeps copies of shards; every process of the machine shares it."""
    cache_bytes: int = 10**12
    """The most bytes that all copies of shards may take together."""

    def __post_init__(self) -> None:
        for key in ("shuffle_shards", "cache_bytes"):
            require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        require(self.workers >= 0, "workers", "at least 0", self.workers)
        require(0 < self.crop_min <= 1, "crop_min", "above 0 and at most 1", self.crop_min)
        require(0 <= self.flip <= 1, "flip", "from 0 to 1", self.flip)
        require(bool(self.captions), "captions", "a mapping of at least one place to its weight", self.captions)
        weights: dict[str, Mapping[str, float]] = {"captions": self.captions, "mixture": self.mixture}
        for key, named in weights.items():
            for name, weight in named.items():
                require(0 < weight < math.inf, f"{key}.{name}", "a weight above 0", weight)
