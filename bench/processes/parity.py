"""Our trainer beside open_clip's own pieces, from equal weights on equal batches: loss, parameter groups, schedule.

The peer is what open_clip_train's main() puts together: its AdamW groups and cosine schedule, open_clip's ClipLoss, the
clipping of gradients and of the logit scale; ours is train.loop.train itself.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import open_clip
import torch

from train.checkpoints.load import load_clip
from train.config import TrainConfig
from train.data.loader import open_corpus, samples_of
from train.loop import train
from train.models.clip import create, pick_device


class Apart(NamedTuple):
    """How far ours and theirs are from each other after some steps."""

    loss: float  # at the step where they differ most
    weights: float  # ‖ours - theirs‖ / ‖theirs‖, of all weights together


def apart(config: TrainConfig, run: str) -> Apart:
    """Train twice; `config` is to say float32, warmup_steps and one process."""
    records: list[dict[str, Any]] = []
    train(config, run, records.append)
    ours = load_clip(run).model.state_dict()

    from open_clip_train.scheduler import cosine_lr

    device = pick_device(config.compute.device)
    clip = create(config.model.name, config.seed)
    model: Any = clip.model.to(device).train()
    corpus = open_corpus(config.dataset, config.data, config.seed, run)
    samples = samples_of(config.data, config.training.batch_size, corpus, clip.tokenize, clip.image_size)
    plain = [name for name, value in model.named_parameters() if _is_without_decay(name, value)]
    named = dict(model.named_parameters())
    groups = [
        {"params": [named[name] for name in plain], "weight_decay": 0.0},
        {"params": [named[name] for name in named if name not in plain], "weight_decay": config.optimizer.weight_decay},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.optimizer.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    _, steps = config.training.steps(len(corpus))
    schedule = cosine_lr(optimizer, config.optimizer.learning_rate, config.schedule.warmup_steps, steps)
    mean, std = (
        torch.tensor(channels, device=device).view(1, 3, 1, 1)
        for channels in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    loss, farthest = open_clip.ClipLoss(), 0.0
    for step in range(steps):
        schedule(step)
        batch = samples[step].to(device)
        optimizer.zero_grad()
        value = loss(*model((batch.images.float() / 255 - mean) / std, batch.texts)[:3])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.grad_clip)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        farthest = max(farthest, abs(value.item() - records[step]["loss"]))
    theirs = {name: value.detach().double().cpu() for name, value in model.named_parameters()}
    differences = sum(float((ours[name].double().cpu() - value).square().sum()) for name, value in theirs.items())
    return Apart(farthest, math.sqrt(differences / sum(float(value.square().sum()) for value in theirs.values())))


def _is_without_decay(name: str, value: torch.Tensor) -> bool:
    """Whether open_clip_train lets a parameter decay not."""
    return value.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
