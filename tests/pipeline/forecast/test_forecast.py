"""What a build costs, told from a trial's log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.stages import names
from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.forecast.assumptions import Assumptions, override_assumptions
from pipeline.forecast.forecast import dominates, forecast, rank_stages, sensitivity
from pipeline.forecast.rates import Measured, PhaseCost, measure_rates
from tests.pipeline.dataset_fixture import HandMade

HOUR = 3600
PAIR = {"url": "http://a.example/1.jpg", "text": "a kettle"}
SPENT = {"cpu_s": 4.0, "first": 1, "first_cpu_s": 1.0, "least_cpu_s": 0.5, "get": 8, "bytes_written": 1e6}


def phase(
    name: str = "image.nsfw", tasks: int = 4, rows: int = 400, megabytes: float = 0.0, **spent: float
) -> PhaseCost:
    return PhaseCost(name, tasks, rows, megabytes, spent)


def trial(*phases: PhaseCost, **changes: Any) -> Measured:
    return replace(Measured("out", "log/run-1.jsonl", 0.02, 10**9, 100, 200, phases), **changes)


def core_seconds(found: Any, stage: str) -> float:
    (one,) = (each for each in found.stages if each.stage == stage)
    return float(one.core_hours * HOUR)


def test_what_grows_with_rows_is_told_from_what_a_task_and_a_process_cost() -> None:
    # Four tasks of 100 rows: 1 s for each task, of which 0.05 s are the task's own, and 2 s of loading in the first.
    cost = phase(cpu_s=6.0, first=1, first_cpu_s=3.0, least_cpu_s=0.05)
    found = forecast(trial(cost), 10_000, Assumptions(pairs_per_partition=1_000))
    rows, tasks, loading = 4 * 0.95 * 100, 40 * 0.05, 2.0
    assert core_seconds(found, "image") == pytest.approx(rows + tasks + loading)


def test_models_that_are_loaded_in_the_only_task_are_loaded_once_in_the_whole() -> None:
    cost = phase(tasks=1, rows=100, cpu_s=2.1, first=1, first_cpu_s=2.1, loading_cpu_s=1.0)
    found = forecast(trial(cost), 10_000, Assumptions())
    assert core_seconds(found, "image") == pytest.approx(100 * 0.85 + 0.25 + 1.0)


def test_what_the_size_of_a_build_does_not_change_stays_as_it_is() -> None:
    cost = phase("match.index", tasks=1, rows=0, cpu_s=2.0, first=1, first_cpu_s=2.0)
    assert core_seconds(forecast(trial(cost), 10_000, Assumptions()), "match") == pytest.approx(2.0)


def test_of_tasks_that_are_little_but_their_own_cost_nothing_grows() -> None:
    cost = phase(cpu_s=0.2, first=1, first_cpu_s=0.05, least_cpu_s=0.05)
    assert core_seconds(forecast(trial(cost), 10_000, Assumptions()), "image") == pytest.approx(0.2)


def test_a_sample_reads_past_pages_that_cost_nothing_more_in_the_whole() -> None:
    # 10 s to read all of the sources, 1 s for the pages of a fiftieth of them.
    cost = phase("extract.candidates", 4, 0, 1000.0, cpu_s=11.0, sampled_cpu_s=1.0)
    assert core_seconds(forecast(trial(cost), None, Assumptions()), "extract") == pytest.approx(10 + 50, rel=0.15)
    twice = forecast(trial(cost), 2 * 5_000, Assumptions())  # of twice the sources
    assert core_seconds(twice, "extract") == pytest.approx(20 + 100, rel=0.15)
    assert twice.source_bytes == 2 * 10**9


@given(pairs=st.integers(100, 10**9), more=st.integers(2, 50))
def test_more_pairs_never_cost_less(pairs: int, more: int) -> None:
    measured_ = trial(phase(cpu_s=6.0, first=1, first_cpu_s=3.0, least_cpu_s=0.25, put=8, bytes_written=1e6))
    few, many = (forecast(measured_, count, Assumptions()) for count in (pairs, more * pairs))
    assert many.core_hours >= few.core_hours
    assert many.requests["put"] >= few.requests["put"]
    assert many.disk_bytes == pytest.approx(more * few.disk_bytes)
    assert many.hours(1, 16) >= few.hours(1, 16)


def test_the_nodes_it_names_have_it_done_by_then_and_one_less_has_not() -> None:
    found = forecast(trial(phase(cpu_s=4000.0)), 4e6, Assumptions(gbit_per_node=1000))
    nodes = found.nodes(24, 16)
    assert nodes > 1
    assert found.hours(nodes, 16) <= 24 < found.hours(nodes - 1, 16)


def test_it_says_what_dominates_and_what_each_assumption_does() -> None:
    costs = phase(cpu_s=91.0, put=4), phase("text.measure", cpu_s=11.0, put=4)
    found = forecast(trial(*costs), 1e6, Assumptions(gbit_per_node=1000))
    assert [stage.stage for stage in rank_stages(found)] == ["image", "text"]
    assert "the CPU time of image, 90% of all" in dominates(found, 16, 1.0)
    rows = {row.what: row for row in sensitivity(found, 16, 1.0)}
    assert rows["core-hours of image"].dollars_double > rows["core-hours of image"].dollars_half
    assert rows["speed"].dollars_double < rows["speed"].dollars_half
    assert "gpu_images_per_s" not in rows  # which nothing here depends on
    slow = forecast(trial(*costs), 1e6, Assumptions(gbit_per_node=0.001))
    assert "the network that images come over" in dominates(slow, 16, 1.0)


def test_every_assumption_can_be_said_otherwise_and_a_wrong_one_is_named() -> None:
    assert override_assumptions(Assumptions(), ["speed=2", "months=0"]) == Assumptions(speed=2, months=0)
    for item, named in (("sped=2", "sped"), ("speed=fast", "'fast'"), ("speed=0", "speed"), ("months=-1", "months")):
        with pytest.raises(ConfigError, match=named):
            override_assumptions(Assumptions(), [item])


def built(folder: Path, logs: dict[str, list[dict[str, Any]]], to: str = names()[-1]) -> str:
    made = HandMade(folder)
    made.write([PAIR], to=to)
    for name, lines in logs.items():
        made.storage.write(f"log/run-{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    return str(folder)


def lines(cpu_s: float = 4.0) -> list[dict[str, Any]]:
    spent = {**SPENT, "cpu_s": cpu_s}
    each = [
        {"phase": f"{stage}.any", "partitions": 4, "rows": 400, "seconds": 1.0, "spent": spent} for stage in names()
    ]
    return [*each, {"run": "done", "tasks": 44, "source_bytes": 10**9, "seconds": 9.0, "driver": {"cpu_s": 2.0}}]


def test_rates_are_of_the_run_that_did_most_of_a_phase(tmp_path: Path) -> None:
    out = built(
        tmp_path / "out", {"1": lines(), "2": [lines(1.0)[0], {"run": "done", "tasks": 0, "source_bytes": 10**9}]}
    )
    found = measure_rates(out)
    assert (found.pairs, found.source_bytes, found.driver["cpu_s"]) == (1, 10**9, 2.0)
    assert {cost.of("cpu_s") for cost in found.phases} == {4.0}


@pytest.mark.parametrize(
    ("logs", "to", "said"),
    [
        ({}, "pack", "does not say what extract"),
        ({"1": lines()}, "text", "is not complete"),
        ({"1": lines()[3:]}, "pack", "does not say what extract, text, match took"),
    ],
)
def test_what_cannot_be_told_from_is_one_sentence(
    logs: dict[str, list[dict[str, Any]]], to: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        measure_rates(built(tmp_path / "out", logs, to))


def test_the_command_answers_in_text_and_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = built(tmp_path / "out", {"20260101T000000Z": lines()})
    command = ["plan", "archive", "--trial", out, "--pairs", "400e6", "--assume", "speed=2"]
    assert main(command) == 0
    said = capsys.readouterr().out
    for words in (
        "400,000,000 pairs",
        "log/run-20260101T000000Z.jsonl",
        "What dominates is",
        "speed = 2",
        "m7i.4xlarge",
    ):
        assert words in said
    assert main([*command, "--format", "json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["pairs"] == 400e6
    assert answer["assumptions"]["speed"] == 2
    assert len(answer["stages"]) == len(names()) + 1
    for wrong in (["--pairs", "many"], ["--deadline", "0"], ["--assume", "speed"]):
        assert main(["plan", "archive", "--trial", out, *wrong]) == 2
    assert main(["plan", "archive", "--trial", str(tmp_path / "none")]) == 2
    assert "no dataset" in capsys.readouterr().err
