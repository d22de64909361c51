"""Languages of short texts, and what happens when there is no text or no model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.texts import language, quantized_model
from filters.texts.language import guesses, model_path, predict

SENTENCES = {
    "en": "A small dog is running through the green grass",
    "de": "Ein kleiner Hund läuft durch das grüne Gras",
    "fr": "Un petit chien court dans l'herbe verte",
    "ja": "小さな犬が緑の草の上を走っています",
}


def test_sentences() -> None:
    languages, probabilities = predict(pa.array(SENTENCES.values()))
    assert languages.to_pylist() == list(SENTENCES)
    assert probabilities.type == pa.float32()
    assert min(probabilities.to_pylist()) > 0.8
    assert max(probabilities.to_pylist()) <= 1


def test_both_builds_of_fasttext_answer_the_same() -> None:
    """Recorded with fasttext-wheel 0.9.2; Python 3.13 and later run fasttext-predict-v2."""
    languages, probabilities = predict(pa.array([*SENTENCES.values(), "Canon EOS 5D", "Stuhl aus Holz", "", "Москва"]))
    assert languages.to_pylist() == ["en", "de", "fr", "ja", "fr", "de", "en", "ru"]
    assert probabilities.to_pylist() == pytest.approx(
        [0.956623, 0.999137, 0.980909, 0.999601, 0.188882, 0.960783, 0.124504, 0.552951], abs=1e-6
    )


@pytest.fixture(scope="module")
def library() -> Callable[[pa.StringArray], language.Answers]:
    return language._predict_by_library(model_path())[1]


@lru_cache(maxsize=1)
def compiled() -> quantized_model.QuantizedModel:
    model = quantized_model.read(model_path())
    assert model is not None
    return model


def same(texts: list[str], library: Callable[[pa.StringArray], language.Answers]) -> None:
    lines = pa.array(texts, pa.string())
    for ours, theirs in zip(compiled().guesses(lines, 5, 0.02), library(lines), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_compiled_answers_are_those_of_fasttexts_library(library: Callable[[pa.StringArray], language.Answers]) -> None:
    odd = ["", "\0", " \t\v\f\r ", "ein hund </s> le chat", "</s>", "__label__de", "__label__xx hund", "a\0b", "</s"]
    same(
        [*SENTENCES.values(), *odd, "x" * 5_000, "猫" * 900, "é", "\U0001f600 \U0001f600", "<>", "> <", "e\u0301"],
        library,
    )


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))))
def test_so_they_are_for_any_text(texts: list[str], library: Callable[[pa.StringArray], language.Answers]) -> None:
    same(texts, library)


def test_so_they_are_for_real_captions(library: Callable[[pa.StringArray], language.Answers]) -> None:
    sample = Path(__file__).parents[4] / "shared/data/laion-sample-1000.parquet"
    if not sample.is_file():
        pytest.skip("needs ../shared/data/laion-sample-1000.parquet")
    texts = pq.read_table(sample).column("TEXT").combine_chunks().drop_null()
    same([text.lower().replace("\n", " ") for text in texts.to_pylist()], library)


def test_other_kinds_of_models_are_asked_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([*SENTENCES.values(), None, "Ein kleiner\nHund"])
    expected = guesses(texts)
    monkeypatch.setattr(quantized_model, "read", lambda path: None)
    language._load.cache_clear()
    assert guesses(texts).equals(expected)
    language._load.cache_clear()


def test_a_file_that_is_cut_or_damaged_is_no_model(tmp_path: Path) -> None:
    whole = Path(model_path()).read_bytes()
    other = tmp_path / "lid.ftz"
    for content in (b"", whole[:7], whole[:90], whole[:200_000], whole[:900_000], whole[:-1], whole[4:]):
        other.write_bytes(content)
        assert quantized_model.read(other) is None
    rng = np.random.default_rng(0)
    for _ in range(12):
        place = int(rng.integers(0, 110_000))  # the head and the dictionary, whose numbers are places elsewhere
        other.write_bytes(whole[:place] + rng.bytes(8) + whole[place + 8 :])
        damaged = quantized_model.read(other)
        assert damaged is None or len(damaged.guesses(pa.array(["ein hund"]), 5, 0.02)[0]) == 2


def test_capitals_and_lines_do_not_matter() -> None:
    texts = pa.array(["the walking dead the complete third season", "THE WALKING DEAD\nTHE COMPLETE THIRD SEASON"])
    languages, probabilities = predict(texts)
    assert languages.to_pylist() == ["en", "en"]
    assert probabilities[0] == probabilities[1]


def test_every_row_has_its_own_answer() -> None:
    texts = pa.chunked_array([[None, SENTENCES["fr"]], ["", "\x00", SENTENCES["fr"], SENTENCES["en"]]])
    languages, probabilities = predict(texts)
    assert languages.to_pylist()[0] is None
    assert probabilities.to_pylist()[0] is None
    assert languages.to_pylist()[1] == languages.to_pylist()[4] == "fr"
    assert languages.to_pylist()[5] == "en"
    assert [len(item) for item in predict(pa.array([], pa.string()))] == [0, 0]


def test_another_model_file(tmp_path: Path) -> None:
    copy = tmp_path / "lid.ftz"
    copy.write_bytes(Path(model_path()).read_bytes())
    assert predict(pa.array([SENTENCES["de"]]), str(copy))[0].to_pylist() == ["de"]


def test_missing_and_wrong_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        predict(pa.array(["a"]), str(tmp_path / "nowhere.bin"))
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="format"):
        predict(pa.array(["a"]), str(wrong))
