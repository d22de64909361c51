"""The stages of the path: a folder each, whose `__init__` declares it and whose `stage` has its code.

A new stage is a record with its code, the SQL that decides, the section of the config that it brings, and a place in
`PATH`: the run, the config, the views, `wit explain`, the report and the audits know it from there. Declarations import
nothing heavy, for every command reads them.
"""

from __future__ import annotations

from dataset.stages import Stage
from pipeline.stages.balance import BALANCE
from pipeline.stages.decontaminate import DECONTAMINATE
from pipeline.stages.dedup import DEDUP
from pipeline.stages.extract import EXTRACT
from pipeline.stages.fetch import FETCH
from pipeline.stages.image import IMAGE
from pipeline.stages.match import MATCH
from pipeline.stages.neardup import NEARDUP
from pipeline.stages.pack import PACK
from pipeline.stages.prebalance import PREBALANCE
from pipeline.stages.text import TEXT

PATH: tuple[Stage, ...] = (
    EXTRACT,
    TEXT,
    MATCH,
    DEDUP,
    PREBALANCE,
    FETCH,
    IMAGE,
    NEARDUP,
    DECONTAMINATE,
    BALANCE,
    PACK,
)
"""The order in which they run."""
