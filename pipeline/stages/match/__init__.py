"""match: each text against the query list; what matches no query is dropped, as in the paper (section 2.2)."""

from __future__ import annotations

from dataset.schema import MATCHES, QUERY_COUNTS
from dataset.stages import Stage, Table

MATCH = Stage(
    name="match",
    code=f"{__name__}.stage",
    phases=("match.queries", "match.index", "match.measure", "match.decide"),
    judges="candidates",
    passed="the text contains queries",
    sections=("match",),
    reasons={"no_query_match": "the text contains none of the queries"},
    tables=(
        Table("matches", "match.measure", "measures", MATCHES, measured_on="row"),
        Table("queries", "match.queries", "queries", QUERY_COUNTS, is_public=True, is_numbered=False),
    ),
    views=("views/matches",),
)
