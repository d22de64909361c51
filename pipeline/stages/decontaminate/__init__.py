"""decontaminate: images that look like one of an evaluation set, or are copies of one, never reach the shards."""

from __future__ import annotations

from dataset.stages import Stage, Table

DECONTAMINATE = Stage(
    name="decontaminate",
    code=f"{__name__}.stage",
    phases=("decontaminate.index", "decontaminate.embed", "decontaminate.find", "decontaminate.decide"),
    judges="pairs",
    passed="unlike every image of the evaluation sets",
    sections=("decontaminate",),
    reasons={"in_evaluation_set": "looks like an image of an evaluation set"},
    tables=(
        Table("evaluation_images", "decontaminate.index", "index", is_view=False),
        Table("nearest_evaluation_images", "decontaminate.find", "found", is_view=False),
    ),
)
