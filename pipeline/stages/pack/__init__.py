"""pack: what is left becomes WebDataset shards in one global, seeded order, with an index and a held-out split."""

from __future__ import annotations

from dataset.layout import QUERIES
from dataset.schema import LOOKUP, QUERY_COUNTS, SAMPLES
from dataset.stages import Stage, Table

PACK = Stage(
    name="pack",
    code=f"{__name__}.stage",
    phases=(
        "pack.groups",
        "pack.captions",
        "pack.bridges",
        "pack.small_star",
        "pack.large_star",
        "pack.roots",
        "pack.members",
        "pack.chosen",
        "pack.split",
        "pack.map",
        "pack.by_shard",
        "pack.places",
        "pack.images",
        "pack.regrouped",
        "pack.shard",
        "pack.index",
        "pack.queries",
        "pack.candidate_keys",
        "pack.pair_keys",
        "pack.sample_keys",
        "pack.lookup",
    ),
    temporary=("pack.places", "pack.images", "pack.regrouped"),
    sections=("pack",),
    tables=(
        Table("samples", "pack.shard", "samples", SAMPLES, is_numbered=False),
        Table("index", "pack.index", "index", is_view=False),
        Table("lookup", "pack.lookup", "lookup", LOOKUP, is_view=False),
        Table("queries", "pack.queries", "queries", QUERY_COUNTS, is_public=True, is_numbered=False, published=QUERIES),
    ),
    views=("views/pairs",),
)
