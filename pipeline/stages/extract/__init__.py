"""extract: archives to candidates."""

from __future__ import annotations

from dataset.schema import CANDIDATES, SOURCES
from dataset.stages import Stage, Table

EXTRACT = Stage(
    name="extract",
    code=f"{__name__}.stage",
    phases=("extract.candidates",),
    sections=("commoncrawl", "extract"),
    tables=(
        Table("candidates", "extract.candidates", "candidates", CANDIDATES),
        Table("sources", "extract.candidates", "sources", SOURCES, is_numbered=False),
    ),
    views=("views/sources", "views/candidates"),
)
