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
    damaged: int  # images that could not be read, and so were not asked


def format_table(results: Sequence[Result]) -> str:
    """The results as aligned text, a line each; below them, which tasks had images that could not be read."""
    rows = [("task", "metric", "value", "chance", "× chance", "samples", "candidates")]
    for result in results:
        rank = "rank" in result["metric"]
        value, chance = (f"{number:.1f}" if rank else f"{number:.1%}" for number in (result["value"], result["chance"]))
        times = f"{result['value'] / result['chance']:.1f}" if result["chance"] and not rank else ""
        rows.append(
            (result["task"], result["metric"], value, chance, times, str(result["samples"]), str(result["candidates"]))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    damaged = {result["task"]: result["damaged"] for result in results if result["damaged"]}
    return "\n".join(lines + [f"{task}: {count} images could not be read" for task, count in damaged.items()])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    cells = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(cells).rstrip()
