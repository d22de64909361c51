"""balance: at most t pairs a query over what is left; see `pipeline.stages.balance_phases`."""

from __future__ import annotations

from pipeline.engine.run import Run
from pipeline.stages.balance_phases import AFTER


def run(run: Run) -> None:
    """Balance at exactly the caps."""
    AFTER.run(run, 1.0, None)
