"""The learning rate at each step of a run."""

from __future__ import annotations

import math

from train.sections import ScheduleConfig


def learning_rate(step: int, steps: int, highest: float, config: ScheduleConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero (Radford et al. 2021, §2.5), or a
    constant and a linear cooldown.
    """
    warmup = config.warmup_steps or round(config.warmup_share * steps)
    if step < warmup:
        return highest * (step + 1) / warmup
    if config.name == "constant":
        cooldown = round(config.cooldown_share * steps)
        return highest * min(1.0, (steps - step) / (cooldown + 1))
    return highest * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
