"""The training loop, to be read from top to bottom.

It runs in one process, or in several that torchrun (or Ray Train) started: WORLD_SIZE, RANK and LOCAL_RANK say so.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dataset import foreign
from dataset.ids import hash64
from dataset.storage import Storage
from train import checkpoint
from train.config import TrainConfig
from train.data import batches, on_device, open_corpus, samples_of
from train.loss import contrastive_loss
from train.model import MAX_LOGIT_SCALE, create, optimizer, pick_device, preprocess_dict

Progress = Callable[[dict[str, Any]], None]
MAX_NAMED = 20
"""Damaged samples that a process names; more are only counted."""


class TrainingError(RuntimeError):
    """The run cannot go on; the message says why in a sentence."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run: str  # URL of the run's directory
    checkpoint: str  # URL of its last checkpoint
    steps: int
    samples_seen: int
    loss: float  # at the last step
    damaged_samples: int  # how often this process, in this call, could not read a sample and replaced it
    seconds: float  # of this call


def train(config: TrainConfig, run: str | None = None, progress: Progress | None = None) -> RunResult:
    """Train a model on a dataset's shards; resumes by itself where the run was stopped.

    Args:
        run: URL of the run's directory; DATASET/runs/NAME by default.
        progress: called with every log record: step, steps, epoch, loss, logit_scale, learning_rate,
            samples_per_second, data_wait_share, eta_seconds, damaged_samples. Printed if not given.
    Raises:
        ValueError: the config does not fit the dataset, the machine or the run that is there already.
        FileNotFoundError: the dataset has no shards.
        DamagedSampleError: a sample cannot be read, and the config says to stop; or too many cannot.
        TrainingError: the loss is no longer a number.
    """
    began = time.monotonic()
    with _processes(config.device) as (rank, processes, device):
        # What: the dataset's index, the model, the optimizer.
        home = Storage(run or f"{foreign.root(config.dataset)}/runs/{config.name}")
        with rank_zero_first(rank, processes):
            corpus = open_corpus(config, home.url)
        steps_per_epoch, steps = config.steps(len(corpus))
        clip = create(config.model, config.seed)
        model: Any = clip.model.to(device).to(memory_format=torch.channels_last)  # convolutions are faster so
        adamw = optimizer(model, config.learning_rate, config.weight_decay)

        # From where: the latest checkpoint, if the run has one.
        state: dict[str, Any] = {"step": 0, "loss": math.nan}
        if home.exists(checkpoint.LATEST):
            state = checkpoint.read(home)
            checkpoint.check_resumable(home, state, config, corpus.fingerprint)
            model.load_state_dict(state["model"])
            adamw.load_state_dict(state["optimizer"])
        first_step, value, path = state["step"], state["loss"], checkpoint.name_of(state["step"])
        del state
        if _over_processes(first_step, processes, device) != first_step * processes:
            raise ValueError(
                f"the processes see different checkpoints; {home.url} must be storage that all of them share"
            )
        log = checkpoint.Log(home, first_step)
        if rank == 0:
            checkpoint.write_config(home, config)

        # How: normalisation on the device, towers in the configured precision, gradients averaged over processes.
        mean, std = (
            torch.tensor(channels, device=device).view(1, 3, 1, 1)
            for channels in (clip.preprocess.mean, clip.preprocess.std)
        )
        towers = model
        if processes > 1:
            towers = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
        bf16 = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
        samples = samples_of(config, corpus, clip.tokenize, clip.image_size, rank, processes)

        model.train()
        stream = on_device(batches(samples, first_step, steps, config.workers, device.type == "cuda"), device)
        damaged = 0
        waited = 0.0
        last_time, last_step = time.monotonic(), first_step
        for step in range(first_step, steps):
            waiting = time.monotonic()
            batch = next(stream)
            waited += time.monotonic() - waiting
            for name in batch.damaged[: max(0, MAX_NAMED - damaged)]:
                print(f"damaged sample, replaced: {name}", file=sys.stderr, flush=True)
            damaged += len(batch.damaged)

            rate = learning_rate(step, steps, config)
            for group in adamw.param_groups:
                group["lr"] = rate
            torch.manual_seed(hash64("dropout", config.seed, step, rank) >> 1)  # not carried over from step to step

            with bf16:
                image_features, text_features, scale = towers((batch.images.float() / 255 - mean) / std, batch.texts)
            loss = contrastive_loss(image_features, text_features, scale)
            adamw.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            adamw.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))

            done = step + 1
            to_log = done % config.log_every == 0 or done == steps
            to_save = done % config.checkpoint_every == 0 or done == steps
            if to_log or to_save:
                value = loss.item()  # waits for the device, so not at every step
                if not math.isfinite(value):
                    raise TrainingError(
                        f"the loss is {value} at step {done}; try a lower learning_rate than {config.learning_rate}"
                    )
            if to_log:
                now = time.monotonic()
                per_step = (now - last_time) / (done - last_step)
                record = {
                    "step": done,
                    "steps": steps,
                    "epoch": round(done / steps_per_epoch, 3),
                    "loss": value,
                    "logit_scale": model.logit_scale.exp().item(),
                    "learning_rate": rate,
                    "samples_per_second": round(config.batch_size / per_step, 1),
                    "data_wait_share": round(waited / (now - last_time), 3),
                    "eta_seconds": round(per_step * (steps - done)),
                    "damaged_samples": round(_over_processes(damaged, processes, device)),
                }
                last_time, last_step, waited = now, done, 0.0
                if rank == 0:
                    log.add(record)
                    (progress or print_record)(record)
            if to_save and rank == 0:
                log.flush()  # first: what a checkpoint is resumed from must have been logged
                path = checkpoint.write(
                    home,
                    {
                        "step": done,
                        "loss": value,
                        "model": model.state_dict(),
                        "optimizer": adamw.state_dict(),
                        "config": asdict(config),
                        "index_fingerprint": corpus.fingerprint,
                        "name": clip.name,
                        "model_config": clip.config,
                        "preprocess": preprocess_dict(clip),
                    },
                    config.keep,
                )
    return RunResult(
        run=home.url,
        checkpoint=home.url_of(path),
        steps=steps,
        samples_seen=steps * config.batch_size,
        loss=value,
        damaged_samples=damaged,
        seconds=time.monotonic() - began,
    )


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero (Radford et al. 2021, §2.5)."""
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def print_record(record: dict[str, Any]) -> None:
    """A log record as one line."""
    minutes, seconds = divmod(record["eta_seconds"], 60)
    print(
        f"step {record['step']:>6}/{record['steps']}  epoch {record['epoch']:6.2f}  loss {record['loss']:.4f}  "
        f"logit scale {record['logit_scale']:6.2f}  {record['samples_per_second']:8.1f} samples/s  "
        f"data wait {record['data_wait_share']:4.0%}  ETA {minutes}:{seconds:02d}",
        flush=True,
    )


@contextlib.contextmanager
def _processes(wanted: str) -> Iterator[tuple[int, int, torch.device]]:
    """(rank, number of processes, device) of this process; joins the others if there are any and nobody has."""
    device = pick_device(wanted)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ours = int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield (dist.get_rank(), dist.get_world_size(), device) if dist.is_initialized() else (0, 1, device)
    finally:
        if ours:
            dist.destroy_process_group()


@contextlib.contextmanager
def rank_zero_first(rank: int, processes: int) -> Iterator[None]:
    """Let the first process alone do what the others then find done."""
    if processes > 1 and rank:
        dist.barrier()
    try:
        yield
    finally:
        if processes > 1 and not rank:
            dist.barrier()


def _over_processes(value: float, processes: int, device: torch.device) -> float:
    """The sum of every process's value."""
    if processes == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.item()
