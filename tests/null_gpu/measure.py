"""Trains on GPUs that compute nothing, in a process that sees them: CASES.json [--bench].

Prints a JSON object a case, and then, if asked, what `bench.train_gpu --tiny` does.

Of several processes it is one, whose collectives end at once (torch's `fake` backend) and whose peers have the same to
say as itself. Everything else is the trainer itself, and torch's own dispatcher, autograd, allocator and streams.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import open_clip
import torch
import torch.distributed as dist
from PIL import Image
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from bench import train_gpu
from bench.processes import train_gpu as train_gpu_process
from tests.train import tiny
from train import loop
from train.checkpoints import checkpoint
from train.config import TrainConfig, load, with_changes
from train.data import gpu_decode
from train.data.loader import Batch
from train.distributed import parallelize, watch
from train.distributed.processes import Processes
from train.logs.metrics import flops_per_sample
from train.memory.forecast import MemoryForecast
from train.models.clip import Clip, create, create_configured
from train.sections import TrainingConfig

LARGE_IMAGES = {**tiny.CONFIG, "vision_cfg": {**tiny.CONFIG["vision_cfg"], "image_size": 224, "patch_size": 112}}
"""A model whose activations are small beside its images."""
_COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter_tensor", "all_gather_into_tensor", "broadcast")
_LIBRARY = ctypes.CDLL(os.environ["LD_PRELOAD"])


class Counts(NamedTuple):
    """What torch has asked of the null GPUs so far; waits are this thread's."""

    waits: int
    pageable_to_device: int
    pinned_to_device: int
    pageable_to_host: int
    pinned_to_host: int
    kernels: int

    @staticmethod
    def now() -> Counts:
        """Read them."""
        found = (ctypes.c_long * len(Counts._fields))()
        _LIBRARY.null_gpu_counts(found)
        return Counts(*found)


class Steps:
    """What each step of a run asked of the device, from one step's forward pass to the next one's."""

    def __init__(self, beginning: int) -> None:
        self.beginning = beginning  # steps in which a wait is not looked for
        self.seen: list[dict[str, int]] = []
        self.waits: list[str] = []  # where the first few happened
        self._before = Counts.now()
        self._real = loop.backward

    def backward(self, *arguments: Any, **more: Any) -> Any:
        """Stands for train.accumulate.backward, and calls it."""
        self.end()
        if len(self.seen) == self.beginning + 1:
            torch.cuda.set_sync_debug_mode("warn")
        return self._real(*arguments, **more)

    def end(self) -> None:
        """A step is over."""
        counts = Counts.now()
        self.seen.append({name: new - old for name, old, new in zip(Counts._fields, self._before, counts, strict=True)})
        self._before = counts

    def warned(self, message: Any, *_: Any) -> None:
        """Stands for warnings.showwarning."""
        if "called a synchronizing" in str(message) and len(self.waits) < 8:
            frames = [frame for frame in traceback.extract_stack() if f"{os.sep}train{os.sep}" in frame.filename]
            self.waits.append(" < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[::-1][:3]))


def measured(config: TrainConfig, run: str, case: dict[str, Any]) -> dict[str, Any]:
    """Train; what the steps asked of the device, and the most memory that torch had."""
    rank, processes = case.get("rank", 0), case.get("processes", 1)
    gpus = range(torch.cuda.device_count())
    device = rank % len(gpus)
    gc.collect()  # models of cases before, whose parts refer to each other
    gc.freeze()  # what is left is torch's: to look through it once more for each case takes most of a second
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = [_LIBRARY.null_gpu_kernels(gpu) for gpu in gpus]
    steps = Steps(case.get("beginning", 0))
    with one_of(rank, processes) as misplaced, contextlib.ExitStack() as ends:
        put(ends, loop, "backward", steps.backward)
        put(ends, gpu_decode, "_decode", decoded)
        put(ends, loop, "flops_per_sample", counted)
        put(ends, loop, "create_configured", without_numbers)
        if case.get("bare"):
            put(ends, checkpoint.Checkpoints, "_write", unwritten)  # gigabytes that nobody reads
            put(ends, TrainingConfig, "steps", lambda self, samples: (1.0, self.samples_seen // self.batch_size))
        ends.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = steps.warned
        ends.callback(torch.cuda.set_sync_debug_mode, "default")
        loop.train(config, run, lambda record: None, noise(config, processes) if case.get("bare") else None)
    return {
        "steps": {step: asked for step, asked in enumerate(steps.seen) if step > steps.beginning},
        "waits": steps.waits,
        "misplaced": misplaced,
        "elsewhere": [gpu for gpu in gpus if gpu != device and _LIBRARY.null_gpu_kernels(gpu) != before[gpu]],
        "peak": torch.cuda.max_memory_allocated(device),
        "forecast": forecast(config, processes) if case.get("bare") else 0,
    }


def forecast(config: TrainConfig, processes: int) -> int:
    """What a GPU is forecast to hold."""
    return MemoryForecast(config, processes).memory(int(config.training.micro_batch)).allocated


def noise(config: TrainConfig, processes: int) -> Batch:
    """A process's share of a batch, of a model's size, which nobody has filled."""
    clip, samples = create(config.model.name, device="meta"), config.training.batch_size // processes
    images = torch.empty(samples, clip.image_size, clip.image_size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    texts = torch.zeros(samples, clip.model.context_length, dtype=torch.int64)
    return Batch(images, texts, torch.zeros(samples, dtype=torch.int64), [])


def without_numbers(*arguments: Any, **more: Any) -> Any:
    """Stands for train.models.clip.create_configured: to fill models takes long, and nobody reads their weights."""
    clip = create_configured(*arguments, **more, device="meta")
    clip.model.to_empty(device="cpu")
    return clip


def shallow(model: str, folder: Path) -> str:
    """A model of the same sizes but for its depth: the file of its config."""
    config = open_clip.get_model_config(model)
    for tower in ("vision_cfg", "text_cfg"):
        layers = config[tower]["layers"]
        config[tower]["layers"] = [1 for _ in layers] if isinstance(layers, list) else 2
    path = folder / f"shallow-{model}.json"
    path.write_text(json.dumps(config))
    return str(path)


def decoded(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Stands for torchvision's call of nvJPEG, which has no stand-in; the pixels are nobody's."""
    sizes = [Image.open(io.BytesIO(file.numpy().tobytes())).size for file in files]
    return [torch.empty(3, height, width, dtype=torch.uint8, device=device) for width, height in sizes]


_FLOPS: dict[str, float] = {}
_TOKENIZERS: dict[str, Any] = {}


def counted(clip: Clip) -> float:
    """Stands for train.logs.metrics.flops_per_sample, and calls it once for models of the same layers."""
    layers = f"{clip.model} {clip.image_size}"
    if layers not in _FLOPS:
        _FLOPS[layers] = flops_per_sample(clip)
    return _FLOPS[layers]


def tokenizer(source: str, make: Any = open_clip.get_tokenizer) -> Any:
    """Stands for open_clip.get_tokenizer, and calls it once for models of the same texts: its vocabulary is large."""
    texts = source
    if source.startswith("local-dir:"):  # of a temporary folder
        described = json.loads(Path(source.removeprefix("local-dir:"), "open_clip_config.json").read_text())
        texts = json.dumps(described["model_cfg"]["text_cfg"])
    if texts not in _TOKENIZERS:
        _TOKENIZERS[texts] = make(source)
    return _TOKENIZERS[texts]


def uncompiled(function: Any, **_: Any) -> Any:
    """Stands for torch.compile, whose compiler takes seconds to import, and which is switched off here."""
    return function


def unwritten(checkpoints: Any, copies: Any, writer: Any) -> None:
    """Stands for Checkpoints._write, and writes nothing."""
    checkpoints._staging.wait()


def put(ends: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Give something another value, until the end."""
    ends.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


class Averaged(DistributedDataParallel):
    """Whose gradients are everyone's at once: the `fake` backend has no future for them. Its first ten steps are not
    timed, for which it would wait for the device."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.register_comm_hook(None, _at_once)
        self.logger: Any = SimpleNamespace(set_runtime_stats_and_log=lambda: None)


def _at_once(_: object, bucket: dist.GradBucket) -> Any:
    future: torch.futures.Future[Any] = torch.futures.Future(devices=[bucket.buffer().device])
    future.set_result(bucket.buffer())
    return future


_at_once.__annotations__ = {}  # torch compares them with types, and these are strings


@contextlib.contextmanager
def one_of(rank: int, processes: int) -> Iterator[list[str]]:
    """Make this process one of several while the block runs; yields the collectives that NCCL would refuse, as
    they are met.
    """
    misplaced: list[str] = []
    if processes == 1:
        yield misplaced
        return

    def join(backend: str | None = None, **_: Any) -> None:
        init("fake", store=FakeStore(), rank=rank, world_size=processes)

    def group(*_: Any, backend: str | None = None, **__: Any) -> Any:
        made = new_group(backend="fake")
        if backend == "gloo":
            on_cpus.add(made)
        return made

    def checked(name: str, real: Any) -> Any:
        def collective(*arguments: Any, **more: Any) -> Any:
            tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
            if more.get("group") not in on_cpus and any(tensor.device.type != "cuda" for tensor in tensors):
                misplaced.append(name)
            return real(*arguments, **more)

        return collective

    on_cpus: set[Any] = set()
    init, new_group = dist.init_process_group, dist.new_group
    places = {"WORLD_SIZE": processes, "RANK": rank, "LOCAL_RANK": rank % torch.cuda.device_count()}
    with contextlib.ExitStack() as ends:
        put(ends, dist, "init_process_group", join)
        put(ends, dist, "new_group", group)
        put(ends, watch, "store", lambda: None)
        put(ends, parallelize, "DistributedDataParallel", Averaged)
        put(ends, Processes, "gather", lambda self, value: [value] * self.count)
        put(ends, checkpoint.Checkpoints, "_write", unwritten)  # it would ask its peers
        for name in _COLLECTIVES:
            put(ends, dist, name, checked(name, getattr(dist, name)))
        os.environ.update({name: str(value) for name, value in places.items()})
        ends.callback(lambda: [os.environ.pop(name) for name in places])
        yield misplaced


class Here:
    """Stands for the process that bench.train_gpu starts, whose work is done in this one: it has loaded torch."""

    def __init__(self, command: list[str], **_: Any):
        said = io.StringIO()
        sys.argv = command[2:]
        with contextlib.redirect_stdout(said):
            train_gpu_process.main()
        self.stdout = said.getvalue().splitlines(keepends=True)
        self.pid = os.getpid()

    def wait(self) -> int:
        """Its exit status."""
        return 0


def bench() -> int:
    """The exit status of `bench.train_gpu --tiny`. tests/bench starts its process, on a CPU."""
    sys.argv[1:] = ["--tiny"]
    gc.collect()
    gc.freeze()
    with contextlib.ExitStack() as ends:
        put(ends, train_gpu, "subprocess", SimpleNamespace(Popen=Here, PIPE=subprocess.PIPE))
        for module in (loop, train_gpu_process):
            put(ends, module, "flops_per_sample", counted)
        return train_gpu.main()


def main() -> None:
    """Measure the cases of a file; a line of JSON for each."""
    torch.cuda.init()
    torch.set_num_threads(1)
    open_clip.get_tokenizer = tokenizer
    torch.compile = uncompiled  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        tiny.register(Path(folder))
        dataset = tiny.write_dataset(Path(folder) / "dataset", tiny.CAPTIONS * 4)
        known: dict[str, dict[str, Any]] = {}  # presets may differ in their models alone, which are others here
        weights = f"{folder}/weights.pt"
        torch.save(create(tiny.MODEL).model.state_dict(), weights)
        cases = Path(sys.argv[1]).read_text().replace("WEIGHTS", weights)
        for name, model in {"LARGE_IMAGES": LARGE_IMAGES, "RESNET": tiny.RESNET_CONFIG}.items():
            path = Path(folder) / f"{name.lower()}.json"
            path.write_text(json.dumps(model))
            cases = cases.replace(name, str(path))
        for number, case in enumerate(json.loads(cases)):
            config = load({**case["config"], "dataset": dataset})
            if case.get("shallow"):
                config = with_changes(config, model=shallow(config.model.name, Path(folder)))
            key = repr({**case, "name": "", "config": with_changes(config, name="any")})
            if key in known:
                print(json.dumps({"name": case["name"], **known[key]}), flush=True)
                continue
            try:
                found = measured(config, f"{folder}/{number}", case)
            except Exception as error:
                found = {"error": "".join(traceback.format_exception(error))[-3000:]}
                if dist.is_initialized():
                    dist.destroy_process_group()
            known[key] = found
            print(json.dumps({"name": case["name"], **found}), flush=True)
    status = bench() if "--bench" in sys.argv else 0
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
