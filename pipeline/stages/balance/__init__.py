"""balance: at most t pairs a query over what is left."""

from __future__ import annotations

from dataset.stages import Stage

BALANCE = Stage(
    name="balance",
    code=f"{__name__}.stage",
    phases=("balance.count", "balance.windows", "balance.collect", "balance.cutoffs", "balance.decide"),
    judges="pairs",
    passed="a query of it has room",
    sections=("balance",),
    reasons={"query_full": "every query that the text matches has enough pairs without this one"},
)
