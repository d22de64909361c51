"""Checkpoints of a run, as folders below its directory, in the format of torch.distributed.checkpoint.

RUN/config.yaml                          the effective config
RUN/checkpoints/step-00000500/           what each process wrote, and checkpoint.json: step, config, model config
RUN/checkpoints/latest, best             the folder name of the newest one, and of the one with the least loss

checkpoint.json has the checksum of every file beside it, and of itself, which are held against the files before a run
goes on from them.

They are written while training goes on. A folder counts from the moment that `latest` names it, which is after the last
of its bytes: a process that dies earlier leaves `latest` where it was. Tensors go by name and place in the whole, so
any number of processes reads what any other number wrote.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
import xxhash
import yaml
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from dataset.ids import checksum
from dataset.store.storage import Storage
from train.checkpoints.files import CheckpointReader, CheckpointWriter
from train.checkpoints.staging import Staging
from train.config import PATHS, RESUMABLE_CHANGES, TrainConfig, absolute_value, by_place
from train.distributed.parallelize import fill
from train.distributed.processes import Processes
from train.failure import sentence

FOLDER = "checkpoints"
LATEST = f"{FOLDER}/latest"
BEST = f"{FOLDER}/best"
_STEP = re.compile(rf"{FOLDER}/step-\d{{8}}")
ABOUT = "checkpoint.json"
_LAST_WRITE_SECONDS = 5.0
"""How long a run that fails waits for the checkpoint that is being written."""
_PIECE_BYTES = 2**24
_ALL = "state"  # under which all tensors are: DCP logs each name of the first level
_ABOUT: Mapping[str, type | tuple[type, ...]] = {
    "step": int,
    "score": (int, float),
    "config": dict,
    "index_fingerprint": str,
    "name": str,
    "model_config": dict,
    "preprocess": dict,
}
_ABOUT_IF_THERE: Mapping[str, type | tuple[type, ...]] = {
    "loss": (int, float),
    "scaler": dict,
    "auto_on": (str, type(None)),
    "sums": dict,
}
warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is no reason to worry

Resize = Callable[[str, Tensor], Tensor]
"""(name, tensor of another shape) -> tensor of the shape that is wanted."""


def name_of(step: int) -> str:
    """Return the name, in its run, of the checkpoint after a step."""
    return f"{FOLDER}/step-{step:08d}"


def latest_checkpoint(run: Storage) -> str | None:
    """Return the name of a run's newest checkpoint; None if it has none."""
    named = _pointed_checkpoint(run, LATEST)
    if named is not None and run.list(named):
        return named
    whole = [name for name in _folders(run) if run.exists(f"{name}/{ABOUT}")]  # where `latest` is damaged or gone
    return whole[-1] if whole else None


def _pointed_checkpoint(run: Storage, pointer: str) -> str | None:
    """The checkpoint that a file names; None where it names none."""
    try:
        name = f"{FOLDER}/{run.read(pointer).decode(errors='replace').strip()}"
    except FileNotFoundError:
        return None
    return name if _STEP.fullmatch(name) else None


def find(url: str) -> tuple[Storage, str]:
    """Return (run, name of a checkpoint) of a run's URL (its latest), a checkpoint's, or RUN/checkpoints/best.

    Raises:
        FileNotFoundError: there is no checkpoint.
    """
    with contextlib.suppress(NotADirectoryError):  # RUN/checkpoints/best is a file
        if (name := latest_checkpoint(Storage(url))) is not None:
            return Storage(url), name
    folder, _, last = url.rstrip("/").rpartition("/")
    run = Storage(folder.rpartition("/")[0] or ".")
    if PurePosixPath(folder).name == FOLDER:
        pointed = {LATEST: latest_checkpoint, BEST: lambda run: _pointed_checkpoint(run, BEST)}.get(f"{FOLDER}/{last}")
        if pointed is not None and (name := pointed(run)) is not None:
            return run, name
        if run.exists(f"{FOLDER}/{last}/{ABOUT}"):
            return run, f"{FOLDER}/{last}"
    raise FileNotFoundError(f"{url} is neither a run with checkpoints, nor one of them, nor an exported model")


def about(run: Storage, name: str) -> dict[str, Any]:
    """Return what a checkpoint says of itself: step, score, loss, config (see `train.config.by_place`),
    index_fingerprint, name, model_config, preprocess, scaler; auto_on, the number of processes and the device for
    which `micro_batch: auto` found the config's, if it did.

    Raises:
        ValueError: it is no checkpoint.
    """
    try:
        described: dict[str, Any] = json.loads(run.read(f"{name}/{ABOUT}"))
        if not set(described) >= set(_ABOUT) or not _is_typed(described):
            raise ValueError
        if described.pop("checksum", None) not in (None, _checksum_of(described)):
            raise ValueError
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        raise _not_a_checkpoint(run, name) from None
    return described


def _is_typed(described: Any) -> bool:
    """Whether what a stranger may have written is of the types that `about` gives."""
    kinds = {**_ABOUT, **{key: kind for key, kind in _ABOUT_IF_THERE.items() if key in described}}
    return (
        isinstance(described, dict)
        and all(
            isinstance(described[key], kind) and not isinstance(described[key], bool) for key, kind in kinds.items()
        )
        and described["step"] >= 0
        and all(isinstance(sum_, str) for sum_ in described.get("sums", {}).values())
    )


def _score(run: Storage, name: str) -> float:
    """A checkpoint's score, the less the better; of one that is damaged, the worst."""
    try:
        return float(about(run, name)["score"])
    except ValueError:
        return math.inf


def _checksum_of(described: Mapping[str, Any]) -> str:
    return checksum(json.dumps(described, sort_keys=True).encode())


def _sums(run: Storage, name: str, files: Iterable[str]) -> dict[str, str]:
    """The checksums of some files of a checkpoint, read piece by piece."""
    sums = {}
    for file in files:
        hashed = xxhash.xxh3_64()
        with run.open(f"{name}/{file}") as stream:
            while piece := stream.read(_PIECE_BYTES):
                hashed.update(piece)
        sums[file] = hashed.hexdigest()
    return sums


def damage(run: Storage, name: str, processes: Processes | None = None) -> str | None:
    """Return what is wrong with a checkpoint's bytes, as all processes know then; None if they are what was written.

    Args:
        processes: those that share the reading, a part of the files each.
    """
    rank, count = (processes.rank, processes.count) if processes is not None else (0, 1)
    damaged_file: str | None = None
    try:
        expected = about(run, name).get("sums", {})
        mine = sorted(expected)[rank::count]
        damaged_file = next((file for file, sum_ in _sums(run, name, mine).items() if sum_ != expected[file]), None)
    except (ValueError, OSError):
        damaged_file = ABOUT if not run.exists(f"{name}/{ABOUT}") else "one of its files"
    every = processes.gather(damaged_file) if processes is not None else [damaged_file]
    return next((file for file in every if file is not None), None)


def newest_sound(run: Storage, processes: Processes) -> str | None:
    """Return the newest checkpoint whose bytes are what was written; what is damaged is named on standard error.

    Raises:
        ValueError: the run has checkpoints, and all of them are damaged.
    """
    newest = latest_checkpoint(run)
    older = [name for name in reversed(_folders(run)) if newest is not None and name < newest]
    for name in [newest, *older] if newest is not None else []:
        file = damage(run, name, processes)
        if file is None:
            if name != newest and processes.rank == 0:
                run.write(LATEST, f"{name.rpartition('/')[2]}\n".encode())
                if (_pointed_checkpoint(run, BEST) or "") > name:
                    run.write(BEST, f"{name.rpartition('/')[2]}\n".encode())
                print(f"the run goes on from {run.url_of(name)}, the newest that is whole", file=sys.stderr, flush=True)
            return name
        if processes.rank == 0:
            print(f"{run.url_of(name)} is damaged ({file})", file=sys.stderr, flush=True)
    if newest is not None:
        raise _not_a_checkpoint(run, newest)
    return None


def load(
    run: Storage, name: str, wanted: Mapping[str, Tensor], processes: Processes | None, resize: Resize | None = None
) -> None:
    """Fill tensors, by their names, with a checkpoint's; whole ones or this process's shards.

    Args:
        wanted: {name: tensor}, which are written to.
        processes: those that load together; None if this one loads alone.
        resize: what makes a tensor of another shape fit.
    Raises:
        ValueError: it is no checkpoint, or has not these tensors.
    """
    reader = CheckpointReader(run, name)
    try:
        saved = reader.read_metadata().state_dict_metadata
        other = {}
        for key, tensor in wanted.items():
            entry = saved[f"{_ALL}.{key}"]
            if not isinstance(entry, TensorStorageMetadata):
                raise TypeError(key)
            if entry.size != tensor.shape:
                other[key] = torch.empty(entry.size, dtype=tensor.dtype)
        if other and resize is None:
            raise KeyError(next(iter(other)))
        alone = processes is None or processes.count == 1
        group = None if processes is None else processes.saving
        dcp.load({_ALL: {**wanted, **other}}, storage_reader=reader, process_group=group, no_dist=alone)
    except (
        Exception,
        dcp.CheckpointException,
    ) as error:  # DCP raises anything on bytes that it did not write
        raise _not_a_checkpoint(run, name) from error
    for key, values in other.items():
        assert resize is not None
        fill(wanted[key], resize(key, values))


def _not_a_checkpoint(run: Storage, name: str) -> ValueError:
    return ValueError(f"{run.url_of(name)} is not a checkpoint of this trainer, or is damaged")


class Checkpoints:
    """The checkpoints of a run that is training; all its processes take part in each call."""

    def __init__(self, run: Storage, keep: int, processes: Processes):
        self.run, self.keep, self.processes = run, keep, processes
        self._staging = Staging(processes.device)
        on_gpu = processes.device.type == "cuda"  # a new thread's is the machine's first, whichever the process's is
        begin = partial(torch.cuda.set_device, processes.device) if on_gpu else None
        self._thread = ThreadPoolExecutor(1, "checkpoint", begin)
        self._writing: Future[None] | None = None
        if processes.rank == 0:
            newest = latest_checkpoint(run)
            for name in _folders(run):  # of a write that was cut short, or of a run that went on from an older one
                if newest is None or name > newest:
                    run.delete_folder(name)
        processes.sum(0)  # nobody writes before that is done

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with contextlib.suppress(*([OSError] if kind else [])):  # the first error is the one to tell
            self._thread.shutdown(wait=False)
            self.wait(_LAST_WRITE_SECONDS if kind else None)

    def save(self, tensors: Mapping[str, Tensor], described: dict[str, Any]) -> str:
        """Begin to write a checkpoint of a copy of the tensors; returns its name. Waits for the one before.

        Args:
            described: what `about` gives back.
        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        name = name_of(described["step"])
        copies = self._staging.copy(tensors)
        publish = partial(self.publish, name, described)
        self._writing = self._thread.submit(self._write, copies, CheckpointWriter(self.run, name, publish))
        return name

    def _write(self, copies: dict[str, Tensor], writer: CheckpointWriter) -> None:
        self._staging.wait()
        alone = self.processes.count == 1
        dcp.save({_ALL: copies}, storage_writer=writer, process_group=self.processes.saving, no_dist=alone)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the last checkpoint is whole, or for so long. Raises OSError if it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                writing.result(seconds)
            except (Exception, dcp.CheckpointException) as error:
                first = next((cause for cause, _ in getattr(error, "failures", {}).values()), error)  # by rank
                raise OSError(f"a checkpoint in {self.run.url} could not be written: {sentence(first)}") from error

    def publish(self, name: str, described: dict[str, Any]) -> None:
        """Have `latest` name a checkpoint that is whole, and `best` if its loss is the least; delete those no longer
        kept."""
        files = [info.name.rpartition("/")[2] for info in self.run.list(name)]
        described = {**described, "sums": _sums(self.run, name, sorted(set(files) - {ABOUT}))}
        described = json.loads(json.dumps(described))  # as it will be read
        whole = {**described, "checksum": _checksum_of(described)}
        self.run.write(f"{name}/{ABOUT}", json.dumps(whole).encode())
        plain = name.rpartition("/")[2]
        self.run.write(LATEST, f"{plain}\n".encode())
        best = _pointed_checkpoint(self.run, BEST)
        if best is None or best >= name or _score(self.run, best) > described["score"]:
            self.run.write(BEST, f"{plain}\n".encode())
            best = name
        for old in _folders(self.run)[: -self.keep]:
            if old != best:
                self.run.delete_folder(old)


def _folders(run: Storage) -> list[str]:
    """The names of all checkpoints of a run, whole or not, the oldest first."""
    names = {info.name.rpartition("/")[0] for info in run.list(FOLDER, recursive=True)}
    return sorted(name for name in names if name.startswith(f"{FOLDER}/step-"))


def check_resumable(run: Storage, described: dict[str, Any], config: TrainConfig, index_fingerprint: str) -> None:
    """Raise ValueError, in a sentence, if a run's checkpoint was made from another config or dataset."""
    if described["index_fingerprint"] != index_fingerprint:
        raise ValueError(f"{run.url} was trained on another version of {config.dataset}; give the new run another name")
    new = json.loads(json.dumps(by_place(config)))
    for key, old in by_place(described["config"]).items():
        if key in PATHS:
            old = absolute_value(key, old)  # an older version wrote paths as they were given
        if key in new and key not in RESUMABLE_CHANGES | {"dataset"} and new[key] != old:
            raise ValueError(f"{run.url} was begun with {key} {old!r}, not {new[key]!r}; give the new run another name")


def write_config(run: Storage, config: TrainConfig) -> None:
    """Write the effective config."""
    run.write("config.yaml", yaml.safe_dump(asdict(config), sort_keys=False).encode())
