"""From a trial's rates to what a whole build takes: core-hours, bytes, requests, dollars, nodes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from dataset import usage
from dataset.stages import tables
from pipeline.forecast.assumptions import INSTANCES, Assumptions
from pipeline.forecast.rates import Measured, PhaseCost

_HOUR = 3600.0
DRIVER = "driver"
MOST_OVERHEAD_S = 0.25
"""CPU seconds that a task costs whatever its rows, at most: reading its inputs, a DuckDB, writing, a commit record.
Where a cheaper task of the phase was seen, that counts: in a small trial a task is little else."""


@dataclass(frozen=True)
class StageForecast:
    """What one stage takes."""

    stage: str
    core_hours: float
    requests: dict[str, float]  # by kind, of dataset.usage.REQUESTS
    bytes_read: float
    bytes_written: float


@dataclass(frozen=True)
class Forecast:
    """What a build takes; amounts of the whole build."""

    pairs: float
    source_bytes: float
    stages: tuple[StageForecast, ...]
    gpu_hours: float
    fetched_bytes: float  # over the network, from the web
    kept_bytes: float  # shards
    disk_bytes: float  # at the end, when there is most: fetch store, measures, shards
    assumptions: Assumptions

    @property
    def core_hours(self) -> float:
        """Hours of one core of the machine that measured."""
        return sum(stage.core_hours for stage in self.stages)

    @property
    def moved_bytes(self) -> float:
        """Between the store and the nodes, in both directions."""
        return sum(stage.bytes_read + stage.bytes_written for stage in self.stages)

    @property
    def requests(self) -> dict[str, float]:
        """Requests of the store, by kind."""
        return {kind: sum(stage.requests[kind] for stage in self.stages) for kind in usage.REQUESTS}

    @property
    def vcpu_hours(self) -> float:
        """That must be rented."""
        assumed = self.assumptions
        return self.core_hours * (1 + assumed.lost_work) / (assumed.speed * assumed.utilisation)

    @property
    def network_node_hours(self) -> float:
        """How long one node's network takes for the images."""
        return self.fetched_bytes * 8 / (self.assumptions.gbit_per_node * 1e9) / _HOUR

    def hours(self, nodes: int, vcpus: int) -> float:
        """Return how long it takes on so many nodes."""
        return max(self.vcpu_hours / vcpus, self.network_node_hours) / nodes

    def nodes(self, deadline_hours: float, vcpus: int) -> int:
        """Return how many nodes have it done by then."""
        return max(1, math.ceil(max(self.vcpu_hours / vcpus, self.network_node_hours) / deadline_hours - 1e-9))

    @property
    def storage_dollars(self) -> float:
        """Requests, and all that is written for as long as it is kept."""
        assumed, asked = self.assumptions, self.requests
        return (
            (asked["put"] + asked["list"]) * assumed.dollars_put
            + asked["get"] * assumed.dollars_get
            + self.disk_bytes / 1e9 * assumed.dollars_gb_month * assumed.months
        )

    def dollars(self, vcpus: int, dollars_an_hour: float, *, spot: bool = False) -> float:
        """Return what machines of one type cost, with storage."""
        price = dollars_an_hour * (self.assumptions.spot_share if spot else 1)
        return self.hours(1, vcpus) * price + self.storage_dollars


def forecast(trial: Measured, pairs: float | None, assumptions: Assumptions, *, gpu_models: int = 0) -> Forecast:
    """Return what a build of so many pairs takes, if it goes on as the trial went.

    Args:
        pairs: that are kept in the end; by default all that the trial's sources hold, of which it took a share.
        gpu_models: how many models look at each image on a GPU.
    """
    scale = pairs / trial.pairs if pairs else 1 / trial.share
    sources = trial.source_bytes * trial.share * scale
    by_stage: defaultdict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    tasks = 0.0
    for cost in trial.phases:
        of_sources = sources / trial.source_bytes if trial.source_bytes else 1.0
        whole = _phase(cost, scale, of_sources, assumptions)
        tasks += whole["tasks"]
        for kind, amount in whole.items():
            by_stage[cost.stage][kind] += amount
    more = max(1.0, tasks / max(1, sum(cost.tasks for cost in trial.phases)))
    for kind, amount in trial.driver.items():
        by_stage[DRIVER][kind] = amount * more
    stages = tuple(
        StageForecast(
            stage,
            amounts[usage.CPU] / _HOUR,
            {kind: amounts[kind] for kind in usage.REQUESTS},
            *(amounts[kind] for kind in usage.BYTES),
        )
        for stage, amounts in by_stage.items()
    )
    costs = {cost.phase: cost for cost in trial.phases}
    fetch = costs.get(tables("images")[-1].phase)
    fetched = fetch.of(usage.IMAGES) * scale if fetch else 0.0
    pack = costs.get(tables("samples")[-1].phase)
    return Forecast(
        pairs=trial.pairs * scale,
        source_bytes=sources,
        stages=stages,
        gpu_hours=gpu_models * trial.fetched * scale / assumptions.gpu_images_per_s / _HOUR,
        fetched_bytes=fetched or trial.fetched * scale * assumptions.image_bytes,
        kept_bytes=pack.of("bytes_written") * scale if pack else 0.0,
        disk_bytes=sum(stage.bytes_written for stage in stages),
        assumptions=assumptions,
    )


def _phase(cost: PhaseCost, scale: float, of_sources: float, assumptions: Assumptions) -> dict[str, float]:
    """What a phase takes in the whole build, by kind; CPU seconds are of three parts: what grows with rows (or bytes of
    sources), what each task costs, and what each process costs that does its first task."""
    if cost.megabytes:
        tasks = max(1.0, cost.megabytes * of_sources / assumptions.piece_megabytes)
    elif cost.rows:
        tasks = max(1.0, cost.rows * scale / assumptions.pairs_per_partition)
    else:
        tasks = float(cost.tasks)
    tasks = max(tasks, float(cost.tasks))
    cpu, loading_s = cost.of(usage.CPU), cost.of(usage.LOADING)
    first, first_s = cost.of("first"), cost.of("first_cpu_s")
    later = cost.tasks - first
    start_s, overhead_s = loading_s, MOST_OVERHEAD_S
    if later > 0 and first > 0:
        start_s = max(loading_s, first_s - first * (cpu - first_s) / later)
        overhead_s = min(MOST_OVERHEAD_S, cost.of("least_cpu_s") or MOST_OVERHEAD_S)
    start_s = min(start_s, cpu)
    overhead_s = min(overhead_s, (cpu - start_s) / max(1, cost.tasks))
    grows = cpu - start_s - cost.tasks * overhead_s
    sampled = cost.of(usage.SAMPLED)
    if later > 0:  # the first page of a process loads what all pages need
        sampled = (sampled - cost.of(f"first_{usage.SAMPLED}")) * cost.tasks / later
    sampled = min(grows, sampled)
    # Of the query list, and of what else the size of the build does not change.
    is_fixed = cost.tasks == 1 and not cost.rows and not cost.megabytes
    if is_fixed:
        pass
    elif sampled:
        grows = sampled * scale + (grows - sampled) * of_sources
    else:
        grows *= of_sources if cost.megabytes else scale
    amounts = {usage.CPU: grows + tasks * overhead_s + start_s, "tasks": tasks}
    amounts |= {kind: cost.of(kind) / max(1, cost.tasks) * tasks for kind in usage.REQUESTS}
    return amounts | {kind: cost.of(kind) * (1 if is_fixed else scale) for kind in usage.BYTES}


@dataclass(frozen=True)
class Sensitivity:
    """What another value of an assumption, or of a stage's rate, does."""

    what: str
    dollars_half: float
    dollars_double: float


def sensitivity(whole: Forecast, vcpus: int, dollars_an_hour: float, stages: int = 3) -> list[Sensitivity]:
    """Return the dollars if an assumption, or one of the largest stages' core-hours, were half or double; the largest
    first.
    """

    def cost(other: Forecast) -> float:
        return other.dollars(vcpus, dollars_an_hour, spot=True)

    rows = []
    for name in (each.name for each in fields(Assumptions)):
        value = getattr(whole.assumptions, name)
        if name in ("utilisation", "spot_share"):
            changed = [min(1.0, value * factor) for factor in (0.5, 2)]
        else:
            changed = [value * factor for factor in (0.5, 2)]
        half, double = (cost(replace(whole, assumptions=replace(whole.assumptions, **{name: to}))) for to in changed)
        rows.append(Sensitivity(name, half, double))
    for stage in rank_stages(whole)[:stages]:
        others = [replace(each, core_hours=0.5 * each.core_hours) if each is stage else each for each in whole.stages]
        twice = [replace(each, core_hours=2 * each.core_hours) if each is stage else each for each in whole.stages]
        both = (cost(replace(whole, stages=tuple(each))) for each in (others, twice))
        rows.append(Sensitivity(f"core-hours of {stage.stage}", *both))
    moving = [row for row in rows if abs(row.dollars_double - row.dollars_half) > 1e-9]
    return sorted(moving, key=lambda row: -abs(row.dollars_double - row.dollars_half))


def rank_stages(whole: Forecast) -> Sequence[StageForecast]:
    """Return the stages, the one with most core-hours first."""
    return sorted(whole.stages, key=lambda stage: -stage.core_hours)


def dominates(whole: Forecast, vcpus: int, dollars_an_hour: float) -> str:
    """Return what a build's cost is made of, as a sentence."""
    first = rank_stages(whole)[0]
    share = first.core_hours / whole.core_hours if whole.core_hours else 0.0
    machines = whole.dollars(vcpus, dollars_an_hour, spot=True) - whole.storage_dollars
    network = whole.network_node_hours > whole.vcpu_hours / vcpus
    bound = "the network that images come over" if network else f"the CPU time of {first.stage}, {share:.0%} of all"
    storage = whole.storage_dollars / max(1e-9, whole.storage_dollars + machines)
    return f"What dominates is {bound}; storage and its requests are {storage:.0%} of the dollars."


def instances() -> Sequence[tuple[str, int, float]]:
    """Return types of machines: name, vCPUs, dollars an hour."""
    return [(each.name, each.vcpus, each.dollars_an_hour) for each in INSTANCES]
