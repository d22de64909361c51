"""balance: at most t pairs a query over what is left; see `pipeline.stages.balance_phases`."""

from __future__ import annotations

from pipeline.engine.contract import PAIR_ROWS
from pipeline.engine.run import Run
from pipeline.stages.balance import BALANCE
from pipeline.stages.balance_phases import Balancing

BALANCING = Balancing.declare(
    BALANCE,
    PAIR_ROWS,
    count="balance.count",
    windows="balance.windows",
    collect="balance.collect",
    cutoffs="balance.cutoffs",
    decide="balance.decide",
)


def run(run: Run) -> None:
    """Balance at exactly the caps."""
    BALANCING.run(run, 1.0)
