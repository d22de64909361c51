"""Whatever goes wrong, wherever: every process ends soon, with one sentence and a status, and the traceback is kept."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dataset.store.storage import Storage
from tests.train import ranks, tiny
from train import failure, loop
from train.__main__ import main
from train.checkpoints import checkpoint
from train.data.loader import Samples
from train.distributed import watch
from train.distributed.processes import Processes, hold_folder
from train.evaluate.in_training.periodic import Periodic
from train.failure import EXIT_SECONDS, PeerError, ReaderError, TrainingError, sentence, would_recur
from train.logs.log import Log

SECONDS = 60.0
"""The seconds in which all must have ended, however busy the machine is with other tests."""
PROMISED_SECONDS = 20.0
"""The seconds in which docs/training.md says that they end. Held against what the code waits for at most, which
no load changes.
"""
Injure = Callable[[pytest.MonkeyPatch], None]


class InjectedError(RuntimeError):
    """What nobody foresaw."""


def after(
    calls: int, act: Callable[[], object], real: Callable[..., Any] = lambda *_, **__: None
) -> Callable[..., Any]:
    """The real function, until it was called so often."""
    count = 0

    def called(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            act()
        return real(*arguments, **more)

    return called


def fail() -> None:
    raise InjectedError("it broke\nin two lines")


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_backward(act: Callable[[], object]) -> Injure:
    return lambda patch: patch.setattr(loop, "backward", after(2, act, loop.backward))


def begin(config: Path, run: Path, injure: dict[int, Injure], count: int = 1) -> list[BaseProcess]:
    """Start `python -m train` in some processes, some of which are to go wrong; what they say goes to RUN/said-RANK."""

    def work() -> None:
        rank = int(os.environ["RANK"])
        run.mkdir(exist_ok=True)
        said = os.open(run / f"said-{rank}", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        with pytest.MonkeyPatch.context() as patch:
            if rank in injure:
                injure[rank](patch)
            sys.exit(main([str(config), "--out", str(run)]))

    return ranks.start(count, work)


def ended(processes: list[BaseProcess]) -> list[int | None]:
    """The processes' statuses, once all have ended. Raises AssertionError if one has not in time."""
    until = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    ranks.kill(processes)
    assert None not in codes, f"exit codes {codes}"
    return codes


def told(run: Path, rank: int = 0) -> str:
    """The last line that a process said."""
    return (run / f"said-{rank}").read_text().splitlines()[-1]


@pytest.fixture
def config(tiny_dataset: str, tmp_path: Path) -> Path:
    """The config of an endless run with a reader."""
    values = {"dataset": tiny_dataset, "model": tiny.MODEL, "batch_size": 16, "samples_seen": 16000, "workers": 1}
    values |= {"device": "cpu", "log_every": 1, "checkpoint_every": 3, "tensorboard": False, "timeout_s": 3}
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def in_forward(patch: pytest.MonkeyPatch) -> None:
    parallelize = loop.parallelize

    def spoiled(*arguments: Any) -> Any:
        towers = parallelize(*arguments)
        towers.register_forward_pre_hook(after(2, fail))
        return towers

    patch.setattr(loop, "parallelize", spoiled)


def in_evaluation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Periodic, "due", lambda periodic, step: step == 2)
    patch.setattr(Periodic, "examine", after(0, fail))


PLACES: dict[str, Injure] = {
    "forward": in_forward,
    "loss": lambda patch: patch.setitem(loop.LOSSES, "softmax", after(2, fail, loop.LOSSES["softmax"])),
    "backward": in_backward(fail),
    "clipping": lambda patch: patch.setattr(loop, "clip_gradients", after(2, fail)),
    "optimizer": lambda patch: patch.setattr(torch.optim.AdamW, "step", after(2, fail, torch.optim.AdamW.step)),
    "evaluation": in_evaluation,
    "log": lambda patch: patch.setattr(Log, "add", after(2, fail)),
    "checkpoint": lambda patch: patch.setattr(checkpoint.Checkpoints, "publish", after(0, fail)),
    "checkpoint's copy": lambda patch: patch.setattr(checkpoint.Checkpoints, "save", after(0, fail)),
    "loader": lambda patch: patch.setattr(Samples, "part", after(2, fail, Samples.part)),
    "model": lambda patch: patch.setattr(loop, "create_configured", after(0, fail)),
}


@pytest.mark.parametrize("place", PLACES)
def test_any_error_is_one_sentence_and_its_traceback_a_file(config: Path, tmp_path: Path, place: str) -> None:
    run = tmp_path / "run"
    assert ended(begin(config, run, {0: PLACES[place]})) == [1]
    said = told(run)
    assert said.startswith("error: ")
    assert "it broke in two lines" in said and ", line " not in said
    assert (run / "said-0").read_text().count("error") == said.count("error")
    trace = next((run / "failures").iterdir())
    assert str(trace) in said
    assert "Traceback" in (text := trace.read_text()) and "in fail" in text


@pytest.mark.parametrize("place", ["log", "checkpoint", "evaluation", "loader"])
def test_what_fails_on_one_process_alone_ends_the_other_that_waits_for_it(
    config: Path, tmp_path: Path, place: str
) -> None:
    run = tmp_path / "run"
    assert ended(begin(config, run, {0: PLACES[place]}, 2)) == [1, 1]
    assert "it broke in two lines" in told(run, 0)
    first = "a checkpoint in .*" if place == "checkpoint" else r"rank 0 on \S+ failed: .*"  # which both write
    assert re.search(f"{first}it broke in two lines", told(run, 1))


def test_readers_that_are_killed_or_stand_still_end_the_run(config: Path, tmp_path: Path) -> None:
    def hurt(number: int) -> Callable[[], None]:
        def act() -> None:
            for reader in multiprocessing.active_children():
                os.kill(reader.pid or 0, number)

        return act

    config.write_text(config.read_text().replace("workers: 1", "workers: 2"))
    killed, frozen = tmp_path / "killed", tmp_path / "frozen"
    assert ended(begin(config, killed, {0: in_backward(hurt(signal.SIGKILL))})) == [1]
    # torch names the signal only where its watch over the readers is first to notice
    by = "( by the signal Killed)?"
    assert re.match(f"error: a process that reads samples was ended{by}, as Linux does", told(killed))
    config.write_text(config.read_text().replace("timeout_s: 3", "timeout_s: 0.2"))
    assert ended(begin(config, frozen, {0: in_backward(hurt(signal.SIGSTOP))})) == [1]
    assert told(frozen).startswith("error: the processes that read samples gave none for 2 s, ten times timeout_s")


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (fail, "failed: InjectedError: it broke in two lines"),
        (die, "died"),
        (freeze, "gave no sign of life for 3 s"),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_ends_all_and_they_say_which_it_was(
    config: Path, tmp_path: Path, rank: int, act: Callable[[], object], what: str
) -> None:
    run = tmp_path / "run"
    codes = ended(begin(config, run, {rank: in_backward(act)}, 2))
    assert 0 not in codes
    other = 1 - rank
    assert codes[other] == 1
    said = told(run, other)
    assert f"rank {rank} on " in said
    if not (act is freeze and rank == 0):  # then its store does not answer, which is said instead
        assert what in said
    assert "Traceback" not in (run / f"said-{other}").read_text()


@pytest.mark.parametrize(
    ("way", "waits"),
    [
        ("it failed", [watch.READ_PERIODS * watch.PERIOD_SECONDS, EXIT_SECONDS]),
        ("another said that it failed", [watch.PERIOD_SECONDS, watch.GRACE_SECONDS, EXIT_SECONDS]),
        ("another died", [2 * watch.PERIOD_SECONDS, watch.GRACE_SECONDS, EXIT_SECONDS]),
        (
            "its collective failed",
            [watch.BLAME_SECONDS, watch.READ_PERIODS * watch.PERIOD_SECONDS, EXIT_SECONDS],
        ),
    ],
)
def test_what_a_process_waits_for_before_it_ends_is_less_than_is_promised(way: str, waits: list[float]) -> None:
    assert sum(waits) < PROMISED_SECONDS, way


def test_processes_that_start_slowly_or_wait_for_one_are_not_taken_for_dead(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    config.write_text(config.read_text().replace("16000", "48").replace("timeout_s: 3", "timeout_s: 1"))
    slow = after(0, lambda: time.sleep(4), loop.open_corpus)
    monkeypatch.setattr(loop, "open_corpus", slow)
    assert ended(begin(config, run, {}, 2)) == [0, 0]


def test_what_a_library_says_becomes_what_to_do() -> None:
    full = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")
    assert "--shm-size" in sentence(full)
    bus = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that …")
    assert "Bus error" in sentence(bus) and "--shm-size" in sentence(bus)
    assert sentence(MemoryError()).startswith("this process has too little memory")
    assert len(sentence(RuntimeError("x" * 10_000))) < 400
    assert sentence(KeyError()) == "KeyError"


def test_a_full_disk_keeps_the_traceback_elsewhere(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", str(arguments[-1]))

    def injure(patch: pytest.MonkeyPatch) -> None:
        write = Storage.write
        patch.setattr(Log, "add", full)
        patch.setattr(Storage, "write", lambda *given: full("x") if given[1].startswith("failures") else write(*given))

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    run = tmp_path / "run"
    assert ended(begin(config, run, {0: injure})) == [1]
    assert "No space left on device" in told(run)
    assert str(elsewhere) in told(run)


@pytest.mark.parametrize(
    ("error", "recurs"),
    [
        (ValueError("batch_size must be positive"), True),
        (TrainingError("the loss is no number since step 7"), True),
        (KeyError("colour"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 2x4)"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (ReaderError("a process that reads samples failed: KeyError: 'jpg'", "Traceback …"), True),
        (FileNotFoundError("there is no index"), True),
        (PeerError("rank 1 on b died, and with it the run"), False),
        (RuntimeError("[enforce fail at gloo] Connection closed by peer [10.0.0.2]:3412"), False),
        (RuntimeError("NCCL error: unhandled system error"), False),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), False),
        (ReaderError("the processes that read samples gave none for 600 s"), False),
        (OSError("the bucket does not answer"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_what_was_lost_is_worth_another_start(error: Exception, recurs: bool) -> None:
    assert would_recur(error) is recurs


def test_a_failed_process_ends_though_a_thread_of_its_hangs(tmp_path: Path) -> None:
    """Whose threads wait for one another until the interpreter is left, where Python 3.12 begins no new one."""
    script = tmp_path / "fails.py"
    script.write_text(
        "import threading, time\nfrom train import failure\n"
        "failure.EXIT_SECONDS = 0.1\n"
        f"threading.Thread(target=time.sleep, args=({2 * SECONDS},)).start()\n"
        "failure.end_after_main_thread()\n"
    )
    root = str(Path(failure.__file__).parents[1])
    ended = subprocess.run([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root}, timeout=SECONDS)
    assert ended.returncode == 1


def test_a_folder_in_which_a_run_trains_is_refused_to_another(tmp_path: Path) -> None:
    home, alone = Storage(str(tmp_path)), Processes(0, 1, torch.device("cpu"))
    with hold_folder(home, alone):
        said = rf"{tmp_path} is being written by process {os.getpid()} on .*; stop that run, or wait"
        with pytest.raises(TrainingError, match=said), hold_folder(home, alone):
            pass
    with hold_folder(home, alone):  # it was given back
        pass
