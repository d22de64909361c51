"""prebalance: caps every query before the download, then writes the pairs, partitioned by host."""

from __future__ import annotations

from dataset.schema import CAPS, PAIRS
from dataset.stages import Stage, Table

PREBALANCE = Stage(
    name="prebalance",
    code=f"{__name__}.stage",
    phases=(
        "prebalance.count",
        "prebalance.caps",
        "prebalance.windows",
        "prebalance.collect",
        "prebalance.cutoffs",
        "prebalance.decide",
        "prebalance.route",
        "prebalance.map",
        "prebalance.pairs",
    ),
    judges="candidates",
    passed="a query of it has room before the download",
    sections=("prebalance",),
    reasons={"query_full": "every query that the text matches has enough pairs without this one"},
    tables=(
        Table("caps", "prebalance.caps", "caps", CAPS, is_public=True, is_numbered=False),
        Table("matched_counts", "prebalance.windows", "counts", is_view=False),
        Table("pairs", "prebalance.pairs", "pairs", PAIRS),
    ),
)
