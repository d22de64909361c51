"""balance: at most t pairs a query over what is left; see `pipeline.stages.balance_phases`."""

from __future__ import annotations

from pipeline.engine.phase import phase
from pipeline.engine.run import Run
from pipeline.stages import balance_phases
from pipeline.stages.balance import BALANCE
from pipeline.stages.balance_phases import Balancing

BALANCING = Balancing(
    phase(BALANCE, "balance.count")(balance_phases.count),
    phase(BALANCE, "balance.windows", version=3)(balance_phases.windows),
    phase(BALANCE, "balance.collect", version=3)(balance_phases.collect),
    phase(BALANCE, "balance.cutoffs", version=3)(balance_phases.cutoffs),
    phase(BALANCE, "balance.decide")(balance_phases.decide),
)


def run(run: Run) -> None:
    """Balance at exactly the caps."""
    BALANCING.run(run, 1.0, None)
