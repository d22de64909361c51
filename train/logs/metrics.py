"""What a log line says besides loss and speed: how much of the device is used, and how alike a batch's pairs are.

MFU, the model FLOPs utilisation (Chowdhery et al. 2022, appendix B), is

    MFU = samples/s on one device · FLOPs a sample / the device's peak FLOP/s

where a tower that learns takes three times its forward pass (the backward one computes two gradients with each product)
and a locked one once. Operations that are done again to save memory (`grad_checkpointing`, `micro_batch`) do not count.
"""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from train.distributed.collectives import Peers
from train.models.clip import Clip
from train.optimizers import tower_of
from train.to_device import send_tensor

PEAK_TFLOPS = {
    "B200": 2250.0, "H200 NVL": 835.0, "H200": 989.0, "H100 NVL": 835.0, "H100 PCIe": 756.0, "H100": 989.0,
    "A100": 312.0, "L40S": 362.0, "L40": 181.0, "L4": 121.0, "A10G": 70.0, "A10": 125.0, "NVIDIA A40": 149.7,
    "A6000": 154.8, "RTX 5090": 209.5, "RTX 4090": 165.2, "RTX 3090": 71.0, "V100": 125.0, "T4": 65.0,
}  # fmt: skip
"""Dense 16-bit products with 32-bit sums, in 10^12 operations/s, by part of the device's name: NVIDIA's data sheets."""


def flops_per_sample(clip: Clip) -> float:
    """Return floating-point operations of one training sample: forward, and backward where a tower learns."""
    model: Any = copy.deepcopy(clip.model).to("meta")
    # Two samples, for a BatchNorm in training has nothing to normalise where one image ends as a single pixel.
    images = torch.zeros(2, 3, clip.image_size, clip.image_size, device="meta")
    texts = torch.zeros_like(clip.tokenize(["a", "a"]), device="meta")
    total = 0.0
    for tower, run in (("image", lambda: model.encode_image(images)), ("text", lambda: model.encode_text(texts))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        learns = any(p.requires_grad for name, p in clip.model.named_parameters() if tower_of(name) == tower)
        total += counter.get_total_flops() * (3 if learns else 1)
    return total / 2


def peak_flops(device: torch.device, configured_tflops: float) -> float | None:
    """Return what a device can compute in a second; None if neither the config nor its name says so."""
    if configured_tflops:
        return configured_tflops * 1e12
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * 1e12 for part, peak in PEAK_TFLOPS.items() if part in name), None)


def memory_bytes(device: torch.device) -> int:
    """Return the most that this process had allocated at once: of the GPU's memory, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def duplicate_share(images: Tensor, texts: Tensor, peers: Peers) -> Tensor:
    """Return the share of a step's pairs whose image or text is also another pair's: as negatives they teach a
    falsehood.

    It is computed on the device, and 16 bytes a pair travel.

    Args:
        images: int64 (n,), what tells this process's images apart: the URL's half of their pair_ids.
        texts: int64 (n, context length), their tokens.
        peers: where the n lie among all processes' pairs.

    Returns:
        A scalar, the same on each process.
    """
    # A random linear function of the tokens: two texts have one value with probability 2^-47 at most, for
    # tokens are below 2^18 (multiply-shift hashing, Dietzfelbinger 1996). The same numbers on every process.
    random = torch.Generator().manual_seed(0)
    factors = send_tensor(torch.randint(-(2**63), 2**63 - 1, (texts.shape[1],), generator=random), texts.device)
    keys = peers.gather(torch.stack([images, (texts * factors).sum(1)], dim=1))
    return (_is_repeated(keys[:, 0]) | _is_repeated(keys[:, 1])).float().mean()


def _is_repeated(keys: Tensor) -> Tensor:
    """Which of these numbers, int64 (n,), occur more than once; bool (n,)."""
    ordered, places = keys.sort()
    same = ordered[1:] == ordered[:-1]
    alike = torch.zeros_like(keys, dtype=torch.bool)
    alike[1:] |= same
    alike[:-1] |= same
    return torch.empty_like(alike).index_copy_(0, places, alike)


def numbers(asked: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the values of scalars on one device, all of which it is waited for once."""
    return dict(zip(asked, torch.stack([value.double() for value in asked.values()]).tolist(), strict=True))
