"""The functions for notebooks and scripts."""

from pathlib import Path

import pytest

import openwit
from pipeline.config_files import with_overrides


@pytest.mark.parametrize(
    "value",
    [
        "out/mine",
        "s3://bucket/a b",
        "1/2",
        "a # b/c",
        "1",
        "true",
        "",
        'say "no"/ü',
        7,
        1e-5,
        True,
        None,
        ["a/b"],
        {"c": "d/e"},
    ],
)
def test_a_key_that_is_set_has_that_very_value(value: object) -> None:
    assert with_overrides({}, openwit._overrides({"some.key": value})) == {"some": {"key": value}}


def test_a_path_is_what_its_text_is(tmp_path: Path) -> None:
    given = {"sources": [Path("a/b.warc.gz")], "match.queries": {"en": Path("q.txt")}, "out": tmp_path / "x"}
    raw = with_overrides({}, openwit._overrides(given))
    assert raw["sources"] == ["a/b.warc.gz"] and raw["out"] == str(tmp_path / "x")
    assert raw["match"]["queries"] == {"en": "q.txt"}
    for act in (openwit.run, openwit.train):
        with pytest.raises(ValueError, match="there is no config"):
            act(tmp_path / "none.yaml", tmp_path / "out")  # type: ignore[operator]
    with pytest.raises(FileNotFoundError):
        openwit.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        openwit.explain(tmp_path / "none", "http://a.example/")
