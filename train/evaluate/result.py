"""What an examination found, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Result(TypedDict):
    """One figure."""

    task: str  # the task directory's name, or "retrieval"
    metric: str  # top1, top5, image_to_text_r1, text_to_image_median_rank, ...
    value: float  # a share of 1, or a rank
    chance: float  # what guessing gives
    samples: int  # images asked, or pairs ranked
    candidates: int  # answers to choose from


def format_table(results: Sequence[Result]) -> str:
    """The results as aligned text, a line each."""
    rows = [("task", "metric", "value", "chance", "× chance", "samples", "candidates")]
    for result in results:
        rank = "rank" in result["metric"]
        value, chance = (f"{number:.1f}" if rank else f"{number:.1%}" for number in (result["value"], result["chance"]))
        times = f"{result['value'] / result['chance']:.1f}" if result["chance"] and not rank else ""
        rows.append(
            (result["task"], result["metric"], value, chance, times, str(result["samples"]), str(result["candidates"]))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
