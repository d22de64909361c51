"""The processes of a run: torchrun or Ray Train started them, and WORLD_SIZE, RANK and LOCAL_RANK say so."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from dataset.ledger.lease import Lease, LeaseHeldError
from dataset.store.storage import Storage
from train.distributed import watch
from train.failure import FOLDER, TrainingError, end_with, lost_peer, sentence
from train.models.clip import pick_device

if TYPE_CHECKING:
    from train.distributed.watch import Verdict, Watch

COLLECTIVE_TIMEOUTS = 20
"""Times timeout_s that a collective of processes which all give signs of life may take."""
_PATIENCE = timedelta(days=7)
_OTHER_MACHINE_SECONDS = 75.0  # a lease and a little


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device
    control: dist.ProcessGroup | None = None  # on CPUs, for what the loop must agree upon
    saving: dist.ProcessGroup | None = None  # on CPUs, for checkpoints, which are written meanwhile
    watch: Watch | None = None  # of the other processes

    def sum(self, value: float) -> float:
        """Return the sum of every process's value."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return total.item()

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, by rank."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value, group=self.control)
        return values

    def share_of_machine(self, amount: int | None) -> int | None:
        """Return this process's part of what its machine has, from the amount that it sees; all ask before any takes
        some.
        """
        host = socket.gethostname()
        amounts = [seen for where, seen in self.gather((host, amount)) if where == host]
        return None if amount is None else min(amounts) // len(amounts)

    def tell(self, error: BaseException) -> None:
        """Let the other processes know that this one has failed."""
        if self.watch is not None:
            self.watch.tell(f"failed: {sentence(error)}")

    def blame(self) -> Verdict | None:
        """Return which process is at fault where a collective has failed; None where that is not known."""
        return None if self.watch is None else self.watch.blame()

    def is_broken(self, error: BaseException) -> bool:
        """Return whether an error is that another process is gone, so that nothing can be done together any more."""
        return self.count > 1 and lost_peer(error) and self.blame() is not None

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """Let the first process run the block before the others, which then find its work done."""
        if self.rank:
            self.gather(None)
        try:
            yield
        finally:
            if not self.rank:
                self.gather(None)


@contextlib.contextmanager
def join_processes(wanted_device: str, run_dir: Storage, timeout_s: float) -> Iterator[Processes]:
    """Join the other processes, if there are any and nobody has. Raises ValueError if there is no such device.

    Args:
        run_dir: the run's folder, which has what processes say when they fail.
        timeout_s: how long a process may give no sign of life; see `train.distributed.watch`.
    """
    device = pick_device(wanted_device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ours = int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized()
    backend = "nccl" if device.type == "cuda" else "gloo"
    if ours:
        record_nccl(run_dir, timeout_s)
        dist.init_process_group(backend, timeout=timedelta(seconds=COLLECTIVE_TIMEOUTS * timeout_s))
    if not dist.is_initialized():
        yield Processes(0, 1, device)
        return
    rank = dist.get_rank()
    # A group for each thread that communicates: in one, their messages could meet the wrong ones.
    control = _group(_PATIENCE)  # one process may have an hour's work to do before the others go on
    saving = _group(_PATIENCE)
    processes = Processes(rank, dist.get_world_size(), device, control, saving)
    if processes.count > 1 and (store := watch.store()) is not None:
        members = [watch.Member(*member) for member in processes.gather(tuple(watch.member()))]
        end = partial(end_with, run_dir=run_dir, rank=rank, host=members[rank].host)
        processes = replace(processes, watch=watch.Watch(store, rank, members, timeout_s, end))
    failed = True
    try:
        yield processes
        processes.gather(None)  # none ends as long as others need it
        failed = False
    finally:
        if processes.watch is not None:
            processes.watch.close()
        if ours and not (failed and backend == "nccl"):  # which might wait for those that are gone
            dist.destroy_process_group()


def record_nccl(run_dir: Storage, timeout_s: float) -> None:
    """Have NCCL keep a record of its last collectives, which it writes when one of them takes too long.

    What the environment sets already stays. To be called before the processes join.
    """
    folder = Path(run_dir.path(FOLDER)) if run_dir.local else Path(tempfile.gettempdir())
    for name, value in {
        "TORCH_FR_BUFFER_SIZE": "2000",  # collectives
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_DUMP_TEMP_FILE": str(folder / "nccl_trace_rank_"),  # the rank's number is put behind
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": str(max(60, round(COLLECTIVE_TIMEOUTS * timeout_s))),
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",  # a collective that fails ends its process
    }.items():
        os.environ.setdefault(name, value)


def _group(patience: timedelta) -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=patience)
    assert isinstance(group, dist.ProcessGroup)
    return group


@contextlib.contextmanager
def hold_folder(run_dir: Storage, processes: Processes) -> Iterator[None]:
    """Hold a run's folder, for one run at a time. Raises TrainingError if another holds it."""
    if processes.rank:
        yield
        return
    lease, until = Lease(run_dir), time.monotonic() + _OTHER_MACHINE_SECONDS
    while True:
        try:
            lease.__enter__()
            break
        except LeaseHeldError as error:
            # Of this machine's processes it is known whether they live; another's lease may be that of a dead one,
            # whose run starts again here.
            if f" on {socket.gethostname()};" in str(error) or time.monotonic() > until:
                raise TrainingError(str(error)) from error
            time.sleep(1)
            lease = Lease(run_dir)
    with contextlib.ExitStack() as ends:
        ends.push(lease)
        yield


class Stop:
    """Whether this process was asked to end, by SIGTERM: what a scheduler sends before it takes a machine away."""

    asked = False

    def __enter__(self) -> Stop:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # elsewhere Python lets nobody listen
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *signal_and_frame: object) -> None:
        self.asked = True


def outlast_signals(_worker: int) -> None:
    """Begin a reader of samples: SLURM, `timeout` and Ctrl-C signal every process of a run at once, and the training
    process still needs its readers for the step that is under way. It ends them itself; a second SIGTERM is its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch compute, while the block runs, the same bits from the same numbers, or raise RuntimeError, if wanted;
    if not, cuDNN tries which convolution is fastest.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS' condition (its documentation, 2.1.4)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
