"""A stage is declared once: a module and its SQL are seen everywhere, and nothing else has been touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
import yaml

import dataset
import pipeline.stages
from dataset.stages import Stage, Table
from pipeline.asking.explain import explain
from pipeline.build import build
from pipeline.config import ConfigError, effective_yaml
from pipeline.config import build as make_config
from pipeline.engine.phase import PHASES, phase
from pipeline.reports import audits, report
from pipeline.reports.status import status
from pipeline.stages import match, text
from tests.pipeline import pages
from tests.pipeline.stages.shouting import SHOUTING

QUIET, LOUD = "a kettle on the table", "A KETTLE ON THE TABLE, BUY IT NOW"


@pytest.fixture(scope="module", autouse=True)
def _longer_path() -> Iterator[None]:
    """The path has one stage more."""
    at = pipeline.stages.PATH.index(match.MATCH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stages, "PATH", (*pipeline.stages.PATH[:at], SHOUTING, *pipeline.stages.PATH[at:]))
        yield


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The config of a dataset with that stage, without a key of the stage's."""
    folder = tmp_path_factory.mktemp("shouting")
    (folder / "queries.txt").write_text("kettle\n")
    images = "".join(f'<img src="http://a.example/{n}.jpg" alt="{words}">' for n, words in enumerate((QUIET, LOUD)))
    archive = pages.write(folder / "a.warc.gz", [("http://a.example/", f'<html lang="en"><body>{images}')])
    config = {"sources": [str(archive)], "out": str(folder / "out"), "run": {"workers": 0}}
    config |= {"match": {"queries": str(folder / "queries.txt")}, "fetch": {"origins": ["archive"]}}
    return {**config, "image": {"nsfw_model": ""}}


@pytest.fixture(scope="module")
def out(raw: dict[str, Any]) -> str:
    """A dataset of it."""
    build(make_config(raw), to="match", quiet=True)
    return str(raw["out"])


def test_it_runs_in_its_place_and_is_in_the_funnel(out: str) -> None:
    funnel = dataset.open(out).sql("SELECT * FROM funnel").fetchall()
    assert funnel == [("extract", 2, 2, 0), ("text", 2, 2, 0), ("shouting", 2, 1, 1), ("match", 1, 1, 0)]
    assert [stage.stage for stage in status(out).stages][1:4] == ["text", "shouting", "match"]


def test_its_reason_and_its_table_are_asked_for(out: str) -> None:
    opened = dataset.open(out)
    dropped = opened.sql("SELECT stage, reason, text, evidence->>'max_capitals' FROM dropped").fetchall()
    assert dropped == [("shouting", "text_shouts", LOUD, "0.5")]
    assert opened.sql("SELECT capitals > 0.5 FROM capitals ORDER BY row").fetchall() == [(False,), (True,)]
    ((stage, reason, count, percent, meaning),) = opened.sql(audits.load("dropped_by_reason")).fetchall()
    assert (stage, reason, count, percent) == ("shouting", "text_shouts", 1, 50.0)
    assert meaning == SHOUTING.reasons["text_shouts"]
    assert opened.sql(audits.load("conservation")).fetchall() == []


def test_explain_tells_it(out: str) -> None:
    ((kept,), (gone,)) = (explain(out, f"http://a.example/{number}.jpg") for number in (0, 1))
    step = next(step for step in kept.steps if step.stage == "shouting")
    assert (step.outcome, step.sentence) == ("kept", SHOUTING.passed) and step.facts["capitals"] == 0.0
    assert gone.reason == "text_shouts" and gone.steps[-1].sentence.endswith(SHOUTING.reasons["text_shouts"])


def test_the_report_shows_it(out: str) -> None:
    page = Path(report.write(out)).read_text()
    assert escape(SHOUTING.reasons["text_shouts"], quote=False) in page.replace("&#39;", "'") and LOUD in page


def test_its_section_of_the_config_decides_and_stands_in_the_dataset(out: str, raw: dict[str, Any]) -> None:
    assert yaml.safe_load(Path(out, "config.yaml").read_text())["shouting"] == {"max_capitals": 0.5}
    louder = make_config({**raw, "shouting": {"max_capitals": 1.0}})
    assert effective_yaml(louder) != effective_yaml(make_config(raw))
    assert build(louder, to="shouting", quiet=True).did == {"shouting.decide": 1}
    assert dataset.open(out).sql("SELECT kept FROM funnel WHERE stage = 'shouting'").fetchall() == [(2,)]
    assert build(make_config(raw), to="match", quiet=True).did == {"shouting.decide": 1}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"max_capital": 0.1}, r"there is no key shouting\.max_capital; did you mean max_capitals\?"),
        ({"max_capitals": "few"}, r"shouting\.max_capitals must be a number, such as 0\.5, not few"),
        ({"max_capitals": 2}, r"shouting: max_capitals must be from 0 to 1, not 2"),
        ("loud", r"shouting must be a section of keys"),
    ],
)
def test_its_keys_are_checked_like_all_others(section: object, says: str, raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config({**raw, "shouting": section})
    with pytest.raises(ConfigError, match="there is no key shout; did you mean shouting"):
        make_config({**raw, "shout": section})


def test_a_section_that_is_there_already_or_is_none_is_refused(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def path_with(**changes: Any) -> None:
        monkeypatch.setattr(pipeline.stages, "PATH", (replace(SHOUTING, **changes),))

    phases = {"phases": ("text.measure", "text.decide"), "tables": ()}
    path_with(name="text", **phases)
    with pytest.raises(ValueError, match="the stage text brings a section that the config has already"):
        make_config(raw)
    with pytest.raises(ValueError, match=r"shouting has a section .*int.*, which is no dataclass"):
        path_with(config=int)


def test_a_phase_that_its_stage_does_not_declare_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no phase text\.mesure; did you mean text.measure"):
        phase(text.TEXT, "text.mesure")(PHASES["shouting.measure"].function)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"phases": ("text.measure", "odd.decide")}, "the stage odd has no phase text.measure"),
        ({"tables": (Table("t", "odd.measures", "t"),)}, "the stage odd has no phase odd.measures"),
        ({"phases": ("odd.measure",)}, "the stage odd judges pairs: it needs a phase odd.decide"),
        ({"passed": ""}, "the stage odd judges pairs: it needs a phase odd.decide, and `passed`"),
    ],
)
def test_a_stage_that_does_not_fit_together_is_refused(changes: dict[str, object], says: str) -> None:
    whole = {"name": "odd", "code": "odd", "phases": ("odd.measure", "odd.decide"), "judges": "pairs", "passed": "even"}
    with pytest.raises(ValueError, match=says):
        Stage(**{**whole, **changes})  # type: ignore[arg-type]
