"""Languages of short texts, and what happens when there is no text or no model."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from filters.texts.language import model_path, predict

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
