"""What `wit plan` answers: tables, and what is assumed, as text or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from pipeline.forecast.assumptions import Assumptions
from pipeline.forecast.forecast import DRIVER, Forecast, dominates, instances, ranked, sensitivity
from pipeline.forecast.rates import Measured

_REFERENCE = 1
"""Which of `instances` the sentence and the sensitivities are about."""


def as_text(trial: Measured, found: Forecast, deadline_hours: float) -> str:
    """Return the forecast as people read it."""
    assumptions = found.assumptions
    name, vcpus, price = instances()[_REFERENCE]
    asked = found.requests
    lines = [
        f"{found.pairs:,.0f} pairs, by the rates of {trial.out} ({trial.log}): {trial.pairs:,} pairs kept of "
        f"{trial.share:.3%} of {_size(trial.source_bytes)} of sources",
        "",
        f"{'stage':<14}{'core-hours':>12}{'share':>8}{'read':>12}{'written':>12}{'requests':>14}",
    ]
    whole = found.core_hours or 1.0
    for stage in ranked(found):
        title = "the driver" if stage.stage == DRIVER else stage.stage
        lines.append(
            f"{title:<14}{_hours(stage.core_hours):>12}{stage.core_hours / whole:>8.1%}{_size(stage.bytes_read):>12}"
            f"{_size(stage.bytes_written):>12}{sum(stage.requests.values()):>14,.0f}"
        )
    lines += [
        f"{'all':<14}{_hours(found.core_hours):>12}",
        "",
        f"sources read     {_size(found.source_bytes)}",
        f"images fetched   {_size(found.fetched_bytes)}",
        f"moved            {_size(found.moved_bytes)} between the store and the nodes",
        f"shards kept      {_size(found.kept_bytes)}",
        f"disk, at most    {_size(found.disk_bytes)}",
        f"requests         {asked['get']:,.0f} GET, {asked['put']:,.0f} PUT, {asked['list']:,.0f} LIST, "
        f"{asked['delete']:,.0f} DELETE",
        f"GPU-hours        {_hours(found.gpu_hours)}",
        "",
        f"{'instance':<16}{'hours on one':>14}{'dollars':>12}{'on spot':>12}{f'nodes for {deadline_hours:g} h':>20}",
    ]
    for each, cpus, dollars in instances():
        spot = found.dollars(cpus, dollars, spot=True)
        lines.append(
            f"{each:<16}{_hours(found.hours(1, cpus)):>14}{found.dollars(cpus, dollars):>12,.2f}"
            f"{spot:>12,.2f}{found.nodes(deadline_hours, cpus):>20,}"
        )
    lines += ["", dominates(found, vcpus, price), "", f"{f'dollars on spot {name} with':<36}{'half':>12}{'double':>12}"]
    rows = sensitivity(found, vcpus, price)
    lines += [f"{row.what:<36}{row.dollars_half:>12,.2f}{row.dollars_double:>12,.2f}" for row in rows]
    lines += ["", "assumed (--assume NAME=VALUE):"]
    lines += [f"  {each.name} = {getattr(assumptions, each.name):g}" for each in fields(Assumptions)]
    return "\n".join(lines)


def as_json(trial: Measured, found: Forecast, deadline_hours: float) -> str:
    """Return one array with one object, as all of wit's JSON."""
    _, vcpus, price = instances()[_REFERENCE]
    answer = {
        "pairs": found.pairs,
        "measured": {"out": trial.out, "log": trial.log, "pairs": trial.pairs, "share": trial.share},
        "stages": [asdict(stage) for stage in ranked(found)],
        "core_hours": found.core_hours,
        "gpu_hours": found.gpu_hours,
        "source_bytes": found.source_bytes,
        "fetched_bytes": found.fetched_bytes,
        "moved_bytes": found.moved_bytes,
        "kept_bytes": found.kept_bytes,
        "disk_bytes": found.disk_bytes,
        "requests": found.requests,
        "instances": [
            {
                "name": each,
                "hours_on_one": found.hours(1, cpus),
                "dollars": found.dollars(cpus, dollars),
                "dollars_on_spot": found.dollars(cpus, dollars, spot=True),
                "nodes_for_deadline": found.nodes(deadline_hours, cpus),
            }
            for each, cpus, dollars in instances()
        ],
        "deadline_hours": deadline_hours,
        "dominates": dominates(found, vcpus, price),
        "sensitivity": [asdict(row) for row in sensitivity(found, vcpus, price)],
        "assumptions": asdict(found.assumptions),
    }
    return json.dumps([answer], indent=1)


def _size(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:,.3g}"
