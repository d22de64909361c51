"""A user's own filter by config: a function that measures, a predicate that decides; and what it may do wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pytest

import dataset
from dataset.schema import CANDIDATES, PAIRS
from pipeline import programs
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.stages import custom_filters
from pipeline.stages.image import stage as image_stage
from pipeline.stages.text import stage as text_stage
from pipeline.workers.failures import PhaseFailedError
from tests.pipeline.prebuilt import Prebuilt

SHOUTING = """
import pyarrow.compute as pc

def uppercase_share(rows):
    letters = pc.utf8_length(rows["text"])
    upper = pc.count_substring_regex(rows["text"], r"\\p{Lu}")
    return {"uppercase_share": pc.divide(pc.cast(upper, "float64"), letters)}
"""


def filtered(
    small: Prebuilt, tmp_path: Path, source: str, filter_: dict[str, str], *, to_the_end: bool = False, **run: object
) -> str:
    """Build with one filter of the user's own, as far as its stage; the dataset's path."""
    (tmp_path / "own.py").write_text(source)
    out = tmp_path / "out"
    config = make_config(small.config(out, filters=[filter_], run=run))
    programs.check(config)
    text_stage.check(config)
    image_stage.check(config)
    small.copy(out, "fetch")
    build(config, to=None if to_the_end else filter_["stage"], quiet=True)
    return str(out)


def test_a_text_filter_drops_with_its_measure_as_evidence(small: Prebuilt, tmp_path: Path) -> None:
    rule = {
        "name": "few_capitals",
        "stage": "text",
        "measure": f"{tmp_path}/own.py:uppercase_share",
        "drop_when": "uppercase_share < 0.015",
    }
    made = dataset.open(filtered(small, tmp_path, SHOUTING, rule))
    dropped = made.sql(
        "SELECT text, (evidence::JSON->>'uppercase_share')::DOUBLE FROM dropped WHERE reason = 'few_capitals'"
    ).fetchall()
    assert dropped
    for text, share in dropped:
        assert share == pytest.approx(sum(c.isupper() for c in text) / len(text))
        assert share < 0.015


def test_a_filter_may_be_sql_alone(small: Prebuilt, tmp_path: Path) -> None:
    rule = {"name": "too_many_words", "stage": "text", "drop_when": "words > 12"}
    made = dataset.open(filtered(small, tmp_path, "", rule))
    assert made.sql("SELECT count(*) > 0 FROM dropped WHERE reason = 'too_many_words'").fetchall() == [(True,)]


def test_an_image_filter_sees_the_stored_bytes(small: Prebuilt, tmp_path: Path) -> None:
    source = "def size(rows):\n    return {'stored_bytes': [len(image) for image in rows['image'].to_pylist()]}\n"
    rule = {
        "name": "heavy",
        "stage": "image",
        "measure": f"{tmp_path}/own.py:size",
        "drop_when": "stored_bytes > 100",
    }
    made = dataset.open(filtered(small, tmp_path, source, rule))
    ((kept, dropped),) = made.sql("SELECT kept, dropped FROM funnel WHERE stage = 'image'").fetchall()
    assert kept == 0
    assert dropped > 0


def test_a_row_that_crashes_the_filter_is_quarantined_and_the_run_goes_on(small: Prebuilt, tmp_path: Path) -> None:
    source = (
        "def fragile(rows):\n"
        "    for text in rows['text'].to_pylist():\n"
        "        assert 'fountain' not in text, 'cannot look at fountains'\n"
        "    return {'looked': [True] * len(rows)}\n"
    )
    rule = {"name": "fragile", "stage": "text", "measure": f"{tmp_path}/own.py:fragile", "drop_when": "NOT looked"}
    made = dataset.open(filtered(small, tmp_path, source, rule, to_the_end=True, max_quarantined=100))
    texts = [row[0] for row in made.sql("SELECT text FROM dropped WHERE reason = 'quarantined'").fetchall()]
    assert texts
    assert all("fountain" in text for text in texts)
    assert made.sql("SELECT count(*) FROM pairs WHERE text LIKE '%fountain%'").fetchall() == [(0,)]


def test_more_crashes_than_the_budget_fail_the_run(small: Prebuilt, tmp_path: Path) -> None:
    source = "def broken(rows):\n    raise RuntimeError('always')\n"
    rule = {"name": "broken", "stage": "text", "measure": f"{tmp_path}/own.py:broken", "drop_when": "true"}
    with pytest.raises(PhaseFailedError, match=r"more than 2 inputs.*always.*max_quarantined"):
        filtered(small, tmp_path, source, rule, max_quarantined=2)


@pytest.mark.parametrize(
    ("source", "measure", "drop_when", "says"),
    [
        ("", "", "nonsense >", "drop_when is not SQL"),
        ("", "", " ", "must be one predicate"),
        ("", "", "true) -- never", "drop_when is not SQL"),
        ("", "", "true); DROP TABLE rows; SELECT (1", "must be one predicate"),
        ("def f(rows:\n", "f", "true", "own.py is not Python"),
        ("def f(rows):\n    g = 1\n", "g", "true", "defines no function g"),
    ],
)
def test_what_cannot_be_run_is_told_before_any_work(
    source: str, measure: str, drop_when: str, says: str, small: Prebuilt, tmp_path: Path
) -> None:
    rule = {"name": "wrong", "stage": "text", "drop_when": drop_when}
    if measure:
        rule["measure"] = f"{tmp_path}/own.py:{measure}"
    with pytest.raises(ConfigError, match=rf"filters\.wrong\..*{says}") as raised:
        filtered(small, tmp_path, source, rule)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stage", "drop_when", "says"),
    [
        ("text", "wrods < 3", "names wrods, which nothing measures in the stage text; is it words?"),
        ("text", "not_captions IS NULL OR len(blocked_domains[1].entry) > 3 OR page_license IS NULL", ""),
        ("image", "sharpnes > 0.5", "names sharpnes, which nothing measures in the stage image; is it sharpness?"),
        ("image", "sharpness > sharp_enough OR len(face_scores) > 3 OR nsfw_probability > 0.2 OR host = 'a'", ""),
    ],
)
def test_a_column_that_nobody_measures_is_told_before_any_work(stage: str, drop_when: str, says: str) -> None:
    model = {"name": "sharpness", "path": "sharp.onnx", "size": 8}
    image = {"models": [model], "quantiles": {"sharp_enough": "top 50% of sharpness"}}
    rule = {"name": "own", "stage": stage, "drop_when": drop_when}
    config = make_config({"sources": ["a.warc"], "out": "out", "filters": [rule], "image": image})
    columns = {
        "text": (CANDIDATES, text_stage.MEASURES, ()),
        "image": (PAIRS, image_stage._measures(config), ["sharp_enough"]),
    }
    with pytest.raises(ConfigError, match=says) if says else contextlib.nullcontext():
        custom_filters.check(config, stage, *columns[stage])


def test_a_column_that_no_function_answered_is_told_before_the_decision(small: Prebuilt, tmp_path: Path) -> None:
    source = "def f(rows):\n    return {'letters': [1] * len(rows)}\n"
    rule = {"name": "short", "stage": "text", "measure": f"{tmp_path}/own.py:f", "drop_when": "leters < 3"}
    with pytest.raises(ConfigError, match=r"filters\.short\.drop_when names leters.*is it letters"):
        filtered(small, tmp_path, source, rule)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("None", "answered NoneType, which is no table and no mapping of names to columns (TypeError: "),
        ("[1, 2, 3]", "answered list, which is no table"),
        ("{'x': 1}", "answered dict, which is no table"),
        ("{'x': [1, 2, 3], 'y': [1]}", "Column 1 named y expected length 3 but got length 1"),
        ("{'x': [1, 'a', None]}", "Could not convert 'a' with type str"),
        ("{'x': [2**70] * 3}", "answered dict, which is no table"),
        (r"{'x': ['\ud800'] * 3}", "answered dict, which is no table"),
        ("{'x': [1]}", "answered 1 rows for 3"),
        ("{}", "answered 0 rows for 3"),
        ("{'row': [9, 9, 9]}", "the column row is there already; choose another name"),
        ("{'Text': [9, 9, 9]}", "the column Text is there already; choose another name"),
        ("pa.table([[1, 2, 3]] * 2, names=['x', 'x'])", "the column x is there already"),
        ("{'x': [1, 2, 3], 'X': [1, 2, 3]}", "the column X is there already"),
    ],
)
def test_an_answer_of_another_form_is_told_in_a_sentence(answer: str, says: str) -> None:
    rows = pa.table({"row": [0, 1, 2], "text": ["a", "b", "c"]})
    source = f"import pyarrow as pa\ndef answer(rows): return {answer}"
    with pytest.raises(ConfigError) as raised:
        custom_filters.measure(rows, [{"name": "own", "function": "answer", "source": source}])
    assert str(raised.value).startswith("filters.own: ") and says in str(raised.value)


def test_a_batch_of_rows_is_an_answer_and_nan_a_measure() -> None:
    rows = pa.table({"row": [0, 1]})
    source = "import pyarrow as pa\ndef answer(rows): return pa.record_batch({'x': [float('nan'), 1.0]})"
    measured = custom_filters.measure(rows, [{"name": "own", "function": "answer", "source": source}])
    assert measured.schema.names == ["row", "x"] and str(measured["x"].to_pylist()) == "[nan, 1.0]"
