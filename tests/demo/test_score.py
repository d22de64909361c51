"""The score card on small webs whose outcome is known."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from demo.score import UNPROVOKED, FilterScore, PhraseScore, ScoreCard, held_out_captions, score
from demo.web import KEEP, TRUTH
from demo.world import HELD_OUT

_DROPPED = pa.schema([(name, pa.string()) for name in ("url", "text", "stage", "reason")])
_PAIRS = pa.schema([("url", pa.string()), ("text", pa.string())])


def planted(
    url: str, expected: str = KEEP, occurrences: int = 1, copy_of: str | None = None, phrased: str | None = None
) -> dict[str, Any]:
    return {
        "url": url, "text": f"text of {url}", "kind": f"kind of {expected}", "expected": expected,
        "occurrences": occurrences, "copy_of": copy_of, "colour": None, "shape": None, "with_phrase": phrased,
    }  # fmt: skip


def card(
    truth: list[dict[str, Any]], dropped: list[tuple[str, str, str]], kept: list[str], cut: tuple[str, ...] = ()
) -> ScoreCard:
    verdicts = [{"url": u, "text": f"text of {u}", "stage": stage, "reason": reason} for u, stage, reason in dropped]
    return score(
        pa.Table.from_pylist(truth, TRUTH),
        pa.Table.from_pylist(verdicts, _DROPPED),
        pa.Table.from_pylist([{"url": u, "text": f"text of {u}"} for u in kept], _PAIRS),
        pa.table({"stage": ["balance"], "input": [8], "kept": [6], "dropped": [2]}),
        pa.Table.from_pylist([{"url": u, "text": f"text of {u}"} for u in cut], _PAIRS),
    )


def one(scored: ScoreCard, reason: str) -> FilterScore:
    (found,) = (row for row in scored.filters if row.reason == reason)
    return found


def test_what_is_caught_missed_and_lost_is_counted() -> None:
    scored = card(
        [planted("good"), planted("lost"), planted("404", "http_client_error"), planted("missed", "http_client_error")],
        [("lost", "fetch", "http_client_error"), ("404", "fetch", "http_client_error")],
        ["good", "missed"],
    )
    row = one(scored, "http_client_error")
    assert (row.planted, row.caught, row.dropped, row.precision, row.recall) == (2, 1, 2, 0.5, 0.5)
    assert (scored.good, scored.lost, scored.lost_share) == (2, {"http_client_error": 1}, 0.5)
    assert scored.dirt_kept == {"kind of http_client_error": 1}
    assert scored.unplanned == 0
    assert scored.query_full_share == 0.25


def test_dirt_that_another_filter_took_is_not_caught_by_its_own() -> None:
    scored = card([planted("a", "text_spam")], [("a", "text", "language_not_allowed")], [])
    assert (one(scored, "text_spam").caught, one(scored, "language_not_allowed").planted) == (0, None)


def test_of_each_group_of_copies_any_one_may_be_kept() -> None:
    truth = [planted("a", copy_of="a"), planted("a2", "duplicate_image", copy_of="a")]
    swapped = card(truth, [("a", "neardup", "duplicate_image")], ["a2"])
    assert (one(swapped, "duplicate_image").recall, swapped.lost, swapped.dirt_kept) == (1.0, {}, {})
    both = [("a", "neardup", "duplicate_image"), ("a2", "neardup", "duplicate_image")]
    assert card(truth, both, []).lost == {"duplicate_image": 1}
    none = card(truth, [], ["a", "a2"])
    assert (one(none, "duplicate_image").recall, none.dirt_kept) == (0.0, {"kind of duplicate_image": 1})


def test_phrases_that_were_cut_off_and_texts_that_should_not_have_been_are_counted() -> None:
    truth = [planted(url, phrased=f"text of {url} | Site") for url in ("a", "b", "missed")] + [planted("whole")]
    scored = card(truth, [], ["a", "whole"], ("a", "b", "whole"))
    assert scored.phrases == PhraseScore(planted=3, caught=2, others=1)


def test_a_candidate_is_known_by_the_text_that_was_written_before_its_phrase_was_cut_off() -> None:
    truth = pa.Table.from_pylist([planted("a", phrased="text of a | Site")], TRUTH)
    dropped = [{"url": "a", "text": "text of a | Site", "stage": "match", "reason": "no_query_match"}]
    funnel = pa.table({"stage": ["balance"], "input": [8], "kept": [6], "dropped": [2]})
    scored = score(truth, pa.Table.from_pylist(dropped, _DROPPED), _PAIRS.empty_table(), funnel, _PAIRS.empty_table())
    assert (scored.unplanned, scored.lost) == (0, {"no_query_match": 1})


def test_repetitions_are_planted_once_less_than_they_occur() -> None:
    scored = card([planted("a", occurrences=3)], [("a", "dedup", "duplicate_pair")] * 2, ["a"])
    row = one(scored, "duplicate_pair")
    assert (row.planted, row.caught, row.recall, scored.lost) == (2, 2, 1.0, {})


def test_a_reason_of_the_text_stage_is_given_to_every_occurrence() -> None:
    scored = card([planted("a", "page_noai", occurrences=3)], [("a", "text", "page_noai")] * 3, [])
    assert (one(scored, "page_noai").planted, one(scored, "page_noai").caught) == (3, 3)


def test_a_full_query_is_no_mistake() -> None:
    truth = [planted("good"), planted("404", "http_client_error"), planted("kept", copy_of="kept")]
    truth.append(planted("copy", "duplicate_image", copy_of="kept"))
    scored = card(
        truth,
        [
            ("good", "balance", "query_full"), ("404", "prebalance", "query_full"),
            ("kept", "balance", "query_full"), ("copy", "neardup", "duplicate_image"),
        ],
        [],
    )  # fmt: skip
    assert scored.lost == {}
    assert not [row for row in scored.filters if row.reason == "http_client_error"]
    assert one(scored, "query_full").planted is None
    assert (one(scored, "duplicate_image").precision, one(scored, "duplicate_image").recall) == (1.0, 1.0)


def test_rows_that_nobody_planted_and_reasons_that_stay_silent_are_told() -> None:
    scored = card([planted("good")], [("stranger", "fetch", "timeout")], ["good"])
    assert scored.unplanned == 1
    assert "text_spam" in scored.silent
    assert not {"timeout", *UNPROVOKED} & set(scored.silent)


def test_captions_with_both_words_of_a_held_out_combination_are_found() -> None:
    assert ("orange", "cross") not in HELD_OUT
    colour, shape = sorted(HELD_OUT)[0]
    named = [f"Two {colour.upper()} {shape}s, on wood.", f"a {shape} that is {colour}"]
    assert held_out_captions([*named, "an orange cross", f"a {shape}", f"something {colour}", ""]) == named
