"""A whole stage in one module, with its decision beside it: what adding one takes. For test_new_stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from dataset.schema import VERDICTS
from dataset.stages import Stage, Table
from pipeline.engine.contract import CANDIDATE_ROWS, roles
from pipeline.engine.phase import Context, Result, files_of_each, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide_by_sql, verdict_result

CAPITALS = pa.schema([("row", pa.uint32()), ("capitals", pa.float64())])


@dataclass(frozen=True)
class ShoutingConfig:
    """The section `shouting` of the config."""

    max_capitals: float = 0.5
    """The largest share of a text's letters that may be capitals."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_capitals <= 1:
            raise ValueError(f"max_capitals must be from 0 to 1, not {self.max_capitals}")


SHOUTING = Stage(
    name="shouting",
    code=__name__,
    phases=("shouting.measure", "shouting.decide"),
    judges="candidates",
    config=ShoutingConfig,
    passed="the text is said in a quiet voice",
    reasons={"text_shouts": "more of the text's letters are capitals than a quiet voice has"},
    tables=(Table("capitals", "shouting.measure", "measures", CAPITALS, is_public=True, measured_on="row"),),
)


@phase(SHOUTING, "shouting.measure", reads=CANDIDATE_ROWS, gives=roles(measures=CAPITALS))
def measure(context: Context) -> Result:
    """The share of capitals among each text's letters."""
    rows = alive_rows(context, ["text"])
    texts = [[letter for letter in text if letter.isalpha()] for text in rows["text"].to_pylist()]
    shares = [sum(map(str.isupper, letters)) / max(1, len(letters)) for letters in texts]
    return Result().table("measures", pa.table([rows["row"], shares], schema=CAPITALS), CAPITALS)


@phase(
    SHOUTING,
    "shouting.decide",
    reads=CANDIDATE_ROWS | roles(measures=CAPITALS),
    takes=("max_capitals",),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Verdicts by shouting.sql."""
    rows = alive_rows(context, ["text"])
    decision = str(Path(__file__).with_suffix(""))
    verdicts = decide_by_sql(context, decision, rows, {"measures": context.table("measures")}, context.options)
    return verdict_result(context, rows, verdicts)


def run(run: Run) -> None:
    """Measure and decide."""
    measured = run.map(measure, {})
    run.decide(decide, asdict(run.config.section(ShoutingConfig)), each=files_of_each(measured, "measures"))
