"""Whether `wit plan` is right: what a whole build takes, told from a trial on 2 % of its pages, beside what it took.

    make bench-plan
    python -m bench.plan --set 'image.nsfw_model=""'    # without the part that takes longest

The source is the clip-art archive of ../shared/data, on child processes of this machine. CPU seconds of all tasks and
of the driver, from the runs' own logs. The whole's number of pairs is given to the plan, as a user gives it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.match import LAION
from bench.record import print_record
from pipeline.build import build
from pipeline.config import Config, load
from pipeline.forecast.assumptions import Assumptions
from pipeline.forecast.forecast import DRIVER, Forecast, forecast
from pipeline.forecast.rates import Measured, measure_rates

ARCHIVE = LAION.parent / "openclipart.warc.gz"
WITHIN = 0.25


def built(out: Path, overrides: list[str]) -> tuple[Measured, Config]:
    """Return a dataset's own measurements."""
    config = load("archive", [f"sources=[{ARCHIVE}]", *overrides], str(out))
    build(config, quiet=True)
    return measure_rates(str(out)), config


def cpu_s(trial: Measured) -> dict[str, float]:
    """Return what each stage took, and the driver."""
    taken: dict[str, float] = {}
    for cost in trial.phases:
        taken[cost.stage] = taken.get(cost.stage, 0.0) + cost.of("cpu_s")
    return {**taken, DRIVER: trial.driver.get("cpu_s", 0.0)}


def forecast_cpu_s(forecast_: Forecast) -> dict[str, float]:
    """Return what each stage is told to take."""
    return {stage.stage: 3600 * stage.core_hours for stage in forecast_.stages}


def main() -> None:
    """Print both by stage, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trial, config = built(folder / "trial", [f"extract.sample={options.share}", *options.set])
        whole, _ = built(folder / "whole", options.set)
    assumptions = Assumptions(
        pairs_per_partition=config.run.pairs_per_partition, piece_megabytes=config.run.piece_bytes / 1e6
    )
    before, after = forecast_cpu_s(forecast(trial, whole.pairs, assumptions)), cpu_s(whole)
    tried = cpu_s(trial)
    print(f"{trial.pairs:,} pairs in the trial, {whole.pairs:,} in the whole; CPU seconds")
    for stage in after:
        print(f"{stage:<16}{tried.get(stage, 0):>10.2f}{before.get(stage, 0):>12.2f} told{after[stage]:>12.2f} taken")
    ours, peer = sum(before.values()), sum(after.values())
    last = {"bench": "plan", "ours": round(ours, 1), "peer": round(peer, 1), "unit": "CPU-s told and taken"}
    print_record({**last, "ratio": round(ours / peer, 3), "equal": abs(ours / peer - 1) <= WITHIN})


if __name__ == "__main__":
    main()
