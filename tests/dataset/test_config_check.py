"""A config is what its dataclasses say, or a sentence that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.config_check import ConfigValueError, checked_config


@dataclass(frozen=True)
class Inner:
    share: float = 0.5
    kinds: tuple[Literal["jpeg", "webp"], ...] = ("jpeg",)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be from 0 to 1, not {self.share}")


@dataclass(frozen=True)
class Outer:
    name: str
    steps: int = 10
    is_fast: bool = False
    limit: int | None = None
    at_once: int | Literal["auto"] = 0
    words: str | Mapping[str, str] = ""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weights: dict[str, float] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    anything: Any = None
    inner: Inner = field(default_factory=Inner)
    others: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("given", "is_"),
    [
        ({"steps": "8"}, {"steps": 8}),
        ({"steps": 8.0}, {"steps": 8}),
        ({"steps": "1e6"}, {"steps": 1_000_000}),
        ({"steps": "9" * 30}, {"steps": int("9" * 30)}),
        ({"inner": {"share": "5e-1"}}, {"inner": {"share": 0.5, "kinds": ("jpeg",)}}),
        ({"inner": {"share": 1}}, {"inner": {"share": 1.0, "kinds": ("jpeg",)}}),
        ({"inner": None}, {"inner": asdict(Inner())}),
        ({"at_once": "auto"}, {"at_once": "auto"}),
        ({"at_once": "7"}, {"at_once": 7}),
        ({"limit": None}, {"limit": None}),
        ({"limit": 3}, {"limit": 3}),
        ({"words": {"en": "a"}}, {"words": {"en": "a"}}),
        ({"mean": [1, 2, 3]}, {"mean": (1.0, 2.0, 3.0)}),
        ({"parts": ("a", "b")}, {"parts": ["a", "b"]}),
        ({"anything": [1, {"a": None}]}, {"anything": [1, {"a": None}]}),
        ({"others": [{}, {"kinds": ["webp"]}]}, {"others": (asdict(Inner()), {"share": 0.5, "kinds": ("webp",)})}),
    ],
)
def test_a_value_is_what_its_annotation_says(given: dict[str, Any], is_: dict[str, Any]) -> None:
    made = checked_config(Outer, {"name": "a", **given})
    assert asdict(made) == {**asdict(Outer("a")), **is_}
    assert checked_config(Outer, asdict(made)) == made


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nam": "b"}, "there is no key nam; did you mean name?"),
        ({"shar": 1}, "there is no key shar; did you mean inner.share?"),
        ({"kinds": []}, "there is no key kinds; did you mean inner.kinds?"),
        ({"inner": {"steps": 3}}, "there is no key inner.steps; did you mean steps?"),
        ({"inner": {"zzz": 3}}, "there is no key inner.zzz; known keys: share, kinds"),
        ({3: 4}, "there is no key 3; known keys: name, steps, "),
        ({"steps": True}, "steps must be a whole number, such as 10, not true"),
        ({"steps": 2.5}, "steps must be a whole number, such as 10, not 2.5"),
        ({"steps": float("inf")}, "steps must be a whole number, such as 10, not .inf"),
        ({"is_fast": 1}, "is_fast must be true or false, such as false, not 1"),
        ({"is_fast": "yes"}, "is_fast must be true or false, such as false, not 'yes'"),
        ({"name": 7}, "name must be a text, such as name, not 7"),
        ({"at_once": "many"}, "at_once must be a whole number or auto, such as 0, not many"),
        ({"limit": "x"}, "limit must be a whole number or empty, such as 1000, not x"),
        ({"mean": [1, 2]}, "mean must be a list of 3 numbers, such as [0.0, 0.0, 0.0], not [1, 2]"),
        ({"weights": {"a": "b"}}, "weights.a must be a number, such as 0.5, not b"),
        ({"weights": {1: 2}}, "weights must be a mapping of names to numbers, whose name 1 is no text"),
        ({"parts": "a"}, "parts must be a list of texts, such as [name], not a"),
        ({"parts": ["a", 1]}, "parts.1 must be a text, such as name, not 1"),
        ({"inner": "loud"}, "inner must be a section of keys, such as {share: 0.5}, not loud"),
        ({"inner": {"share": 2}}, "inner: share must be from 0 to 1, not 2"),
        ({"others": [{"kinds": ["gif"]}]}, "others.0.kinds.0 must be one of jpeg, webp, such as jpeg, not gif"),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(given: dict[Any, Any], says: str) -> None:
    with pytest.raises(ConfigValueError) as caught:
        checked_config(Outer, {"name": "a", **given})
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_no_mapping_is_said() -> None:
    with pytest.raises(ConfigValueError, match=r"^the key name is missing$"):
        checked_config(Outer, {})
    with pytest.raises(ConfigValueError, match=r"^the config must be a section of keys, such as \{name: name\}, not "):
        checked_config(Outer, ["a"])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(Outer.__dataclass_fields__)), _VALUES))
def test_whatever_a_file_says_is_a_config_or_a_sentence(raw: dict[str, Any]) -> None:
    try:
        made = checked_config(Outer, {"name": "a", **raw})
    except ConfigValueError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(made.steps, int) and isinstance(made.inner.share, float) and isinstance(made.is_fast, bool)
