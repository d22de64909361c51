"""SIGKILL to all processes of a training run at random moments, several of them while a checkpoint is being written;
the run goes on, on as many processes or on others, to the losses of the unbroken run.

    python -m bench.kill_resume [--kills 20] [--seed 0]

On as many processes the losses must be the same bits, on others within 1e-4 over the next 50 steps. The last line is
one JSON object: `ours` is the kills that were survived so, of `kills`; there is no peer.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import tempfile
import time
from pathlib import Path

import torch

from bench.record import print_record
from tests.train import ranks, tiny
from tests.train.test_loop import config_of, losses
from train.config import TrainConfig

COUNTS = (1, 2, 3)  # processes
STEPS, EVERY, AHEAD = 90, 4, 50
ROUNDING = 1e-4


def newest(run: Path) -> tuple[int, bool]:
    """Return (step that `latest` names, or 0; whether a newer checkpoint is there in part)."""
    folder = run / "checkpoints"
    latest = folder / "latest"
    step = int(latest.read_text()[5:]) if latest.exists() else 0
    steps = [int(path.name[5:]) for path in folder.glob("step-*")] if folder.exists() else []
    return step, any(other > step for other in steps)


def kill(config: TrainConfig, run: Path, count: int, after: int, in_a_write: bool, pause: float) -> tuple[int, bool]:
    """Train in some processes and kill them at a step, outside of a write `pause` s later; what `newest` says then."""
    processes = ranks.start(count, ranks.training(config, str(run)))
    while newest(run)[0] < after or (in_a_write and not newest(run)[1]):
        if any(process.exitcode is not None for process in processes):
            break  # it was through before
        time.sleep(0.0005)
    if not in_a_write:
        time.sleep(pause)
    ranks.kill(processes)
    return newest(run)


def main() -> None:
    """Print a line for each kill, and as the last one a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny.register(folder)
        batch = {"batch_size": 12, "samples_seen": 12 * STEPS, "deterministic": True, "checkpoint_every": EVERY}
        config = config_of(tiny.write_dataset(folder / "dataset"), **batch)
        whole = {}
        for count in COUNTS:
            ranks.run(count, ranks.training(config, str(folder / str(count))))
            whole[count] = losses(folder / str(count))
        survived = within = 0
        for number in range(options.kills):
            before, other = rng.choice(COUNTS), number % 2 == 1
            after = rng.choice([count for count in COUNTS if (count != before) is other])
            wanted = number % 5 < 3  # more than the five at least: whether it was one is seen afterwards
            run = folder / "run"
            step, half = kill(config, run, before, rng.randrange(0, STEPS - AHEAD - EVERY), wanted, rng.uniform(0, 0.6))
            within += half
            ranks.run(after, ranks.training(config, str(run)))
            resumed = losses(run)
            apart = max(abs(resumed[index] - whole[before][index]) for index in range(1, min(STEPS, step + AHEAD) + 1))
            fine = resumed == whole[before] if before == after else apart <= ROUNDING and len(resumed) == STEPS
            survived += fine
            print(
                f"kill {number + 1:2}: {before} processes, at the latest checkpoint of step {step:2}"
                f"{', within a write' if half else ''}; resumed on {after}: largest difference {apart:.1e}"
                f"{'' if fine else ': NOT the unbroken run'}",
                flush=True,
            )
            shutil.rmtree(run)
    equal = survived == options.kills
    figures = {"ours": survived, "peer": None, "unit": "kills survived", "ratio": survived / options.kills}
    print_record({"bench": "kill_resume", **figures, "equal": equal, "kills": options.kills, "in_a_write": within})


if __name__ == "__main__":
    main()
