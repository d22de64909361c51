"""What `wit plan` answers: tables, and what is assumed, as text or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from pipeline.forecast.assumptions import Assumptions
from pipeline.forecast.forecast import DRIVER, Forecast, dominates, instances, rank_stages, sensitivity
from pipeline.forecast.rates import Measured

_REFERENCE = 1
"""Which of `instances` the sentence and the sensitivities are about."""


def as_text(trial: Measured, forecast: Forecast, deadline_hours: float) -> str:
    """Return the forecast as people read it."""
    assumptions = forecast.assumptions
    name, vcpus, price = instances()[_REFERENCE]
    asked = forecast.requests
    lines = [
        f"{forecast.pairs:,.0f} pairs, by the rates of {trial.out} ({trial.log}): {trial.pairs:,} pairs kept of "
        f"{trial.share:.3%} of {_size(trial.source_bytes)} of sources",
        "",
        f"{'stage':<14}{'core-hours':>12}{'share':>8}{'read':>12}{'written':>12}{'requests':>14}",
    ]
    whole = forecast.core_hours or 1.0
    for stage in rank_stages(forecast):
        title = "the driver" if stage.stage == DRIVER else stage.stage
        lines.append(
            f"{title:<14}{_hours(stage.core_hours):>12}{stage.core_hours / whole:>8.1%}{_size(stage.bytes_read):>12}"
            f"{_size(stage.bytes_written):>12}{sum(stage.requests.values()):>14,.0f}"
        )
    lines += [
        f"{'all':<14}{_hours(forecast.core_hours):>12}",
        "",
        f"sources read     {_size(forecast.source_bytes)}",
        f"images fetched   {_size(forecast.fetched_bytes)}",
        f"moved            {_size(forecast.moved_bytes)} between the store and the nodes",
        f"shards kept      {_size(forecast.kept_bytes)}",
        f"disk, at most    {_size(forecast.disk_bytes)}",
        f"requests         {asked['get']:,.0f} GET, {asked['put']:,.0f} PUT, {asked['list']:,.0f} LIST, "
        f"{asked['delete']:,.0f} DELETE",
        f"GPU-hours        {_hours(forecast.gpu_hours)}",
        "",
        f"{'instance':<16}{'hours on one':>14}{'dollars':>12}{'on spot':>12}{f'nodes for {deadline_hours:g} h':>20}",
    ]
    for each, cpus, dollars in instances():
        spot = forecast.dollars(cpus, dollars, spot=True)
        lines.append(
            f"{each:<16}{_hours(forecast.hours(1, cpus)):>14}{forecast.dollars(cpus, dollars):>12,.2f}"
            f"{spot:>12,.2f}{forecast.nodes(deadline_hours, cpus):>20,}"
        )
    lines += [
        "",
        dominates(forecast, vcpus, price),
        "",
        f"{f'dollars on spot {name} with':<36}{'half':>12}{'double':>12}",
    ]
    rows = sensitivity(forecast, vcpus, price)
    lines += [f"{row.what:<36}{row.dollars_half:>12,.2f}{row.dollars_double:>12,.2f}" for row in rows]
    lines += ["", "assumed (--assume NAME=VALUE):"]
    lines += [f"  {each.name} = {getattr(assumptions, each.name):g}" for each in fields(Assumptions)]
    return "\n".join(lines)


def as_json(trial: Measured, forecast: Forecast, deadline_hours: float) -> str:
    """Return one array with one object, as all of wit's JSON."""
    _, vcpus, price = instances()[_REFERENCE]
    answer = {
        "pairs": forecast.pairs,
        "measured": {"out": trial.out, "log": trial.log, "pairs": trial.pairs, "share": trial.share},
        "stages": [asdict(stage) for stage in rank_stages(forecast)],
        "core_hours": forecast.core_hours,
        "gpu_hours": forecast.gpu_hours,
        "source_bytes": forecast.source_bytes,
        "fetched_bytes": forecast.fetched_bytes,
        "moved_bytes": forecast.moved_bytes,
        "kept_bytes": forecast.kept_bytes,
        "disk_bytes": forecast.disk_bytes,
        "requests": forecast.requests,
        "instances": [
            {
                "name": each,
                "hours_on_one": forecast.hours(1, cpus),
                "dollars": forecast.dollars(cpus, dollars),
                "dollars_on_spot": forecast.dollars(cpus, dollars, spot=True),
                "nodes_for_deadline": forecast.nodes(deadline_hours, cpus),
            }
            for each, cpus, dollars in instances()
        ],
        "deadline_hours": deadline_hours,
        "dominates": dominates(forecast, vcpus, price),
        "sensitivity": [asdict(row) for row in sensitivity(forecast, vcpus, price)],
        "assumptions": asdict(forecast.assumptions),
    }
    return json.dumps([answer], indent=1)


def _size(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:,.3g}"
