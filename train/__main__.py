"""`python -m train CONFIG.yaml [--out RUN] [--set key=value …] [--dry-run]`, also under torchrun."""

from __future__ import annotations

import argparse
import os
import socket
import sys

from dataset.yaml_text import override
from train.config import load
from train.failure import end_after_main_thread, outlet
from train.loop import train
from train.memory.dry_run import dry_run_here


def main(arguments: list[str] | None = None) -> int:
    """Train; returns the exit status: 0, 2 for a config or usage error, 1 for a run that failed or would not fit."""
    parser = argparse.ArgumentParser(prog="python -m train", description="Train a CLIP on a dataset's shards.")
    parser.add_argument("config", help="YAML file; see train.config.TrainConfig for its keys")
    parser.add_argument("--out", metavar="RUN", help="URL of the run's directory (default: DATASET/runs/NAME)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override a key of the config"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="no run: say what it would take of time, memory and disk"
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs that --dry-run reckons with; by default this machine's"
    )
    parser.add_argument(
        "--gpu-memory", type=float, metavar="GB", help="memory of each GPU, for --dry-run; by default this machine's"
    )
    parser.add_argument(
        "--rate", type=float, metavar="SAMPLES/S", help="speed, for --dry-run; by default that of the run's log"
    )
    options = parser.parse_args(arguments)
    try:
        pairs = [item.partition("=") for item in options.set]
        if wrong := [key for key, equals, _ in pairs if not equals]:
            raise ValueError(f"--set takes KEY=VALUE, not {wrong[0]!r}")
        config = load(options.config, {key: override(value) for key, _, value in pairs})
        if options.dry_run:
            figures = options.gpus, options.gpu_memory, options.rate
            lines, fits = dry_run_here(config, options.out, *figures)
            print("\n".join(lines))
            return 0 if fits else 1
        result = train(config, options.out)
    except KeyboardInterrupt:
        return _report_failure("stopped; the same command goes on where it was", 130)
    except (ValueError, FileNotFoundError) as error:
        return _report_failure(f"error: {error}", 2)
    except Exception as error:
        return _report_failure(f"error: {outlet(error)}", 1)
    if result.step < result.steps:
        print(f"stopped after step {result.step} of {result.steps}; the same command goes on there")
    print(f"{result.checkpoint}: {result.step} steps, loss {result.loss:.4f}, {result.seconds:.0f} s")
    return 0


def _report_failure(text: str, status: int) -> int:
    """Say why, and which process it is if there are several; the process ends soon then, whatever still hangs."""
    rank = (
        f"rank {os.environ.get('RANK', 0)} on {socket.gethostname()}: "
        if int(os.environ.get("WORLD_SIZE", 1)) > 1
        else ""
    )
    print(f"{rank}{text}", file=sys.stderr, flush=True)
    end_after_main_thread()
    return status


if __name__ == "__main__":
    sys.exit(main())
