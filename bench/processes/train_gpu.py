"""The runs of one side and one model in a process of its own: SPECS.json; prints a JSON object a run.

`ours` is the trainer itself (train.loop.train). `peer` is open_clip_train 3's train_one_epoch on its model, optimizer,
loss and data pipeline, put together as its main() does, with its defaults.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from bench.processes.parity import apart
from bench.record import print_record
from train.accumulate import backward
from train.config import from_keys
from train.data.loader import Batch
from train.logs.metrics import flops_per_sample, memory_bytes, peak_flops
from train.loop import train
from train.loss import softmax_loss
from train.models.clip import create, known_name


@dataclass(frozen=True)
class Spec:
    """What is to be done for one side and one model."""

    side: str  # ours or peer
    model: str  # a name of open_clip's, or the path of a config
    dataset: str  # a folder with shards
    samples: int  # in them
    batch_size: int
    large_batch: int  # of the run by micro-batches; 0: none
    micro_batch: int
    warm: int  # steps before the clock starts
    steps: int  # steps that it sees
    workers: int
    device: str
    deadline: float  # Unix time after which no run begins
    equal_steps: int  # that are taken by open_clip's pieces as well
    equal_batch: int


class DoneError(Exception):
    """All that was to be measured is: the run need not write its checkpoint."""


def synthetic(spec: Spec, count: int) -> Batch:
    """Return a batch of noise, its images on the device."""
    clip = create(spec.model)
    generator = torch.Generator(spec.device).manual_seed(0)
    shape = (count, clip.image_size, clip.image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=spec.device, generator=generator)
    texts = clip.tokenize(["a photograph of nothing in particular"]).repeat(count, 1)
    texts[:, 1:6] = torch.randint(1, 1000, (count, 5), generator=torch.Generator().manual_seed(0))
    return Batch(images.permute(0, 3, 1, 2), texts, torch.zeros(count, dtype=torch.int64), [])


def ours(spec: Spec, name: str, compiled: bool, shards: bool, batch_size: int, micro_batch: int) -> dict[str, Any]:
    """Return samples a second of our loop, and the share of time that it waits for data."""
    large = batch_size == spec.large_batch
    warm, steps = (1, 2) if large else (spec.warm, spec.steps)
    config = from_keys(
        dataset=spec.dataset,
        model=spec.model,
        batch_size=batch_size,
        micro_batch=micro_batch,
        samples_seen=batch_size * (warm + steps),
        precision="bf16",
        compile=compiled,
        workers=spec.workers,
        device=spec.device,
        log_every=warm,
        checkpoint_every=10**6,
        tensorboard=False,
    )
    records: list[dict[str, Any]] = []

    def progress(record: dict[str, Any]) -> None:
        records.append(record)
        if record["step"] == record["steps"]:
            raise DoneError

    try:
        run = f"{spec.dataset}/runs/{Path(spec.model).stem}-{name}"
        train(config, run, progress, None if shards else synthetic(spec, batch_size))
    except DoneError:
        measured = records[1:]  # of equally many steps each
        seconds = sum(1 / record["samples_per_second"] for record in measured)
        waited = sum(record["data_wait_share"] / record["samples_per_second"] for record in measured)
        figures = {"samples_per_second": len(measured) / seconds, "data_wait_share": waited / seconds}
        return {**figures, "batch_size": batch_size, "micro_batch": micro_batch}
    raise RuntimeError("the run ended before its last log line")


class Watched:
    """A data loader of open_clip_train's kind, which times its consumer and stops when enough has been seen."""

    def __init__(self, spec: Spec, batches: Any):
        self.spec, self.batches = spec, batches
        self.num_batches = spec.warm + spec.steps
        self.num_samples = self.num_batches * spec.batch_size
        self.dataloader = self  # it is its own DataInfo
        self.began = self.waited = 0.0

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: batches are of the first epoch alone."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = iter(self.batches)
        for step in range(self.num_batches):
            if step == self.spec.warm:
                synchronize(self.spec.device)
                self.began, self.waited = time.perf_counter(), 0.0
            asked = time.perf_counter()
            batch = next(batches)
            self.waited += time.perf_counter() - asked
            yield batch


def synchronize(device: str) -> None:
    """Wait until the device has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def peer(spec: Spec, name: str, compiled: bool, shards: bool, batch_size: int, micro_batch: int) -> dict[str, Any]:
    """Return the same figures of open_clip_train."""
    from open_clip_train import data as pipeline
    from open_clip_train.params import parse_args
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    size = ["--batch-size", str(batch_size), "--workers", str(spec.workers)]
    data = ["--train-data", f"{spec.dataset}/shards/train-{{00000..{len(shards_of(spec)) - 1:05d}}}.tar"]
    data += ["--train-num-samples", str(spec.samples), "--dataset-type", "webdataset"]
    args = parse_args(
        [*size, *data, "--model", known_name(spec.model), "--precision", "amp_bf16", "--device", spec.device]
    )
    args.rank, args.world_size, args.distributed, args.horovod, args.distill = 0, 1, False, False, False
    args.wandb, args.log_every_n_steps = False, 10**6
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = spec.device == "cuda"
    model, preprocess, _ = open_clip.create_model_and_transforms(
        args.model, precision=args.precision, device=spec.device, output_dict=True
    )
    named = [(key, value) for key, value in model.named_parameters() if value.requires_grad]
    plain = [value.ndim < 2 or any(part in key for part in ("bn", "ln", "bias", "logit_scale")) for key, value in named]
    groups = [
        {"params": [value for (_, value), is_plain in zip(named, plain, strict=True) if is_plain], "weight_decay": 0.0},
        {
            "params": [value for (_, value), is_plain in zip(named, plain, strict=True) if not is_plain],
            "weight_decay": args.wd,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(args.beta1, args.beta2), eps=args.eps)
    if shards:
        tokenizer = open_clip.get_tokenizer(args.model)
        watched = Watched(spec, pipeline.get_wds_dataset(args, preprocess, True, tokenizer=tokenizer).dataloader)
    else:
        batch = synthetic(spec, batch_size)
        texts = batch.texts.to(spec.device)
        watched = Watched(spec, iter([(batch.images.float() / 127.5 - 1, texts)] * (spec.warm + spec.steps)))
    scheduler = cosine_lr(optimizer, args.lr, args.warmup, watched.num_batches)
    stepped = torch.compile(model) if compiled else model
    loss = open_clip.create_loss(args)
    train_one_epoch(stepped, {"train": watched}, loss, 0, optimizer, None, scheduler, None, args)
    synchronize(spec.device)
    seconds = time.perf_counter() - watched.began
    return {"samples_per_second": batch_size * spec.steps / seconds, "data_wait_share": watched.waited / seconds}


def shards_of(spec: Spec) -> list[Path]:
    """Return the dataset's tars."""
    return sorted((Path(spec.dataset) / "shards").glob("train-*.tar"))


def gradients_apart(spec: Spec) -> dict[str, Any]:
    """Return ‖ours - theirs‖ / ‖theirs‖ of one step's gradients, by the same model in float32, ours by two
    micro-batches.
    """
    torch.backends.cuda.matmul.allow_tf32 = False  # as it is where open_clip_train has not been
    model: Any = create(spec.model).model.to(spec.device)
    batch = synthetic(spec, min(spec.batch_size, 256))
    images, texts = batch.images.float() / 127.5 - 1, batch.texts.to(spec.device)
    gradients = []
    for side in ("peer", "ours"):
        model.zero_grad()
        if side == "ours":
            backward(model, images, texts, loss=softmax_loss, seed=0, micro_batch=len(images) // 2)
        else:
            open_clip.ClipLoss()(*model(images, texts)).backward()
        gradients.append(torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None]))
    return {"apart": float((gradients[1] - gradients[0]).norm() / gradients[0].norm()), "limit": 1e-4}


def loss_apart(spec: Spec) -> dict[str, Any]:
    """Return ‖ours - exact‖ / ‖exact‖ of the loss's gradients on the device, and in float64 on the CPU without
    tiles.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)
    features = [nn.functional.normalize(torch.randn(spec.batch_size, 512, generator=generator)) for _ in range(2)]
    exact = [leaf.double().requires_grad_() for leaf in (*features, torch.tensor(14.3))]
    logits = exact[2] * exact[0] @ exact[1].T
    places = torch.arange(len(logits))
    expected = (nn.functional.cross_entropy(logits, places) + nn.functional.cross_entropy(logits.T, places)) / 2
    leaves = [leaf.to(spec.device).requires_grad_() for leaf in (*features, torch.tensor(14.3))]
    value = softmax_loss(*leaves)
    there = torch.cat([part.flatten() for part in (expected[None], *torch.autograd.grad(expected, exact))])
    here = torch.cat([part.flatten().cpu() for part in (value[None], *torch.autograd.grad(value, leaves))])
    return {"apart": float((here - there).norm() / there.norm()), "limit": 1e-4}


def steps_apart(spec: Spec) -> dict[str, Any]:
    """Return how far our weights are from those that open_clip's own pieces learn in float32."""
    config = from_keys(
        dataset=spec.dataset,
        model=spec.model,
        batch_size=spec.equal_batch,
        samples_seen=spec.equal_batch * spec.equal_steps,
        warmup_steps=spec.equal_steps // 4,
        learning_rate=1e-4,
        workers=spec.workers,
        device=spec.device,
        log_every=1,
        checkpoint_every=10**6,
        tensorboard=False,
    )
    distance = apart(config, f"{spec.dataset}/runs/{Path(spec.model).stem}-equal")
    return {"apart": distance.weights, "limit": 1e-3, "loss_apart": distance.loss}


def runs_of(spec: Spec) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what is done, by name, what matters most first."""
    side = ours if spec.side == "ours" else peer
    runs: dict[str, Callable[[], dict[str, Any]]] = {}
    for compiled, shards in ((True, True), (True, False), (False, True), (False, False)):
        name = f"{'shards' if shards else 'synthetic'}, compile {'on' if compiled else 'off'}"

        def run(name: str = name, compiled: bool = compiled, shards: bool = shards) -> dict[str, Any]:
            return side(spec, name.replace(", ", "-").replace(" ", "-"), compiled, shards, spec.batch_size, 0)

        runs[name] = run
        if len(runs) == 2 and spec.side == "ours" and spec.large_batch:
            large = f"batch {spec.large_batch} by micro-batches of {spec.micro_batch}"
            runs[large] = lambda: ours(spec, "large", True, False, spec.large_batch, spec.micro_batch)
    if spec.side == "peer":
        runs["gradients"] = lambda: gradients_apart(spec)
        runs["loss, float64"] = lambda: loss_apart(spec)
        if spec.equal_steps:
            runs[f"{spec.equal_steps} steps"] = lambda: steps_apart(spec)
    return runs


def main() -> None:
    """Do all runs, whether or not one fails; a line of JSON for each."""
    for values in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        measure(Spec(**values))


def measure(spec: Spec) -> None:
    """Do a side's runs of a model."""
    flops, peak = flops_per_sample(create(spec.model)), peak_flops(torch.device(spec.device), 0.0)
    for name, run in runs_of(spec).items():
        result: dict[str, Any] = {"side": spec.side, "model": Path(spec.model).stem, "run": name}
        if time.time() > spec.deadline:
            print_record({**result, "left_out": "no time was left for it"})
            continue
        try:
            if spec.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            result.update(run())
            result["memory_bytes"] = memory_bytes(torch.device(spec.device))
            if peak and "samples_per_second" in result:
                result["mfu"] = result["samples_per_second"] * flops / peak
        except Exception as error:  # whatever it is, the other runs are of use
            result["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print_record(result)
        gc.collect()  # what torch.compile made is kept: the next run has the same model
        if spec.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
