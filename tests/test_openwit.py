"""The functions for notebooks and scripts."""

import pytest

import openwit
from pipeline.config import with_overrides


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
