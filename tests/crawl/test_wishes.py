import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.wishes import MAX_CHARS, UNREADABLE, content_signal, content_usage, is_unreadable, refuses, tdm_reservation

MEMBERS = st.sampled_from(
    ["train-ai=n", "train-ai=y", "search=n", "bots=y", "train-ai=?0", "###", "", 'x="a,b"', "train-genai=n", "a;b=1"]
)


def test_what_content_signal_says_of_training() -> None:
    assert content_signal(["search=yes, ai-train=no"]) == "ai-train=no"
    assert content_signal(["search=yes,ai-train=yes"]) == "ai-train=yes"
    assert content_signal(["search=no, ai-input=no"]) is None
    assert content_signal([]) is content_signal([""]) is None


def test_what_content_usage_says_of_training() -> None:
    assert content_usage(["train-ai=n"]) == content_usage(["search=y", "train-ai=n;since=2026"]) == "train-ai=n"
    assert content_usage(["bots=n"]) == "bots=n"
    assert content_usage(["train-ai=y, search=n"]) == "train-ai=y"
    assert content_usage(["search=n"]) is None


def test_a_refusal_wins_over_what_contradicts_it() -> None:
    assert content_usage(["train-ai=n, train-ai=y"]) == content_usage(["train-ai=y", "train-ai=n"]) == "train-ai=n"


def test_clear_slips_are_understood() -> None:
    assert content_signal(["Search=Yes; AI-Train=No"]) == "ai-train=no"
    assert content_usage(["train-ai=no"]) == "train-ai=no"
    assert content_usage(["###, train-ai=n"]) == "train-ai=n"


def test_what_cannot_be_read_is_told_from_what_is_not_said() -> None:
    assert content_usage(["train-ai=perhaps"]) == f"{UNREADABLE}train-ai=perhaps"
    for text in ("train-ai", "train-ai=?0", "train-ai=", 'train-ai="n"', "train-ai=y, ###", "\xfc=1", 'a="'):
        assert is_unreadable(content_usage([text])), text
        assert not refuses(content_usage([text]))


def test_a_long_field_is_heeded_and_otherwise_unreadable() -> None:
    filler = "x=1," * MAX_CHARS
    assert refuses(content_usage([f"{filler}train-ai=n"]))
    assert is_unreadable(content_usage([f"{filler}train-ai=y"]))


@pytest.mark.parametrize(
    ("values", "reserved", "odd"),
    [
        ([], None, None),
        (["", " , "], None, None),
        (["0"], False, None),
        ([" 1 "], True, None),
        (["0, 1"], True, None),
        (["0", "maybe", "1"], True, None),
        (["0", "maybe"], False, "maybe"),
        (["yes", "maybe"], None, "maybe"),
        (["x" * 200], None, "x" * 100),
    ],
)
def test_tdm_reservation(values: list[str], reserved: bool | None, odd: str | None) -> None:
    assert tdm_reservation(values) == (reserved, odd)


@settings(max_examples=80, deadline=None)
@given(st.lists(MEMBERS, max_size=6), st.integers(0, 6), st.booleans())
def test_adding_a_refusal_refuses(members: list[str], at: int, apart: bool) -> None:
    more = [*members[:at], "train-ai=n", *members[at:]]
    assert refuses(content_usage(more if apart else [", ".join(more)]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet='ai-trn=no,;"\\\\ ()?:@%y1.\xe9*', max_size=30), max_size=3))
def test_no_text_is_an_error(values: list[str]) -> None:
    for said in (content_usage(values), content_signal(values)):
        assert said is None or said.startswith(UNREADABLE) or "=" in said
