"""Exact duplicates: spam texts, repeated pairs, texts of one URL."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates.exact import (
    LOCATED_VERDICTS,
    REPEATED,
    SPAM,
    URL_KEYS,
    DedupConfig,
    duplicates,
    possible_spam,
    repeated_texts,
    spam,
    text_keys,
    text_spam,
    url_keys,
)

Pair = tuple[str, str]
PAIRS = st.lists(st.tuples(st.sampled_from("uvwxy"), st.sampled_from(["a", "bb", "b", "ccc", "çç"])), max_size=30)


def table(pairs: list[Pair], partition: int = 0) -> pa.Table:
    rows = np.arange(len(pairs))
    return pa.table(
        {
            "row": pa.array(rows, pa.uint32()),
            "url": pa.array([url for url, _ in pairs], pa.string()),
            "text": pa.array([text for _, text in pairs], pa.string()),
            "locator": pa.array((partition << 32) + rows, pa.int64()),
        }
    )


def run(partitions: list[list[Pair]], config: DedupConfig) -> dict[tuple[int, int], tuple[str, str]]:
    """The whole stage, with all keys in one bucket: (partition, row) → (reason, evidence)."""
    tables = [table(pairs, number) for number, pairs in enumerate(partitions)]
    by_text = pa.concat_tables([text_keys(part) for part in tables])
    # as in an exchange, texts whole
    parts = [
        repeated_texts(by_text.filter(pc.equal(by_text["text_key"], key)), config) for key in set(by_text["text_key"])
    ]
    spam_list = spam(pa.concat_tables([REPEATED.empty_table(), *parts]), config)
    some = [possible_spam(pa.concat_tables([REPEATED.empty_table(), *parts[at::2]]), config) for at in range(2)]
    assert spam(pa.concat_tables(some), config).equals(spam_list)  # of two halves of the buckets, what they can have
    found = duplicates(pa.concat_tables([url_keys(part, spam_list) for part in tables]), config)
    verdicts = {}
    for number, part in enumerate(tables):
        for row in text_spam(part, spam_list, config).to_pylist():
            verdicts[number, row["row"]] = (row["reason"], row["evidence"])
    for row in found.to_pylist():
        place = divmod(row["locator"], 1 << 32)
        assert place not in verdicts, "one verdict a row"
        verdicts[place] = (row["reason"], row["evidence"])
    return verdicts


def expected(partitions: list[list[Pair]], config: DedupConfig) -> dict[tuple[int, int], str]:
    """The same, said plainly."""
    rows = [((p, r), pair) for p, pairs in enumerate(partitions) for r, pair in enumerate(pairs)]
    images = defaultdict(set)
    for _, (url, text) in rows:
        images[text].add(url)
    limit = max(config.max_images_per_text, config.max_share_per_text * sum(map(len, images.values())))
    reasons = {place: "text_spam" for place, (_, text) in rows if len(images[text]) > limit}
    firsts: dict[Pair, tuple[int, int]] = {}
    for place, pair in rows:
        if place not in reasons and firsts.setdefault(pair, place) != place:
            reasons[place] = "duplicate_pair"
    if config.texts_per_url != "all":
        for _, group in itertools.groupby(sorted(firsts), key=lambda pair: pair[0]):
            order = sorted(group, key=lambda pair: firsts[pair])
            if config.texts_per_url == "longest":
                order.sort(key=lambda pair: -len(pair[1]))
            reasons |= {firsts[pair]: "url_has_other_text" for pair in order[1:]}
    return reasons


@settings(max_examples=10)
@given(
    partitions=st.lists(PAIRS, min_size=1, max_size=3),
    limit=st.integers(1, 5),
    share=st.sampled_from([0, 0.2, 0.5]),
    texts=st.sampled_from(["all", "first", "longest"]),
)
def test_it_drops_what_the_plain_rule_drops(partitions: list[list[Pair]], limit: int, share: float, texts: str) -> None:
    config = DedupConfig(limit, share, texts)  # type: ignore[arg-type]
    verdicts = run(partitions, config)
    assert {place: reason for place, (reason, _) in verdicts.items()} == expected(partitions, config)


@settings(max_examples=10)
@given(pairs=PAIRS, cut=st.integers(0, 30))
def test_partitions_change_nothing_but_the_numbers(pairs: list[Pair], cut: int) -> None:
    whole = run([pairs], DedupConfig(2, 0.3, "first"))
    split = run([pairs[:cut], pairs[cut:]], DedupConfig(2, 0.3, "first"))
    rows = sorted(((p, r) if p == 0 else (0, r + min(cut, len(pairs))), why) for (p, r), (why, _) in split.items())
    assert rows == sorted((place, why) for place, (why, _) in whole.items())


def test_a_spam_text_does_not_win_a_url_over_a_good_one() -> None:
    pairs = [("u", "click here for more"), ("v", "click here for more"), ("u", "a barn")]
    verdicts = run([pairs], DedupConfig(max_images_per_text=1, max_share_per_text=0, texts_per_url="longest"))
    assert {place: reason for place, (reason, _) in verdicts.items()} == {(0, 0): "text_spam", (0, 1): "text_spam"}


def test_spam_is_a_share_of_the_dataset() -> None:
    name = [(f"logo{n}", "our shop") for n in range(4)]
    config = DedupConfig(max_images_per_text=3, max_share_per_text=0.1)
    few, many = ([(f"u{n}", f"a barn in town {n}") for n in range(size)] for size in (30, 40))
    verdicts = run([name, few], config)
    assert {reason for reason, _ in verdicts.values()} == {"text_spam"} and len(verdicts) == 4
    evidence = {"images": 4, "max_images_per_text": 3, "of_all": 34, "max_share_per_text": 0.1}
    assert json.loads(verdicts[0, 0][1]) == evidence
    assert run([name, many], config) == {}


def test_one_text_many_times_on_one_image_is_no_spam() -> None:
    verdicts = run([[("u", "a barn")] * 5], DedupConfig(max_images_per_text=1, max_share_per_text=0))
    assert {reason for reason, _ in verdicts.values()} == {"duplicate_pair"}
    assert len(verdicts) == 4


def test_evidence_names_the_first() -> None:
    verdicts = run([[("u", "x"), ("u", "a barn")], [("u", "a barn")]], DedupConfig())
    assert json.loads(verdicts[1, 0][1]) == {"first_partition": 0, "first_row": 1}


def test_the_order_in_which_keys_arrive_changes_nothing() -> None:
    keys = url_keys(table([("u", "a"), ("u", "bb"), ("u", "a"), ("v", "a"), ("v", "cc")]), SPAM.empty_table())
    shuffled = keys.take(pa.array([3, 0, 4, 2, 1]))
    for texts in ("all", "first", "longest"):
        config = DedupConfig(texts_per_url=texts)  # type: ignore[arg-type]
        assert duplicates(shuffled, config).equals(duplicates(keys, config))


def test_equal_first_halves_of_a_hash_drop_nothing() -> None:
    half, one, two = b"\x07" * 8, b"\x01" * 8, b"\x02" * 8
    columns = [
        pa.array([half + one, half + two, half + one], pa.binary(16)),
        pa.array([half + one, half + one, half + two], pa.binary(16)),
        pa.array([1, 1, 1], pa.int32()),
        pa.array([0, 1, 2], pa.int64()),
        pa.nulls(3, pa.int16()),
    ]
    assert duplicates(pa.table(columns, schema=URL_KEYS), DedupConfig()).num_rows == 0


def test_nothing_in_nothing_out() -> None:
    empty = table([])
    nothing = spam(repeated_texts(text_keys(empty), DedupConfig()), DedupConfig())
    assert nothing.schema.equals(SPAM)
    assert duplicates(url_keys(empty, nothing), DedupConfig()).schema.equals(LOCATED_VERDICTS)


def test_impossible_values_are_named() -> None:
    with pytest.raises(ValueError, match="max_images_per_text must be at least 1, not 0"):
        DedupConfig(max_images_per_text=0)
    with pytest.raises(ValueError, match="max_share_per_text must be from 0 to 1, not 2"):
        DedupConfig(max_share_per_text=2)
    with pytest.raises(ValueError, match="texts_per_url must be all, first or longest, not 'best'"):
        DedupConfig(texts_per_url="best")  # type: ignore[arg-type]
