"""Configs are YAML whose keys are distinct; what cannot be read is one sentence with its line."""

from __future__ import annotations

from typing import Any

import pytest

from dataset import yaml_text
from dataset.yaml_text import YamlError, override, parse


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a: 1\nb: 2\na: 3", "the key a stands here for the second time", 3),
        ("a:\n  b: 1\n  b: 2", "the key b stands here for the second time", 3),
        ("a: [1", "expected ',' or ']', but got '<stream end>'", 1),
        ("a: !!python/object:os.system x", "could not determine a constructor", 1),
        (b"a: \xff", "not UTF-8", None),
        ("a: \x01", "special characters are not allowed", None),
        ("[" * 1_000, "nested too deep", None),
        ("a: 2024-13-45", "month must be in 1..12", None),
        ("a: " + "1" * 6_000, "", None),
        (" " * (yaml_text.MAX_CHARS + 1), "more than 4,194,304 characters", None),
    ],
)
def test_what_is_none_is_a_sentence(text: str | bytes, problem: str, line: int | None) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)
    assert problem in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.line == line


def test_what_a_run_wrote_has_no_aliases() -> None:
    text = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert parse(text)["c"][0][0] == ["x", "x"]
    with pytest.raises(YamlError, match="an alias stands here") as caught:
        parse(text, is_written=True)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", "1e3"), ("1000", 1000), ("[a, b]", ["a", "b"]), ("out/a: b", "out/a: b"), ("it's/#x", "it's/#x"),
     ("{a/b: 1}", {"a/b": 1}), ("", None)],
)  # fmt: skip
def test_a_value_of_the_command_line_is_yaml_or_a_path(text: str, value: Any) -> None:
    assert override(text) == value
