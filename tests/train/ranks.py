"""Real processes of one training run, forked from this one: they start at once, for all is imported already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch

from train.config import TrainConfig
from train.loop import Progress, train


def start(count: int, work: Callable[[], object]) -> list[BaseProcess]:
    """Start processes that find each other as torchrun's do, and do some work each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def enter(rank: int) -> None:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        os.environ.update(WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank))
        torch.set_num_threads(1)
        work()

    context = multiprocessing.get_context("fork")
    processes: list[BaseProcess] = [context.Process(target=enter, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    return processes


def run(count: int, work: Callable[[], object]) -> None:
    """Do some work in several processes. Raises AssertionError if one fails."""
    processes = start(count, work)
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert codes == [0] * count, f"exit codes {codes}"


def kill(processes: list[BaseProcess]) -> None:
    """SIGKILL to all of them at once."""
    for process in processes:
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()


def training(config: TrainConfig, run: str, progress: Progress = lambda record: None) -> Callable[[], object]:
    """The work of training."""
    return lambda: train(config, run, progress)
