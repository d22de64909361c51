"""What `explain` tells of dropped pairs, held against the verdicts' evidence."""

from __future__ import annotations

import json
from typing import Any

from dataset.display import clean
from dataset.query.views import Dataset
from dataset.reasons import reasons
from pipeline.asking.explain import explain


def told(out: str) -> set[str]:
    """The reasons of a dataset, of each of which a dropped pair's story was found to hold all of its evidence."""
    one_of_each = "SELECT reason, min((pair_id, stage, evidence)) FROM dropped GROUP BY reason ORDER BY reason"
    made = Dataset(out)
    rows = made.sql(one_of_each).fetchall()
    for reason, (pair_id, stage, evidence) in rows:
        stories = [story for story in explain(made, pair_id) if story.reason == reason]
        assert stories, f"nothing tells that {pair_id} was dropped for {reason}"
        json.dumps(stories[0].as_dict())
        last = stories[0].steps[-1]
        assert (last.stage, last.outcome) == (stage, "dropped")
        head, _, text = stories[0].as_text().rpartition(f"{stage:<14}dropped  {reason}: ")
        assert head and text.startswith(reasons()[reason][1])
        lines = {line.strip() for line in text.splitlines()[1:]}
        for name, value in json.loads(evidence).items():
            for line in shown(name, value):
                assert line in lines, (reason, line, lines)
    return {reason for reason, _ in rows}


def shown(name: str, value: Any) -> list[str]:
    """The lines that a piece of evidence is read by; none of what is null or empty."""
    if value is None or value == []:
        return []
    items = value if isinstance(value, list) else [value]
    words = "; ".join(str(round(item, 6) if isinstance(item, float) else item) for item in items)
    return [clean(f"{name.replace('_', ' ')}: {words}").strip()]
