"""The fast tokenizer gives open_clip's ids, whatever the text."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from train.data import tokenizer
from train.data.tokenizer import fast

LAION = Path(__file__).resolve().parents[4] / "shared" / "data" / "laion-sample-1000.parquet"
PLAIN = SimpleTokenizer(context_length=20)
FAST = fast(PLAIN)
MESSY = st.lists(
    st.sampled_from(
        ["&amp;amp;", "<b>", "Ã©", "â€™s", "\x1b[1m", "\t", "İ", "ﬁ", "don't", "x" * 30, "<end_of_text>", "１2"]
    ),
    max_size=6,
).map(" ".join)


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=60), st.text(st.characters(max_codepoint=127), max_size=60), MESSY))
@example("I'LL &lt; Café…  WE'VE\u00a0")
@example("")
@example("\ud800")
def test_any_text_has_the_same_ids(text: str) -> None:
    assert torch.equal(FAST([text]), PLAIN([text]))


def test_real_alt_texts_have_the_same_ids() -> None:
    if not LAION.exists():
        pytest.skip("no ../shared/data")
    texts = [text for text in pq.read_table(LAION)["TEXT"].to_pylist() if text]
    plain = open_clip.get_tokenizer("ViT-B-32")
    assert torch.equal(fast(plain)(texts), plain(texts))


@pytest.mark.parametrize("clean", ["canonicalize", "whitespace"])
def test_other_ways_to_clean_are_kept(clean: str) -> None:
    plain = SimpleTokenizer(context_length=16, clean=clean)
    texts = ["Hello,  World! it's", "a_b &amp; c"]
    assert torch.equal(fast(plain)(texts), plain(texts))


def test_a_full_memory_of_words_forgets_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MAX_WORDS", 3)
    few = fast(SimpleTokenizer(context_length=16))
    texts = [f"word{number} and <start_of_text>" for number in range(9)]
    assert torch.equal(few(texts), SimpleTokenizer(context_length=16)(texts))


def test_a_tokenizer_that_draws_or_that_we_do_not_know_is_left_alone() -> None:
    drawn = SimpleTokenizer(context_length=16, reduction_mask="random")
    assert fast(drawn) is drawn
    other = lambda texts: torch.zeros(len(texts), 3)  # noqa: E731
    assert fast(other) is other
