"""What the report shows of the training runs below OUT/runs: their loss, and what their examination found.

Their files may be anybody's: a line of a log, or a row of an examination, that is not as openwit writes it is passed
over and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.store.storage import Storage
from pipeline.reports import charts
from pipeline.reports.format import parse_json

_LOG, _EXAMINED = "log.jsonl", "evaluation.json"
_POINTS = 240  # of a curve
_LOGGED = ("step", "steps", "loss", "logit_scale", "samples_per_second")
_FOUND = ("value", "chance", "samples", "candidates")
_NORMS = {tower: f"gradient_norm_{tower}" for tower in ("image", "text")}


def runs(storage: Storage) -> list[dict[str, Any]]:
    """Return the template's variables of each run, in the order of their names."""
    names = {info.name for info in storage.list("runs", recursive=True)}
    homes = sorted({name.rpartition("/")[0] for name in names if name.endswith((f"/{_LOG}", f"/{_EXAMINED}"))})
    return [_run(storage, folder, names) for folder in homes]


def _run(storage: Storage, folder: str, names: set[str]) -> dict[str, Any]:
    unread = 0
    log: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for text in storage.read(f"{folder}/{_LOG}").splitlines() if f"{folder}/{_LOG}" in names else []:
        line = _row(parse_json(text), _LOGGED)
        unread += line is None
        log += [] if line is None else [line]
    if f"{folder}/{_EXAMINED}" in names:
        examined = parse_json(storage.read(f"{folder}/{_EXAMINED}"))
        rows = [_row(row, _FOUND) for row in examined] if isinstance(examined, list) else [None]
        results = [{**row, **_score(row)} for row in rows if row is not None]
        unread += len(rows) - len(results)
    shown = log[:: max(1, len(log) // _POINTS)]
    norms = {
        tower: [(row["step"], row[key]) for row in shown if _is_number(row.get(key))] for tower, key in _NORMS.items()
    }
    return {
        "name": folder.removeprefix("runs/"),
        "last": log[-1] if log else None,
        "norms": charts.lines(norms, "step", "gradient norm") if any(norms.values()) else "",
        "loss": charts.lines({"loss": [(row["step"], row["loss"]) for row in shown]}, "step", "loss"),
        "results": results,
        "unread": unread,
    }


def _row(value: Any, numbers: tuple[str, ...]) -> dict[str, Any] | None:
    """A JSON object, if these of its values are numbers; None if it is none."""
    is_row = isinstance(value, dict) and all(_is_number(value.get(name)) for name in numbers)
    return value if is_row else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63  # neither NaN nor ∞


def _score(result: Mapping[str, Any]) -> dict[str, str]:
    """A figure and its chance level as people read them."""
    rank = "rank" in str(result.get("metric"))
    value, chance = (f"{result[key]:,.1f}" if rank else f"{result[key]:.1%}" for key in ("value", "chance"))
    times = f"{result['value'] / result['chance']:.1f} ×" if result["chance"] and not rank else ""
    return {
        "task": str(result.get("task", "")),
        "metric": str(result.get("metric", "")),
        "value": value,
        "chance": chance,
        "times": times,
    }
