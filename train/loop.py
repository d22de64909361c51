"""The training loop, to be read from top to bottom.

It runs in one process, or in several that torchrun (or Ray Train) started: WORLD_SIZE, RANK and LOCAL_RANK say so.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch

from dataset.ids import hash64
from dataset.store.storage import Storage
from dataset.webdataset import foreign
from train.accumulate import backward
from train.checkpoints import checkpoint
from train.config import TrainConfig, with_absolute_paths
from train.data import gpu_decode, shared_memory
from train.data.loader import Batch, open_corpus, read_parts, samples_of
from train.data.mixture import Corpus
from train.diagnosis.bad_batches import StepOutcome, name_bad_batch
from train.distributed.batch_norm import synchronise
from train.distributed.collectives import Peers
from train.distributed.parallelize import compile_blocks, parallelize
from train.distributed.processes import Processes, Stop, deterministic, hold_folder, join_processes
from train.evaluate.in_training.periodic import Periodic
from train.failure import TrainingError, reporting_failures
from train.from_open_clip import checkpoint as from_open_clip
from train.logs.clock import Clock
from train.logs.log import Log, print_record
from train.logs.metrics import duplicate_share, flops_per_sample, memory_bytes, numbers, peak_flops
from train.loss import LOSSES
from train.memory.auto import auto_on, resolve_micro_batch
from train.memory.recompute import recompute
from train.models.clip import MAX_LOGIT_SCALE, create_configured, preprocess_dict
from train.models.pretrained import adapt_tensor, begin, set_training_mode
from train.optimizers import MovingAverage, clip_gradients, gradient_norms, load_state, make_optimizers, state_of
from train.schedule import learning_rate
from train.to_device import on_device, send_tensor

Progress = Callable[[dict[str, Any]], None]
MAX_NAMED = 20
"""Damaged samples that a process names; more are only counted."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run: str  # URL of the run's directory
    checkpoint: str  # URL of its last checkpoint
    step: int  # the last one; less than `steps` if SIGTERM stopped the run
    steps: int
    samples_seen: int
    loss: float  # at the last step
    damaged_samples: int  # how often this process, in this call, could not read a sample and replaced it
    seconds: float  # of this call


def train(
    config: TrainConfig, run: str | None = None, progress: Progress | None = None, only: Batch | None = None
) -> RunResult:
    """Train a model on a dataset's shards; resumes by itself where the run was stopped.

    SIGTERM has it write a checkpoint after the step that is under way, and return.

    Args:
        run: URL of the run's directory; DATASET/runs/NAME by default.
        progress: called with every log record, whose keys are those of `record` below. Printed if not given.
        only: train on this batch again and again.
    Raises:
        ValueError: the config does not fit the dataset, the machine or the run that is there already.
        FileNotFoundError: the dataset has no shards.
        DamagedSampleError: a sample cannot be read, and the config says to stop; or too many cannot.
        OSError: a checkpoint could not be written.
        TrainingError: the loss or a gradient is no longer a number; or the device has too little memory.
        PeerError: another process of the run has failed.
        RuntimeError and others: what a library or the device raises; RUN/failures has the traceback.
    """
    began = time.monotonic()
    config = with_absolute_paths(config)
    run_dir = Storage(run or f"{foreign.root(config.dataset)}/runs/{config.name}")
    with (
        join_processes(config.compute.device, run_dir, config.distributed.timeout_s) as processes,
        reporting_failures(run_dir, processes, begun=False),
        hold_folder(run_dir, processes),
        deterministic(config.compute.deterministic),
        Stop() as stop,
    ):
        with processes.one_first():
            corpus = open_corpus(config.dataset, config.data, config.seed, run_dir.url)
        while True:  # twice where images or texts change their size within the run
            try:
                with contextlib.ExitStack() as ends:
                    result = _train(config, corpus, run_dir, processes, stop, progress or print_record, only, ends)
            except torch.OutOfMemoryError as error:
                raise TrainingError(_explain_out_of_memory(config, processes)) from error
            if result.step == result.steps or result.step != config.first_part(result.steps):
                return replace(result, seconds=time.monotonic() - began)


def _train(
    config: TrainConfig,
    corpus: Corpus,
    run_dir: Storage,
    processes: Processes,
    stop: Stop,
    progress: Progress,
    only: Batch | None,
    ends: contextlib.ExitStack,
) -> RunResult:
    """Train from the latest checkpoint to the run's end, or to where images and texts change their size."""
    rank, device = processes.rank, processes.device

    # Where it is: the latest checkpoint, if the run has one.
    steps_per_epoch, steps = config.training.steps(len(corpus))
    path = checkpoint.newest_sound(run_dir, processes)
    state: dict[str, Any] = {"step": 0, "loss": math.nan, "skipped": 0}
    brought: from_open_clip.Checkpoint | None = None
    if path is not None:
        state = checkpoint.about(run_dir, path)
        checkpoint.check_resumable(run_dir, state, config, corpus.fingerprint)
    elif config.checkpoint.resume:
        brought = from_open_clip.Checkpoint(config.checkpoint.resume)
        state["step"] = brought.step(steps_per_epoch)
        if state["step"] >= steps:
            raise ValueError(
                f"checkpoint.resume {config.checkpoint.resume!r} has made {state['step']} steps, "
                f"and the run is to make {steps}"
            )
    if len(set(processes.gather(path))) > 1:
        raise ValueError(
            f"the processes see different checkpoints; {run_dir.url} must be storage that all of them share"
        )
    first_step, value, skipped = state["step"], state["loss"], state["skipped"]
    final = first_step >= config.first_part(steps)  # then images and texts have the model's own sizes
    last_step = steps if final else config.first_part(steps)

    # What: the model, the optimizers, the moving average of the weights.
    automatic = auto_on(processes) if config.training.micro_batch == "auto" else None
    config, micro_batch = resolve_micro_batch(config, processes, state)
    clip = create_configured(config.model, config.seed, config.training.loss, final=final)
    clip = begin(clip, config.model, state.get("preprocess"))
    flops, peak = flops_per_sample(clip), peak_flops(device, config.log.peak_tflops)
    model: Any = clip.model.to(device)
    compute, parallel = config.compute, config.distributed.parallel
    if parallel != "fsdp":  # which takes no other layout
        model.to(memory_format=torch.channels_last)  # convolutions are faster so
    if processes.count > 1 or (
        device.type == "cpu" and not compute.compile
    ):  # alone as well, for the very same rounding
        synchronise(model)
    in_blocks = compute.compile and parallel == "fsdp" and processes.count > 1
    if in_blocks:
        compile_blocks(model)
    if compute.grad_checkpointing:
        recompute(model)
    if compute.compile and not in_blocks:
        model.compile(dynamic=False)  # micro-batches have two sizes at most
    towers = parallelize(model, parallel, processes, compute.deterministic)
    optimizers = make_optimizers(model, config.optimizer)
    average = MovingAverage(model, config.optimizer.ema) if config.optimizer.ema else None
    scaler = torch.amp.GradScaler(device.type, enabled=compute.precision == "fp16")

    # What of it a checkpoint holds, by name, and back.
    def tensors() -> dict[str, torch.Tensor]:
        by_name = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        if average is not None:
            by_name |= {f"ema.{name}": tensor for name, tensor in average.average.items()}
        return by_name | state_of(model, optimizers)

    if path is not None:
        held = tensors()
        checkpoint.load(run_dir, path, held, processes, partial(adapt_tensor, model))
        load_state(model, optimizers, held)
        scaler.load_state_dict(state["scaler"])
    elif brought is not None:
        held = tensors()
        for sentence in brought.begin(model, held, partial(adapt_tensor, model), steps_per_epoch):
            if rank == 0:
                print(f"checkpoint.resume {config.checkpoint.resume}: {sentence}", file=sys.stderr, flush=True)
        load_state(model, optimizers, held)
        if brought.scaler:
            scaler.load_state_dict(brought.scaler)
        brought = None  # as large as the model and its optimizer's state
    periodic = Periodic(config, clip, average, run_dir, processes, stop, steps)
    saved = ends.enter_context(checkpoint.Checkpoints(run_dir, config.checkpoint.keep, processes))
    log = ends.enter_context(Log(run_dir, first_step, config.log, asdict(config))) if rank == 0 else None
    if rank == 0:
        checkpoint.write_config(run_dir, config)

    # How: normalisation on the device, towers in the configured precision.
    mean, std = (
        torch.tensor(channels, device=device).view(1, 3, 1, 1)
        for channels in (clip.preprocess.mean, clip.preprocess.std)
    )
    factor, shift = 1 / (255 * std), mean / std  # one pass over the bytes and one in place
    half = torch.float16 if compute.precision == "fp16" else torch.bfloat16
    autocast = torch.autocast(device.type, half, enabled=compute.precision != "fp32")
    by_gpu = config.data.decode == "gpu"
    if by_gpu:
        gpu_decode.check(device)
    batch_size = config.training.batch_size
    of_rank = rank, processes.count, by_gpu
    samples = samples_of(config.data, batch_size, corpus, clip.tokenize, clip.image_size, *of_rank)
    decoder = gpu_decode.GpuDecoder(samples.part) if by_gpu else None
    counts = processes.gather(len(only.rows) if only else len(samples.share))

    set_training_mode(clip, config.model)
    pinned = device.type == "cuda"
    waits = 10 * config.distributed.timeout_s
    workers = 0 if only else config.data.workers
    reading = samples.fit(workers, processes.share_of_machine(shared_memory.free_bytes()))
    if reading.note and rank == 0:
        print(reading.note, file=sys.stderr, flush=True)
    parts = read_parts(samples, first_step, last_step, workers, pinned, waits, reading)
    stream = ends.enter_context(closing(on_device(repeat([only]) if only else parts, device, decoder)))
    ends.enter_context(closing(parts))
    ends.enter_context(reporting_failures(run_dir, processes))
    if periodic.was_missed(first_step):
        periodic.examine(first_step, log)
    damaged = 0
    total, added = torch.zeros((), dtype=torch.float64, device=device), 0  # the losses since the last checkpoint
    pending: list[StepOutcome] = []  # of which it is not yet known
    clock = Clock(first_step, device)
    done = first_step
    for step in range(first_step, last_step):
        with clock.waiting("data"):
            batch = next(stream)
        clock.step_begins()
        for name in batch.damaged[: max(0, MAX_NAMED - damaged)]:
            print(f"damaged sample, replaced: {name}", file=sys.stderr, flush=True)
        damaged += len(batch.damaged)

        rate = learning_rate(step, steps, config.optimizer.learning_rate, config.schedule)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)

        loss = backward(
            towers,
            batch.images,
            batch.texts,
            loss=LOSSES[config.training.loss],
            micro_batch=micro_batch,
            counts=counts,
            seed=hash64("dropout", config.seed, step, rank),  # not carried over from step to step
            prepare=lambda images: (images * factor).sub_(shift),
            autocast=autocast,
            scaler=scaler,
        )

        # A loss or gradient that is no number: found before the step if it is to be skipped, else with the next log
        # line, for looking waits for the device. Infinite gradients in fp16 are the scaler's business: it halves.
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        norms = gradient_norms(model)
        is_finite = loss.isfinite() if scaler.is_enabled() else loss.isfinite() & norms["all"].isfinite()
        pending.append(StepOutcome(step + 1, loss, is_finite, batch.rows))
        with clock.waiting("device"):
            skip = config.training.on_nan == "skip" and not is_finite.item()
        if skip:
            skipped += 1
            name_bad_batch(run_dir, processes, corpus, pending.pop(), config, skipped)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
        else:
            if config.optimizer.grad_clip < math.inf:
                clip_gradients(model, norms["all"], config.optimizer.grad_clip)
            for optimizer in optimizers:
                scaler.step(optimizer)
            total, added = total + loss, added + 1
        scaler.update()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
        if average is not None:
            average.update()

        clock.step_ends()
        done = step + 1
        if periodic.due(done):
            with clock.pause():
                periodic.examine(done, log)
        with clock.waiting("others"):
            stopping = processes.sum(stop.asked) > 0  # decided once, by all: a signal may come at any moment
        to_log = done % config.log.every == 0 or done == last_step
        to_save = done % config.checkpoint.every == 0 or done == last_step or stopping
        if to_log or to_save:  # twice it is waited for the device: to have all computed, and for the figures
            if pending and not torch.stack([outcome.is_finite for outcome in pending]).all().item():
                for outcome in pending:
                    if not outcome.is_finite.item():
                        name_bad_batch(run_dir, processes, corpus, outcome, config, skipped)
            asked = {"total": total, **({"loss": pending[-1].loss} if pending else {})}
            if to_log:
                images = send_tensor(torch.from_numpy(corpus.image_keys(batch.rows.numpy())), device)
                asked["duplicate_share"] = duplicate_share(images, batch.texts, Peers(len(images), device, counts))
                asked["logit_scale"] = model.logit_scale.detach().exp()
                asked |= {f"gradient_norm_{tower}": norm for tower, norm in norms.items()}
            known = numbers(asked)
            value = known.get("loss", value)
            pending.clear()
        if to_log:
            record = {
                "step": done,
                "steps": steps,
                "epoch": round(done / steps_per_epoch, 3),
                "samples_seen": done * batch_size,
                "loss": value,
                "logit_scale": known["logit_scale"],
                "learning_rate": rate,
                **{name: norm for name, norm in known.items() if name.startswith("gradient_norm_")},
                "duplicate_share": round(known["duplicate_share"], 4),
                **clock.rates(done, steps, batch_size, processes.count, flops, peak),
                "memory_bytes": memory_bytes(device),
                "damaged_samples": round(processes.sum(damaged)),
                "skipped_steps": skipped,
            }
            if log is not None:
                log.add(record)
                progress(record)
        if to_save:
            if log is not None:
                log.flush()  # first: what a checkpoint is resumed from must have been logged
            described = {
                "step": done,
                "score": known["total"] / max(1, added),
                "loss": value,
                "skipped": skipped,
                "scaler": scaler.state_dict(),
                "config": asdict(config),
                "auto_on": automatic,
                "index_fingerprint": corpus.fingerprint,
                "name": clip.name,
                "model_config": clip.config,
                "preprocess": preprocess_dict(clip),
            }
            path = saved.save(tensors(), described)
            total, added = torch.zeros_like(total), 0
        if stopping:
            break
    assert path is not None
    return RunResult(
        run=run_dir.url,
        checkpoint=run_dir.url_of(path),
        step=done,
        steps=steps,
        samples_seen=done * batch_size,
        loss=value,
        damaged_samples=damaged,
        seconds=0.0,
    )


def _explain_out_of_memory(config: TrainConfig, processes: Processes) -> str:
    """What to do about a device without memory for a step."""
    at_once = -(-config.training.batch_size // processes.count)
    if isinstance(config.training.micro_batch, int):
        at_once = min(config.training.micro_batch or at_once, at_once)
    more = "" if config.compute.grad_checkpointing else " or compute.grad_checkpointing: true"
    return (
        f"{processes.device} has too little memory for {at_once} samples at a time; "
        f"set training.micro_batch lower{more}"
    )
